// SPDX-License-Identifier: Apache-2.0

/// When revocation lists are looked at (docs/decisions/0018-certificate-revocation-lists.md).
///
/// Times are since boot.
package struct RevocationListSchedule: Sendable {
    /// How long after a first change a round begins: one act may be many commits.
    package static let quietDuration: Duration = .seconds(2)
    /// How long after the beginning of a round the next one begins at the earliest: each list is a
    /// message to every workload.
    package static let roundInterval: Duration = .seconds(30)
    /// How often it is looked for lists that are due by the clock alone.
    package static let checkInterval: Duration = .seconds(60)

    private var changedAt: Duration?
    private var roundAt: Duration?
    private var checkAt: Duration

    /// Begins after everything was looked at, which keeps nobody waiting.
    package init(now: Duration) { checkAt = now + Self.checkInterval }

    /// Revocations or the set of authorities have changed.
    package mutating func changed(now: Duration) { changedAt = changedAt ?? now }

    /// The round that has begun last could not do everything that it should have.
    package mutating func failed(now: Duration) {
        changed(now: now)
        signed(now: now)
    }

    /// Lists were signed, whatever for: the next round waits.
    package mutating func signed(now: Duration) { roundAt = now }

    /// When to call `timerFired`.
    package var wakeAt: Duration { roundDue.map { min($0, checkAt) } ?? checkAt }

    /// The time has come; firing early or twice does no harm.
    ///
    /// - Returns: Whether to look at the lists now.
    package mutating func timerFired(now: Duration) -> Bool {
        guard wakeAt <= now else { return false }
        checkAt = now + Self.checkInterval
        guard let roundDue else { return true }
        // A look would find the change as well: it waits with the round.
        guard roundDue <= now else { return false }
        changedAt = nil
        roundAt = now
        return true
    }

    private var roundDue: Duration? {
        guard let changedAt else { return nil }
        let quiet = changedAt + Self.quietDuration
        return roundAt.map { max(quiet, $0 + Self.roundInterval) } ?? quiet
    }
}
