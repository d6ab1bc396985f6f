// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
package import ControlAPI
package import Datastore
package import FoundationEssentials
package import Issuance
internal import NodeSync
package import SPIFFE

/// What follows when somebody says that the server's wall clock is right.
package struct ClockOutlook: Sendable {
    /// What the clock shows.
    package let time: Date
    /// The last signature, if the clock is behind it: by a clock that was wrong.
    package let lastSignature: Date?
    /// What an even clock would show, if this one jumped ahead.
    package let expected: Date?
    /// This server's authorities that begin later, and are revoked for that.
    package fileprivate(set) var authorities: [AuthorityRecord]
    /// The same of servers below.
    package fileprivate(set) var downstream: [DownstreamRecord]
    /// Certificates on record that begin later.
    package let certificates: UInt64
    /// Agents whose certificate is of no use any more, or not yet: they need a new join token.
    package let agents: [String]
    /// Identities that are refused until a later time, which nobody lowers.
    package let identitiesUntilLater: Int
    /// What was ended too early.
    package fileprivate(set) var forgotten: ForgottenRevocations

    /// Why the clock is not accepted unless it has to be now: of a clock that is itself wrong, as one
    /// without a battery after a power cut, every authority begins later.
    package var objections: [String] {
        let time = time.formatted(.iso8601)
        var objections: [String] = []
        if !authorities.isEmpty {
            objections.append(
                "\(authorities.count) authorit(ies) begin after \(time) and are revoked for good if "
                    + "that is the right time"
            )
        }
        if !downstream.isEmpty {
            objections.append(
                "\(downstream.count) authorit(ies) of servers below begin after \(time) and are revoked "
                    + "for good, with all that they signed, if that is the right time"
            )
        }
        return objections
    }

    /// Requires that nothing is revoked for good, unless it has to be now.
    ///
    /// - Throws: `APIError` (`clockInDoubt`) with what would be.
    package func require(isNow: Bool) throws(APIError) {
        guard !isNow, !objections.isEmpty else { return }
        throw APIError(
            .failedPrecondition,
            "clockInDoubt",
            objections.joined(separator: "; ") + "; look at the clock, then add --now"
        )
    }

    /// Whether the authority that signs begins later.
    package var isSignerReplaced: Bool {
        authorities.contains { $0.state == AuthorityRecord.activeState }
    }
}

/// Who signs once the clock is accepted.
package enum ClockSigner: Sendable {
    /// Whoever signs now.
    case same
    /// The one that is prepared.
    case prepared(id: String)
    /// A new one, with its first revocation list, where its key is, and DER of the roots that are
    /// configured.
    case made(Authority, SignedRevocationList, KeyStorage, roots: [[UInt8]])

    /// Whether nobody takes over.
    var isSame: Bool {
        if case .same = self { true } else { false }
    }
}

/// What the acceptance of a clock did.
package struct ClockAcceptanceResult: Sendable {
    package let outlook: ClockOutlook
    /// What was revoked again.
    let again: RevokedAgain
}

extension ServerLogic {
    /// Looks at what follows when the clock is accepted.
    ///
    /// - Parameters:
    ///   - expected: What an even clock would show, if this one jumped ahead.
    ///   - now: The wall clock.
    ///   - transaction: What is known; much of it is read whole.
    /// - Returns: What follows.
    /// - Throws: `APIError` (`clockBelieved`) when nothing is wrong with the clock; `DatastoreError`.
    package func clockOutlook(
        jumpedFrom expected: Date?,
        now: Date,
        in transaction: ReadTransaction
    ) throws -> ClockOutlook {
        var lastSignature: Date?
        if case .behind(let time) = try clockProblem(now, in: transaction) { lastSignature = time }
        guard lastSignature != nil || expected != nil else {
            throw APIError(
                .failedPrecondition,
                "clockBelieved",
                "the server's clock is believed already, so there is nothing to accept"
            )
        }
        let isBehind = lastSignature != nil
        return ClockOutlook(
            time: now,
            lastSignature: lastSignature,
            expected: expected,
            authorities: isBehind ? try authoritiesAhead(of: now, in: transaction) : [],
            downstream: isBehind ? try downstreamAhead(of: now, in: transaction) : [],
            certificates: try transaction.certificateCount(beginningAfter: now),
            agents: isBehind ? try agentsCutOff(at: now, in: transaction) : [],
            identitiesUntilLater: try transaction.revocationCount(after: now),
            forgotten: isBehind
                ? try forgottenRevocations(now: now, in: transaction) : ForgottenRevocations()
        )
    }

    /// Takes the clock's word from now on, and ends what a wrong one dated ahead.
    ///
    /// - Parameters:
    ///   - outlook: What was found just before, by this clock; what an act of meanwhile has changed
    ///     of it counts no more.
    ///   - signer: Who signs then; another one than now if that one begins later.
    ///   - missing: Live agents that do not have the bundle with a new authority.
    ///   - isNow: Whether authorities may be revoked for it.
    ///   - actor: Who says so.
    ///   - now: The wall clock.
    ///   - transaction: Where all of it happens.
    /// - Returns: What it did.
    /// - Throws: `APIError` (`clockBelieved`) when nothing is wrong with the clock, (`clockInDoubt`)
    ///   when authorities would be revoked, or when another one signs since `signer` was chosen;
    ///   `DatastoreError`.
    package func acceptClock(
        _ outlook: ClockOutlook,
        _ signer: ClockSigner,
        missing: [String],
        isNow: Bool,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws -> ClockAcceptanceResult {
        let outlook = try confirmed(outlook, now: now, in: transaction)
        try outlook.require(isNow: isNow)
        var again = RevokedAgain()
        if outlook.lastSignature != nil {
            try transaction.lowerClockHighWater(to: now)
            try endAhead(outlook, signer, missing, by: actor, now, in: transaction)
            try deleteListsAhead(of: now, in: transaction)
            again = try revokeAgain(outlook.forgotten, by: actor, now: now, in: transaction)
        }
        let acceptance = ClockAcceptance(
            lastSignature: outlook.lastSignature.map { AuditTime($0) },
            expected: outlook.expected.map { AuditTime($0) },
            authorities: UInt64(outlook.authorities.count + outlook.downstream.count),
            revocations: UInt64(again.count),
            left: UInt64(again.left)
        )
        try transaction.append(.clockAccepted(acceptance), by: actor, at: now)
        return ClockAcceptanceResult(outlook: outlook, again: again)
    }

    /// What holds still of an outlook, of all that the act goes by; what is only told stays.
    ///
    /// It looks at little, since every other act waits meanwhile.
    ///
    /// - Throws: `APIError` (`clockChanged`) when the clock is accepted by now; `DatastoreError`.
    package func confirmed(
        _ outlook: ClockOutlook,
        now: Date,
        in transaction: ReadTransaction
    ) throws -> ClockOutlook {
        var isBehind = false
        if case .behind = try clockProblem(now, in: transaction) { isBehind = true }
        guard isBehind == (outlook.lastSignature != nil) else {
            throw APIError(.unavailable, "clockChanged", "the clock was accepted just now; retry")
        }
        var result = outlook
        guard isBehind else { return result }
        result.authorities = try authoritiesAhead(of: now, in: transaction)
        result.downstream = try downstreamAhead(of: now, in: transaction)
        result.forgotten.identities = try outlook.forgotten.identities.filter { id, item in
            let known = try transaction.revocation(of: id)?.issuedBefore ?? .distantPast
            return item.issuedBefore > known
        }
        result.forgotten.certificates = try outlook.forgotten.certificates.filter { serial, _ in
            try transaction.revokedCertificate(serial: serial) == nil
        }
        result.forgotten.authorities = try outlook.forgotten.authorities.filter {
            try transaction.authority(id: $0.record.id) == nil
        }
        result.forgotten.downstream = try outlook.forgotten.downstream.filter {
            try transaction.downstreamAuthority(id: $0.record.id) == nil
        }
        return result
    }

    /// Lets somebody sign whose certificate has begun, and revokes whoever has not.
    private func endAhead(
        _ outlook: ClockOutlook,
        _ signer: ClockSigner,
        _ missing: [String],
        by actor: Actor,
        _ now: Date,
        in transaction: Transaction
    ) throws {
        func end(_ record: AuthorityRecord) throws {
            try self.end(
                record,
                reason: Self.datedAhead,
                by: actor,
                now,
                in: transaction
            )
        }
        // First those that do not sign, so that the bundle has room for another one.
        for record in outlook.authorities where record.state != AuthorityRecord.activeState {
            try end(record)
        }
        try endDownstreamAhead(of: now, by: actor, in: transaction)
        let active = try transaction.authorities().first {
            $0.serverID == serverID && $0.state == AuthorityRecord.activeState
        }
        let next: String
        switch signer {
        case .same:
            guard !outlook.isSignerReplaced else {
                throw APIError(
                    .unavailable,
                    APIError.authorityChanged,
                    "the signing authority has just changed; retry"
                )
            }
            return
        case .prepared(let id): next = id
        case .made(let authority, let list, let storage, let roots):
            // With the clock that was behind none could enter.
            if authority.ancestry != nil {
                try settleRoots(roots, now: now, in: transaction)
            }
            _ = try publish(
                authority,
                below: UpstreamTrust.keyIDs(of: roots),
                list: list,
                keptIn: storage,
                by: actor,
                now: now,
                in: transaction
            )
            next = authority.id
        }
        _ = try activate(
            next,
            retiring: active?.id,
            missing: missing,
            by: actor,
            now: now,
            in: transaction
        )
        guard let active, active.notBefore > now else { return }
        try end(try requireAuthority(active.id, in: transaction))
    }

    /// A list of the future makes verifiers refuse everybody, and none could follow it before its
    /// time: the next round signs another one.
    func deleteListsAhead(of now: Date, in transaction: Transaction) throws {
        let own = Set(
            try transaction.authorities().filter { $0.serverID == serverID }.map(\.id)
        )
        let ahead = try transaction.revocationListBeginnings()
            .filter { own.contains($0.key) && $0.value > now }
        guard !ahead.isEmpty else { return }
        let number = try transaction.advanceRevision().number
        for id in ahead.keys.sorted() {
            try transaction.deleteRevocationList(of: id, number: number)
        }
    }

    private func authoritiesAhead(
        of now: Date,
        in transaction: ReadTransaction
    ) throws -> [AuthorityRecord] {
        try transaction.authorities().filter { record in
            record.serverID == serverID && record.notBefore > now
                && record.state != AuthorityRecord.revokedState
        }
    }

    /// Agents that could come back by themselves but for the wrong clock.
    private func agentsCutOff(
        at now: Date,
        in transaction: ReadTransaction
    ) throws -> [String] {
        let good = Set(
            try transaction.bundleAuthorities()
                .filter { $0.serverID != serverID || $0.notBefore <= now }.map(\.id)
        )
        var names: [String] = []
        var after: String?
        while true {
            let page = try transaction.nodes(after: after, limit: Self.nodesPerPage)
            for node in page where node.ban == nil {
                guard now < node.notAfter.addingTimeInterval(Self.readmissionSeconds) else {
                    continue
                }
                // Of one that the wrong clock forgot nobody knows who signed it, but the log.
                let intent =
                    try transaction.intent(serial: node.serial)
                    ?? issued(serial: node.serial, in: transaction)
                guard let intent, good.contains(intent.authorityID),
                    intent.notBefore ?? now <= now
                else {
                    names.append(node.name)
                    continue
                }
            }
            guard page.count == Self.nodesPerPage, let last = page.last else { return names }
            after = last.name
        }
    }

    /// How many nodes are read at once.
    private static let nodesPerPage = 500

    /// Why an authority that begins later is revoked, for people and the log.
    package static let datedAhead = "made while the server's clock was ahead"
}
