// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Logging
internal import PublicEndpoint
internal import Synchronization

/// Counts what strangers did, so that none of them writes a line of the log.
final class PublicCounts: Sendable {
    /// How often the counts are logged.
    static let summaryInterval: Duration = .seconds(60)

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

    /// Logs until cancelled what was counted.
    func summarize(_ who: Logger.Message, _ core: ServerCore) async {
        while !Task.isCancelled {
            try? await core.clock.sleep(untilBoot: core.clock.bootTime + Self.summaryInterval)
            guard let counts = take() else { continue }
            core.logger.info(
                who,
                metadata: ["answers": "\(counts.answers)", "closed": "\(counts.closings)"]
            )
        }
    }

    /// What was counted since the last call, in words; nil if nothing was.
    private func take() -> (answers: String, closings: String)? {
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
