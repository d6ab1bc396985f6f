// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import GRPCCore
internal import GRPCPeer
internal import Logging
internal import Telemetry

/// Who calls a service of the workload socket, told by the kernel alone.
struct WorkloadCallers: Sendable {
    let core: AgentCore
    let attestor: UnixWorkloadAttestor
    /// Shared by all services of the socket.
    let places: WorkloadPlaces

    /// Attests the caller, who has a place among its user's as long as `body` runs.
    ///
    /// - Parameters:
    ///   - context: Of the call.
    ///   - count: Told the result, as the label of a metric, if `body` is not reached.
    ///   - body: What is done for the caller.
    /// - Returns: What `body` returns.
    /// - Throws: `RPCError` if the caller has no place or is not attested, and what `body` throws.
    func with<Result>(
        _ context: ServerContext,
        count: (String, LocalPeer) -> Void,
        body: (LocalPeer, WorkloadAttestation) async throws -> Result
    ) async throws -> Result {
        let start = core.clock.bootTime
        guard case .local(let peer) = try context.peer else {
            throw RPCError(code: .permissionDenied, message: "only processes of this machine")
        }
        guard places.enter(uid: peer.uid) else {
            count("refused", peer)
            throw RPCError(
                code: .resourceExhausted,
                message: "too many requests of this user are open; close some of them"
            )
        }
        defer { places.leave(uid: peer.uid) }
        let attestation = try await attest(peer, count)
        core.metrics.observe(.attestationDuration, core.clock.bootTime - start)
        return try await body(peer, attestation)
    }

    private func attest(
        _ peer: LocalPeer,
        _ count: (String, LocalPeer) -> Void
    ) async throws(RPCError) -> WorkloadAttestation {
        do throws(WorkloadAttestationError) {
            return try await attestor.attest(peer.attested)
        } catch {
            count(error.isTemporary ? "unavailable" : "denied", peer)
            core.logger.notice(
                "a caller was not attested",
                metadata: ["peer": "\(peer)", "reason": "\(error)"]
            )
            throw RPCError(
                code: error.isTemporary ? .unavailable : .permissionDenied,
                message: error.description
            )
        }
    }
}
