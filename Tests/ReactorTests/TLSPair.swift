// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Reactor
import SPIFFE
import TestPKI

/// A client and a server that talk through two buffers instead of a network.
final class TLSPair {
    var client: TLSSession
    var server: TLSSession
    let clientRequires: PeerRequirements
    let serverRequires: PeerRequirements
    /// Ciphertext on its way.
    var toServer = Buffer()
    var toClient = Buffer()
    var serverReceived = Buffer(capacity: 64 * 1024)
    var clientReceived = Buffer(capacity: 64 * 1024)
    /// How many bytes of ciphertext arrive at once.
    var slice = Int.max
    var now: UInt64 = 1000

    init(
        client: TLSContext,
        server: TLSContext,
        clientRequires: PeerRequirements,
        serverRequires: PeerRequirements,
        serverName: String? = nil,
        keyLimits: KeyLimits = KeyLimits()
    ) throws {
        self.client = try makeSession(client, serverName: serverName, keyLimits)
        self.server = try makeSession(server)
        self.clientRequires = clientRequires
        self.serverRequires = serverRequires
    }

    /// Moves the first bytes of `from` into a buffer of their own, as a network would cut them.
    private func cut(_ from: inout Buffer) -> Buffer {
        var part = Buffer()
        let count = min(from.count, slice)
        part.append(from, 0..<count)
        from.consume(count)
        return part
    }

    /// Runs both handshakes until nothing moves any more.
    func shakeHands(now: Date = testNow) {
        var (clientStep, serverStep) = (TLSStep.wantsInput, TLSStep.wantsInput)
        var clientArrived = Buffer()
        var serverArrived = Buffer()
        var moved = true
        var isFirst = true
        while moved {
            moved = false
            if clientStep == .wantsInput, isFirst || !toClient.isEmpty {
                var part = cut(&toClient)
                clientArrived.append(part, 0..<part.count)
                part.release()
                clientStep = client.handshake(
                    &clientArrived,
                    output: &toServer,
                    requirements: clientRequires,
                    now: now
                )
                moved = true
            }
            isFirst = false
            if serverStep == .wantsInput, !toServer.isEmpty {
                var part = cut(&toServer)
                serverArrived.append(part, 0..<part.count)
                part.release()
                serverStep = server.handshake(
                    &serverArrived,
                    output: &toClient,
                    requirements: serverRequires,
                    now: now
                )
                moved = true
            }
        }
    }

    /// Reads whatever is on its way to the server.
    ///
    /// - Returns: The step that ended it.
    func serverReads() -> TLSStep {
        var arrived = Buffer()
        while true {
            var part = cut(&toServer)
            arrived.append(part, 0..<part.count)
            part.release()
            serverReceived.reserve(TLSSession.recordBytesMax)
            let step = server.read(
                &arrived,
                into: &serverReceived,
                output: &toClient,
                now: now
            )
            if case .done = step { continue }
            if step == .wantsInput, !toServer.isEmpty { continue }
            return step
        }
    }

    /// Reads whatever is on its way to the client.
    func clientReads() -> TLSStep {
        var arrived = Buffer()
        while true {
            var part = cut(&toClient)
            arrived.append(part, 0..<part.count)
            part.release()
            clientReceived.reserve(TLSSession.recordBytesMax)
            let step = client.read(
                &arrived,
                into: &clientReceived,
                output: &toServer,
                now: now
            )
            if case .done = step { continue }
            if step == .wantsInput, !toClient.isEmpty { continue }
            return step
        }
    }

    @discardableResult
    func clientWrites(_ bytes: [UInt8]) -> TLSStep {
        client.write(bytes.span, output: &toServer, now: now)
    }

    @discardableResult
    func serverWrites(_ bytes: [UInt8]) -> TLSStep {
        server.write(bytes.span, output: &toClient, now: now)
    }
}

// Copies, since an expectation cannot look into what has one owner.
extension TLSPair {
    var clientPeer: TLSPeer? { client.peer }
    var serverPeer: TLSPeer? { server.peer }
    var clientFailure: TLSFailure? { client.failure }
    var serverFailure: TLSFailure? { server.failure }
    var clientIsOpen: Bool { client.isEstablished }
    var serverIsOpen: Bool { server.isEstablished }
    var clientGroup: TLSGroup? { client.negotiatedGroup() }
    var serverGroup: TLSGroup? { server.negotiatedGroup() }
    var clientProtocol: String? { client.negotiatedProtocol() }
    var serverProtocol: String? { server.negotiatedProtocol() }
    var clientGot: [UInt8] { clientReceived.copy() }
    var serverGot: [UInt8] { serverReceived.copy() }
    var requestedName: String? { server.requestedName() }
    var isResumed: Bool { client.isResumed() || server.isResumed() }
    var clientKeyUpdates: UInt32 { client.keyUpdates }
}

/// Why a test has no session.
struct NoSession: Error {}

/// How much goes out under one key.
struct KeyLimits {
    var records = TLSSession.recordsPerKeyMax
    var bytes = TLSSession.bytesPerKeyMax
}

func makeSession(
    _ context: TLSContext,
    serverName: String? = nil,
    _ limits: KeyLimits = KeyLimits()
) throws -> TLSSession {
    let session = TLSSession(
        context,
        serverName: serverName,
        recordsPerKeyMax: limits.records,
        bytesPerKeyMax: limits.bytes,
        now: 1000
    )
    guard let session else { throw NoSession() }
    return session
}

/// A library for each end; every test runs over all four pairs.
struct Providers: Sendable, CustomStringConvertible {
    let client: TLSProvider
    let server: TLSProvider

    var description: String { "\(client.rawValue) to \(server.rawValue)" }

    static let all = TLSProvider.allCases.flatMap { client in
        TLSProvider.allCases.map { Providers(client: client, server: $0) }
    }
}

/// What most tests begin with: one trust domain, a client `web` and a server `db`.
struct Fixture {
    let root: TestAuthority
    var web: TestLeaf
    var db: TestLeaf
    let providers: Providers

    init(_ providers: Providers) throws {
        self.providers = providers
        root = try TestAuthority.root("example.org")
        web = try root.leaf("spiffe://example.org/web")
        db = try root.leaf("spiffe://example.org/db")
    }

    func requirements(
        _ provider: TLSProvider,
        expected: Set<SPIFFEID>? = nil,
        revocations: PeerRevocations = .none
    ) -> PeerRequirements {
        PeerRequirements(
            authorities: TLSAuthorities(
                provider: provider,
                bundles: [root.trustDomain: root.bundle]
            ),
            in: root.trustDomain,
            revocations: revocations,
            expected: expected
        )
    }

    func pair(
        protocols: (client: [String], server: [String]) = ([], []),
        groups: (client: [TLSGroup], server: [TLSGroup]) = (
            TLSGroup.preferred, TLSGroup.preferred
        ),
        clientRequires: PeerRequirements? = nil,
        serverRequires: PeerRequirements? = nil,
        serverName: String? = nil,
        clientKeyLimits: KeyLimits = KeyLimits(),
        otherServers: [TLSIdentity] = [],
        unknownNamesAreRefused: Bool = false
    ) throws -> TLSPair {
        try TLSPair(
            client: TLSContext(
                provider: providers.client,
                role: .client,
                identities: [web.tlsIdentity()],
                protocols: protocols.client,
                groups: groups.client
            ),
            server: TLSContext(
                provider: providers.server,
                role: .server,
                identities: [db.tlsIdentity(["db.signet"])] + otherServers,
                protocols: protocols.server,
                groups: groups.server,
                unknownNamesAreRefused: unknownNamesAreRefused
            ),
            clientRequires: clientRequires ?? requirements(providers.client),
            serverRequires: serverRequires ?? requirements(providers.server),
            serverName: serverName,
            keyLimits: clientKeyLimits
        )
    }
}

extension TestAuthority {
    /// The ID of its key, computed from that alone.
    var keyID: [UInt8] {
        Array(SHA256.hash(data: key.publicKey.x963Representation).prefix(KeyIdentifier.bytesCount))
    }
}

extension TestLeaf {
    func tlsIdentity(_ names: [String] = []) -> TLSIdentity {
        TLSIdentity(
            chain: chain,
            privateKeyPKCS8: Array(key.derRepresentation),
            names: names
        )
    }
}
