// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE

/// Goes through the log and the intents together, page by page, each in a transaction of its own.
///
/// Leaves and intents are never changed, and what is written meanwhile lies behind `end`; only what
/// has expired goes, which `RecheckJudge` knows.
struct RecheckWalk: Sendable {
    /// Leaves of one reading: some 1,000 certificates at most, and a reader is taken for milliseconds.
    static let leavesMax = 32
    /// Intents read at once, twice what a record has; what somebody added beyond is only counted.
    static let intentsMax = 2 * IssuanceBatch.certificatesMax

    /// The first leaf of the window.
    let first: UInt64
    /// How many leaves there were when it began.
    let end: UInt64
    /// The newest start, of the process that reads.
    let today: RecheckStart?
    private(set) var next: UInt64
    private(set) var isFinished = false
    private var start: RecheckStart?
    private var active: [UInt8]?
    private var open: RecheckRecord?
    /// Intents up to here are compared.
    private var place: IntentPlace

    private static let events: [AuditEvent.Name] = [
        .authorityActivated, .serverStarted, .svidsIssued,
    ]

    /// Begins where the window does.
    ///
    /// - Parameters:
    ///   - since: What was issued before is not looked at; nil: all that intents keep.
    ///   - keptSince: Since when everything issued should have an intent.
    ///   - transaction: What there is.
    /// - Throws: `DatastoreError`.
    init(since: Date?, keptSince: Date, in transaction: ReadTransaction) throws {
        end = try transaction.auditSize()
        if let since {
            first = try transaction.firstLeaf(since: since) ?? end
        } else {
            let kept = try transaction.firstLeaf(since: keptSince) ?? end
            first = min(try transaction.firstIntentLeaf() ?? kept, kept, end)
        }
        next = first
        place = IntentPlace(leafIndex: first)
        today = try Self.start(before: end, in: transaction)
        start = try Self.start(before: first, in: transaction)
        let activation = try transaction.lastLeaf(
            event: AuditEvent.Name.authorityActivated.rawValue,
            below: first
        )
        if let activation, let record = try? AuditRecord(parsing: activation.bytes),
            case .authorityActivated(let step) = record.event
        {
            active = step.authority
        }
    }

    private static func start(
        before index: UInt64,
        in transaction: ReadTransaction
    ) throws -> RecheckStart? {
        let leaf = try transaction.lastLeaf(
            event: AuditEvent.Name.serverStarted.rawValue,
            below: index
        )
        guard let leaf, let record = try? AuditRecord(parsing: leaf.bytes),
            case .serverStarted(let start) = record.event
        else { return nil }
        return RecheckStart(leafIndex: leaf.index, value: start)
    }

    /// Reads the next page.
    ///
    /// - Throws: `DatastoreError`.
    mutating func page(in transaction: ReadTransaction) throws -> RecheckPage {
        var page = RecheckPage()
        page.authorities = try transaction.authorities()
        var entries = EntryShelf()
        let leaves = try transaction.leaves(
            events: Self.events.map(\.rawValue),
            from: next,
            below: end,
            limit: Self.leavesMax
        )
        for leaf in leaves {
            next = leaf.index + 1
            if let record = take(leaf, findings: &page.findings) {
                try compare(record, &entries, &page, in: transaction)
            }
        }
        if leaves.count < Self.leavesMax {
            next = end
            isFinished = true
            if let open { page.findings.append(Self.torn(open)) }
            // What names a leaf that no record of SVIDs has, or that is not there yet.
            let size = try transaction.auditSize()
            try surplus(below: end, &page, in: transaction)
            place = IntentPlace(leafIndex: max(size, end))
            try surplus(below: .max, &page, in: transaction)
        }
        return page
    }

    /// Takes the next leaf, and returns the record that is whole with it.
    private mutating func take(
        _ leaf: StoredLeaf,
        findings: inout [RecheckFinding]
    ) -> RecheckRecord? {
        if MerkleHash(leaf: leaf.bytes).bytes != leaf.hash {
            findings.append(
                Self.unreadable(leaf, "the hash beside it is another record's")
            )
        }
        let record: AuditRecord
        do {
            record = try AuditRecord(parsing: leaf.bytes)
        } catch {
            findings.append(Self.unreadable(leaf, "\(error)"))
            return nil
        }
        switch record.event {
        case .authorityActivated(let activation): active = activation.authority
        case .serverStarted(let start):
            self.start = RecheckStart(leafIndex: leaf.index, value: start)
        case .svidsIssued(let issuance):
            return whole(record, issuance, at: leaf, findings: &findings)
        default:
            findings.append(Self.unreadable(leaf, "it is listed as another event"))
        }
        return nil
    }

    /// Joins the leaves of one record.
    private mutating func whole(
        _ record: AuditRecord,
        _ issuance: SVIDIssuance,
        at leaf: StoredLeaf,
        findings: inout [RecheckFinding]
    ) -> RecheckRecord? {
        var joined: RecheckRecord
        if let part = record.part, part.number > 1 {
            guard let open, open.end == leaf.index, open.partsLeft == part.count - part.number + 1
            else {
                findings.append(Self.unreadable(leaf, "the part before it is missing"))
                return nil
            }
            joined = open
            joined.issuance.append(issuance)
            joined.end = leaf.index + 1
            joined.partsLeft -= 1
        } else {
            if let open { findings.append(Self.torn(open)) }
            joined = RecheckRecord(
                first: leaf.index,
                end: leaf.index + 1,
                time: record.time.date,
                issuance: issuance,
                start: start,
                active: active,
                partsLeft: record.part.map { $0.count - 1 } ?? 0
            )
        }
        // No batch has more: whoever writes leaves of his own does not fill our memory.
        let isTooLong = joined.issuance.svids.count > IssuanceBatch.certificatesMax
        if isTooLong { findings.append(Self.unreadable(leaf, "more SVIDs than a batch has")) }
        open = joined.partsLeft > 0 && !isTooLong ? joined : nil
        return joined.partsLeft == 0 && !isTooLong ? joined : nil
    }

    /// Finds the intent of each SVID of a record, and those that name it or a leaf before it without
    /// being on it.
    private mutating func compare(
        _ record: RecheckRecord,
        _ entries: inout EntryShelf,
        _ page: inout RecheckPage,
        in transaction: ReadTransaction
    ) throws {
        let facts = record.facts
        var open: [[UInt8]: IssuedSVID] = [:]
        for svid in record.issuance.svids where open.updateValue(svid, forKey: svid.serial) != nil {
            page.findings.append(
                RecheckFinding(
                    .leafDiffers,
                    serial: svid.serial,
                    spiffeID: svid.spiffeID.description,
                    leafIndex: record.first,
                    detail: "the record has this serial twice"
                )
            )
        }
        let intents = try transaction.intents(
            after: place,
            leavesBelow: record.end,
            limit: Self.intentsMax
        )
        for intent in intents {
            guard intent.leafIndex == record.first, let svid = open[intent.serial] else {
                page.findings.append(Self.strange(intent))
                continue
            }
            open[intent.serial] = nil
            let entry = try entries.entry(of: intent, svid, in: transaction)
            page.subjects.append(
                RecheckSubject(svid: svid, record: facts, intent: intent, entry: entry)
            )
        }
        if intents.count == Self.intentsMax, let last = intents.last {
            page.unlisted += try transaction.intentCount(
                after: IntentPlace(leafIndex: last.leafIndex, serial: last.serial),
                leavesBelow: record.end
            )
        }
        place = IntentPlace(leafIndex: record.end)
        for svid in record.issuance.svids where open[svid.serial] == svid {
            open[svid.serial] = nil
            guard let intent = try transaction.intent(serial: svid.serial) else {
                page.withoutIntent.append((svid, record.first))
                continue
            }
            let entry = try entries.entry(of: intent, svid, in: transaction)
            page.subjects.append(
                RecheckSubject(svid: svid, record: facts, intent: intent, entry: entry)
            )
        }
    }

    /// Tells of intents that no record has, up to below a leaf.
    private mutating func surplus(
        below end: UInt64,
        _ page: inout RecheckPage,
        in transaction: ReadTransaction
    ) throws {
        let intents = try transaction.intents(
            after: place,
            leavesBelow: end,
            limit: Self.intentsMax
        )
        page.findings += intents.map(Self.strange)
        guard intents.count == Self.intentsMax, let last = intents.last else { return }
        page.unlisted += try transaction.intentCount(
            after: IntentPlace(leafIndex: last.leafIndex, serial: last.serial),
            leavesBelow: end
        )
    }

    private static func strange(_ intent: IssuanceIntent) -> RecheckFinding {
        RecheckFinding(
            .leafMissing,
            serial: intent.serial,
            spiffeID: intent.spiffeID,
            leafIndex: intent.leafIndex,
            detail: "the record of the log that it names does not have it"
        )
    }

    private static func torn(_ record: RecheckRecord) -> RecheckFinding {
        RecheckFinding(
            .leafUnreadable,
            leafIndex: record.first,
            detail: "\(record.partsLeft) parts of the record are missing"
        )
    }

    private static func unreadable(_ leaf: StoredLeaf, _ detail: String) -> RecheckFinding {
        RecheckFinding(.leafUnreadable, leafIndex: leaf.index, detail: detail)
    }
}
