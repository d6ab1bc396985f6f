// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import Crypto
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCPeer
internal import NodeAttestation
internal import SPIFFE
internal import SwiftProtobuf

/// A node that has been attested: what it needs to connect.
struct NodeIdentity: Sendable {
    let name: String
    let tls: TLSIdentity
    let notAfter: Date
}

/// Attests many nodes the way agents do: a token each, then the anonymous part of the server.
struct Enrolment: Sendable {
    /// The server allows so many requests at once to a connection without a certificate.
    private static let callsAtOnce = 4
    private static let callOptions: CallOptions = {
        var options = CallOptions.defaults
        options.timeout = .seconds(30)
        return options
    }()

    let server: ServerHost
    let verifier: PeerVerifier

    init(_ server: ServerHost) async throws {
        self.server = server
        let message = try await server.withAdmin { client in
            try await ServerHost.Administration(wrapping: client).getBundle(.init())
        }
        let bundle = try TrustBundle(parsing: message)
        verifier = PeerVerifier(bundles: [bundle.trustDomain: bundle])
    }

    /// Attests nodes `<prefix>-0` and so on, all with the same selectors.
    func nodes(_ prefix: String, count: Int, selectors: [String]) async throws -> [NodeIdentity] {
        let verifier = verifier
        let transport = try PeerClientTransport.anonymousTLS(
            to: server.address(),
            server: .required { try await verifier.verify(chain: $0, now: Date()) }
        )
        return try await server.withAdmin { admin in
            try await withGRPCClient(transport: transport) { anonymous in
                try await nodes(
                    (0..<count).map { "\(prefix)-\($0)" },
                    selectors,
                    ServerHost.Administration(wrapping: admin),
                    Signet_Node_V1alpha1_NodeAttestation.Client(wrapping: anonymous)
                )
            }
        }
    }

    private func nodes(
        _ names: [String],
        _ selectors: [String],
        _ admin: ServerHost.Administration,
        _ service: Signet_Node_V1alpha1_NodeAttestation.Client<HTTP2ClientTransport.Posix>
    ) async throws -> [NodeIdentity] {
        try await withThrowingTaskGroup(of: NodeIdentity.self) { group in
            var waiting = names.makeIterator()
            var done: [NodeIdentity] = []
            for name in names.prefix(Self.callsAtOnce) {
                _ = waiting.next()
                group.addTask { try await node(name, selectors, admin, service) }
            }
            while let node = try await group.next() {
                done.append(node)
                guard let name = waiting.next() else { continue }
                group.addTask { try await self.node(name, selectors, admin, service) }
            }
            return done.sorted { $0.name < $1.name }
        }
    }

    private func node(
        _ name: String,
        _ selectors: [String],
        _ admin: ServerHost.Administration,
        _ service: Signet_Node_V1alpha1_NodeAttestation.Client<HTTP2ClientTransport.Posix>
    ) async throws -> NodeIdentity {
        let token = try await admin.createToken(
            .with {
                $0.agentName = name
                $0.nodeSelectors = selectors
                $0.serverAddresses = [server.address().description]
            }
        ).token
        let secret = try JoinToken(token).secret
        let key = P256.Signing.PrivateKey()
        let request = try WorkloadRequest(key).der
        let answer = try await service.attestJoinToken(
            .with {
                $0.secret = Data(secret)
                $0.csr = Data(request)
            },
            options: Self.callOptions
        )
        let chain = answer.certificateChain.map { Array($0) }
        guard let leaf = chain.first else { throw BenchmarkError("an empty chain") }
        return NodeIdentity(
            name: name,
            tls: try TLSIdentity(
                certificateChain: chain,
                privateKeyPKCS8: Array(key.derRepresentation)
            ),
            notAfter: try LeafCertificate(der: leaf).notAfter
        )
    }

    /// A connection of one node; it is made when a client runs on it.
    func transport(
        of node: NodeIdentity,
        isIPv6: Bool = false
    ) throws -> HTTP2ClientTransport.Posix {
        let verifier = verifier
        return try PeerClientTransport.mutualTLS(
            to: server.address(isIPv6: isIPv6),
            identity: { node.tls },
            verifyServer: { try await verifier.verify(chain: $0, now: Date()) }
        )
    }
}
