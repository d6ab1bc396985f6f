// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
internal import ControlAPI
internal import Datastore
internal import DecisionLog
internal import FoundationEssentials
internal import Logging
internal import SPIFFE
internal import Synchronization

/// What the audit log holds of the decision store.
extension DecisionKeeper {
    /// Segments read at a time for a leaf: some megabytes.
    static let rowsPerPageMax = 5_000
    /// Leaves read at a time while the newest of a store is looked for.
    static let leavesPerPageMax = 500
    /// Most such pages: more than two months of digests, of other stores.
    static let leafPagesMax = 200

    /// Writes a leaf over the segments that none covers, if there are any.
    ///
    /// One at a time, and one for each call: agents that send much do not fill the audit log. What
    /// a leaf has no room for, or what cannot be written now, the next one covers.
    package func digest(_ core: ServerCore) async {
        await beginDigest()
        defer { endDigest() }
        guard let store else { return }
        do throws(DatastoreError) {
            try await digest(store, core)
        } catch {
            failed(error, store)
        }
    }

    private func beginDigest() async {
        await withCheckedContinuation { continuation in
            let isAlone = state.withLock { state in
                guard state.isDigesting else {
                    state.isDigesting = true
                    return true
                }
                state.digesters.append(continuation)
                return false
            }
            if isAlone { continuation.resume() }
        }
    }

    private func endDigest() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.digesters.isEmpty else { return state.digesters.removeFirst() }
            state.isDigesting = false
            return nil
        }
        next?.resume()
    }

    private func digest(
        _ store: DecisionStore,
        _ core: ServerCore
    ) async throws(DatastoreError) {
        var range = DigestedRange(after: state.withLock { $0.digested })
        var isMore = true
        while isMore, range.segments < SegmentLeaf.segmentsMax {
            let limit = min(Self.rowsPerPageMax, SegmentLeaf.segmentsMax - range.segments)
            let rows = try await store.rows(after: range.last, limit: limit)
            for row in rows { range.append(row) }
            isMore = rows.count == limit
        }
        guard let first = range.first else { return }
        let digest = DecisionDigest(
            store: store.id,
            first: first,
            last: range.last,
            segments: UInt64(range.segments),
            records: range.records,
            lost: range.lost,
            oldest: try await store.status().oldestSequence,
            root: range.tree.root
        )
        let now = clock.wallTime
        do throws(APIError) {
            _ = try await core.write { transaction in
                try transaction.append(.decisionDigest(digest), by: .system("decisions"), at: now)
            }
        } catch {
            guard !Task.isCancelled else { return }
            logger.warning(
                "the decision store is not digested; tried again in a minute",
                metadata: ["error": "\(error)"]
            )
            return
        }
        // The leaf is what counts: where this fails, the next opening reads it there.
        let last = range.last
        state.withLock { $0.digested = last }
        try await store.digested(through: last)
    }

    /// The last sequence number of a store that the audit log covers; nil if it knows none.
    func lastDigest(of store: [UInt8], _ core: ServerCore) async throws(APIError) -> UInt64? {
        var before: UInt64?
        for _ in 0..<Self.leafPagesMax {
            let from = before
            let leaves = try await core.read { transaction in
                var filter = AuditLeafFilter()
                filter.event = AuditEvent.Name.decisionDigest.rawValue
                return try transaction.queryLeaves(
                    filter,
                    limit: Self.leavesPerPageMax,
                    after: from,
                    newestFirst: true
                )
            }
            for leaf in leaves {
                guard let record = try? AuditRecord(parsing: leaf.bytes),
                    case .decisionDigest(let digest) = record.event, digest.store == store
                else { continue }
                return digest.last
            }
            guard leaves.count == Self.leavesPerPageMax, let last = leaves.last else { return nil }
            before = last.index
        }
        return nil
    }
}

/// What one leaf covers, as far as it was read.
private struct DigestedRange {
    var tree = MerkleFrontier()
    var segments = 0
    var first: UInt64?
    var last: UInt64
    var records: UInt64 = 0
    var lost: UInt64 = 0

    init(after sequence: UInt64) { last = sequence }

    mutating func append(_ row: DecisionSegmentRow) {
        let leaf = SegmentLeaf.bytes(
            agent: row.agent,
            spool: row.spool,
            number: row.number,
            digest: row.digest
        )
        tree.append(MerkleHash(leaf: leaf))
        segments += 1
        first = first ?? row.sequence
        last = row.sequence
        records = records.addingSaturated(row.records)
        lost = lost.addingSaturated(row.lost)
    }
}

extension UInt64 {
    /// The sum, or the largest number: what agents say may be anything.
    fileprivate func addingSaturated(_ other: Self) -> Self {
        let (sum, overflows) = addingReportingOverflow(other)
        return overflows ? .max : sum
    }
}
