// SPDX-License-Identifier: Apache-2.0

package import Authorization
internal import ControlAPI
package import Datastore
package import FoundationEssentials
package import Issuance
package import NodeSync

/// Whom an act on an authority would hurt, as far as is known when an admin asks for it.
package struct AuthorityOutlook: Sendable {
    /// Most agents and SPIFFE IDs that an answer names; how many there are is always said.
    package static let namesMax = 100

    package private(set) var record: AuthorityRecord
    package private(set) var authority: Authority
    /// What is valid under it.
    package let issued: IssuedUnder
    /// Of whom something is not replaced, the first of them, sorted.
    package let notReplaced: [String]
    /// Live agents without the bundle of the moment, sorted.
    package let waiting: [String]
    /// Agents without it that are away and may come back, sorted.
    package let absent: [String]
    /// Why the act is not done unless it has to be now.
    package private(set) var objections: [String]

    /// Looks at everything.
    ///
    /// - Parameters:
    ///   - record: The authority.
    ///   - verb: What is to be done to it.
    ///   - agents: How far the bundle of the moment has reached.
    ///   - outdated: Who knows no authority below another.
    ///   - makesBelow: Whether one that is made now is below another.
    ///   - hold: How long an authority is published before it signs.
    ///   - isClockBelieved: Whether anything is signed at the moment.
    ///   - now: The wall clock.
    ///   - transaction: What is known.
    /// - Throws: `DatastoreError`.
    package init(
        _ record: AuthorityRecord,
        verb: AdminVerb,
        agents: AppliedState,
        outdated: OutdatedPeers = OutdatedPeers(),
        makesBelow: Bool = false,
        hold: Duration,
        isClockBelieved: Bool,
        now: Date,
        in transaction: ReadTransaction
    ) throws {
        self.record = record
        authority = try Authority(record, in: transaction)
        issued = try transaction.issued(validAt: now)[record.id] ?? IssuedUnder()
        notReplaced = try transaction.notReplaced(
            authorityID: record.id,
            validAt: now,
            limit: Self.namesMax
        )
        waiting = agents.waiting.map(\.name)
        absent = try agents.unreachable.map(\.name).filter { name in
            guard let node = try transaction.node(named: name), node.ban == nil else {
                return false
            }
            return now < node.notAfter.addingTimeInterval(ServerLogic.readmissionSeconds)
        }
        objections = Self.objections(
            to: verb,
            authority,
            issued,
            (waiting: waiting.count, absent: absent.count),
            hold,
            now
        )
        if [AdminVerb.authorityActivate, .authorityPrepare].contains(verb),
            let objection = outdated.objection,
            authority.state == .prepared ? authority.ancestry != nil : makesBelow,
            try !Self.signsBelow(authority.serverID, in: transaction)
        {
            objections.append(objection)
        }
        if !isClockBelieved, verb != .authorityPrepare {
            objections.append(
                "the server's clock is not believed, and until it is nothing is signed that could "
                    + "replace anything"
            )
        }
    }

    /// Whether what a server signs is below another authority already; then nobody loses anything more.
    private static func signsBelow(
        _ serverID: String,
        in transaction: ReadTransaction
    ) throws -> Bool {
        try transaction.authorities().contains {
            $0.state == AuthorityRecord.activeState && $0.serverID == serverID && $0.ancestry != nil
        }
    }

    /// The same of the authority as it became.
    func with(_ record: AuthorityRecord) -> Self {
        var result = self
        result.record = record
        if let state = Authority.State(rawValue: record.state) { result.authority.state = state }
        return result
    }

    /// Requires that nobody is hurt, unless it has to be now.
    ///
    /// - Throws: `APIError` (`authorityInUse`) with who would be.
    package func require(isNow: Bool) throws {
        guard !isNow, !objections.isEmpty else { return }
        throw APIError(
            .failedPrecondition,
            "authorityInUse",
            objections.joined(separator: "; ") + "; add --now if it has to be all the same"
        )
    }

    private static func objections(
        to verb: AdminVerb,
        _ authority: Authority,
        _ issued: IssuedUnder,
        _ agents: (waiting: Int, absent: Int),
        _ hold: Duration,
        _ now: Date
    ) -> [String] {
        var result: [String] = []
        switch verb {
        case .authorityActivate:
            let age = Duration.seconds(now.timeIntervalSince(authority.publishedAt ?? now))
            if age < hold {
                let whole = Duration.seconds(max(0, age.components.seconds))
                result.append(
                    "it is in the bundle for \(SVIDLifetimes.text(whole)), and whoever reads "
                        + "bundles has \(SVIDLifetimes.text(hold)) to do so"
                        + (hold > AuthorityRotation.publicationHold
                            ? "; verifiers outside may refuse tokens, and partners workloads, until "
                                + "they fetch keys again"
                            : "")
                )
            }
            if agents.waiting > 0 {
                result.append(
                    "\(agents.waiting) live agent(s) do not have it yet, and refuse what it signs "
                        + "until they do"
                )
            }
        case .authorityRevoke where authority.state == .prepared: break
        case .authorityRevoke, .authorityTaint:
            if verb == .authorityRevoke, issued.notReplaced > 0 {
                result.append(
                    "\(issued.notReplaced) SVID(s) of it are valid whose holder was issued no newer "
                        + (authority.state == .tainted
                            ? "one; it is tainted, and agents replace them within 5 minutes: wait, "
                                + "signet authority show counts those that are left"
                            : "one; signet authority taint has them replaced")
                )
            }
            if verb == .authorityRevoke, issued.tokenHolders > 0, let end = issued.tokensEnd {
                result.append(
                    "\(issued.tokenHolders) holder(s) have JWT-SVIDs of it, which nothing replaces; "
                        + "the last one ends in \(max(1, Int(end.timeIntervalSince(now)))) s"
                )
            }
            let lacking = agents.waiting + agents.absent
            if lacking > 0 {
                result.append(
                    "\(lacking) agent(s), \(agents.absent) of them away, do not have the bundle of "
                        + "the moment, and may need a new join token to know this server"
                )
            }
        default: break
        }
        return result
    }
}
