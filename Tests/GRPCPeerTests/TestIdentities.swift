// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCPeer
import SPIFFE
import Synchronization
import TestPKI

/// A value that a test changes while closures read it.
final class Box<Value: Sendable>: Sendable {
    private let content: Mutex<Value>

    init(_ value: Value) {
        content = Mutex(value)
    }

    var value: Value {
        get { content.withLock { $0 } }
        set { content.withLock { $0 = newValue } }
    }
}

extension TestLeaf {
    var tlsIdentity: TLSIdentity {
        get throws {
            try TLSIdentity(
                certificateChain: chain,
                privateKeyPKCS8: Array(key.derRepresentation)
            )
        }
    }
}

/// A server on loopback whose identity, bundle and clock a test can change.
struct TLSWorld: Sendable {
    static let serverID = "spiffe://example.org/signet/server/one"
    static let clientID = "spiffe://example.org/web"

    let authority: TestAuthority
    let serverIdentity: Box<TLSIdentity?>
    let trusted: Box<[TestAuthority]>
    let now = Box(testNow)
    let events = Recorder<PeerEvent>()
    let transport: PeerServerTransport

    struct NoIdentityYet: Error {}

    init(limits: ConnectionLimits = .network, host: String = "127.0.0.1") throws {
        let authority = try TestAuthority.root("example.org")
        let identity = Box<TLSIdentity?>(try authority.leaf(Self.serverID).tlsIdentity)
        let trusted = Box([authority])
        let now = now
        let events = events
        self.authority = authority
        self.serverIdentity = identity
        self.trusted = trusted
        self.transport = .tls(
            address: ServerAddress(host: host, port: 0),
            identity: {
                guard let identity = identity.value else { throw NoIdentityYet() }
                return identity
            },
            verify: { chain in
                try await verify(chain, trusted.value, now: now.value)
            },
            limits: limits,
            now: { now.value },
            onEvent: { events.record($0) }
        )
    }

    var address: ServerAddress {
        get async throws {
            ServerAddress(host: "127.0.0.1", port: try await transport.boundPort)
        }
    }

    func clientIdentity() throws -> TLSIdentity {
        try authority.leaf(Self.clientID).tlsIdentity
    }

    /// A client with an identity that demands the server's.
    func client(
        _ identity: @escaping @Sendable () throws -> TLSIdentity,
        failures: Recorder<String> = Recorder()
    ) async throws -> HTTP2ClientTransport.Posix {
        let authority = authority
        return try PeerClientTransport.mutualTLS(
            to: try await address,
            identity: identity,
            verifyServer: { try await verify($0, [authority], now: testNow) },
            onHandshakeFailure: { failures.record("\($0)") }
        )
    }

    /// Connects with the identity and asks who we are.
    func ask(as identity: TLSIdentity) async throws -> String {
        try await withGRPCClient(transport: try await client { identity }) { try await $0.ask() }
    }

    func anonymous(
        _ server: ServerVerification,
        failures: Recorder<String> = Recorder()
    ) async throws -> String {
        let transport = try PeerClientTransport.anonymousTLS(
            to: try await address,
            server: server,
            onHandshakeFailure: { failures.record("\($0)") }
        )
        return try await withGRPCClient(transport: transport) { try await $0.ask() }
    }
}

func verify(
    _ chain: [[UInt8]],
    _ authorities: [TestAuthority],
    now: Date
) async throws -> VerifiedPeer {
    let ders = authorities.map(\.der)
    let trustDomain = authorities[0].trustDomain
    let bundle = TrustBundle(
        trustDomain: trustDomain,
        x509Authorities: ders,
        x509Intermediates: [],
        sequenceNumber: 1,
        refreshHintSeconds: 300
    )
    return try await PeerVerifier(bundles: [trustDomain: bundle]).verify(chain: chain, now: now)
}

func knownClient(_ world: TLSWorld) async throws -> HTTP2ClientTransport.Posix {
    let identity = try world.clientIdentity()
    return try await world.client { identity }
}

func anonymousClient(_ world: TLSWorld) async throws -> HTTP2ClientTransport.Posix {
    try PeerClientTransport.anonymousTLS(
        to: try await world.address,
        server: .dangerousFirstContact
    )
}
