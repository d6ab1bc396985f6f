// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import ControlAPI
package import Datastore
package import FoundationEssentials
package import Issuance
internal import SPIFFE

internal import Crypto

/// The steps of a rotation, each one transaction.
extension ServerLogic {
    /// Publishes a new authority: from the commit on it is in the bundle.
    ///
    /// - Parameters:
    ///   - authority: The new one, not yet in the datastore.
    ///   - storage: Where its key is kept, for the leaf.
    ///   - now: The wall clock.
    ///   - transaction: Where all of it happens.
    /// - Returns: the authority as recorded.
    /// - Throws: `APIError` when the bundle is full or the clock is not believed.
    package func publish(
        _ authority: Authority,
        keptIn storage: KeyStorage,
        now: Date,
        in transaction: Transaction
    ) throws -> Authority {
        try requireClock(now, in: transaction)
        // Verifiers refuse a larger bundle whole.
        guard try transaction.authorities().count < TrustBundle.authoritiesMax else {
            throw APIError(
                .failedPrecondition,
                "tooManyAuthorities",
                "the bundle already holds \(TrustBundle.authoritiesMax) authorities; wait until "
                    + "the SVIDs of an old one have expired"
            )
        }
        var published = authority
        published.publishedAt = now
        try transaction.put(AuthorityRecord(published))
        try transaction.recordBundleChange()
        let preparation = AuthorityPreparation(
            authority: Hex.bytes(authority.id),
            certificateSHA256: Array(SHA256.hash(data: authority.certificateDER)),
            notBefore: AuditTime(authority.notBefore),
            notAfter: AuditTime(authority.notAfter),
            serverID: serverID,
            key: AuthorityPreparation.Key(
                type: try authority.keyAlgorithm().description,
                storage: storage.rawValue
            )
        )
        try transaction.append(.authorityPrepared(preparation), by: Self.rotation, at: now)
        return published
    }

    /// Lets `id` sign from now on, and the one before no more.
    ///
    /// - Returns: the end of the last SVID that the retired authority has signed.
    package func activate(
        _ id: String,
        retiring: String?,
        missing: [String],
        now: Date,
        in transaction: Transaction
    ) throws -> Date? {
        var lastSVIDNotAfter: Date?
        if let retiring, let old = try transaction.authority(id: retiring) {
            lastSVIDNotAfter = try transaction.lastIssuedNotAfter(authorityID: retiring)
            try transaction.put(old.with(state: .old, activatedAt: old.activatedAt))
            try transaction.append(
                .authorityRetired(AuthorityStep(authority: Hex.bytes(retiring))),
                by: Self.rotation,
                at: now
            )
        }
        guard let next = try transaction.authority(id: id) else {
            throw DatastoreError.constraint("authority \(id) is gone")
        }
        try transaction.put(next.with(state: .active, activatedAt: now))
        let activation = AuthorityActivation(
            authority: Hex.bytes(id),
            previous: retiring.map(Hex.bytes),
            missing: try missing.map { try agentID($0) }
        )
        try transaction.append(.authorityActivated(activation), by: Self.rotation, at: now)
        return lastSVIDNotAfter
    }

    /// Takes an authority out of the bundle.
    package func remove(_ id: String, now: Date, in transaction: Transaction) throws {
        guard try transaction.deleteAuthority(id: id) else { return }
        try transaction.recordBundleChange()
        try transaction.append(
            .authorityRemoved(AuthorityStep(authority: Hex.bytes(id))),
            by: Self.rotation,
            at: now
        )
    }

    private static let rotation = Actor.system("rotation")
}

extension AuthorityRecord {
    /// The record of an authority that has been published.
    init(_ authority: Authority) {
        self.init(
            id: authority.id,
            serverID: authority.serverID,
            state: authority.state.rawValue,
            certificateDER: authority.certificateDER,
            publishedAt: authority.publishedAt ?? authority.notBefore,
            activatedAt: authority.activatedAt,
            notBefore: authority.notBefore,
            notAfter: authority.notAfter
        )
    }

    func with(state: Authority.State, activatedAt: Date?) -> Self {
        Self(
            id: id,
            serverID: serverID,
            state: state.rawValue,
            certificateDER: certificateDER,
            publishedAt: publishedAt,
            activatedAt: activatedAt,
            notBefore: notBefore,
            notAfter: notAfter
        )
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
        guard let state = State(rawValue: record.state) else {
            throw DatastoreError.corrupt("authority \(record.id) is in state \(record.state)")
        }
        self.init(
            id: record.id,
            serverID: record.serverID,
            state: state,
            certificateDER: record.certificateDER,
            publishedAt: record.publishedAt,
            activatedAt: record.activatedAt,
            lastSVIDNotAfter: try transaction.lastIssuedNotAfter(authorityID: record.id),
            notBefore: record.notBefore,
            notAfter: record.notAfter
        )
    }
}
