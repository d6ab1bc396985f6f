// SPDX-License-Identifier: Apache-2.0

internal import PublicEndpoint
internal import Synchronization

/// Counts what strangers did, so that none of them writes a line of the log.
final class PublicCounts: Sendable {
    private struct State {
        var answers: [String: Int] = [:]
        var closings: [PublicClosing: Int] = [:]
    }

    private let state = Mutex(State())

    /// Something happened on the listener.
    func add(_ event: PublicEvent) {
        state.withLock { state in
            switch event {
            case .answered(let document, let status):
                state.answers["\(document) \(status)", default: 0] += 1
            case .closed(let reason): state.closings[reason, default: 0] += 1
            }
        }
    }

    /// What was counted since the last call, in words; nil if nothing was.
    func take() -> (answers: String, closings: String)? {
        let taken = state.withLock { state in
            defer { state = State() }
            return state
        }
        guard !taken.answers.isEmpty || !taken.closings.isEmpty else { return nil }
        func text(_ counts: [String: Int]) -> String {
            counts.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
                .joined(separator: ", ")
        }
        // Those that had their answer are told of as answers.
        let closings = taken.closings.filter { $0.key != .answered }
            .map { ($0.key.rawValue, $0.value) }
        return (
            text(taken.answers),
            text(Dictionary(closings, uniquingKeysWith: { first, _ in first }))
        )
    }
}
