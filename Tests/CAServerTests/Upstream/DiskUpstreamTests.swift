// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCPeer
import Issuance
import Logging
import NodeAttestation
import NodeSync
import SPIFFE
import Telemetry
import Testing

/// A server below an offline root (docs/decisions/0020-authorities-under-another.md, "Disk").
@Suite(.timeLimit(.minutes(2)))
struct DiskUpstreamTests {
    private static let web = "spiffe://example.org/web"
    /// What an agent says that it can do, and who is named then.
    private static let saying: [(capabilities: [String], named: [String])] = [
        (["intermediates"], []), ([], ["web-1"]),
    ]

    private func problem(_ condition: String, _ core: ServerCore) -> String? {
        core.health.report(.ready).conditions.first { $0.name == condition }?.problem
    }

    @Test func `what a server below a root signs is delivered with the chain, the root is not`()
        async throws
    {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        let upstreamID = try fixture.perform()
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            let bundle = try server.core.trust.bundle
            #expect(bundle.x509Authorities == [fixture.root])
            #expect(bundle.x509Intermediates.count == 1 && bundle.jwtAuthorities.count == 1)
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            #expect(agent.chain.count == 3)
            let entry = try await server.register("web")
            let results = try await server.sign(
                [signingRequest(entry: entry, spiffeID: Self.web)],
                as: agent
            )
            let chain = results[0].signed.certificateChain.map { Array($0) }
            #expect(chain.count == 3 && chain[1] == bundle.x509Intermediates[0])
            // With the root alone, as proxies and workloads have it.
            let peer = try await PeerVerifier(
                bundles: [bundle.trustDomain: bundle.anchorsOnly]
            ).verify(chain: chain, now: server.core.clock.wallTime)
            #expect(peer.path.count == 3)
            #expect(Hexadecimal.text(peer.path[1]) == upstreamID)
            #expect(Hexadecimal.text(peer.path[2]) == fixture.rootID)
            // The agent comes back with what it has, and the log knows what is above.
            _ = try await server.renew(agent, key: agent.key)
            let prepared = try await server.records("authorityPrepared")
            #expect(prepared[0].contains("\"issuer\":\"\(upstreamID)\""))
            #expect(prepared[0].contains("\"root\":\"\(fixture.rootID)\""))
            #expect(try await server.records("rootPublished").count == 1)
            let shown = try await server.administration.listAuthorities(.init()).authorities[0]
            #expect(shown.issuerID == upstreamID && shown.rootID == fixture.rootID)
            #expect(problem("upstream", server.core) == nil)
            try await server.requireIntactLog()
        }
        // The request is of no more use; the key stays.
        let files = try FileManager.default.contentsOfDirectory(
            atPath: "\(directory.path)/data/keys"
        )
        #expect(files.contains("upstream-\(upstreamID).key"))
        #expect(!FileManager.default.fileExists(atPath: "\(directory.path)/data/upstream.csr"))
    }

    @Test func `a join token pins the authority, not the root`() async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            let token = try await server.token("web-1")
            let authority = try server.core.trust.bundle.x509Intermediates[0]
            #expect(token.authorityPins == [try authoritySPKISHA256(authority)])
        }
    }

    @Test func `in its handshakes a server believes only what its own store's authorities signed`()
        async throws
    {
        let (one, two) = (try TestDirectory(), try TestDirectory())
        let first = try UpstreamFixture(in: one)
        let second = try UpstreamFixture(in: two, sharing: first)
        try first.perform()
        try second.perform()
        try await withServer(in: one, { first.configure(&$0) }) { server in
            let agent = try await server.agent("web-1")
            try await withServer(in: two, { second.configure(&$0) }) { other in
                // It is below the same root, so the bundle says that it is that agent.
                _ = try await other.verified(agent.chain)
                _ = try await other.agent("web-1")
                let refused = await refusal { try await other.renew(agent, key: agent.key) }
                #expect(refused != nil)
                _ = try await server.renew(agent, key: agent.key)
            }
        }
    }

    @Test func `a rotation asks the upstream, by order and by schedule alike`() async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        let clock = ShiftedClock()
        try await withServer(in: directory, clock: clock, { fixture.configure(&$0) }) { server in
            let (old, new) = try await server.rotate()
            let bundle = try server.core.trust.bundle
            #expect(bundle.x509Authorities == [fixture.root] && bundle.x509Intermediates.count == 2)
            _ = try await server.taint(old)
            _ = try await server.revokeAuthority(old)
            try await eventually("the revoked one has left") {
                try server.core.trust.bundle.x509Intermediates.count == 1
            }
            clock.pass(.seconds(13 * 3600))
            try await eventually("the schedule has made another one") {
                let all = try await server.administration.listAuthorities(.init()).authorities
                return all.contains { $0.id != new && ["prepared", "active"].contains($0.state) }
            }
            #expect(try await server.records("rootPublished").count == 1)
        }
    }

    @Test func `an upstream that is away makes no self-signed authority, and is asked again`()
        async throws
    {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        let clock = ShiftedClock()
        try await withServer(in: directory, clock: clock, { fixture.configure(&$0) }) { server in
            let kept = "\(fixture.certificatePath).kept"
            try FileManager.default.moveItem(atPath: fixture.certificatePath, toPath: kept)
            let refused = await refusal {
                try await server.administration.prepareAuthority(.init())
            }
            #expect(refused?.reason == "upstream")
            #expect(refused?.message.contains(fixture.certificatePath) == true)
            let told = problem("upstream", server.core)
            #expect(told?.contains("signs until") == true, "\(told ?? "")")
            #expect(try await server.administration.listAuthorities(.init()).authorities.count == 1)
            let keys = try FileManager.default.contentsOfDirectory(
                atPath: "\(directory.path)/data/keys"
            ).filter { $0.hasPrefix("authority-") }
            #expect(keys.count == 2)
            // The keys that wait are spared, and are those that it certifies then.
            try FileManager.default.moveItem(atPath: kept, toPath: fixture.certificatePath)
            clock.pass(RotationService.keyInterval)
            let prepared = try await server.administration.prepareAuthority(.init()).authority
            #expect(keys.contains("authority-\(prepared.id).key"))
            #expect(problem("upstream", server.core) == nil)
        }
    }

    @Test func `a start that can sign nothing waits for the upstream, and says so`() async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        let request = try Server.requestUpstream(fixture.configuration(), clock: SystemClock())
        let clock = ShiftedClock()
        let configuration = try fixture.configuration {
            $0.listen = .init(host: "127.0.0.1", port: 0)
            $0.adminSocket = "\(directory.path)/admin.sock"
            $0.telemetryPort = 0
        }
        let server = try Server(configuration, clock: clock, logger: .init(label: "test"))
        try await withThrowingTaskGroup(of: Void.self) { group in
            let (ports, announce) = AsyncStream.makeStream(of: UInt16.self)
            group.addTask {
                defer { announce.finish() }
                try await server.run { announce.yield($0) }
            }
            try await eventually("health says what is missing") {
                problem("upstream", server.core)?.contains(fixture.certificatePath) == true
            }
            #expect(!server.core.health.report(.ready).isHealthy)
            try fixture.certify(request.path)
            try await eventually("it is asked again, and serves") {
                clock.pass(AuthorityRotation.retryDelay)
                return server.core.health.report(.ready).isHealthy
            }
            for await _ in ports { break }
            group.cancelAll()
            do { try await group.waitForAll() } catch is CancellationError {}
        }
    }

    @Test func `the last third of the upstream authority's life is told`() async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform(lifetime: .seconds(9 * 86_400))
        let clock = ShiftedClock()
        try await withServer(in: directory, clock: clock, { fixture.configure(&$0) }) { server in
            #expect(problem("upstream", server.core) == nil)
            clock.pass(.seconds(6 * 86_400 + 60))
            try await eventually("health says until when") {
                clock.pass(UpstreamService.lookInterval)
                return problem("upstream", server.core)?.contains("ends at") == true
            }
        }
    }

    @Test func `with upstream none the root leaves once nothing is below it`() async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        try await withServer(in: directory, { fixture.configure(&$0) }) { _ in }
        try await withServer(in: directory) { server in
            #expect(try server.core.trust.bundle.x509Authorities == [fixture.root])
            let (old, _) = try await server.rotate()
            #expect(try server.core.trust.bundle.x509Authorities.count == 2)
            _ = try await server.revokeAuthority(old)
            try await eventually("the root has left") {
                let bundle = try server.core.trust.bundle
                return bundle.x509Authorities.count == 1 && bundle.x509Intermediates.isEmpty
            }
            #expect(try await server.records("rootRemoved").count == 1)
            #expect(try server.core.trust.bundle.x509Authorities != [fixture.root])
        }
    }

    @Test func `another root is published beside the old one`() async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        let other = try UpstreamFixture(in: TestDirectory())
        try fixture.writeRoots([fixture.root, other.root])
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            let authorities = Set(try server.core.trust.bundle.x509Authorities)
            #expect(authorities == [fixture.root, other.root])
        }
        try fixture.writeRoots([fixture.root])
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            let authorities = try server.core.trust.bundle.x509Authorities
            #expect(authorities == [fixture.root])
        }
    }

    // MARK: - Files

    private func startProblem(_ fixture: UpstreamFixture) -> String {
        do {
            _ = try Server(
                fixture.configuration { $0.listen = .init(host: "127.0.0.1", port: 0) },
                clock: SystemClock(),
                logger: .init(label: "test")
            )
            return ""
        } catch {
            return "\(error)"
        }
    }

    @Test func `without roots there is no start`() throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        #expect(startProblem(fixture) == "")
        try UpstreamFixture.write("", to: fixture.rootsPath)
        #expect(startProblem(fixture).contains("there is no CERTIFICATE in it"))
        try fixture.writeRoots(Array(repeating: fixture.root, count: 9))
        #expect(startProblem(fixture).contains("more than 8 roots"))
        let intermediate = try String(contentsOfFile: fixture.certificatePath, encoding: .utf8)
        try UpstreamFixture.write(intermediate, to: fixture.rootsPath)
        #expect(startProblem(fixture).contains("rootOfAnother"))
        // What nobody verifies later: the signature of an anchor, and its end.
        var damaged = fixture.root
        damaged[damaged.count - 1] ^= 1
        try fixture.writeRoots([damaged])
        #expect(startProblem(fixture).contains("signatureDiffers"))
        let ended = try UpstreamFixture(
            in: TestDirectory(),
            now: Date() - CeremonyLifetime.root / .seconds(1) - 60
        )
        try fixture.writeRoots([ended.root])
        #expect(startProblem(fixture).contains("every root in it has ended"))
        try fixture.writeRoots([ended.root, fixture.root])
        #expect(startProblem(fixture) == "")
        try fixture.writeRoots([fixture.root])
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o666],
            ofItemAtPath: fixture.rootsPath
        )
        #expect(startProblem(fixture).contains(fixture.rootsPath))
        try FileManager.default.removeItem(atPath: fixture.rootsPath)
        #expect(startProblem(fixture).contains(fixture.rootsPath))
    }

    @Test func `a request is made once, and is the same until it is certified`() throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        let configuration = try fixture.configuration()
        let first = try Server.requestUpstream(configuration, clock: SystemClock())
        let file = try Data(contentsOf: URL(filePath: first.path))
        let second = try Server.requestUpstream(configuration, clock: SystemClock())
        #expect(first.isNew && !second.isNew && first.keyID == second.keyID)
        #expect(try Data(contentsOf: URL(filePath: first.path)) == file)
        // Whose key is gone is said, and nothing is made in its place.
        let key = "\(directory.path)/data/keys/upstream-\(first.keyID).key"
        try FileManager.default.removeItem(atPath: key)
        #expect(throws: UpstreamKeyError.keyMissing(id: first.keyID, path: first.path)) {
            try Server.requestUpstream(configuration, clock: SystemClock())
        }
        try FileManager.default.removeItem(atPath: first.path)
        let third = try Server.requestUpstream(configuration, clock: SystemClock())
        #expect(third.isNew && third.keyID != first.keyID)
        var none = configuration
        none.upstream = nil
        #expect(throws: UpstreamKeyError.notOnDisk) {
            try Server.requestUpstream(none, clock: SystemClock())
        }
    }

    @Test func `a certificate below another root is told at a start, and its request kept`()
        async throws
    {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        // It has an authority that signs, so that nothing asks the upstream for half a day.
        try await withServer(in: directory) { _ in }
        let request = try Server.requestUpstream(fixture.configuration(), clock: SystemClock())
        let other = try UpstreamFixture(in: TestDirectory())
        try other.certify(request.path)
        let wrong = try String(contentsOfFile: other.certificatePath, encoding: .utf8)
        try UpstreamFixture.write(wrong, to: fixture.certificatePath)
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            try await eventually("health says what is wrong") {
                problem("upstream", server.core)?.contains("rootUnknown") == true
            }
        }
        #expect(FileManager.default.fileExists(atPath: request.path))
        let again = try Server.requestUpstream(fixture.configuration(), clock: SystemClock())
        #expect(!again.isNew && again.keyID == request.keyID)
        try fixture.certify(request.path)
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            try await eventually("health is well") { problem("upstream", server.core) == nil }
        }
        #expect(!FileManager.default.fileExists(atPath: request.path))
    }

    @Test func `another key is made once a request was certified, though no start has seen that`()
        throws
    {
        let fixture = try UpstreamFixture(in: TestDirectory())
        let first = try fixture.perform()
        let second = try fixture.perform()
        #expect(first != second)
        // Both keys are there: the old one certifies until the certificate is in its place.
        let keys = try FileManager.default.contentsOfDirectory(
            atPath: "\(fixture.directory.path)/data/keys"
        )
        #expect(keys.contains("upstream-\(first).key") && keys.contains("upstream-\(second).key"))
    }

    @Test(.enabled(if: geteuid() == 0, "only root gives a directory away"))
    func `a request is made by nobody but the user of the data directory`() throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        let path = "\(directory.path)/data"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try FileManager.default.setAttributes([.ownerAccountID: 12345], ofItemAtPath: path)
        let configuration = try fixture.configuration()
        #expect(throws: UpstreamKeyError.ofAnotherUser(uid: 12345, path: path)) {
            try Server.requestUpstream(configuration, clock: SystemClock())
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: path).isEmpty)
    }

    @Test func `nothing is certified below a root that is configured no more`() async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        let other = try UpstreamFixture(in: TestDirectory())
        try fixture.writeRoots([fixture.root, other.root])
        try await withServer(in: directory, { fixture.configure(&$0) }) { _ in }
        try fixture.writeRoots([other.root])
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            // It stays as long as what signs is below it.
            let roots = Set(try server.core.trust.bundle.x509Authorities)
            #expect(roots == [fixture.root, other.root])
            let refused = await refusal {
                try await server.administration.prepareAuthority(.init())
            }
            #expect(refused?.message.contains("rootUnknown") == true, "\(refused?.message ?? "")")
        }
    }

    @Test func `after an order that failed it is asked again, though nobody needs it yet`()
        async throws
    {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        let clock = ShiftedClock()
        try await withServer(in: directory, clock: clock, { fixture.configure(&$0) }) { server in
            let kept = "\(fixture.certificatePath).kept"
            try FileManager.default.moveItem(atPath: fixture.certificatePath, toPath: kept)
            let refused = await refusal {
                try await server.administration.prepareAuthority(.init())
            }
            #expect(refused?.reason == "upstream")
            #expect(problem("upstream", server.core) != nil)
            try FileManager.default.moveItem(atPath: kept, toPath: fixture.certificatePath)
            // By all of it no authority is due.
            try await eventually("health says that it certifies again", attempts: 1000) {
                clock.pass(UpstreamService.retryDelay)
                return problem("upstream", server.core) == nil
            }
            #expect(try await server.administration.listAuthorities(.init()).authorities.count == 1)
            let prepared = try await server.administration.prepareAuthority(.init()).authority
            #expect(prepared.state == "prepared")
        }
    }

    @Test func `agents that know no authorities below another are named`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            _ = try await server.agent("away")
            for (capabilities, named) in Self.saying {
                try await server.withSync(as: agent, capabilities: capabilities) { sync in
                    sync.acknowledge(try await sync.snapshot().revision)
                    let shown = try await server.administration.listAuthorities(.init())
                    #expect(shown.agentsWithoutIntermediates == named)
                    #expect(shown.agentsWithoutIntermediatesCount == UInt64(named.count))
                }
            }
        }
    }

    @Test func `a certificate that is no upstream authority's is refused by name`() async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        try await withServer(in: directory, { fixture.configure(&$0) }) { server in
            func told() async -> String {
                await refusal { try await server.administration.prepareAuthority(.init()) }?
                    .message ?? ""
            }
            let good = try String(contentsOfFile: fixture.certificatePath, encoding: .utf8)
            let root = CertificateFile.text(certificate: fixture.root)
            try UpstreamFixture.write(root, to: fixture.certificatePath)
            #expect(await told().contains("is self-signed"))
            try UpstreamFixture.write(good + root, to: fixture.certificatePath)
            #expect(await told().contains("is self-signed"))
            try UpstreamFixture.write(good + good + good, to: fixture.certificatePath)
            #expect(await told().contains("more than 2 certificates"))
            // Below another root, which is in no bundle.
            let stranger = try UpstreamFixture(in: TestDirectory())
            try stranger.perform()
            let foreign = try String(contentsOfFile: stranger.certificatePath, encoding: .utf8)
            try UpstreamFixture.write(foreign, to: fixture.certificatePath)
            #expect(await told().contains("is not here"))
            try UpstreamFixture.write(good, to: fixture.certificatePath)
            #expect(await told() == "")
        }
    }
}
