// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
package import NodeSync
package import SPIFFE

/// Who a datastore belongs to; written once, when it is created.
package struct StoreIdentity: Hashable, Sendable {
    package let trustDomain: TrustDomain
    /// Names the server in `/signet/server/<id>`, in its authorities and its audit log's origin.
    package let serverID: String
    /// New with each datastore and each restore.
    package let epoch: Epoch
    package let createdAt: Date

    package init(trustDomain: TrustDomain, serverID: String, epoch: Epoch, createdAt: Date) {
        self.trustDomain = trustDomain
        self.serverID = serverID
        self.epoch = epoch
        self.createdAt = createdAt
    }

    /// The name of a server's first audit log.
    package var firstLogOrigin: String { "\(trustDomain)/audit/\(serverID)" }

    /// The name of the log that a restore begins, which made this epoch.
    package var restoredLogOrigin: String { "\(firstLogOrigin)/\(Hexadecimal.text(epoch.bytes))" }
}

extension ReadTransaction {
    /// Who the store belongs to; nil before `establish`.
    package func identity() throws(DatastoreError) -> StoreIdentity? {
        try first(
            "SELECT trust_domain, server_id, epoch, created_at FROM meta"
        ) { row throws(DatastoreError) in
            do {
                return StoreIdentity(
                    trustDomain: try TrustDomain(row.value("trust_domain")),
                    serverID: try row.value("server_id"),
                    epoch: try Epoch(bytes: row.bytes("epoch")),
                    createdAt: try row.date("created_at")
                )
            } catch let error as DatastoreError {
                throw error
            } catch {
                throw .corrupt("the identity of the store: \(error)")
            }
        }
    }

    /// The revision of what this transaction sees.
    ///
    /// - Throws: `DatastoreError.notEstablished` before `establish`.
    package func revision() throws(DatastoreError) -> Revision {
        let revision = try first("SELECT epoch, revision FROM meta") { row in
            Revision(
                epoch: try Epoch(bytes: row.bytes("epoch")),
                number: try row.number("revision")
            )
        }
        guard let revision else { throw .notEstablished }
        return revision
    }

    /// The latest wall-clock time a signature was made at, nil before the first.
    package func clockHighWater() throws(DatastoreError) -> Date? {
        try first("SELECT clock_high_water FROM meta") { row in
            try row.optionalDate("clock_high_water")
        } ?? nil
    }
}

extension Transaction {
    /// Gives the store its identity.
    ///
    /// - Throws: `DatastoreError.alreadyEstablished` when it has one.
    package func establish(_ identity: StoreIdentity) throws(DatastoreError) {
        guard try self.identity() == nil else { throw .alreadyEstablished }
        try execute(
            """
            INSERT INTO meta (id, trust_domain, server_id, epoch, revision, changes_floor, created_at)
            VALUES (1, ?, ?, ?, 0, 0, ?)
            """,
            [
                identity.trustDomain.name, identity.serverID, identity.epoch.bytes.stored,
                identity.createdAt.storedMilliseconds,
            ]
        )
    }

    /// Takes the next revision number for everything this transaction changes.
    ///
    /// The row is updated inside the transaction, so whoever sees number n sees everything below
    /// n. Taking it again within one transaction returns the same number: one act, one number.
    ///
    /// - Throws: `DatastoreError.notEstablished` before `establish`.
    @discardableResult
    package func advanceRevision() throws(DatastoreError) -> Revision {
        if takenRevision == nil {
            try execute("UPDATE meta SET revision = revision + 1")
        }
        let revision = try revision()
        takenRevision = revision.number
        return revision
    }

    /// Starts a new epoch, as every restore must: subscribers then start over with a snapshot.
    ///
    /// Numbers go on from where they are; changes of the old epoch are no longer a delta's source.
    package func beginEpoch(_ epoch: Epoch) throws(DatastoreError) {
        try execute("DELETE FROM changes")
        let rows = try execute(
            "UPDATE meta SET epoch = ?, changes_floor = revision",
            [epoch.bytes.stored]
        )
        guard rows == 1 else { throw .notEstablished }
    }

    /// Raises the clock's high-water mark; an earlier time leaves it as it is.
    package func raiseClockHighWater(to now: Date) throws(DatastoreError) {
        let time = now.storedMilliseconds
        try execute(
            "UPDATE meta SET clock_high_water = max(coalesce(clock_high_water, ?), ?)",
            [time, time]
        )
    }

    /// Lowers the clock's high-water mark to a time that somebody says is right; an earlier mark
    /// stays.
    package func lowerClockHighWater(to now: Date) throws(DatastoreError) {
        let time = now.storedMilliseconds
        try execute(
            "UPDATE meta SET clock_high_water = min(coalesce(clock_high_water, ?), ?)",
            [time, time]
        )
    }

    func recordProbe() throws(DatastoreError) {
        try execute("UPDATE probe SET count = count + 1")
    }

    /// Refuses a change under a number that this transaction has not taken.
    func requireTaken(_ number: UInt64) throws(DatastoreError) {
        guard takenRevision == number else { throw .revisionNotAdvanced(number) }
    }
}
