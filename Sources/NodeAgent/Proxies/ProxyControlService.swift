// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import GRPCCore
internal import GRPCPeer
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import Telemetry

/// Tells proxy processes of this machine what to do, and gives them keys of their own.
///
/// The caller is known by the kernel alone, as in the Workload API; what it attested to decides
/// which Proxy it is (docs/decisions/0009-data-path.md).
struct ProxyControlService: Signet_Proxy_V1alpha1_ProxyControl.SimpleServiceProtocol {
    let core: AgentCore
    let attestor: UnixWorkloadAttestor
    let places: WorkloadPlaces

    func attach(
        request: RPCAsyncSequence<Signet_Proxy_V1alpha1_ProxyMessage, any Error>,
        response: RPCWriter<Signet_Proxy_V1alpha1_AgentMessage>,
        context: ServerContext
    ) async throws {
        guard case .local(let peer) = try context.peer else {
            throw APIError(.permissionDenied, "notLocal", "only processes of this machine")
        }
        guard places.enter(uid: peer.uid) else {
            throw refused(
                APIError(
                    .exhausted,
                    "tooManyStreams",
                    "too many streams of this user are open; close some of them"
                ),
                peer
            )
        }
        defer { places.leave(uid: peer.uid) }
        let session = ProxySession(core: core, peer: peer)
        defer { session.ended() }
        do {
            try await withRPCCancellationHandler {
                try await converse(session, peer, request, response)
            } onCancelRPC: {
                session.ended()
            }
        } catch let refusal as ProxyRefusal {
            throw refused(refusal.error(pid: peer.pid), peer)
        } catch let violation as ProxyAttachment.Violation {
            throw refused(violation.error, peer)
        } catch let error as WireError {
            throw refused(APIError(.invalidArgument, "wire", error.description), peer)
        } catch let error as APIError {
            throw refused(error, peer)
        }
    }

    private func converse(
        _ session: ProxySession,
        _ peer: LocalPeer,
        _ request: RPCAsyncSequence<Signet_Proxy_V1alpha1_ProxyMessage, any Error>,
        _ response: RPCWriter<Signet_Proxy_V1alpha1_AgentMessage>
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { for try await message in request { try session.received(message) } }
            group.addTask { try await session.watch() }
            group.addTask { try await serve(session, peer, response) }
            // Whichever ends first ends the stream.
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func serve(
        _ session: ProxySession,
        _ peer: LocalPeer,
        _ response: RPCWriter<Signet_Proxy_V1alpha1_AgentMessage>
    ) async throws {
        guard let hello = await session.hello() else { return }
        guard core.ask({ $0.sync.revision }) != nil else {
            throw APIError(
                .unavailable,
                "notSynced",
                "the agent has not yet received its state; try again"
            )
        }
        let attestation = try await attest(peer)
        let id = try core.attach(
            session,
            hello,
            pid: peer.pid,
            attestation: attestation
        )
        defer { core.detach(id) }
        session.attached(as: id)
        core.logger.info("a proxy attached", metadata: ["peer": "\(peer)"])
        repeat {
            try session.offer(try current(id))
            while let message = session.next() {
                guard peer.stillRuns(attestation.executable) else {
                    throw APIError(
                        .permissionDenied,
                        "executableReplaced",
                        WorkloadAttestationError.executableReplaced.description
                    )
                }
                try await response.write(message)
                // Writing may have taken long: what is said next is said of the present.
                try session.offer(try current(id))
            }
        } while await session.stream.wait()
    }

    /// What the process may be told now.
    private func current(_ id: SubscriberID) throws(APIError) -> ProxyOffer {
        switch core.ask({ $0.proxyAnswer(for: id) }) {
        case .view(let offer): return offer
        case .unavailable(let reason): throw APIError(.unavailable, "notSynced", reason)
        case .ended(.gone):
            throw APIError(
                .permissionDenied,
                "proxyGone",
                "the Proxy was deleted or has left this node: forget its keys"
            )
        case .ended(.selectorsChanged):
            throw APIError(
                .permissionDenied,
                "selectorsChanged",
                "the Proxy asks for selectors that this process did not attest to: forget its keys"
            )
        }
    }

    private func attest(_ peer: LocalPeer) async throws(APIError) -> WorkloadAttestation {
        do throws(WorkloadAttestationError) {
            return try await attestor.attest(peer.attested)
        } catch {
            throw APIError(
                error.isTemporary ? .unavailable : .permissionDenied,
                "notAttested",
                error.description
            )
        }
    }

    private func refused(_ error: APIError, _ peer: LocalPeer) -> APIError {
        core.metrics.increment(.proxyRefusals, error.reason)
        core.logger.notice(
            "a proxy's stream was ended",
            metadata: ["peer": "\(peer)", "reason": "\(error)"]
        )
        return error
    }
}
