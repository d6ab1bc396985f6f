// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import ControlAPI
internal import Crypto
package import Datastore
package import FoundationEssentials
internal import Issuance
package import NodeSync
package import SPIFFE

/// What an admin wants to be refused.
package struct RevocationOrder: Sendable {
    /// Longest time for which no SVID is signed for an identity: for longer, its entry is deleted.
    package static let secondsMax: UInt32 = 30 * 86_400

    package let spiffeID: SPIFFEID
    package let reason: String
    /// For how long from now nothing is signed for it either.
    package let seconds: UInt32

    package init(spiffeID: SPIFFEID, reason: String, seconds: UInt32) {
        self.spiffeID = spiffeID
        self.reason = reason
        self.seconds = seconds
    }
}

/// What a revocation did.
package struct RevocationResult: Sendable {
    package let revision: Revision
    package let revocation: RevokedIdentity
    /// Who still grants the identity, as far as the caller may know.
    package let granting: GrantingEntries
}

/// The entries that give an identity; each `namespace/name`, sorted.
package struct GrantingEntries: Hashable, Sendable {
    /// That name it, or by which an SVID was issued that is valid now.
    package internal(set) var named: [String] = []
    /// Whose ID has variables and may become it.
    package internal(set) var templates: [String] = []
    /// How many of both the caller may not get.
    package internal(set) var hidden = 0
    /// Whether there are more than were looked at.
    package internal(set) var isCut = false
}

extension ServerLogic {
    /// How wrong a verifier's clock may be: what a revocation refuses counts as ended only so long
    /// after its notAfter.
    package static let clockSkewSeconds: TimeInterval = 60
    /// Most entries that the answer to a revocation names.
    package static let grantingEntriesMax = 100
    /// Most entries with variables that a revocation looks at: a few milliseconds in which other
    /// writes wait.
    package static let revokedTemplatesMax = 1_000

    /// Refuses every SVID of an identity that was issued so far.
    ///
    /// The moment lies after the last issuance on record, whatever the clock said then, and for one
    /// identity it only ever rises.
    ///
    /// - Throws: `APIError` when the caller may not, nothing of the identity can be there, or too many
    ///   are revoked; `DatastoreError`.
    package func revoke(
        _ order: RevocationOrder,
        by caller: AdminStanding,
        in transaction: Transaction
    ) throws -> RevocationResult {
        let id = order.spiffeID
        try caller.require(.revoke, spiffeID: id.description)
        try check(order)
        let issuance = try transaction.issuance(of: id)
        let named = try naming(id, at: caller.now, in: transaction)
        let tokens = try transaction.tokenIssuance(of: id)
        guard issuance != nil || tokens != nil || !named.isEmpty else {
            throw APIError(
                .notFound,
                "identityUnknown",
                "no entry gives \(id), and no SVID of it is on record"
            )
        }
        let known = try transaction.revocation(of: id)
        if known == nil, try transaction.revocationCount() >= RevokedIdentity.countMax {
            throw APIError(
                .exhausted,
                "tooManyRevocations",
                "\(RevokedIdentity.countMax) identities are revoked already; delete the entry "
                    + "instead, and wait until older revocations have ended"
            )
        }
        let revision = try transaction.advanceRevision()
        let revocation = try refuse(order, by: caller, revision, in: transaction)
        return RevocationResult(
            revision: revision,
            revocation: revocation,
            granting: try granting(id, named, visibleTo: caller, in: transaction)
        )
    }

    /// Records that what was issued for an identity is refused, whoever may want that.
    ///
    /// A clock that is not believed does not count: the moment could not be lowered again.
    @discardableResult
    func refuse(
        _ order: RevocationOrder,
        isClockBelieved: Bool = true,
        by caller: AdminStanding,
        _ revision: Revision,
        in transaction: Transaction
    ) throws -> RevokedIdentity {
        let id = order.spiffeID
        let revocation = revocation(
            order,
            try transaction.issuance(of: id),
            try transaction.tokenIssuance(of: id),
            try transaction.revocation(of: id),
            isClockBelieved: isClockBelieved,
            by: caller
        )
        try transaction.put(revocation, number: revision.number)
        try transaction.append(
            .identityRevoked(
                IdentityRevocation(
                    spiffeID: id,
                    issuedBefore: AuditTime(revocation.issuedBefore),
                    reason: order.reason,
                    revision: revision.number
                )
            ),
            by: caller.actor,
            at: caller.now
        )
        try strike(.actor(id.description), by: caller.actor, at: caller.now, in: transaction)
        return revocation
    }

    private func check(_ order: RevocationOrder) throws(APIError) {
        let id = order.spiffeID
        guard id.trustDomain == trustDomain else {
            throw APIError(
                .invalidArgument,
                "identityNotRevocable",
                "\(id) is of another trust domain than this server's, \(trustDomain): it is revoked "
                    + "where it was issued"
            )
        }
        guard !id.path.isEmpty, !id.isReserved else {
            throw APIError(
                .invalidArgument,
                "identityNotRevocable",
                "\(id) is no identity of a workload; agents are banned with signet agent ban"
            )
        }
        guard order.reason.utf8.count <= Self.reasonBytesMax else {
            throw APIError(
                .invalidArgument,
                "reasonTooLong",
                "a reason has at most \(Self.reasonBytesMax) bytes"
            )
        }
        guard order.seconds <= RevocationOrder.secondsMax else {
            throw APIError(
                .invalidArgument,
                "revocationTooLong",
                "an identity is revoked for at most \(RevocationOrder.secondsMax) seconds; to end it "
                    + "for good, delete its entry"
            )
        }
    }

    private func revocation(
        _ order: RevocationOrder,
        _ issuance: (lastNotBefore: Date?, lastNotAfter: Date)?,
        _ tokens: (issuedAt: Date, notAfter: Date)?,
        _ known: RevokedIdentity?,
        isClockBelieved: Bool,
        by caller: AdminStanding
    ) -> RevokedIdentity {
        let now = isClockBelieved ? caller.now : Date(timeIntervalSince1970: 0)
        let backdate = lifetimes.backdate / .seconds(1)
        // Where a record of before migration 0010 does not tell its beginning, its end is after it.
        let unclear = isClockBelieved ? nil : issuance?.lastNotAfter
        let issued = issuance?.lastNotBefore?.addingTimeInterval(backdate) ?? unclear
        let last = max(now, issued ?? now, tokens?.issuedAt ?? now).timeIntervalSince1970
        let asked = now.timeIntervalSince1970 + Double(order.seconds)
        let seconds = max(last.rounded(.down) + 1, asked.rounded(.up))
        let before = max(
            Date(timeIntervalSince1970: seconds),
            known?.issuedBefore ?? .distantPast
        )
        // Also what this datastore does not know of: it may have been restored from a backup.
        let longest = max(lifetimes.workloadMax, TokenLifetimes.tokenMax)
        let unknown = caller.now.addingTimeInterval(longest / .seconds(1))
        let ends = max(
            before,
            unknown,
            issuance?.lastNotAfter ?? before,
            tokens?.notAfter ?? before
        )
        .addingTimeInterval(Self.clockSkewSeconds)
        return RevokedIdentity(
            spiffeID: order.spiffeID,
            name: Self.name(ofRevoked: order.spiffeID),
            issuedBefore: before,
            ends: max(ends, known?.ends ?? ends),
            reason: order.reason,
            actor: caller.actor.description,
            revokedAt: caller.now
        )
    }

    /// By which agents know the revocation of an identity; an ID itself may be longer than a name.
    static func name(ofRevoked id: SPIFFEID) -> String {
        "identity:" + Hexadecimal.text(SHA256.hash(data: Array(id.description.utf8)))
    }

    /// The entries that name an identity, and those by which what is valid now was issued.
    private func naming(
        _ id: SPIFFEID,
        at now: Date,
        in transaction: ReadTransaction
    ) throws -> [RegistrationEntry] {
        var found = try transaction.entries(
            spiffeIDPrefix: id.description,
            limit: Self.grantingEntriesMax + 1
        ).filter { $0.spiffeID == id.description }
        let issued = try transaction.intents(
            spiffeID: id.description,
            validAfter: now,
            limit: Self.grantingEntriesMax
        )
        let tokens = try transaction.tokenEntries(
            of: id,
            validAfter: now,
            limit: Self.grantingEntriesMax
        )
        for entryID in Set(issued.compactMap(\.entryID) + tokens) {
            guard !found.contains(where: { $0.id == entryID }),
                let entry = try transaction.entry(id: entryID)
            else { continue }
            found.append(entry)
        }
        return found
    }

    /// What the answer to a revocation says of the entries that give the identity.
    private func granting(
        _ id: SPIFFEID,
        _ named: [RegistrationEntry],
        visibleTo caller: AdminStanding,
        in transaction: ReadTransaction
    ) throws -> GrantingEntries {
        let read = try transaction.templates(beginningAs: id, limit: Self.revokedTemplatesMax + 1)
        let known = Set(named.map(\.id))
        let templates = read.prefix(Self.revokedTemplatesMax)
            .filter { $0.mayGive(id) && !known.contains($0.id) }
        func visible(_ entries: [RegistrationEntry]) -> [String] {
            entries.filter { entry in
                caller.may(
                    .get,
                    kind: AdminRule.registrationKind,
                    namespace: entry.namespace,
                    spiffeID: entry.spiffeID
                )
            }
            .map { "\($0.namespace)/\($0.name)" }.sorted()
        }
        var result = GrantingEntries()
        result.named = visible(named)
        result.templates = visible(templates)
        result.hidden =
            named.count + templates.count - result.named.count - result.templates.count
        result.isCut =
            read.count > Self.revokedTemplatesMax
            || max(named.count, result.templates.count) > Self.grantingEntriesMax
        result.named = Array(result.named.prefix(Self.grantingEntriesMax))
        result.templates = Array(result.templates.prefix(Self.grantingEntriesMax))
        return result
    }
}
