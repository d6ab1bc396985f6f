// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
package import ControlAPIProtos
internal import DecisionLog
internal import FoundationEssentials
internal import GRPCCore
internal import Logging
internal import NodeSync
internal import SwiftProtobuf
internal import Telemetry

/// What the server made of a segment.
package enum DecisionUploadAnswer: Hashable, Sendable {
    /// The server is of a release that keeps no decisions.
    case callUnknown
    /// Another time, not before so long.
    case later(Duration, reason: String)
    /// Never: the segment itself is refused.
    case never(reason: String)
    /// It has it.
    case stored

    /// What an answer means.
    package init(_ response: Signet_Node_V1alpha1_StoreDecisionsResponse) {
        switch response.result {
        case .stored: self = .stored
        case .refusal(let refusal) where refusal.retryable:
            let wait = Duration.milliseconds(Int(refusal.retryAfterMilliseconds))
            self = .later(wait, reason: refusal.code)
        case .refusal(let refusal):
            self = .never(reason: "\(refusal.message) [\(refusal.code)]")
        case nil: self = .later(.zero, reason: "neither stored nor refused")
        }
    }

    /// What a failure means; only the server's own word about a segment ends it.
    package init(_ error: any Error) {
        guard let error = error as? RPCError else {
            self = .later(.zero, reason: "\(error)")
            return
        }
        self =
            error.code == .unimplemented
            ? .callUnknown : .later(.zero, reason: APIError(error).reason)
    }

    /// The word for the metric.
    package var label: String {
        switch self {
        case .callUnknown: "unknown"
        case .later: "later"
        case .never: "refused"
        case .stored: "stored"
        }
    }
}

/// Brings segments of the decision log to the server, one at a time.
///
/// It has a task of its own on each connection, so that nothing else waits for it.
struct DecisionUpload {
    /// Least time between two segments: at most 5 MiB/s beside what is urgent.
    static let pauseMin: Duration = .milliseconds(200)
    /// Longest time for one segment on a slow line.
    static let timeout: Duration = .seconds(60)

    let core: AgentCore

    /// Sends what there is whenever the agent is online, until cancelled.
    func run(on node: ServerConnection.Node) async {
        let spool = core.decisions
        var backoff = Backoff()
        var generator = SystemRandomness()
        while !Task.isCancelled {
            guard core.ask({ $0.isOnline }), let next = await spool.oldest() else {
                await spool.changed.wait()
                continue
            }
            let answer = await send(next.bytes, to: node)
            guard !Task.isCancelled else { return }
            core.metrics.increment(.decisionUploads, answer.label)
            var pause = Self.pauseMin
            switch answer {
            case .stored:
                backoff.succeeded()
                await spool.stored(next.name)
            case .never(let reason):
                core.logger.error(
                    "the server refuses a segment of the decision log for ever",
                    metadata: ["segment": "\(next.name)", "reason": "\(reason)"]
                )
                await spool.refused(next.name)
            case .later(let wait, _): pause = max(wait, backoff.failed(using: &generator))
            case .callUnknown:
                core.logger.notice("the server keeps no decision log; segments wait here")
                // The next connection may lead to another one.
                while !Task.isCancelled { await spool.changed.wait() }
                return
            }
            try? await core.clock.sleep(untilBoot: core.clock.bootTime + pause)
        }
    }

    private func send(
        _ segment: [UInt8],
        to node: ServerConnection.Node
    ) async -> DecisionUploadAnswer {
        do {
            let response = try await node.storeDecisions(
                .with { $0.segment = Data(segment) },
                options: .besideStream(timeout: Self.timeout)
            )
            return DecisionUploadAnswer(response)
        } catch {
            return DecisionUploadAnswer(error)
        }
    }
}
