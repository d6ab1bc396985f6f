// SPDX-License-Identifier: Apache-2.0

internal import Issuance
internal import Logging
internal import Synchronization
internal import Telemetry

/// Keys of authorities that a start does not find where they were kept.
extension ServerCore {
    /// What health says of them; the server is ready all the same.
    static let authorityKeyCondition = "authorityKey"

    /// The authority that signed has no key here, and another one takes its place.
    ///
    /// - Parameters:
    ///   - lost: The one without key.
    ///   - next: The one that is prepared; nil: another one has to be made, which may take until an
    ///     upstream answers, or until the clock is right.
    func tellLost(_ lost: Authority, followedBy next: Authority?) {
        let name = lost.id.prefix(16)
        // That a restart makes another authority is what was asked for.
        guard configuration.keyStorage != .memory else {
            logger.notice(
                "the key of the authority that signed was in memory alone",
                metadata: ["authority": "\(lost.id)"]
            )
            return
        }
        let outcome =
            next.map { next in
                "authority \(next.id.prefix(16)), which was prepared, signs in its place; agents that "
                    + "never got it have to be evicted and to join again"
            }
            ?? "another one is made and signs in its place; agents do not know that: each has to be "
            + "evicted and to join again"
        logger.error(
            "the key of the authority that signed is not here",
            metadata: ["authority": "\(lost.id)", "consequence": "\(outcome)"]
        )
        lostKey.withLock { $0 = lost.id }
        health.unmet(
            Self.authorityKeyCondition,
            reason: "the key of authority \(name) is not here: \(outcome). If somebody took it: "
                + "signet authority taint \(name), then revoke"
        )
    }

    /// A prepared authority left the bundle, because it has no key here.
    func tellLost(prepared authority: Authority) {
        let level: Logger.Level = configuration.keyStorage == .memory ? .notice : .error
        logger.log(
            level: level,
            "the key of a prepared authority is not here: it leaves the bundle and never signs",
            metadata: ["authority": "\(authority.id)"]
        )
    }

    /// Nothing that the authority without key has signed counts any more once it has left.
    func endLost(_ authorities: [Authority]) {
        let hasLeft = lostKey.withLock { lost in
            guard let id = lost else { return false }
            let counts: Set<Authority.State> = [.active, .old, .tainted]
            guard !authorities.contains(where: { $0.id == id && counts.contains($0.state) }) else {
                return false
            }
            lost = nil
            return true
        }
        if hasLeft { health.met(Self.authorityKeyCondition) }
    }
}
