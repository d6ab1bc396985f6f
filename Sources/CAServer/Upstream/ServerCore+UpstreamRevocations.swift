// SPDX-License-Identifier: Apache-2.0

internal import Clocks
package import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import Synchronization
internal import Telemetry

/// What the upstream has revoked (docs/decisions/0020-authorities-under-another.md, "Service and
/// agent: one protocol").
extension ServerCore {
    /// Does what its last word asks for, as far as something else can sign.
    ///
    /// - Returns: What waits until another authority signs.
    /// - Throws: `APIError`; then nothing has happened.
    @discardableResult
    package func settleRevocations() async throws(APIError) -> [String] {
        let named = upstreamNamed.withLock { $0 }
        let (logic, now) = (logic, clock.wallTime)
        let isClockBelieved = await isClockBelieved()
        let (isNeeded, known) = try await read { transaction in
            let plan = try logic.upstreamRevocationPlan(
                named,
                isClockBelieved: isClockBelieved,
                now: now,
                in: transaction
            )
            let waiting = try transaction.upstreamRevocations().filter(\.isWaiting)
            return (!plan.isEmpty, waiting.map(\.id))
        }
        guard isNeeded else {
            waitingRevocations.withLock { $0 = known }
            return known
        }
        let outcome = try await write { transaction in
            let plan = try logic.upstreamRevocationPlan(
                named,
                isClockBelieved: isClockBelieved,
                now: now,
                in: transaction
            )
            return try logic.perform(plan, now: now, in: transaction)
        }
        waitingRevocations.withLock { $0 = outcome.waiting }
        await revoked(outcome)
        return outcome.waiting
    }

    /// Counts from this commit on.
    private func revoked(_ outcome: ServerLogic.UpstreamRevocationOutcome) async {
        // An answer that is kept may be below what is revoked now, or for a key that is.
        if outcome.distrustsMore { upstreamDesk.dropChain() }
        for id in outcome.refused {
            upstreamDesk.drop(id)
            distrusted(id, .revoked)
        }
        for authority in outcome.authorities { distrusted(authority.id, .revoked) }
        for record in outcome.below { distrusted(record.id, .revoked) }
        for above in outcome.above { await distrusted(above, .revoked) }
        await refreshTrust()
        for id in outcome.authorities.map(\.id) {
            logger.notice("the upstream revoked an authority", metadata: ["authority": "\(id)"])
        }
        for id in outcome.waiting where outcome.distrustsMore {
            logger.warning(
                "the upstream revoked what signs, or what is above it: another authority is made",
                metadata: ["key": "\(id)"]
            )
        }
        if !outcome.refused.isEmpty || !outcome.forgotten.isEmpty {
            logger.notice(
                "keys that the upstream revoked are refused",
                metadata: [
                    "new": "\(outcome.refused.count)", "forgotten": "\(outcome.forgotten.count)",
                ]
            )
        }
    }

    /// Tries until cancelled what could not be done yet, and has another authority made for what
    /// waits.
    func pursueRevocations() async {
        while !Task.isCancelled {
            var pause = UpstreamService.lookInterval
            do throws(APIError) {
                if try await !settleRevocations().isEmpty {
                    let next = try await rotationDesk.order(
                        .prepare(acceptsPrepared: true, isUrgent: true),
                        RotationService.schedule
                    )
                    pause = try await letSign(next)
                }
                _ = revocationsTold.isNews(nil)
            } catch {
                pause = UpstreamService.retryDelay
                if !Task.isCancelled, revocationsTold.isNews("\(error)") {
                    logger.error(
                        "what the upstream revoked counts still; it is tried again each 10 s",
                        metadata: ["error": "\(error)"]
                    )
                }
            }
            await revocationsNamed.wait(until: clock.bootTime + pause, clock)
        }
    }

    /// Lets an authority sign once it was published for the hold, without waiting for agents, nor for
    /// verifiers outside: whoever stalls one would say for how long a stolen key counts.
    ///
    /// - Returns: How long to wait before the next look.
    /// - Throws: `APIError`.
    private func letSign(_ next: Authority) async throws(APIError) -> Duration {
        let hold = AuthorityRotation.publicationHold
        guard let publishedAt = next.publishedAt else { return UpstreamService.retryDelay }
        let passed = Duration.seconds(clock.wallTime.timeIntervalSince(publishedAt))
        // By a clock that was ahead it is held no longer than by one that is right.
        guard passed >= hold else { return min(hold - passed, hold) }
        do throws(APIError) {
            _ = try await rotationDesk.order(.activate(id: next.id), RotationService.schedule)
        } catch {
            // The schedule was quicker, or somebody has revoked it.
            guard error.reason == "authorityState" else { throw error }
        }
        return UpstreamService.retryDelay
    }

    /// What health says while something waits; nil if nothing does.
    var waitingProblem: String? {
        let waiting = waitingRevocations.withLock { $0 }
        guard !waiting.isEmpty else { return nil }
        return
            "the upstream revoked \(waiting.joined(separator: ", ")), which signs or is above what "
            + "signs: it ends once another authority signs"
    }
}
