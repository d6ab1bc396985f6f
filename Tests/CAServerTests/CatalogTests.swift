// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Authorization
import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import Datastore
import DecisionLog
import DurableFiles
import FoundationEssentials
import GRPCCore
import GRPCPeer
import HTTPSemantics
import Issuance
import NodeAttestation
import PolicyDocuments
import PublicEndpoint
import SPIFFE
import SwiftProtobuf
import Telemetry
import TestPKI
import TestSeeds
import Testing

/// What the documentation lists, a server that does a bit of everything shows: every metric of its
/// own, and every event of the log.
@Suite(.timeLimit(.minutes(2)))
struct CatalogTests {
    private let clock = ShiftedClock()
    private let publicDirectory: TestDirectory
    /// It has an upstream and a key service, so that it shows what there is with them.
    private let directory: TestDirectory
    private let fixture: UpstreamFixture
    private let keys: KeyServiceWorld

    init() throws {
        publicDirectory = try TestDirectory()
        directory = try TestDirectory()
        fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        keys = try KeyServiceWorld()
    }

    private var publicSocket: String { "\(publicDirectory.path)/public.sock" }

    private func served(
        _ body: (TestServer) async throws -> Void
    ) async throws {
        let lifetimes = try SVIDLifetimes(
            workload: .seconds(100),
            agent: .seconds(100),
            server: .seconds(100),
            authority: .seconds(600)
        )
        let url = try PublicURL(parsing: "https://id.example.org")
        let secret = "\(publicDirectory.path)/backup-passphrase"
        try DurableFile.write(Array("open sesame".utf8), to: secret, mode: 0o600)
        try await keys.serving {
            try await withServer(
                in: directory,
                clock: clock,
                {
                    fixture.configure(&$0)
                    $0.lifetimes = lifetimes
                    ($0.publicURL, $0.publicListen) = (url, .socket(publicSocket))
                    $0.exchangesTokens = true
                    $0.federationListen = ServerAddress(host: "127.0.0.1", port: 0)
                    $0.federationNetworks = [IPBlock("127.0.0.0/8")].compactMap(\.self)
                    $0.keyFileCost = .least
                    $0.backupPassphrase = .file(secret)
                    // Below what an operator may set: authorities of ten minutes are to be rotated.
                    $0.publicHold = .seconds(30)
                    ($0.keyStorage, $0.serviceSocket) = (.service, keys.socket)
                },
                body
            )
        }
    }

    /// The value of a metric with these labels, as scrapers read it.
    private func value(
        _ metric: Metric,
        _ server: TestServer,
        _ labels: String = ""
    ) -> Double? {
        let head = metric.name + (labels.isEmpty ? " " : "{\(labels)} ")
        return server.core.metrics.exposition().split(separator: "\n")
            .first { $0.hasPrefix(head) }
            .flatMap { Double($0.dropFirst(head.count)) }
    }

    private func pass(_ duration: Duration, _ server: TestServer) async throws {
        clock.pass(duration)
        try await eventually("the server shows a certificate that is valid") {
            let call = await refusal {
                try await server.anonymously { client in
                    try await Attestation.Client(wrapping: client).getBundle(.init())
                }
            }
            return call == nil
        }
    }

    // MARK: - A bit of everything

    /// Joins, comes back, renews, is banned and evicted; a stranger fails.
    private func attest(_ server: TestServer) async throws {
        let agent = try await server.agent("web-1", selectors: ["role:web"])
        _ = try await server.renew(agent, key: agent.key)
        _ = try await server.readmit("web-1", key: agent.key)
        let stranger = await refusal { try await server.attest("web-2", secret: [1, 2, 3]) }
        #expect(stranger?.reason == "joinTokenRefused")
        // The first answer is lost, the second counts nobody twice.
        let (secret, key) = (try await server.token("gone").secret, P256.Signing.PrivateKey())
        for _ in 0..<2 { _ = try await server.attest("gone", secret: secret, key: key) }
        #expect(value(.agentsKnown, server) == 2)
        let act = Signet_Admin_V1alpha1_NodeActionRequest.with {
            ($0.name, $0.reason) = ("gone", "test")
        }
        _ = try await server.administration.banNode(act)
        _ = try await server.administration.unbanNode(act)
        _ = try await server.administration.evictNode(act)
    }

    /// Documents, signatures and the streams that carry them.
    private func work(_ server: TestServer) async throws {
        let agent = try await server.readmit("web-1", key: try await rejoined(server))
        let entry = try await server.register("web")
        try await server.withSync(as: agent) { sync in
            sync.acknowledge(try await sync.snapshot().revision)
            #expect(value(.agentsConnected, server) == 1)
            try await server.register("api")
            sync.acknowledge(try await sync.delta().toRevision)
            async let explained = server.administration.explainWorkload(
                .with { ($0.agentName, $0.pid) = ("web-1", 1) }
            )
            try await sync.explainOnce(selectors: ["unix:uid:1"])
            _ = try await explained
        }
        let results = try await server.sign(
            [
                try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web"),
                try signingRequest(entry: "none", spiffeID: "spiffe://example.org/web"),
            ],
            as: agent
        )
        #expect(results.map { $0.signed.certificateChain.count } == [3, 0])
        let tokens = try await server.tokens(
            [(entry, "spiffe://example.org/web", ["spiffe://example.org/b"])],
            as: agent
        )
        #expect(tokens.map(\.refusal.code) == [""])
        try await exchange(tokens[0].token, of: "spiffe://example.org/web", server, agent)
        let text = entryDocument("api", spiffeID: "spiffe://example.org/api")
        _ = try await server.apply(text, isDryRun: true)
        _ = await refusal { try await server.apply("nonsense: 1") }
        try await server.revoke("spiffe://example.org/api")
        try await server.authenticated(as: try agent.identity) { client in
            let denied = await refusal {
                try await Administration.Client(wrapping: client).listNodes(.init())
            }
            #expect(denied?.kind == .permissionDenied)
        }
    }

    /// Somebody to whom a token was shown exchanges it.
    private func exchange(
        _ token: String,
        of subject: String,
        _ server: TestServer,
        _ agent: TestAgent
    ) async throws {
        let actor = try await server.register("b")
        try await server.permitChain(subjects: subject)
        let answer = try await server.exchange(
            token,
            by: (actor, "spiffe://example.org/b"),
            for: "ledger",
            as: agent
        )
        #expect(answer.refusal.code == "")
    }

    /// An agent brings a segment of its decision log.
    private func log(_ server: TestServer) async throws {
        let agent = try await server.agent("log-1")
        try await eventually("the decision store is open") { server.core.decisions.store != nil }
        let header = DecisionSegment.Header(
            spool: Array(repeating: 1, count: DecisionSegment.spoolBytes),
            number: 1,
            madeAtUnixMilliseconds: 1,
            lost: 2
        )
        let segment = DecisionSegment.encoded(header, records: [])
        try await server.core.decisions.store(
            segment,
            of: try SPIFFEID("spiffe://example.org/signet/agent/\(agent.name)")
        )
        _ = try await server.administration.evictNode(.with { $0.name = "log-1" })
    }

    /// Authorities and certificates that are trusted no more.
    private func distrust(_ server: TestServer) async throws {
        let service = server.administration
        let holder = try await server.workload("held")
        let other = try await server.workload("other")
        let serial = Data(try other.leaf.serial)
        _ = try await service.revokeCertificate(.with { $0.serial = serial })
        _ = try await service.banNode(.with { $0.name = "node-of-\(holder.name)" })
        let old = try #require(
            try await service.listAuthorities(.init()).authorities.first { $0.state == "active" }
        )
        let next = try await service.prepareAuthority(.init()).authority.id
        _ = try await service.activateAuthority(.with { ($0.id, $0.now) = (next, true) })
        _ = try await service.taintAuthority(.with { ($0.id, $0.now) = (old.id, true) })
        let unused = try await service.prepareAuthority(.init()).authority.id
        _ = try await service.revokeAuthority(.with { ($0.id, $0.now) = (unused, true) })
        // By itself only a week after its end.
        let (logic, now) = (server.core.logic, clock.wallTime)
        let early = await #expect(throws: APIError.self) {
            try await server.core.write { try logic.remove(unused, now: now, in: $0) }
        }
        #expect(early?.reason == "authorityState")
        try await server.core.write { transaction in
            let record = try #require(try transaction.authority(id: unused))
            // A second more: what is stored has whole milliseconds.
            let weekBefore = now - AuthorityRotation.revokedKept / .seconds(1) - 1
            try transaction.put(record.ending(weekBefore))
            try logic.remove(unused, now: now, in: transaction)
        }
        #expect(value(.revokedCertificates, server) == 2)
    }

    /// What others approve and what is withdrawn, as if this server asked for that.
    private func approve(_ server: TestServer) async throws {
        let (logic, now) = (server.core.logic, clock.wallTime)
        let alice = try SPIFFEID("spiffe://example.org/alice")
        let admins = [ActorPattern.spiffe(alice), .localUser(uid: 0, host: nil)]
        var order = DocumentOrder()
        order.documents = try Document.parse(Array(roleDocument("viewer").utf8), file: "a.yaml")
        let wanted = order
        try await server.core.write { transaction in
            var generator = SeededGenerator(seed: 1)
            func act(_ actor: Actor) -> ApprovalAct {
                let access = AdminAccess(roles: [], bindings: [.builtInAdmins(admins)])
                let standing = AdminStanding(actor: actor, access: access, now: now)
                return ApprovalAct(
                    logic,
                    ApprovalRules(needed: 1, admins: admins),
                    by: ApprovalCaller(standing: standing, svid: nil),
                    isClockBelieved: true,
                    in: transaction
                )
            }
            for isWithdrawn in [true, false] {
                let answer = try act(.spiffe(alice)).apply(
                    wanted,
                    takesProposal: true,
                    using: &generator
                )
                guard case .proposed(let proposal, _) = answer else { throw CancellationError() }
                if isWithdrawn {
                    try act(.spiffe(alice)).withdraw(proposal.id)
                } else {
                    _ = try act(.localUser(uid: 0, host: "localhost")).approve(
                        proposal.id,
                        sha256: proposal.sha256,
                        using: &generator
                    )
                }
            }
        }
    }

    /// Roots that come and go, and one that is trusted no more.
    private func distrustAbove(_ server: TestServer) async throws {
        let (logic, now, root) = (server.core.logic, clock.wallTime, fixture.root)
        let removed = try TestAuthority.root("example.org").der
        let lost = try TestAuthority.root("example.org").der
        let id = try LeafCertificate(der: lost).keyIdentifier.description
        try await server.core.write { transaction in
            try logic.settleRoots([root, removed, lost], now: now, in: transaction)
            for act in [logic.taintUpstream, logic.revokeUpstream] {
                _ = try act(id, "lost", ServerLogic.upstream, now, transaction)
            }
            try logic.settleRoots([root], now: now, in: transaction)
            let key = Hexadecimal.text(Array(repeating: 7, count: 20))
            // The store keeps whole milliseconds.
            let later = now.addingTimeInterval(UpstreamRevocation.keptSeconds + 1)
            for (named, moment) in [([key], now), ([], later)] {
                let plan = try logic.upstreamRevocationPlan(
                    Set(named),
                    isClockBelieved: true,
                    now: moment,
                    in: transaction
                )
                _ = try logic.perform(plan, now: now, in: transaction)
            }
        }
    }

    /// A server below gets an authority, and loses it.
    private func nest(_ server: TestServer) async throws {
        let nested = try await server.downstream(fixture, clock)
        let id = try Downstream.keyID(try await nested.certify(lifetime: 600))
        #expect(value(.downstreamAuthorities, server) == 1)
        _ = try await server.revokeAuthority(id)
        _ = try await server.token("nobody")
        _ = try await server.administration.deleteTokens(.with { $0.agentName = "nobody" })
    }

    /// Evicts web-1 and lets it join again, with a key of its own.
    private func rejoined(_ server: TestServer) async throws -> P256.Signing.PrivateKey {
        _ = try await server.administration.evictNode(.with { $0.name = "web-1" })
        return try await server.agent("web-1", selectors: ["role:web"]).key
    }

    /// A whole rotation: prepared, active, retired, removed.
    private func rotate(_ server: TestServer) async throws {
        try await eventually("an authority is removed") {
            try await pass(.seconds(20), server)
            let removed = try await server.records("authorityRemoved")
            return !removed.isEmpty
        }
    }

    /// A verifier outside and a partner come, and are answered.
    private func publish(_ server: TestServer) async throws {
        try await eventually("partners are served") {
            let bundle = try server.core.trust.bundle
            return await server.fetchFailure(knowing: bundle) == nil
        }
        try await eventually("verifiers outside are served") {
            let answer = try? await publicAnswer("/keys", at: publicSocket)
            return answer?.hasPrefix("HTTP/1.1 200") == true
        }
    }

    /// The clock goes back and is mended.
    private func stepBack(_ server: TestServer) async throws {
        _ = try await server.agent("early")
        clock.stepWall(by: -30)
        let refused = await refusal { try await server.agent("late") }
        #expect(refused?.reason == "clockBehind")
        #expect(value(.clockRefused, server, "problem=\"behind\"") == 1)
        clock.stepWall(by: 30)
    }

    /// A client that does not like the server's certificate, and more labels than are kept.
    private func crowd(_ server: TestServer) async throws {
        let address = server.address
        let stranger = await refusal {
            try await withGRPCClient(
                transport: try PeerClientTransport.anonymousTLS(
                    to: address,
                    server: .required { _ in throw CancellationError() }
                )
            ) { client in
                try await Attestation.Client(wrapping: client).getBundle(.init())
            }
        }
        #expect(stranger != nil)
        for number in 0...MetricRegistry.seriesMax {
            server.core.metrics.increment(.adminDenials, "verb-\(number)", "")
        }
    }

    /// Another trust domain is federated with, and serves no bundle once.
    private func federate(_ server: TestServer) async throws {
        let endpoint = try PartnerEndpoint()
        endpoint.serve(Array("{}".utf8))
        try await endpoint.run {
            try await server.apply(endpoint.federation())
            try await eventually("what is no bundle is refused") {
                try await !server.records("federatedBundleRefused").isEmpty
            }
            endpoint.serve(try endpoint.document([endpoint.authority], sequence: 7))
            let answer = try await server.administration.refreshFederation(
                .with { $0.trustDomain = "partner.example" }
            )
            #expect(answer.result == "taken")
        }
    }

    // MARK: - Catalogs

    /// What ends a server or begins one: ClockAcceptanceTests, HoldTests, RestoreTests and
    /// SuccessionTests have them.
    private static let ofOtherTests: Set<AuditEvent.Name> = [
        .clockAccepted, .rollbackProved, .serverRecovered, .serverRestored,
    ]

    @Test func `every metric of the server is shown, and every event of the log happens`()
        async throws
    {
        try await served { server in
            try await attest(server)
            try await work(server)
            try await federate(server)
            _ = try await server.backup()
            try await log(server)
            try await distrust(server)
            try await approve(server)
            try await distrustAbove(server)
            try await nest(server)
            try await rotate(server)
            try await stepBack(server)
            try await crowd(server)
            try await publish(server)
            clock.pass(AnonymousCounters.interval)
            for event in AuditEvent.Name.allCases where !Self.ofOtherTests.contains(event) {
                try await eventually("\(event) is in the log", attempts: 500) {
                    let records = try await server.records(event.rawValue)
                    return !records.isEmpty
                }
            }
            try await eventually("every metric is shown", attempts: 500) {
                missing(server).isEmpty
            }
            #expect(missing(server) == [])
            try await server.requireIntactLog()
            try await requireTruth(server)
        }
    }

    /// The metrics of the server of which there is no series, and those of agents of which there is.
    private func missing(_ server: TestServer) -> [String] {
        let lines = server.core.metrics.exposition().split(separator: "\n")
        return Metric.allCases.filter { metric in
            let isShown = lines.contains { $0.hasPrefix(metric.name) }
            return isShown == (metric.daemon == .agent || metric.daemon == .proxy)
        }.map(\.name)
    }

    private func requireTruth(_ server: TestServer) async throws {
        let nodes = try await server.administration.listNodes(.init()).nodes.count
        #expect(value(.agentsKnown, server) == Double(nodes))
        let entries = try await server.administration.listEntries(.init()).entries.count
        #expect(value(.entries, server) == Double(entries))
        _ = try await server.documents.delete(
            .with {
                $0.keys = [
                    .with {
                        ($0.kind, $0.namespace, $0.name) = ("RegistrationEntry", "default", "api")
                    }
                ]
            }
        )
        #expect(value(.entries, server) == Double(entries - 1))
        let health = try await server.administration.getHealth(.init())
        try await eventually("the revision is shown") {
            value(.revision, server) == Double(health.revision.number)
        }
        #expect(value(.agentsConnected, server) == 0)
        // One of `work`, two of `distrust`.
        #expect(value(.svidsIssued, server, "kind=\"workload\"") == 3)
        #expect(value(.clockRefused, server, "problem=\"behind\"") == 0)
        #expect(value(.documentApplies, server, "result=\"rehearsed\"") == 1)
        #expect(value(.documentApplies, server, "result=\"refused\"") == 1)
        let log = try await server.audit.getCheckpoint(.init())
        try await eventually("the log is published") {
            value(.auditTreeSize, server) == Double(log.committedSize)
        }
        let converged = server.core.metrics.exposition().split(separator: "\n")
            .first { $0.hasPrefix(Metric.syncConvergenceDuration.name + "_count") }
        #expect(converged.map { $0.hasSuffix(" 0") } == false)
    }
}

extension AuthorityRecord {
    /// The same authority as if it ended at `date`.
    fileprivate func ending(_ date: Date) -> Self {
        Self(
            id: id,
            serverID: serverID,
            state: state,
            certificateDER: certificateDER,
            tokenKeySPKI: tokenKeySPKI,
            publishedAt: publishedAt,
            activatedAt: activatedAt,
            notBefore: notBefore,
            notAfter: date,
            distrust: distrust
        )
    }
}
