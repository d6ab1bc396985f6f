// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import Issuance
internal import Logging
internal import Synchronization
internal import Telemetry

/// Keys that sign before verifiers outside and partners have had time to fetch them.
extension ServerCore {
    /// What health says of them; the server is ready all the same.
    static let publicKeysCondition = "publicKeys"

    /// An authority begins to sign: says so if somebody outside may not know its key yet.
    ///
    /// That is when a start finds no authority that can sign, and when an admin does not wait.
    func signs(_ authority: Authority, now: Date) {
        guard configuration.isFollowedOutside, let publishedAt = authority.publishedAt else {
            return
        }
        let until = publishedAt.addingTimeInterval(logic.hold / .seconds(1))
        guard now < until else { return }
        unheldUntil.withLock { $0 = until }
        health.unmet(
            Self.publicKeysCondition,
            reason:
                "authority \(authority.id.prefix(16)) signs before publicHold is over: verifiers "
                + "outside may refuse tokens, and partners workloads, until they fetch keys again, "
                + "by \(until.formatted(.iso8601))"
        )
        logger.warning(
            "verifiers outside and partners may refuse what is signed until they fetch keys again",
            metadata: ["authority": "\(authority.id)", "until": "\(until.formatted(.iso8601))"]
        )
    }

    /// Time has passed.
    func endUnheld(now: Date) {
        let isOver = unheldUntil.withLock { until in
            guard let end = until, end <= now else { return false }
            until = nil
            return true
        }
        if isOver { health.met(Self.publicKeysCondition) }
    }
}
