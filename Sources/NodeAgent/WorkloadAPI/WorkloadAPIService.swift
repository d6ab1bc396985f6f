// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf
internal import Telemetry

/// The SPIFFE Workload API; the JWT profile is in an extension.
///
/// The caller is known by the kernel alone.
///
/// - SeeAlso: SPIFFE Workload API sections 4 and 5; docs/conformance.md rows E-* and A-*.
struct WorkloadAPIService: SpiffeWorkloadAPI.SimpleServiceProtocol {
    let core: AgentCore
    let attestor: UnixWorkloadAttestor
    let places: WorkloadPlaces

    func fetchX509SVID(
        request: X509SVIDRequest,
        response: RPCWriter<X509SVIDResponse>,
        context: ServerContext
    ) async throws {
        let shown = LastMessage<X509SVIDResponse>()
        try await serve("FetchX509SVID", .svids, context) { view in
            let message = view.x509SVIDResponse
            if shown.replace(by: message) { try await response.write(message) }
        }
    }

    func fetchX509Bundles(
        request: X509BundlesRequest,
        response: RPCWriter<X509BundlesResponse>,
        context: ServerContext
    ) async throws {
        let shown = LastMessage<X509BundlesResponse>()
        try await serve("FetchX509Bundles", .bundles, context) { view in
            let message = view.x509BundlesResponse
            if shown.replace(by: message) { try await response.write(message) }
        }
    }

    // MARK: - Profiles that this version does not have

    func fetchWITSVID(
        request: WITSVIDRequest,
        response: RPCWriter<WITSVIDResponse>,
        context: ServerContext
    ) async throws {
        throw Self.unimplemented("WIT")
    }

    func fetchWITBundles(
        request: WITBundlesRequest,
        response: RPCWriter<WITBundlesResponse>,
        context: ServerContext
    ) async throws {
        throw Self.unimplemented("WIT")
    }

    private static func unimplemented(_ profile: String) -> RPCError {
        RPCError(code: .unimplemented, message: "the \(profile)-SVID profile is not provided")
    }

    // MARK: - One stream

    /// Attests the caller, who has a place among its user's as long as `body` runs.
    ///
    /// - Parameters:
    ///   - method: For metrics and the log.
    ///   - context: Of the call.
    ///   - body: What is done for the caller.
    /// - Returns: What `body` returns.
    /// - Throws: `RPCError` if the caller has no place or is not attested, and what `body` throws.
    func withCaller<Result>(
        _ method: String,
        _ context: ServerContext,
        _ body: (LocalPeer, WorkloadAttestation) async throws -> Result
    ) async throws -> Result {
        let start = core.clock.bootTime
        guard case .local(let peer) = try context.peer else {
            throw RPCError(code: .permissionDenied, message: "only processes of this machine")
        }
        guard places.enter(uid: peer.uid) else {
            count(method, "refused", peer)
            throw RPCError(
                code: .resourceExhausted,
                message: "too many requests of this user are open; close some of them"
            )
        }
        defer { places.leave(uid: peer.uid) }
        let attestation = try await attest(peer, method)
        core.metrics.observe(.attestationDuration, core.clock.bootTime - start)
        return try await body(peer, attestation)
    }

    /// Attests the caller and shows it its view, now and after each change, until it leaves.
    func serve(
        _ method: String,
        _ interest: WorkloadInterest,
        _ context: ServerContext,
        _ send: @escaping @Sendable (WorkloadView) async throws -> Void
    ) async throws {
        let start = core.clock.bootTime
        try await withCaller(method, context) { peer, attestation in
            try await show(peer, attestation, interest, method, since: start, send)
        }
    }

    private func show(
        _ peer: LocalPeer,
        _ attestation: WorkloadAttestation,
        _ interest: WorkloadInterest,
        _ method: String,
        since start: Duration,
        _ send: @escaping @Sendable (WorkloadView) async throws -> Void
    ) async throws {
        let stream = WorkloadStream()
        try await withRPCCancellationHandler {
            let id = core.subscribe(
                stream,
                selectors: attestation.selectors,
                interest: interest
            )
            defer { core.unsubscribe(id) }
            var shown: WorkloadView?
            repeat {
                let view: WorkloadView
                switch core.answer(for: id, after: shown) {
                case .denied:
                    count(method, "denied", peer)
                    throw RPCError(
                        code: .permissionDenied,
                        message: "no registration entry means this process; an admin can ask "
                            + "signet explain workload --pid \(peer.pid)"
                    )
                case .unavailable(let reason):
                    count(method, "unavailable", peer)
                    throw RPCError(code: .unavailable, message: reason)
                case .wait: continue
                case .view(let answer): view = answer
                case .withdrawn:
                    count(method, "denied", peer)
                    throw RPCError(
                        code: .permissionDenied,
                        message: "the certificate was withdrawn: do not use it any more; its "
                            + "replacement is being signed, connect again"
                    )
                }
                guard view != shown else { continue }
                guard peer.stillRuns(attestation.executable) else {
                    throw RPCError(
                        code: .permissionDenied,
                        message: WorkloadAttestationError.executableReplaced.description
                    )
                }
                try await send(view)
                if shown == nil {
                    count(method, "ok", peer)
                    core.metrics.observe(.fetchDuration, core.clock.bootTime - start)
                }
                shown = view
            } while await stream.wait()
        } onCancelRPC: {
            stream.end()
        }
    }

    private func attest(
        _ peer: LocalPeer,
        _ method: String
    ) async throws(RPCError) -> WorkloadAttestation {
        do throws(WorkloadAttestationError) {
            return try await attestor.attest(peer.attested)
        } catch {
            count(method, error.isTemporary ? "unavailable" : "denied", peer)
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

    func count(_ method: String, _ result: String, _ peer: LocalPeer) {
        core.metrics.increment(.workloadAPIRequests, method, result)
        core.logger.debug(
            "workload request",
            metadata: ["method": "\(method)", "result": "\(result)", "peer": "\(peer)"]
        )
    }
}
