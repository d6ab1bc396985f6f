// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import DurableFiles
internal import GRPCPeer
internal import Logging
internal import Telemetry
internal import TokenEndpoint

/// The agent's Unix socket for exchanges, over HTTP (docs/decisions/0024-token-exchange.md).
package final class TokenSocket: Sendable {
    /// Most connections at once.
    package static let connectionsMax = 256
    /// Most of them of one user.
    package static let connectionsPerUserMax = 32

    private let core: AgentCore
    private let attestor: UnixWorkloadAttestor
    private let file: UnixSocketFile
    private let places: WorkloadPlaces
    private let exchanges = ExchangePlaces()

    /// A socket that does not exist yet.
    ///
    /// - Parameters:
    ///   - core: What is served.
    ///   - attestor: How callers are told apart.
    ///   - path: Absolute; missing directories are made with mode 0755.
    ///   - mode: Permission bits of the socket.
    ///   - places: How many connections may be open.
    package init(
        core: AgentCore,
        attestor: UnixWorkloadAttestor,
        path: String,
        mode: UInt32,
        places: WorkloadPlaces = WorkloadPlaces(
            perUser: connectionsPerUserMax,
            all: connectionsMax
        )
    ) {
        self.core = core
        self.attestor = attestor
        file = UnixSocketFile(path: path, mode: mode)
        self.places = places
    }

    /// Serves until cancelled.
    ///
    /// - Parameter ready: Called once callers can connect.
    /// - Throws: When the socket cannot be made, for example because another agent serves it.
    package func run(ready: @escaping @Sendable () -> Void) async throws {
        if let slash = file.path.lastIndex(of: "/"), slash > file.path.startIndex {
            try DurableFile.makeDirectory(String(file.path[..<slash]), mode: 0o755)
        }
        let descriptor: Int32
        do throws(UnixSocketError) {
            descriptor = try file.listen()
        } catch {
            throw ListenerError(place: file.path, reason: .socket(error))
        }
        defer { file.remove() }
        let listener = try await TokenListener.open(descriptor: descriptor, service)
        core.logger.info("tokens are exchanged", metadata: ["socket": "\(file.path)"])
        ready()
        await listener.run()
    }

    private static let listener = "token"

    private var service: TokenService<LocalPeer> {
        let (places, metrics) = (places, core.metrics)
        return TokenService(
            enter: { socket in
                do throws(ConnectionRefusal) {
                    let peer = try Self.peer(ofSocket: socket)
                    guard places.enter(uid: peer.uid) else { throw .connectionsMax }
                    metrics.connectionOpened(listener: Self.listener)
                    return peer
                } catch {
                    metrics.observe(.refused(error), listener: Self.listener)
                    throw error
                }
            },
            closed: { metrics.connectionClosed(listener: Self.listener) },
            leave: { places.leave(uid: $0.uid) },
            answer: { [self] request, peer in await answer(request, peer) },
            refused: { metrics.increment(.tokenRequests, "none", "http\($0)") }
        )
    }

    private static func peer(ofSocket socket: Int32) throws(ConnectionRefusal) -> LocalPeer {
        do throws(LocalPeerError) {
            return try LocalPeer(ofSocket: socket)
        } catch {
            throw .peerUnknown(error)
        }
    }

    private func answer(_ request: EndpointRequest, _ peer: LocalPeer) async -> EndpointAnswer {
        let (answer, result) = await judged(request, peer)
        core.metrics.increment(.tokenRequests, request.place.label, result)
        core.logger.debug(
            "token request",
            metadata: [
                "request": "\(request.place.label)", "result": "\(result)", "peer": "\(peer)",
            ]
        )
        return answer
    }

    /// The answer, and its name in metrics.
    private func judged(
        _ request: EndpointRequest,
        _ peer: LocalPeer
    ) async -> (EndpointAnswer, String) {
        do throws(EndpointRefusal) {
            let form: FormParameters
            do throws(FormError) { form = try FormParameters(parsing: request.body) } catch {
                throw .invalidRequest(error.description)
            }
            switch request.place {
            case .token: return (try await exchanged(form, peer), "ok")
            case .introspect:
                let asked = try IntrospectionForm(form)
                let attestation = try await attest(peer)
                let (isActive, members) = try core.introspect(
                    asked,
                    for: attestation.selectors
                )
                try requireSame(peer, attestation)
                return (EndpointAnswer(200, members), isActive ? "active" : "inactive")
            }
        } catch {
            return (EndpointAnswer(error), error.label)
        }
    }

    private func exchanged(
        _ form: FormParameters,
        _ peer: LocalPeer
    ) async throws(EndpointRefusal) -> EndpointAnswer {
        let asked = try ExchangeForm(form)
        let attestation = try await attest(peer)
        let (token, expiresIn) = try await core.exchange(
            asked,
            for: attestation.selectors,
            uid: peer.uid,
            places: exchanges
        )
        // It has waited for the server.
        try requireSame(peer, attestation)
        return ExchangeForm.answer(token: token, expiresIn: expiresIn)
    }

    private func attest(
        _ peer: LocalPeer
    ) async throws(EndpointRefusal) -> WorkloadAttestation {
        do throws(WorkloadAttestationError) {
            return try await attestor.attest(peer.attested)
        } catch {
            core.logger.notice(
                "a caller was not attested",
                metadata: ["peer": "\(peer)", "reason": "\(error)"]
            )
            throw error.isTemporary
                ? .unavailable(error.description, because: .notReady)
                : EndpointRefusal(.invalidClient, error.description)
        }
    }

    private func requireSame(
        _ peer: LocalPeer,
        _ attestation: WorkloadAttestation
    ) throws(EndpointRefusal) {
        guard peer.stillRuns(attestation.executable) else {
            throw EndpointRefusal(
                .invalidClient,
                WorkloadAttestationError.executableReplaced.description
            )
        }
    }
}
