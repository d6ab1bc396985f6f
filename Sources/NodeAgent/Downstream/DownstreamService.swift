// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
internal import Logging
internal import SwiftProtobuf
internal import Telemetry

/// What certifies the authorities of servers that are workloads of this node: the agent's server
/// (docs/decisions/0020-authorities-under-another.md, "Service and agent: one protocol").
///
/// It is beside the Workload API, and its caller is known in the same way; one entry with
/// `downstream` has to mean it.
struct DownstreamService: Signet_Upstream_V1alpha1_Upstream.SimpleServiceProtocol {
    typealias CertifyResponse = Signet_Upstream_V1alpha1_CertifyResponse
    typealias Trust = Signet_Upstream_V1alpha1_Trust

    let core: AgentCore
    let callers: WorkloadCallers
    let places = DownstreamPlaces()

    func certify(
        request: Signet_Upstream_V1alpha1_CertifyRequest,
        context: ServerContext
    ) async throws -> CertifyResponse {
        try await answer("Certify", context) { peer, attestation, count in
            let authority = try await core.certify(
                csr: Array(request.csr),
                lifetimeSeconds: request.lifetimeSeconds,
                for: AgentCore.ServerBelow(pid: peer.pid, selectors: attestation.selectors),
                places: places
            )
            // It has waited for the server.
            guard peer.stillRuns(attestation.executable) else {
                throw DownstreamRefusal.executableReplaced
            }
            count("ok")
            return .with { $0.chain = authority.chain.map { Data($0) } }
        }
    }

    func watch(
        request: Signet_Upstream_V1alpha1_WatchRequest,
        response: RPCWriter<Trust>,
        context: ServerContext
    ) async throws {
        try await answer("Watch", context) { peer, attestation, count in
            try places.open(uid: peer.uid)
            defer { places.close(uid: peer.uid) }
            let stream = WorkloadStream()
            try await withRPCCancellationHandler {
                try await tell(peer, attestation, stream, response, context.stream, count)
            } onCancelRPC: {
                stream.end()
            }
        }
    }

    /// Tells what is above, now and after each change, until the caller leaves.
    private func tell(
        _ peer: LocalPeer,
        _ attestation: WorkloadAttestation,
        _ stream: WorkloadStream,
        _ response: RPCWriter<Trust>,
        _ requestStream: RequestStream?,
        _ count: @escaping @Sendable (String) -> Void
    ) async throws {
        let selectors = attestation.selectors
        let id = core.watchFromBelow(stream, selectors: selectors)
        defer { core.forget(id) }
        var watch = DownstreamWatch(pid: peer.pid)
        var isFirst = true
        repeat {
            let step = watch.next(core.ask { $0.downstreamView(for: selectors) })
            // Whoever runs now what it did not is told nothing, not even why.
            guard peer.stillRuns(attestation.executable) else {
                throw DownstreamRefusal.executableReplaced
            }
            switch step {
            case .nothing: continue
            case .end(let refusal): throw refusal
            case .tell(let trust, let refusal):
                try await response.write(trust.message)
                if isFirst { count("ok") }
                isFirst = false
                if let refusal { throw refusal }
                // Who reads slowly is told the newest next, and nothing of what was in between.
                await requestStream?.drained()
            }
        } while await stream.wait()
    }

    /// Attests the caller, and says with its own words why it is not answered.
    private func answer<Answer>(
        _ call: String,
        _ context: ServerContext,
        _ make:
            (
                LocalPeer, WorkloadAttestation, @escaping @Sendable (String) -> Void
            ) async throws -> Answer
    ) async throws -> Answer {
        try await callers.with(context) { result, peer in
            count(call, result, peer)
        } body: { peer, attestation in
            do {
                return try await make(peer, attestation) { count(call, $0, peer) }
            } catch let refusal as DownstreamRefusal {
                count(call, refusal.label, peer)
                note(refusal, call, peer)
                throw refusal.error
            }
        }
    }

    private func count(_ call: String, _ result: String, _ peer: LocalPeer) {
        core.metrics.increment(.downstreamCalls, call, result)
        core.logger.debug(
            "request of a server below",
            metadata: ["call": "\(call)", "result": "\(result)", "peer": "\(peer)"]
        )
    }

    /// What an operator has to mend; who merely tries is counted.
    private func note(_ refusal: DownstreamRefusal, _ call: String, _ peer: LocalPeer) {
        switch refusal {
        case .entryChanged, .executableReplaced, .notDownstream, .rate, .unavailable, .underWay,
            .watches, .answerRefused:
            return
        case .above, .invalid, .noRoot, .severalEntries, .tooMuch:
            core.logger.warning(
                "a server below is not answered",
                metadata: [
                    "call": "\(call)", "peer": "\(peer)", "reason": "\(refusal.error)",
                ]
            )
        }
    }
}

extension DownstreamTrust {
    fileprivate var message: Signet_Upstream_V1alpha1_Trust {
        .with {
            $0.roots = roots.map { Data($0) }
            $0.revokedKeyIds = revokedKeyIDs.map { Data($0) }
        }
    }
}
