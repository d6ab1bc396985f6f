// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB

/// What a restore alone does (docs/decisions/0022-backup-and-restore.md, "Restore").
extension Transaction {
    /// How far a restore raises the revision number: more than was written since any backup.
    package static let revisionGap: UInt64 = 1 << 32

    /// Records the number and times of a list that was signed after the backup; who needs a list is
    /// given the next one, which is newer.
    ///
    /// - Throws: `DatastoreError.constraint` when the authority does not exist.
    package func putLostList(
        of authorityID: String,
        thisUpdate: Date,
        nextUpdate: Date
    ) throws(DatastoreError) {
        guard try authority(id: authorityID) != nil else {
            throw .constraint("there is no authority \(authorityID)")
        }
        try execute(
            """
            INSERT INTO revocation_lists (authority, this_update, next_update, is_last, der)
            VALUES (?, ?, ?, 0, x'')
            ON CONFLICT (authority) DO UPDATE SET this_update = excluded.this_update,
                next_update = excluded.next_update, is_last = 0, der = excluded.der
            """,
            [authorityID, thisUpdate.storedMilliseconds, nextUpdate.storedMilliseconds]
        )
    }

    /// Records holders of tokens that an authority signed of which nothing else is on record any
    /// more.
    package func insert(_ holders: [TokenHolder]) throws(DatastoreError) {
        for holder in holders { try insert(holder) }
    }

    /// Raises the ends of what each authority signed last, at most to the authority's own end.
    ///
    /// Something may have been signed of which nobody knows.
    package func raiseLastEnds(to time: Date) throws(DatastoreError) {
        let end = time.storedMilliseconds
        try execute(
            """
            UPDATE authorities SET
                last_issued_not_after =
                    max(coalesce(last_issued_not_after, 0), min(not_after, ?)),
                last_listed_not_after =
                    max(coalesce(last_listed_not_after, 0), min(not_after, ?))
            """,
            [end, end]
        )
    }

    /// Puts the places of records behind those of the log that begins: below zero.
    ///
    /// - Parameter size: How many records the log before had.
    /// - Throws: `DatastoreError`.
    package func lowerLeaves(by size: UInt64) throws(DatastoreError) {
        try execute("UPDATE intents SET leaf = leaf - ?", [size.stored])
    }

    /// Raises the revision number beyond all that were given since the backup.
    package func raiseRevision() throws(DatastoreError) {
        try execute("UPDATE meta SET revision = revision + ?", [Self.revisionGap.stored])
        takenRevision = nil
    }
}
