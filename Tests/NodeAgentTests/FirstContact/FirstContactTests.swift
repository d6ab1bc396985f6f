// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Clocks
import ControlAPI
import ControlAPIProtos
import Crypto
import FoundationEssentials
import GRPCCore
import GRPCPeer
import Logging
import NodeAgent
import NodeAttestation
import SPIFFE
import SwiftASN1
import SwiftProtobuf
import Synchronization
import Telemetry
import TestPKI
import Testing
import X509

import class Foundation.FileManager

/// Decision 0002: the secret goes only to a server that the token vouches for.
@Suite(.timeLimit(.minutes(1)))
struct FirstContactTests {
    private let now = Date(timeIntervalSince1970: Date().timeIntervalSince1970)

    // MARK: - What a token vouches for

    @Test func `only pinned authorities of an offered bundle are kept`() throws {
        let (genuine, other) = (
            try TestAuthority.root("example.org"), try TestAuthority.root("example.org")
        )
        let offered = TrustBundle(
            trustDomain: genuine.trustDomain,
            x509Authorities: [other.der, genuine.der, [1, 2]],
            x509Intermediates: [],
            sequenceNumber: 4,
            refreshHintSeconds: 5
        )
        let pinned = try PinnedBundle(keeping: offered, pinnedBy: token([genuine]))
        #expect(pinned.bundle.x509Authorities == [genuine.der])
    }

    @Test func `a bundle without a pinned authority is refused`() throws {
        let token = try token([try TestAuthority.root("example.org")])
        let other = try TestAuthority.root("example.org").bundle
        #expect(throws: PinnedBundleError.noneIsPinned) {
            try PinnedBundle(keeping: other, pinnedBy: token)
        }
    }

    @Test func `a bundle of another trust domain is refused, whatever it holds`() throws {
        let authority = try TestAuthority.root("example.org")
        let foreign = TrustBundle(
            trustDomain: try TrustDomain("other.org"),
            x509Authorities: [authority.der],
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 1
        )
        #expect(throws: PinnedBundleError.self) {
            try PinnedBundle(keeping: foreign, pinnedBy: token([authority]))
        }
    }

    // MARK: - Over the network

    @Test func `an agent joins the server of its token and remembers what it learnt`()
        async throws
    {
        let authority = try TestAuthority.root("example.org", now: now)
        let service = JoinService(authority: authority, shows: authority.bundle)
        try await withServer(service, identity: authority) { address in
            try await withDirectory { directory in
                try await join(directory, token([authority], at: address))
                let stored = try #require(
                    try await StoredAgent.read(from: reopened(directory), now: now)
                )
                #expect(stored.identity.id.description == AgentWorld.agentID)
                #expect(stored.identity.serverAddresses == [address])
                #expect(stored.identity.bundle.x509Authorities == [authority.der])
            }
        }
        #expect(service.secrets.value == [Self.secret])
    }

    @Test func `an answer that is lost is asked for again with the same key`() async throws {
        let authority = try TestAuthority.root("example.org", now: now)
        let service = JoinService(
            authority: authority,
            shows: authority.bundle,
            answersToLose: 1
        )
        try await withServer(service, identity: authority) { address in
            try await withDirectory { directory in
                try await join(directory, token([authority], at: address))
                let stored = try await StoredAgent.read(from: reopened(directory), now: now)
                #expect(stored != nil)
            }
        }
        #expect(service.secrets.value == [Self.secret, Self.secret])
        #expect(service.keys.value.count == 2)
        #expect(Set(service.keys.value).count == 1)
    }

    @Test func `an agent whose authorities have all ended joins again with a token`()
        async throws
    {
        let authority = try TestAuthority.root("example.org", now: now)
        let service = JoinService(authority: authority, shows: authority.bundle)
        // Two days ago; its authority lived for one.
        let old = try AgentWorld(now: now.addingTimeInterval(-2 * 86_400)).stored()
        try await withServer(service, identity: authority) { address in
            try await withDirectory { path in
                try await write(old, to: path)
                try await join(path, token([authority], at: address))
                let stored = try await StoredAgent.read(from: reopened(path), now: now)
                #expect(stored?.identity.bundle.x509Authorities == [authority.der])
                // Somebody else may know the old one, and the server does not take it again.
                #expect(stored?.key.pkcs8 != old.key.pkcs8)
                #expect(stored?.identity.joinTokenHash == JoinToken.hash(secret: Self.secret))
            }
        }
        #expect(service.secrets.value == [Self.secret])
    }

    @Test(arguments: [3600.0, -60])
    func `a second token is used at the next start, the one it joined with is not`(
        left: Double
    ) async throws {
        let authority = try TestAuthority.root("example.org", now: now)
        let service = JoinService(authority: authority, shows: authority.bundle)
        // Its SVID is valid, or has just expired; either way the server may have evicted it.
        var old = try AgentWorld(now: now).stored(notAfter: now.addingTimeInterval(left))
        try await withServer(service, identity: authority) { address in
            try await withDirectory { path in
                let token = try token([authority], at: address)
                old.identity.joinTokenHash = token.secretHash
                try await write(old, to: path)
                try await join(path, token)
                #expect(service.secrets.value.isEmpty)

                old.identity.joinTokenHash = [1]
                try await write(old, to: path)
                try await join(path, token)
                let stored = try await StoredAgent.read(from: reopened(path), now: now)
                #expect(stored?.identity.joinTokenHash == token.secretHash)
                #expect(stored?.identity.bundle.x509Authorities == [authority.der])
            }
        }
        #expect(service.secrets.value == [Self.secret])
    }

    @Test func `a second token that no server takes changes nothing`() async throws {
        let (known, impostor) = (
            try AgentWorld(now: now), try TestAuthority.root("example.org", now: now)
        )
        let service = JoinService(authority: impostor, shows: impostor.bundle)
        let stored = try known.stored()
        try await withServer(service, identity: impostor) { address in
            try await withDirectory { path in
                try await write(stored, to: path)
                try await join(path, token([known.authority], at: address))
                let left = try await StoredAgent.read(from: reopened(path), now: now)
                #expect(left?.identity == stored.identity)
            }
        }
        #expect(service.secrets.value.isEmpty)
    }

    @Test(arguments: [3600, -691_200] as [Double])
    func `a second token beside a damaged joining-key leaves a living agent as it is`(
        left: Double
    ) async throws {
        let world = try AgentWorld(now: now)
        let stored = try world.stored(notAfter: now.addingTimeInterval(left))
        let service = JoinService(authority: world.authority, shows: world.authority.bundle)
        try await withServer(service, identity: world.authority) { address in
            try await withDirectory { path in
                try await write(stored, to: path)
                try Data("nonsense".utf8).write(to: URL(fileURLWithPath: path + "/joining-key"))
                let token = try token([world.authority], at: address)
                if left > 0 {
                    try await join(path, token)
                } else {
                    // It has nothing to go on with, and says what is wrong.
                    let error = await #expect(throws: AgentFileError.self) {
                        try await join(path, token)
                    }
                    #expect(error?.path.hasSuffix("/joining-key") == true)
                }
                try FileManager.default.removeItem(atPath: path + "/joining-key")
                let kept = try await StoredAgent.read(from: reopened(path), now: now)
                #expect(kept?.identity.joinTokenHash == stored.identity.joinTokenHash)
            }
        }
        #expect(service.secrets.value.isEmpty)
    }

    @Test func `a readmission that contradicts the audit log is an alarm`() async throws {
        let world = try AgentWorld(now: now)
        var stored = try world.stored(notAfter: now.addingTimeInterval(-60))
        let remembered = try world.note(size: 1, root: MerkleHash(leaf: [1]))
        _ = stored.memory.received(note: remembered, proof: nil)
        stored.identity.joinTokenHash = JoinToken.hash(secret: Self.secret)
        let written = stored
        let forked = try world.note(size: 1, root: MerkleHash(leaf: [2]))
        let service = JoinService(
            authority: world.authority,
            shows: world.authority.bundle,
            readmissionNote: String(decoding: forked, as: UTF8.self)
        )
        try await withServer(service, identity: world.authority) { address in
            try await withDirectory { path in
                try await write(written, to: path)
                try await join(path, token([world.authority], at: address)) {
                    while !Task.isCancelled,
                        !FileManager.default.fileExists(atPath: path + "/alarm")
                    {
                        await Task.yield()
                    }
                }
                let read = try await StoredAgent.read(from: reopened(path), now: now)
                #expect(read?.auditAlarm?.contains("two different histories") == true)
                #expect(read?.memory.latest?.note == remembered)
            }
        }
        #expect(service.marks.value.first?.size == 1)
    }

    @Test func `an expired agent that does not know the server's authority says what helps`()
        async throws
    {
        let world = try AgentWorld(now: now)
        let stored = try world.stored(notAfter: now.addingTimeInterval(-60))
        let next = try TestAuthority.root("example.org", now: now)
        let service = JoinService(authority: next, shows: next.bundle)
        let health = Box<Health?>(nil)
        try await withServer(service, identity: next) { address in
            try await withDirectory { path in
                try await write(stored, to: path)
                try await join(path, token([world.authority], at: address), health: health) {
                    while !Task.isCancelled,
                        Self.problem(health.value)?.contains("agent evict") != true
                    {
                        await Task.yield()
                    }
                }
            }
        }
        let reason = try #require(Self.problem(health.value))
        #expect(reason.contains("no authority of the peer's trust domain signed the chain"))
        #expect(reason.contains("signet token create --name web-1"))
    }

    /// Why the agent says that its identity is no good.
    private static func problem(_ health: Health?) -> String? {
        health?.report(.ready).conditions.first { $0.name == "identity" }?.problem
    }

    /// The directory of an agent that has ended, once the last of its connections has let go of it.
    private func reopened(_ path: String) async throws -> AgentDirectory {
        while !Task.isCancelled {
            if let directory = try? AgentDirectory(path) { return directory }
            await Task.yield()
        }
        return try AgentDirectory(path)
    }

    private func write(_ stored: StoredAgent, to path: String) async throws {
        let directory = try await reopened(path)
        try directory.write(stored.key.pkcs8, to: .key)
        try directory.write(stored.identity.encoded(), to: .identity)
        if let note = stored.memory.latest?.note { try directory.write(note, to: .checkpoint) }
    }

    @Test func `a server that the token does not pin never sees the secret`() async throws {
        let (genuine, impostor) = (
            try TestAuthority.root("example.org", now: now),
            try TestAuthority.root("example.org", now: now)
        )
        let service = JoinService(authority: impostor, shows: impostor.bundle)
        try await refuses(service, identity: impostor, pins: genuine)
    }

    @Test func `a server that shows the genuine bundle but cannot prove it is refused`()
        async throws
    {
        let (genuine, impostor) = (
            try TestAuthority.root("example.org", now: now),
            try TestAuthority.root("example.org", now: now)
        )
        let service = JoinService(authority: impostor, shows: genuine.bundle)
        try await refuses(service, identity: impostor, pins: genuine)
    }

    @Test func `a workload of the trust domain cannot pose as its server`() async throws {
        let authority = try TestAuthority.root("example.org", now: now)
        let service = JoinService(authority: authority, shows: authority.bundle)
        try await refuses(
            service,
            identity: authority,
            id: "spiffe://example.org/web",
            pins: authority
        )
    }

    @Test func `a certificate for another key is not taken`() async throws {
        let authority = try TestAuthority.root("example.org", now: now)
        let service = JoinService(
            authority: authority,
            shows: authority.bundle,
            signsOwnKey: true
        )
        try await withServer(service, identity: authority) { address in
            try await withDirectory { directory in
                await #expect(throws: FirstContactError.self) {
                    try await join(directory, token([authority], at: address))
                }
                let left = try await reopened(directory)
                let stored = try await StoredAgent.read(from: left, now: now)
                #expect(stored == nil)
            }
        }
    }

    // MARK: - Steps

    private static let secret = [UInt8](repeating: 7, count: 32)

    private func token(
        _ pins: [TestAuthority],
        at address: String = "127.0.0.1:1"
    ) throws
        -> JoinToken
    {
        try JoinToken(
            trustDomain: pins[0].trustDomain,
            serverAddresses: [address],
            authorityPins: pins.map { try authoritySPKISHA256($0.der) },
            secret: Self.secret
        )
    }

    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let path = "/tmp/signet-join-\(UInt32.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await body(path)
    }

    /// Runs an agent until it serves, and until `end` returns.
    private func join(
        _ directory: String,
        _ token: JoinToken,
        health: Box<Health?>? = nil,
        until end: @escaping @Sendable () async -> Void = {}
    ) async throws {
        var configuration = AgentConfiguration()
        configuration.dataDirectory = directory
        configuration.socket = directory + "/workload.sock"
        configuration.telemetryPort = 0
        configuration.joinToken = token.text
        configuration.serverAddresses = try token.serverAddresses.map(ServerAddress.init(parsing:))
        let agent = try Agent(
            configuration,
            clock: SystemClock(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        health?.value = agent.health
        try await withThrowingTaskGroup(of: Void.self) { group in
            let (ready, announce) = AsyncStream.makeStream(of: Void.self)
            group.addTask { try await agent.run { _ in announce.finish() } }
            group.addTask {
                for await _ in ready {}
                await end()
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func refuses(
        _ service: JoinService,
        identity: TestAuthority,
        id: String = "spiffe://example.org/signet/server/one",
        pins: TestAuthority
    ) async throws {
        try await withServer(service, identity: identity, id: id) { address in
            try await withDirectory { directory in
                await #expect(throws: FirstContactError.self) {
                    try await join(directory, token([pins], at: address))
                }
            }
        }
        #expect(service.secrets.value.isEmpty)
    }

    private func withServer(
        _ service: JoinService,
        identity: TestAuthority,
        id: String = "spiffe://example.org/signet/server/one",
        _ body: (String) async throws -> Void
    ) async throws {
        let leaf = try identity.leaf(id)
        let tls = try TLSIdentity(
            certificateChain: leaf.chain,
            privateKeyPKCS8: Array(leaf.key.derRepresentation)
        )
        let transport = PeerServerTransport.tls(
            address: ServerAddress(host: "127.0.0.1", port: 0),
            identity: { tls },
            verify: { _ in throw Missing() },
            now: { Date() }
        )
        try await withGRPCServer(
            transport: transport,
            services: [service],
            interceptors: [transport.interceptor()]
        ) { _ in
            try await body("127.0.0.1:\(transport.boundPort)")
        }
    }
}

/// A server of which only first contact works, and which notes the secrets it is sent.
struct JoinService: Signet_Node_V1alpha1_NodeAttestation.SimpleServiceProtocol {
    let authority: TestAuthority
    let shows: TrustBundle
    var signsOwnKey = false
    /// So many answers are made, and not sent.
    var answersToLose = 0
    /// What a readmitted agent is told of the audit log.
    var readmissionNote = ""
    let secrets = Box<[[UInt8]]>([])
    /// What readmitted agents remember of the audit log.
    let marks = Box<[Signet_Node_V1alpha1_CheckpointHave]>([])
    let keys = Box<[Certificate.PublicKey]>([])

    func getBundle(
        request: Signet_Node_V1alpha1_GetBundleRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_TrustBundle {
        shows.message
    }

    func attestJoinToken(
        request: Signet_Node_V1alpha1_AttestJoinTokenRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_AttestResponse {
        secrets.value.append(Array(request.secret))
        let csr = try CertificateSigningRequest(derEncoded: Array(request.csr))
        keys.value.append(csr.publicKey)
        guard keys.value.count > answersToLose else {
            throw RPCError(code: .unavailable, message: "lost")
        }
        let leaf = try authority.leaf(AgentWorld.agentID) { profile in
            if !signsOwnKey { profile.publicKey = csr.publicKey }
        }
        let auditKey = try AgentWorld().noteKey.description
        return .with {
            $0.certificateChain = leaf.chain.map { Data($0) }
            $0.bundle = authority.bundle.message
            $0.spiffeID = AgentWorld.agentID
            $0.auditKey = auditKey
        }
    }

    func readmit(
        request: Signet_Node_V1alpha1_ReadmitRequest,
        context: ServerContext
    ) async throws -> Signet_Node_V1alpha1_AttestResponse {
        guard !readmissionNote.isEmpty else {
            throw RPCError(code: .unimplemented, message: "not here")
        }
        marks.value.append(request.checkpointHave)
        let csr = try CertificateSigningRequest(derEncoded: Array(request.csr))
        let leaf = try authority.leaf(AgentWorld.agentID) { $0.publicKey = csr.publicKey }
        return .with {
            $0.certificateChain = leaf.chain.map { Data($0) }
            $0.bundle = authority.bundle.message
            $0.checkpoint = .with { $0.note = readmissionNote }
        }
    }
}
