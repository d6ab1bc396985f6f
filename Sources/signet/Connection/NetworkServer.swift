// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCPeer
internal import SPIFFE

/// A server reached over mTLS, as an identity that the agent of this machine gives this process.
///
/// The key stays in memory and goes with the command.
struct NetworkServer: Sendable {
    let address: ServerAddress
    let stream: WorkloadStream
    let identity: IdentityChoice
    let clock = SystemClock()

    /// Runs `body` with a client of the server.
    ///
    /// - Throws: `CommandFailure` when there is no identity, when the server is not reached or is not
    ///   one of the identity's trust domain, or for what it answered.
    func withClient<Result: Sendable>(
        _ body: @Sendable @escaping (GRPCClient<HTTP2ClientTransport.Posix>) async throws -> Result
    ) async throws -> Result {
        let own = try await ownIdentity()
        let tls = try TLSIdentity(
            certificateChain: own.chain,
            privateKeyPKCS8: own.privateKey
        )
        let bundle = TrustBundle(
            trustDomain: own.id.trustDomain,
            x509Authorities: own.authorities,
            x509Intermediates: [],
            sequenceNumber: 0,
            refreshHintSeconds: 0
        )
        let verifier = PeerVerifier(bundles: [bundle.trustDomain: bundle])
        let (failure, clock) = (HandshakeFailure(), clock)
        let transport = try PeerClientTransport.mutualTLS(
            to: address,
            identity: { tls },
            verifyServer: { chain in
                try await verifier.verifyServer(
                    chain: chain,
                    of: bundle.trustDomain,
                    now: clock.wallTime
                )
            },
            onHandshakeFailure: { failure.record($0) }
        )
        do {
            return try await withGRPCClient(transport: transport) { try await body($0) }
        } catch let error as RPCError {
            throw explain(failure.explained(error), as: own.id)
        }
    }

    private func ownIdentity() async throws -> WorkloadIdentity {
        do {
            return try await identity.verified(
                from: try await stream.once(),
                now: clock.wallTime,
                remedy: "Name one of them with --identity, or none to take the first."
            )
        } catch let error as CommandFailure {
            throw CommandFailure(
                "no identity to show to \(address): \(error.message)",
                remedy: error.remedy
                    ?? "`signet explain workload --pid N` says why a process has none.",
                status: error.status
            )
        }
    }

    private func explain(_ error: any Error, as id: SPIFFEID) -> CommandFailure {
        switch error {
        case let error as RPCError:
            return CommandFailure(error, at: "\(address)", peer: .server)
        case is PeerVerificationError, is ServerRefusal:
            return CommandFailure(
                "who answers at \(address) is not a server of trust domain \(id.trustDomain): "
                    + "\(error)",
                remedy: "Check the address and this machine's clock. Nothing was sent."
            )
        default:
            return CommandFailure(
                "no connection to \(address) as \(id): \(error)",
                remedy: "Check the address: a server listens on port 8081 by default. It ends "
                    + "connections when it does not trust the identity, or has too many.",
                status: .unreachable
            )
        }
    }
}
