// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Backup
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import NodeSync
internal import SPIFFE

/// Makes the database of a restored server out of the one that a restore begins with
/// (docs/decisions/0022-backup-and-restore.md, "Restore", steps 3 to 6).
struct RestoredDatabase: Sendable {
    /// What was made.
    struct Outcome: Sendable {
        /// How many records were brought forward.
        let records: UInt64
        /// The time of the last record that is known.
        let latest: Date
        /// After which nothing is known; nil: records are missing from a moment on that nobody knows.
        let lastRecordAt: Date?
        /// How many records an agent has seen of a server that was set back, if that is known.
        let seenSize: UInt64?
        let documents: Int
        let nodes: Int
        /// Authorities that the log alone knows, and those of which it has no certificate.
        let authorities: Set<String>
        let authoritiesUnknown: Set<String>
        /// How many revocations found no room.
        let revocationsLeft: Int
        /// The keys that are of use to the authorities there are.
        let keys: Set<AuthorityKey>
    }

    let source: RestoreSource
    let logs: RestoredLogs
    let logic: ServerLogic
    /// The epoch that begins.
    let epoch: Epoch
    let actor: Actor
    let now: Date

    /// What the new log follows.
    var former: Checkpoint { logs.last?.end ?? source.log }

    /// The name of the new log.
    var origin: String {
        StoreIdentity(
            trustDomain: source.trustDomain,
            serverID: source.serverID,
            epoch: epoch,
            createdAt: now
        ).restoredLogOrigin
    }

    /// Does all of it in one transaction of the store.
    ///
    /// - Throws: `RestoreError.logDiffers`, `LogReplayError`, `DatastoreError`; nothing is in the
    ///   store then.
    func make(in transaction: Transaction) throws -> Outcome {
        var replay = LogReplay(
            serverID: source.serverID,
            backupID: source.backup?.id ?? [],
            from: source.log.size,
            longest: longest,
            skew: ServerLogic.clockSkewSeconds
        )
        var database = ReplayedDatabase(logic: logic)
        try logs.read { former in
            // A restore has begun the log that follows: what it did to numbers is done again.
            replay.followed()
            try transaction.lowerLeaves(by: former.end.size)
            try transaction.raiseRevision()
        } visit: { index, leaf in
            for step in try replay.take(Array(leaf), at: index) {
                try database.perform(step, in: transaction)
            }
        }
        if let recorded = replay.backupSHA256, recorded != source.sha256 {
            throw RestoreError.logDiffers(
                "the log has another file of this backup on record: its SHA-256 is "
                    + Hexadecimal.text(recorded)
            )
        }
        try setClock(replay, in: transaction)
        try transaction.raiseLastEnds(
            to: latest(replay, in: transaction).addingTimeInterval(longest / .seconds(1))
        )
        // The log has not told of each time.
        try transaction.raiseUpstreamRevocations(to: now)
        try transaction.lowerLeaves(by: former.size)
        // Agents and verifiers outside take no bundle with a lower number than the last one.
        try transaction.raiseRevision()
        try transaction.recordBundleChange()
        try transaction.beginEpoch(epoch)
        return try finish(replay, database, in: transaction)
    }

    /// Until when something may have been signed of which nobody knows.
    ///
    /// This machine's clock may be behind: nobody has looked at it yet.
    private func latest(_ replay: LogReplay, in transaction: ReadTransaction) throws -> Date {
        let known = [now, replay.lastTime, try transaction.clockHighWater()]
        return known.compactMap(\.self).max() ?? now
    }

    /// The longest that anything signed may last.
    private var longest: Duration { max(logic.lifetimes.longestSVID, TokenLifetimes.tokenMax) }

    private func setClock(_ replay: LogReplay, in transaction: Transaction) throws {
        guard let last = replay.lastSignature else { return }
        if replay.isMarkLowered { try transaction.lowerClockHighWater(to: last) }
        try transaction.raiseClockHighWater(to: last)
    }

    /// Begins the new log, and holds the server.
    private func finish(
        _ replay: LogReplay,
        _ database: ReplayedDatabase,
        in transaction: Transaction
    ) throws -> Outcome {
        // A hold that nobody has ended yet has found things that the log does not tell again.
        let held = replay.isRecovered ? nil : source.held
        let latest = replay.lastTime ?? source.time
        // The log of a server that was set back goes on, and what it forgot was done before.
        let isSetBack = replay.seenSize != nil || held?.isSetBack == true
        let last = isSetBack ? nil : min(latest, held?.record.lastRecordAt ?? latest)
        let documents =
            replay.documents.map { HeldDocument(key: $0.key, sha256: $0.value) }
            + (held?.documents ?? []).filter { !replay.documents.keys.contains($0.key) }
        let authorities = database.authoritiesFound.union(held?.authorities ?? [])
        let nodes = database.nodesFound.union(held?.nodes ?? [])
        try transaction.put(
            HoldRecord(
                logOrigin: former.origin,
                logSize: former.size,
                lastRecordAt: last,
                restoredAt: now
            ),
            documents: documents,
            authorities: authorities,
            nodes: nodes
        )
        let own = try transaction.authorities()
            .filter { $0.serverID == source.serverID }
            .map { try Authority($0, in: transaction) }
        try transaction.setAuditOrigin(origin)
        _ = try transaction.append(
            .serverRestored(
                ServerRestoration(
                    backup: source.backup,
                    formerEpoch: source.epoch.bytes,
                    epoch: epoch.bytes,
                    former: former,
                    lastRecordAt: last.map { AuditTime($0) },
                    records: replay.records,
                    authority: own.first { $0.state == .active }
                        .map { keyIdentifier(ofAuthority: $0.id) }
                )
            ),
            by: actor,
            at: now
        )
        return Outcome(
            records: replay.records,
            latest: latest,
            lastRecordAt: last,
            seenSize: replay.seenSize ?? held?.seenSize,
            documents: documents.count,
            nodes: nodes.count,
            authorities: authorities,
            authoritiesUnknown: database.authoritiesUnknown,
            revocationsLeft: database.revocationsLeft,
            // The clock is not asked: no key is left behind because of the time.
            keys: AuthorityKey.kept(
                of: own,
                ended: try transaction.authoritiesWithLastList(),
                now: nil
            )
        )
    }
}
