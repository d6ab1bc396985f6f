// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCPeer
internal import Logging
internal import NodeAttestation
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf

/// Trades a join token for an identity (decision 0002): the bundle is fetched anonymously, only
/// pinned authorities are kept, the server is verified with them on a new connection, and only
/// then the secret is sent.
struct FirstContact {
    /// Longest wait for one answer.
    static let callTimeout: Duration = .seconds(15)

    let token: JoinToken
    let addresses: [ServerAddress]
    let key: NodeKey
    let clock: any NodeClock
    let logger: Logger

    /// Tries the servers in order, again and again while one of them may merely be away.
    ///
    /// - Throws: `FirstContactError` if every server refuses for good.
    func join() async throws -> StoredAgent {
        var backoff = Backoff()
        while true {
            do {
                return try await joinNow()
            } catch let error as FirstContactError where error.mayRecover {
                var generator = SystemRandomness()
                let wait = backoff.failed(using: &generator)
                try await clock.sleep(untilBoot: clock.bootTime + wait)
            }
        }
    }

    /// Tries each server once.
    ///
    /// - Throws: `FirstContactError` if none takes the token.
    func joinNow() async throws -> StoredAgent {
        var refusals: [String] = []
        var mayRecover = false
        for address in addresses {
            do {
                return try await join(at: address)
            } catch {
                try Task.checkCancellation()
                let failure = FirstContactFailure(error)
                mayRecover = mayRecover || !failure.isFinal
                refusals.append("\(address): \(failure)")
                logger.warning(
                    "no first contact",
                    metadata: ["server": "\(address)", "reason": "\(failure)"]
                )
            }
        }
        throw FirstContactError(refusals: refusals, mayRecover: mayRecover)
    }

    private func join(at address: ServerAddress) async throws -> StoredAgent {
        let pinned = try await pinnedBundle(from: address)
        let verifier = PeerVerifier(bundles: [token.trustDomain: pinned.bundle])
        let (clock, token) = (clock, token)
        let call = try AnonymousCall(
            to: address,
            server: .required { chain in
                try await verifier.verifyServer(
                    chain: chain,
                    of: token.trustDomain,
                    now: clock.wallTime
                )
            }
        )
        let csr = try key.certificateRequest()
        let message = try await call.run { service in
            try await service.attestJoinToken(
                .with {
                    $0.secret = Data(token.secret)
                    $0.csr = Data(csr)
                },
                options: .oneAnswer
            )
        }
        let answer = try await AttestationAnswer(
            checking: message,
            trustDomain: token.trustDomain,
            id: nil,
            key: key,
            now: clock.wallTime
        )
        var memory = try CheckpointMemory(
            key: NoteVerifierKey(parsing: answer.auditKey),
            note: nil
        )
        if !answer.note.isEmpty { _ = memory.received(note: answer.note, proof: nil) }
        return StoredAgent(
            key: key,
            identity: StoredIdentity(
                id: answer.chain.id,
                certificateChain: answer.chain.chain,
                issuedAt: answer.issuedAt,
                notAfter: answer.chain.notAfter,
                bundle: answer.bundle,
                serverAddresses: addresses.map(\.description),
                auditKey: answer.auditKey,
                joinTokenHash: token.secretHash
            ),
            memory: memory
        )
    }

    private func pinnedBundle(from address: ServerAddress) async throws -> PinnedBundle {
        // Whoever answers is not known: nothing is sent, and of what is received only what the
        // token pins is kept.
        let call = try AnonymousCall(to: address, server: .dangerousFirstContact)
        let message = try await call.run { service in
            try await service.getBundle(.init(), options: .oneAnswer)
        }
        return try PinnedBundle(keeping: TrustBundle(parsing: message), pinnedBy: token)
    }
}

/// One call to the open part of a server, on a connection of its own.
struct AnonymousCall {
    typealias Service = Signet_Node_V1alpha1_NodeAttestation.Client<HTTP2ClientTransport.Posix>

    private let transport: HTTP2ClientTransport.Posix
    private let failure: HandshakeFailure

    init(to address: ServerAddress, server: ServerVerification) throws {
        let failure = HandshakeFailure()
        self.failure = failure
        transport = try PeerClientTransport.anonymousTLS(
            to: address,
            server: server,
            onHandshakeFailure: { failure.record($0) }
        )
    }

    func run<Result: Sendable>(
        _ body: (Service) async throws -> Result
    ) async throws -> Result {
        do {
            return try await withGRPCClient(transport: transport) { client in
                try await body(Service(wrapping: client))
            }
        } catch {
            throw failure.explained(error)
        }
    }
}

/// Why one server did not take the agent.
struct FirstContactFailure: CustomStringConvertible {
    /// Whether trying again cannot help.
    let isFinal: Bool
    let description: String

    init(_ error: any Error) {
        switch error {
        case let error as RPCError:
            let refusal = APIError(error)
            isFinal = [
                .failedPrecondition, .invalidArgument, .permissionDenied, .unauthenticated,
                .unimplemented,
            ].contains(refusal.kind)
            description = refusal.description
        case let error as PeerVerificationError:
            // Times are the only thing that mends itself.
            isFinal = error != .expired && error != .notYetValid
            description = "\(error); check the server address and the clock of this machine"
        case is PinnedBundleError, is ServerRefusal, is IssuedChainError,
            is AttestationAnswerError, is WireError, is NoteVerifierKeyError:
            isFinal = true
            description = "\(error)"
        default:
            isFinal = false
            description = "\(error)"
        }
    }
}

/// No server takes the agent.
package struct FirstContactError: Error, Sendable, CustomStringConvertible {
    let refusals: [String]
    /// Whether a server may merely be away.
    let mayRecover: Bool

    package var description: String {
        "no server accepts the join token: " + refusals.joined(separator: "; ")
    }
}

extension CallOptions {
    /// For calls with one small answer, on a connection of their own: no server is a failure.
    static var oneAnswer: CallOptions {
        var options = CallOptions.defaults
        options.timeout = FirstContact.callTimeout
        return options
    }

    /// For calls beside the sync stream: a connection that is being replaced is waited for.
    static func besideStream(timeout: Duration) -> CallOptions {
        var options = CallOptions.defaults
        options.timeout = timeout
        options.waitForReady = true
        return options
    }
}
