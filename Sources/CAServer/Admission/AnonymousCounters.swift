// SPDX-License-Identifier: Apache-2.0

package import AuditLog
package import Clocks
internal import FoundationEssentials
internal import Synchronization

/// What callers without identity caused: counted, and told in one leaf per kind and minute.
package final class AnonymousCounters: Sendable {
    /// How long counts are gathered.
    package static let interval: Duration = .seconds(60)

    private struct State {
        var counts: [String: UInt64] = [:]
        var since: Date?
    }

    private let clock: any NodeClock
    private let timer: DeadlineTimer
    private let state = Mutex(State())

    package init(clock: any NodeClock) {
        self.clock = clock
        timer = DeadlineTimer(clock: clock)
    }

    /// Counts events of a kind; kinds are few and chosen by the server.
    package func count(_ kind: String, by number: Int = 1) {
        guard number > 0 else { return }
        let isFirst = state.withLock { state in
            state.counts[kind, default: 0] += UInt64(number)
            guard state.since == nil else { return false }
            state.since = clock.wallTime
            return true
        }
        if isFirst { timer.schedule(at: clock.bootTime + Self.interval) }
    }

    /// Hands each minute's summaries to `append`; costs nothing while nothing is counted.
    ///
    /// Counts that cannot be written are kept for the next minute.
    package func run(
        append: @Sendable ([UnauthenticatedSummary]) async throws -> Void
    ) async {
        await timer.run {
            let (counts, since) = state.withLock { state in
                let taken = (state.counts, state.since)
                state = State()
                return taken
            }
            let minute = AuditTime(since ?? clock.wallTime)
            let summaries = counts.sorted { $0.key < $1.key }.map {
                UnauthenticatedSummary(count: $0.value, kind: $0.key, minute: minute)
            }
            do {
                try await append(summaries)
            } catch {
                state.withLock { state in
                    state.counts.merge(counts) { $0 + $1 }
                    state.since = since
                }
                timer.schedule(at: clock.bootTime + Self.interval)
            }
        }
    }
}
