// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import ControlAPI
package import Datastore
package import FoundationEssentials
package import Issuance
internal import NodeSync
package import SPIFFE

internal import Crypto

/// The steps of a rotation, each one transaction, and each only from the state that it leaves: an
/// admin may have changed that since the step was decided.
extension ServerLogic {
    /// Publishes a new authority: from the commit on it is in the bundle.
    ///
    /// - Parameters:
    ///   - authority: The new one, not yet in the datastore.
    ///   - roots: The key IDs of the roots that are configured; nothing else is above a new one.
    ///   - list: Its first revocation list: from the commit on agents have both.
    ///   - storage: Where its key is kept, for the leaf.
    ///   - actor: Who asked for it: the schedule or an admin.
    ///   - now: The wall clock.
    ///   - transaction: Where all of it happens.
    /// - Returns: the authority as recorded.
    /// - Throws: `APIError` when the bundle is full, the key was an authority's before or the clock
    ///   is not believed.
    package func publish(
        _ authority: Authority,
        below roots: Set<String> = [],
        list: SignedRevocationList,
        keptIn storage: KeyStorage,
        by actor: Actor = rotation,
        now: Date,
        in transaction: Transaction
    ) throws -> Authority {
        try requireClock(now, in: transaction)
        // Verifiers refuse a larger bundle whole; roots count with what is below them.
        let published = try transaction.bundleAuthorities().count
        guard try published + transaction.bundleRoots().count < TrustBundle.authoritiesMax else {
            throw APIError(
                .failedPrecondition,
                "tooManyAuthorities",
                "the bundle already holds \(TrustBundle.authoritiesMax) authorities; wait until "
                    + "the SVIDs of an old one have expired, or revoke one"
            )
        }
        guard try transaction.authority(id: authority.id) == nil else {
            throw DatastoreError.constraint("there is an authority \(authority.id) already")
        }
        try requireNewKeys(of: authority, in: transaction)
        try recordAncestry(of: authority, below: roots, now: now, in: transaction)
        var record = authority
        record.publishedAt = now
        try transaction.put(AuthorityRecord(record))
        let revision = try transaction.recordBundleChange()
        let preparation = AuthorityPreparation(
            authority: keyIdentifier(ofAuthority: authority.id),
            certificateSHA256: Array(SHA256.hash(data: authority.certificateDER)),
            notBefore: AuditTime(authority.notBefore),
            notAfter: AuditTime(authority.notAfter),
            serverID: serverID,
            key: AuthorityPreparation.Key(
                type: try authority.keyAlgorithm().description,
                storage: storage.rawValue
            ),
            tokenKeyID: try authority.tokenAuthority()?.keyID,
            certificate: authority.certificateDER,
            tokenKey: authority.tokenKeySPKI,
            above: authority.ancestry.map {
                AuthorityPreparation.Above(
                    chain: $0.chain,
                    issuer: keyIdentifier(ofAuthority: $0.issuerID),
                    root: keyIdentifier(ofAuthority: $0.rootID)
                )
            }
        )
        try transaction.append(.authorityPrepared(preparation), by: actor, at: now)
        try put(
            list,
            number: revision.number,
            now: now,
            in: transaction
        )
        return record
    }

    /// A key that was an authority's, as either of its two, or is known above one, never becomes one
    /// again: it may have been revoked.
    func requireNewKeys(of authority: Authority, in transaction: Transaction) throws {
        func keys(_ certificate: [UInt8], _ second: [UInt8]?) -> [[UInt8]] {
            let first = try? LeafCertificate(der: certificate).spkiBytes
            return [first, second].compactMap(\.self)
        }
        let own = keys(authority.certificateDER, authority.tokenKeySPKI)
        guard Set(own).count == own.count else {
            throw DatastoreError.constraint("an authority has two keys, not one for both")
        }
        for known in try transaction.authorities() {
            let taken = keys(known.certificateDER, known.tokenKeySPKI)
            guard Set(taken).isDisjoint(with: own) else {
                throw DatastoreError.constraint("a key of it is or was authority \(known.id)'s")
            }
        }
        for known in try transaction.upstreams() {
            guard Set(keys(known.certificateDER, nil)).isDisjoint(with: own) else {
                throw DatastoreError.constraint("a key of it is upstream \(known.id)'s")
            }
        }
        for known in try transaction.downstreamAuthorities() {
            guard Set(keys(known.certificateDER, nil)).isDisjoint(with: own) else {
                throw DatastoreError.constraint("a key of it is \(known.id)'s of a server below")
            }
        }
    }

    /// Lets `id` sign from now on, and the one before no more.
    ///
    /// - Returns: the end of the last SVID that the retired authority has signed.
    /// - Throws: `APIError` (`authorityState`) unless `id` is prepared and `retiring` is the one that
    ///   is active.
    package func activate(
        _ id: String,
        retiring: String?,
        missing: [String],
        by actor: Actor = rotation,
        now: Date,
        in transaction: Transaction
    ) throws -> Date? {
        var lastSVIDNotAfter: Date?
        if let retiring {
            let old = try require(retiring, to: .active, in: transaction)
            lastSVIDNotAfter = try transaction.lastIssuedNotAfter(authorityID: retiring)
            try transaction.put(old.with(state: .old))
            try transaction.append(
                .authorityRetired(AuthorityStep(authority: keyIdentifier(ofAuthority: retiring))),
                by: actor,
                at: now
            )
        }
        let next = try require(id, to: .prepared, in: transaction)
        try transaction.put(next.with(state: .active, activatedAt: now))
        let activation = AuthorityActivation(
            authority: keyIdentifier(ofAuthority: id),
            previous: retiring.map(keyIdentifier(ofAuthority:)),
            missing: try missing.map { try agentID($0) }
        )
        try transaction.append(.authorityActivated(activation), by: actor, at: now)
        return lastSVIDNotAfter
    }

    /// Takes an authority out of the bundle whose SVIDs have expired; one that is tainted is revoked
    /// by that, and the record of one that is revoked goes when nobody can be away so long.
    ///
    /// - Throws: `APIError` (`authorityState`) for the active one, and for one that an admin has
    ///   revoked since its removal was decided.
    package func remove(_ id: String, now: Date, in transaction: Transaction) throws {
        guard let record = try transaction.authority(id: id) else { return }
        let step = AuthorityStep(authority: keyIdentifier(ofAuthority: id))
        switch try record.knownState() {
        case .active:
            throw Self.wrongState(record)
        case .old, .prepared:
            try transaction.deleteAuthority(id: id)
            let revision = try transaction.recordBundleChange()
            try transaction.deleteRevocationList(of: id, number: revision.number)
            try transaction.append(.authorityRemoved(step), by: Self.rotation, at: now)
        case .tainted:
            let distrust = record.distrust
            try end(record, reason: distrust?.reason ?? "", by: Self.rotation, now, in: transaction)
        case .revoked:
            let kept = AuthorityRotation.revokedKept / .seconds(1)
            guard now >= record.notAfter.addingTimeInterval(kept) else {
                throw Self.wrongState(record)
            }
            try transaction.deleteAuthority(id: id)
            let revision = try transaction.advanceRevision()
            try transaction.recordDistrust(of: id, number: revision.number, isRemoval: true)
            try transaction.append(.authorityForgotten(step), by: Self.rotation, at: now)
        }
    }

    /// Takes an authority out of the bundle that a restored server knows from the log alone and has no
    /// key of: nobody but the log says that it ever was one
    /// (docs/decisions/0022-backup-and-restore.md, "Restore").
    ///
    /// What it signed is believed no more, and asked for anew by its holders. One below a root, which
    /// stays, is revoked for that: else whoever has its key now would be believed until its end, and
    /// nobody could name it any more.
    package func leave(
        _ id: String,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws {
        guard let record = try transaction.authority(id: id) else { return }
        switch try record.knownState() {
        case .revoked: return
        case .tainted:
            let reason = record.distrust?.reason ?? ""
            try end(record, reason: reason, by: actor, now, in: transaction)
        case .active, .old, .prepared:
            guard record.ancestry == nil else {
                let reason = "its key is not here"
                try end(record, reason: reason, by: actor, now, in: transaction)
                return
            }
            try transaction.deleteAuthority(id: id)
            let revision = try transaction.recordBundleChange()
            try transaction.deleteRevocationList(of: id, number: revision.number)
            let step = AuthorityStep(authority: keyIdentifier(ofAuthority: id))
            try transaction.append(.authorityRemoved(step), by: actor, at: now)
        }
    }

    /// Takes the key for tokens of such an authority out of the bundle, of which the same is true; it
    /// has none any more.
    package func leaveTokenKey(of id: String, in transaction: Transaction) throws {
        guard let record = try transaction.authority(id: id), record.tokenKeySPKI != nil else {
            return
        }
        try transaction.put(
            AuthorityRecord(
                id: record.id,
                serverID: record.serverID,
                state: record.state,
                certificateDER: record.certificateDER,
                tokenKeySPKI: nil,
                publishedAt: record.publishedAt,
                activatedAt: record.activatedAt,
                notBefore: record.notBefore,
                notAfter: record.notAfter,
                ancestry: record.ancestry,
                distrust: record.distrust
            )
        )
        try transaction.recordBundleChange()
    }

    // MARK: - Acts of admins

    /// Has everything replaced that an authority signed
    /// (docs/decisions/0014-life-of-an-authority.md).
    ///
    /// - Returns: The authority as recorded.
    /// - Throws: `APIError` for one that is unknown, signs, or never has.
    package func taint(
        _ id: String,
        reason: String,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws -> AuthorityRecord {
        try check(reason)
        let record = try requireAuthority(id, in: transaction)
        switch try record.knownState() {
        case .active: throw Self.signs(record)
        case .prepared:
            throw APIError(
                .failedPrecondition,
                "authorityState",
                "authority \(id) has signed nothing that could be replaced; end it with "
                    + "signet authority revoke"
            )
        case .revoked: throw Self.wrongState(record)
        case .tainted: return record
        case .old: break
        }
        let tainted = record.with(
            state: .tainted,
            distrust: AuthorityDistrust(
                taintedAt: now,
                revokedAt: nil,
                reason: reason,
                actor: actor.description
            )
        )
        let revision = try transaction.advanceRevision()
        try transaction.put(tainted)
        try transaction.recordDistrust(of: id, number: revision.number, isRemoval: false)
        let act = AuthorityDistrustAct(
            authority: keyIdentifier(ofAuthority: id),
            reason: reason,
            tokensDeleted: UInt64(try transaction.deleteUnusedJoinTokens()),
            revision: revision.number
        )
        try transaction.append(.authorityTainted(act), by: actor, at: now)
        try strike(.authority(id), by: actor, at: now, in: transaction)
        return tainted
    }

    /// Ends an authority: it leaves the bundle, and what it signed counts no more.
    ///
    /// - Returns: The authority as recorded.
    /// - Throws: `APIError` for one that is unknown or signs.
    package func revokeAuthority(
        _ id: String,
        reason: String,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws -> AuthorityRecord {
        try check(reason)
        let record = try requireAuthority(id, in: transaction)
        switch try record.knownState() {
        case .active: throw Self.signs(record)
        case .revoked: return record
        case .old, .prepared, .tainted: break
        }
        return try end(record, reason: reason, by: actor, now, in: transaction)
    }

    /// Revokes an authority of which nobody need be asked any more.
    @discardableResult
    func end(
        _ record: AuthorityRecord,
        reason: String,
        by actor: Actor,
        _ now: Date,
        in transaction: Transaction
    ) throws -> AuthorityRecord {
        let revoked = record.with(
            state: .revoked,
            distrust: AuthorityDistrust(
                taintedAt: record.distrust?.taintedAt,
                revokedAt: now,
                reason: reason,
                actor: actor.description
            )
        )
        try transaction.put(revoked)
        let revision = try transaction.recordBundleChange()
        try transaction.recordDistrust(of: record.id, number: revision.number, isRemoval: false)
        try transaction.deleteRevocationList(of: record.id, number: revision.number)
        let act = AuthorityDistrustAct(
            authority: keyIdentifier(ofAuthority: record.id),
            reason: reason,
            // Those that pin a tainted one are deleted, and none is made any more.
            tokensDeleted: record.distrust?.taintedAt == nil
                ? UInt64(try transaction.deleteUnusedJoinTokens()) : 0,
            revision: revision.number
        )
        try transaction.append(.authorityRevoked(act), by: actor, at: now)
        try strike(.authority(record.id), by: actor, at: now, in: transaction)
        return revoked
    }

    // MARK: - Checks

    func check(_ reason: String) throws(APIError) {
        guard reason.utf8.count <= Self.reasonBytesMax else {
            throw APIError(
                .invalidArgument,
                "reasonTooLong",
                "a reason has at most \(Self.reasonBytesMax) bytes"
            )
        }
    }

    /// The record of an authority that an admin names.
    ///
    /// - Throws: `APIError` (`notFound`).
    package func requireAuthority(
        _ id: String,
        in transaction: ReadTransaction
    ) throws -> AuthorityRecord {
        guard let record = try transaction.authority(id: id) else {
            if try transaction.downstreamAuthority(id: id) != nil { throw Self.onlyRevoked }
            throw APIError(authorityUnknown: id)
        }
        return record
    }

    /// The record of an authority of this server's that may begin to sign.
    ///
    /// - Throws: `APIError` (`authorityState`, or `notFound`).
    func requirePrepared(_ id: String, in transaction: ReadTransaction) throws -> AuthorityRecord {
        let record = try require(id, to: .prepared, in: transaction)
        guard record.serverID == serverID else { throw Self.wrongState(record) }
        return record
    }

    private func require(
        _ id: String,
        to state: Authority.State,
        in transaction: ReadTransaction
    ) throws -> AuthorityRecord {
        let record = try requireAuthority(id, in: transaction)
        guard try record.knownState() == state else { throw Self.wrongState(record) }
        return record
    }

    private static func wrongState(_ record: AuthorityRecord) -> APIError {
        APIError(
            .failedPrecondition,
            "authorityState",
            "authority \(record.id) is \(record.state)"
        )
    }

    private static func signs(_ record: AuthorityRecord) -> APIError {
        APIError(
            .failedPrecondition,
            "authoritySigns",
            "authority \(record.id) is active, and something has to sign what replaces it; first run "
                + "signet authority rotate --now"
        )
    }

    /// Who a step of the schedule is by.
    package static let rotation = Actor.system("rotation")
}

extension AuthorityRecord {
    /// The record of an authority that has been published.
    init(_ authority: Authority) {
        self.init(
            id: authority.id,
            serverID: authority.serverID,
            state: authority.state.rawValue,
            certificateDER: authority.certificateDER,
            tokenKeySPKI: authority.tokenKeySPKI,
            publishedAt: authority.publishedAt ?? authority.notBefore,
            activatedAt: authority.activatedAt,
            notBefore: authority.notBefore,
            notAfter: authority.notAfter,
            ancestry: authority.ancestry
        )
    }

    /// The record in another state; what is not said stays.
    func with(
        state: Authority.State,
        activatedAt newlyActivated: Date? = nil,
        distrust newDistrust: AuthorityDistrust? = nil
    ) -> Self {
        Self(
            id: id,
            serverID: serverID,
            state: state.rawValue,
            certificateDER: certificateDER,
            tokenKeySPKI: tokenKeySPKI,
            publishedAt: publishedAt,
            activatedAt: newlyActivated ?? activatedAt,
            notBefore: notBefore,
            notAfter: notAfter,
            ancestry: ancestry,
            distrust: newDistrust ?? distrust
        )
    }

    /// - Throws: `DatastoreError.corrupt` for a state that this version does not know.
    func knownState() throws(DatastoreError) -> Authority.State {
        guard let known = Authority.State(rawValue: state) else {
            throw .corrupt("authority \(id) is in state \(state)")
        }
        return known
    }
}

extension Authority {
    /// What the datastore holds of an authority.
    ///
    /// - Throws: `DatastoreError.corrupt` for a state that this version does not know.
    package init(
        _ record: AuthorityRecord,
        in transaction: ReadTransaction
    ) throws {
        self.init(
            id: record.id,
            serverID: record.serverID,
            state: try record.knownState(),
            certificateDER: record.certificateDER,
            ancestry: record.ancestry,
            tokenKeySPKI: record.tokenKeySPKI,
            publishedAt: record.publishedAt,
            activatedAt: record.activatedAt,
            lastSVIDNotAfter: try transaction.lastIssuedNotAfter(authorityID: record.id),
            notBefore: record.notBefore,
            notAfter: record.notAfter
        )
    }
}

extension APIError {
    /// No authority has the ID, be it of this server, above it or of one below.
    init(authorityUnknown id: String) {
        self.init(
            .notFound,
            "authorityUnknown",
            "there is no authority \(id.prefix(64)); signet authority show lists them"
        )
    }
}
