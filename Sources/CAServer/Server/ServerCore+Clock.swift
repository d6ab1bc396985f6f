// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Logging
internal import SPIFFE
internal import Synchronization
internal import Telemetry

/// What was last told about the clock, so that each change is told once.
final class ClockReport: Sendable {
    private struct State {
        var told: ClockRefusal.Problem?
        var isTelling = false
    }

    private let state = Mutex(State())

    /// Whether this is news that nobody else is telling; `end` must follow then.
    func begin(_ problem: ClockRefusal.Problem?) -> Bool {
        state.withLock { state in
            guard !state.isTelling, state.told != problem else { return false }
            state.isTelling = true
            return true
        }
    }

    /// Whether the last word was that the clock is believed.
    var isBelieved: Bool { state.withLock { $0.told == nil } }

    /// The news has been recorded, or has to be told again.
    func end(_ problem: ClockRefusal.Problem?, isRecorded: Bool) {
        state.withLock { state in
            if isRecorded { state.told = problem }
            state.isTelling = false
        }
    }
}

extension ServerCore {
    /// Refuses to sign with a clock that is not believed.
    func requireClock() async throws(APIError) {
        guard let problem = clockGuard.problem(wall: clock.wallTime, boot: clock.bootTime) else {
            return
        }
        await judgeClock()
        throw APIError(problem)
    }

    /// Whether what ends with time may be forgotten: a clock that is ahead would end revocations of
    /// SVIDs that are still good.
    func isClockBelieved() async -> Bool {
        let (logic, now) = (logic, clock.wallTime)
        guard clockGuard.problem(wall: now, boot: clock.bootTime) == nil else { return false }
        return (try? await read { try logic.clockProblem(now, in: $0) == nil }) ?? false
    }

    /// The wall clock; nil while it is not believed, as far as is known without asking anybody.
    var believedWallTime: Date? {
        let now = clock.wallTime
        guard clockReport.isBelieved, clockGuard.problem(wall: now, boot: clock.bootTime) == nil
        else { return nil }
        return now
    }

    /// Looks at the clock; when it begins or ceases to be believed, or is doubted for another
    /// reason, health, metric and log say so, and of each refusal that begins there is one leaf.
    func judgeClock() async {
        let (logic, now) = (logic, clock.wallTime)
        var problem = clockGuard.problem(wall: now, boot: clock.bootTime)
        if problem == nil {
            do {
                problem = try await read { try logic.clockProblem(now, in: $0) }
            } catch {
                // The health of the datastore tells of it.
                return
            }
        }
        let refusal = problem?.refusal
        guard clockReport.begin(refusal?.problem) else { return }
        report(refusal)
        var isRecorded = true
        if let problem, let refusal {
            health.unmet("clock", reason: APIError(problem).message)
            logger.error("the clock is not believed", metadata: ["problem": "\(problem)"])
            let leaf = try? await write { transaction in
                try transaction.append(.clockRefused(refusal), by: .system("clock"), at: now)
            }
            isRecorded = leaf != nil
        } else {
            health.met("clock")
            logger.notice("the clock is believed")
        }
        clockReport.end(refusal?.problem, isRecorded: isRecorded)
    }

    /// Says in the metric why nothing is signed.
    func report(_ refusal: ClockRefusal?) {
        for problem in ClockRefusal.Problem.allCases {
            metrics.set(
                .clockRefused,
                to: refusal?.problem == problem ? 1 : 0,
                problem.rawValue
            )
        }
    }
}
