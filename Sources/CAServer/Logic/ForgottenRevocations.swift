// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
package import Datastore
package import FoundationEssentials
internal import Issuance
internal import NodeSync
internal import SPIFFE

/// Revocations that a clock which was ahead had ended, although what they refuse has not.
package struct ForgottenRevocations: Sendable {
    /// The moment and the reason of each identity's.
    var identities: [SPIFFEID: (issuedBefore: Date, reason: String)] = [:]
    /// By serial number, with the reason.
    package var certificates: [[UInt8]: (intent: IssuanceIntent, reason: String)] = [:]
    /// Authorities as they were published, with the reason of each one's revocation.
    var authorities: [(record: AuthorityRecord, reason: String)] = []

    /// Authorities of servers below; nil: it was not revoked, and its record alone has gone, without
    /// which nobody can revoke it.
    var downstream: [(record: DownstreamRecord, revocation: DownstreamRevocation?)] = []

    /// How many revocations.
    package var count: Int {
        identities.count + certificates.count + authorities.count
            + downstream.count { $0.revocation != nil }
    }

    /// How many authorities of servers below are put on record again.
    package var recorded: Int { downstream.count { $0.revocation == nil } }
}

/// Which of them count again.
struct RevokedAgain: Sendable {
    var certificates: [RevokedCertificate] = []
    var identities = 0
    /// The IDs of authorities.
    var authorities: [String] = []
    /// For how many there was no room.
    var left = 0

    var count: Int { certificates.count + identities + authorities.count }
}

extension ServerLogic {
    /// Finds in the log what was revoked lately and is not on record as revoked.
    ///
    /// - Parameters:
    ///   - now: The wall clock, which somebody says is right.
    ///   - transaction: What is known; all records since `now` minus the longest SVID of an entry
    ///     are looked at that tell of revocations, of authorities all there are.
    /// - Returns: What to revoke again.
    /// - Throws: `DatastoreError`.
    package func forgottenRevocations(
        now: Date,
        in transaction: ReadTransaction
    ) throws -> ForgottenRevocations {
        var found = ForgottenRevocations()
        let since = now.addingTimeInterval(-lastingSeconds)
        try forEach(.identityRevoked, since: since, in: transaction) { _, record in
            guard case .identityRevoked(let act) = record.event else { return }
            let before = act.issuedBefore.date
            // As long as it was kept at least when it was made.
            let ends = max(before, record.time.date.addingTimeInterval(lastingSeconds))
            guard ends.addingTimeInterval(Self.clockSkewSeconds) > now else { return }
            let known = try transaction.revocation(of: act.spiffeID)?.issuedBefore
            let other = found.identities[act.spiffeID]?.issuedBefore
            guard before > max(known ?? .distantPast, other ?? .distantPast) else { return }
            found.identities[act.spiffeID] = (before, act.reason)
        }
        try forEach(.certificateRevoked, since: since, in: transaction) { _, record in
            guard case .certificateRevoked(let act) = record.event else { return }
            let intent = try issued(serial: act.serial, in: transaction)
            guard let intent, try isForgotten(intent, now, in: transaction) else { return }
            found.certificates[intent.serial] = (intent, act.reason)
        }
        try forEach(.nodeCertificatesRevoked, since: since, in: transaction) { index, record in
            guard case .nodeCertificatesRevoked(let act) = record.event, act.certificates > 0 else {
                return
            }
            // Its numbers alone are in the record: whatever the node held at that place of the log.
            try forEach(.svidsIssued, since: since, of: act.agent, in: transaction) {
                issuedAt,
                issuance in
                guard issuedAt < index else { return }
                for intent in intents(of: issuance, leaf: issuedAt, agent: act.agent)
                where intent.entryID != nil {
                    guard try isForgotten(intent, now, in: transaction) else { continue }
                    found.certificates[intent.serial] = (intent, act.reason)
                }
            }
        }
        found.authorities = try forgottenAuthorities(now: now, in: transaction)
        found.downstream = try forgottenDownstream(now: now, in: transaction)
        return found
    }

    /// Finds authorities of servers below whose records went before their time, with the revocation of
    /// those that have one.
    private func forgottenDownstream(
        now: Date,
        in transaction: ReadTransaction
    ) throws -> [(record: DownstreamRecord, revocation: DownstreamRevocation?)] {
        let kept = AuthorityRotation.revokedKept / .seconds(1)
        // None lives for more than 7 days, and none is kept for longer than that.
        let since = now.addingTimeInterval(-2 * kept - Retention.expiredIntentSeconds)
        var revocations: [String: DownstreamRevocation] = [:]
        try forEach(.downstreamAuthorityRevoked, since: since, in: transaction) { _, record in
            guard case .downstreamAuthorityRevoked(let act) = record.event else { return }
            revocations[Hexadecimal.text(act.authority)] = act
        }
        var found: [String: DownstreamRecord] = [:]
        try forEach(.downstreamAuthorityCertified, since: since, in: transaction) { _, record in
            guard case .downstreamAuthorityCertified(let event) = record.event else { return }
            let id = Hexadecimal.text(event.authority)
            let kept = revocations[id] == nil ? Retention.expiredIntentSeconds : kept
            guard event.notAfter.date.addingTimeInterval(kept) > now,
                found[id].map({ $0.notAfter < event.notAfter.date }) ?? true,
                try transaction.downstreamAuthority(id: id) == nil
            else { return }
            found[id] = try DownstreamRecord(
                event,
                node: agentName(of: event.agent) ?? "",
                at: record.time.date
            )
        }
        return found.values.sorted { $0.id < $1.id }.map { ($0, revocations[$0.id]) }
    }

    /// The IDs whose records have gone later than now, of those that are meant.
    private func forgotten(
        since now: Date,
        in transaction: ReadTransaction,
        _ isMeant: (String) throws -> Bool
    ) throws -> Set<String> {
        var forgotten: Set<String> = []
        try forEach(.authorityForgotten, since: now, in: transaction) { _, record in
            guard case .authorityForgotten(let step) = record.event else { return }
            let id = Hexadecimal.text(step.authority)
            if try isMeant(id) { forgotten.insert(id) }
        }
        return forgotten
    }

    /// Finds revoked authorities whose records went by a clock that was ahead: below a root they are
    /// believed until their end, and nobody could revoke them again.
    ///
    /// - Returns: Their records; of none of which the log has no certificate.
    private func forgottenAuthorities(
        now: Date,
        in transaction: ReadTransaction
    ) throws -> [(record: AuthorityRecord, reason: String)] {
        var forgotten = try forgotten(since: now, in: transaction) {
            try transaction.authority(id: $0) == nil
        }
        guard !forgotten.isEmpty else { return [] }
        var reasons: [String: String] = [:]
        try forEach(.authorityRevoked, since: nil, in: transaction) { _, record in
            guard case .authorityRevoked(let act) = record.event else { return }
            reasons[Hexadecimal.text(act.authority)] = act.reason
        }
        var found: [(record: AuthorityRecord, reason: String)] = []
        try forEach(.authorityPrepared, since: nil, in: transaction) { _, record in
            guard case .authorityPrepared(let event) = record.event else { return }
            let id = Hexadecimal.text(event.authority)
            let kept = AuthorityRotation.revokedKept / .seconds(1)
            guard forgotten.contains(id), event.notAfter.date.addingTimeInterval(kept) > now,
                let known = try AuthorityRecord(event, publishedAt: record.time.date)
            else { return }
            // A key is an authority's once.
            forgotten.remove(id)
            found.append((known, reasons[id] ?? ""))
        }
        return found
    }

    /// Revokes again what a wrong clock had ended, as far as there is room.
    func revokeAgain(
        _ forgotten: ForgottenRevocations,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws -> RevokedAgain {
        var result = RevokedAgain()
        guard forgotten.count + forgotten.recorded > 0 else { return result }
        let revision = try transaction.advanceRevision().number
        for (record, reason) in forgotten.authorities {
            try revokeAgain(record, reason, actor, now, revision, transaction)
            result.authorities.append(record.id)
        }
        for (record, revocation) in forgotten.downstream {
            let chain = record.ancestry.chain
            for above in try unrecorded(chain, now: now, in: transaction) {
                try transaction.put(above)
            }
            try transaction.put(record)
            let isAhead = record.notBefore > now
            guard revocation != nil || isAhead else { continue }
            try revokeDownstream(
                [record],
                revocation?.cause ?? .clock,
                reason: revocation?.reason ?? Self.datedAhead,
                by: actor,
                now: now,
                in: transaction
            )
            result.authorities.append(record.id)
        }
        var room = RevokedIdentity.countMax - (try transaction.revocationCount())
        for (id, item) in forgotten.identities.sorted(by: {
            $0.key.description < $1.key.description
        }) {
            if try transaction.revocation(of: id) == nil {
                guard room > 0 else {
                    result.left += 1
                    continue
                }
                room -= 1
            }
            try revokeAgain(id, item.issuedBefore, item.reason, actor, now, revision, transaction)
            result.identities += 1
        }
        room = RevokedCertificate.countMax - (try transaction.revokedCertificateCount())
        let certificates = forgotten.certificates.values.sorted {
            $0.intent.notAfter > $1.intent.notAfter
        }
        for (intent, reason) in certificates.prefix(max(0, room)) {
            result.certificates.append(
                try revokeAgain(intent, reason, actor, now, revision, transaction)
            )
        }
        result.left += certificates.count - result.certificates.count
        return result
    }

    /// It is in no bundle, so that nobody but those who believe what is above it learns anything.
    private func revokeAgain(
        _ record: AuthorityRecord,
        _ reason: String,
        _ actor: Actor,
        _ now: Date,
        _ revision: UInt64,
        _ transaction: Transaction
    ) throws {
        let chain = record.ancestry?.chain ?? []
        for above in try unrecorded(chain, now: now, in: transaction) { try transaction.put(above) }
        let distrust = AuthorityDistrust(
            taintedAt: nil,
            revokedAt: now,
            reason: reason,
            actor: actor.description
        )
        try transaction.put(record.with(state: .revoked, distrust: distrust))
        try transaction.recordDistrust(of: record.id, number: revision, isRemoval: false)
        let act = AuthorityDistrustAct(
            authority: keyIdentifier(ofAuthority: record.id),
            reason: reason,
            tokensDeleted: 0,
            revision: revision
        )
        try transaction.append(.authorityRevoked(act), by: actor, at: now)
    }

    private func revokeAgain(
        _ id: SPIFFEID,
        _ before: Date,
        _ reason: String,
        _ actor: Actor,
        _ now: Date,
        _ revision: UInt64,
        _ transaction: Transaction
    ) throws {
        let ends = max(before, now.addingTimeInterval(lastingSeconds))
        try transaction.put(
            RevokedIdentity(
                spiffeID: id,
                name: Self.name(ofRevoked: id),
                issuedBefore: before,
                ends: ends.addingTimeInterval(Self.clockSkewSeconds),
                reason: reason,
                actor: actor.description,
                revokedAt: now
            ),
            number: revision
        )
        let act = IdentityRevocation(
            spiffeID: id,
            issuedBefore: AuditTime(before),
            reason: reason,
            revision: revision
        )
        try transaction.append(.identityRevoked(act), by: actor, at: now)
    }

    private func revokeAgain(
        _ intent: IssuanceIntent,
        _ reason: String,
        _ actor: Actor,
        _ now: Date,
        _ revision: UInt64,
        _ transaction: Transaction
    ) throws -> RevokedCertificate {
        let certificate = RevokedCertificate(
            intent,
            ends: intent.notAfter.addingTimeInterval(Self.clockSkewSeconds),
            reason: reason,
            actor: actor.description,
            revokedAt: now
        )
        try transaction.put(certificate, number: revision)
        let act = CertificateRevocation(
            serial: intent.serial,
            spiffeID: try SPIFFEID(intent.spiffeID),
            node: intent.node,
            authority: keyIdentifier(ofAuthority: intent.authorityID),
            reason: reason,
            revision: revision
        )
        try transaction.append(.certificateRevoked(act), by: actor, at: now)
        return certificate
    }

    /// How long anything lasts at most that was signed for an entry.
    private var lastingSeconds: TimeInterval {
        max(lifetimes.workloadMax, TokenLifetimes.tokenMax) / .seconds(1)
    }

    /// Whether a certificate that was revoked can still be shown, and is not refused.
    private func isForgotten(
        _ intent: IssuanceIntent,
        _ now: Date,
        in transaction: ReadTransaction
    ) throws -> Bool {
        try intent.notAfter.addingTimeInterval(Self.clockSkewSeconds) > now
            && transaction.revokedCertificate(serial: intent.serial) == nil
    }

    /// What the log says of the certificate with this serial number; nil if it has none.
    func issued(
        serial: [UInt8],
        in transaction: ReadTransaction
    ) throws -> IssuanceIntent? {
        var filter = AuditLeafFilter()
        filter.event = AuditEvent.Name.svidsIssued.rawValue
        filter.serial = Hexadecimal.text(serial)
        guard let leaf = try transaction.queryLeaves(filter, limit: 1).first else { return nil }
        let record = try AuditRecord(parsing: leaf.bytes)
        guard case .svidsIssued(let issuance) = record.event else { return nil }
        return intents(of: record, leaf: leaf.index, agent: issuance.agent)
            .first { $0.serial == serial }
    }

    /// The certificates of one record, as they stood in the datastore.
    private func intents(
        of record: AuditRecord,
        leaf: UInt64,
        agent: SPIFFEID?
    ) -> [IssuanceIntent] {
        guard case .svidsIssued(let issuance) = record.event, issuance.agent == agent else {
            return []
        }
        return issuance.svids.map { svid in
            IssuanceIntent(
                serial: svid.serial,
                authorityID: Hexadecimal.text(issuance.authority),
                spiffeID: svid.spiffeID.description,
                entryID: svid.entry?.id,
                entryRevision: svid.entry?.revision,
                tbsSHA256: svid.tbsSHA256,
                notAfter: svid.notAfter.date,
                node: agent.flatMap(agentName(of:)) ?? "",
                proxy: svid.proxy,
                revision: 0,
                leafIndex: leaf
            )
        }
    }

    /// Reads records of one event page by page, the oldest first; one that cannot be read is passed
    /// over, as `signet audit verify` names it.
    private func forEach(
        _ event: AuditEvent.Name,
        since: Date?,
        of id: SPIFFEID? = nil,
        in transaction: ReadTransaction,
        _ body: (UInt64, AuditRecord) throws -> Void
    ) throws {
        var filter = AuditLeafFilter()
        filter.event = event.rawValue
        filter.spiffeID = id?.description
        filter.since = since
        var after: UInt64?
        while true {
            let page = try transaction.queryLeaves(
                filter,
                limit: Self.recordsPerPage,
                after: after
            )
            for leaf in page {
                guard let record = try? AuditRecord(parsing: leaf.bytes) else { continue }
                try body(leaf.index, record)
            }
            guard page.count == Self.recordsPerPage, let last = page.last else { return }
            after = last.index
        }
    }

    /// How many records are read at once.
    private static let recordsPerPage = 1_000
}

extension DownstreamRecord {
    /// One as the log tells of it.
    fileprivate init(
        _ event: DownstreamCertification,
        node: String,
        at time: Date
    ) throws {
        self.init(
            id: Hexadecimal.text(event.authority),
            entry: Entry(
                id: event.entry.id,
                namespace: event.entry.namespace,
                name: event.entryName,
                revision: event.entry.revision,
                spiffeID: event.spiffeID.description
            ),
            node: node,
            serverID: event.serverID,
            certificateDER: event.certificate,
            ancestry: try AuthorityAncestry(
                chain: event.above.chain,
                rootID: Hexadecimal.text(event.above.root)
            ),
            certifiedAt: time,
            notBefore: event.notBefore.date,
            notAfter: event.notAfter.date
        )
    }
}

extension AuthorityRecord {
    /// An authority as it was published, of which nothing later is on record.
    var asPublished: Self {
        Self(
            id: id,
            serverID: serverID,
            state: Authority.State.prepared.rawValue,
            certificateDER: certificateDER,
            tokenKeySPKI: tokenKeySPKI,
            publishedAt: publishedAt,
            activatedAt: nil,
            notBefore: notBefore,
            notAfter: notAfter,
            ancestry: ancestry
        )
    }

    /// The same as the log tells of it; nil if the log has no certificate.
    fileprivate init?(_ event: AuthorityPreparation, publishedAt: Date) throws {
        guard let certificate = event.certificate else { return nil }
        self.init(
            id: Hexadecimal.text(event.authority),
            serverID: event.serverID,
            state: Authority.State.prepared.rawValue,
            certificateDER: certificate,
            tokenKeySPKI: event.tokenKey,
            publishedAt: publishedAt,
            activatedAt: nil,
            notBefore: event.notBefore.date,
            notAfter: event.notAfter.date,
            ancestry: try event.above.map {
                try AuthorityAncestry(chain: $0.chain, rootID: Hexadecimal.text($0.root))
            }
        )
    }
}
