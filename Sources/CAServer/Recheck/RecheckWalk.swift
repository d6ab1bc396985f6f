// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE

/// Goes through the log and the intents together, page by page, each in a transaction of its own.
///
/// Leaves and intents are never changed, and what is written meanwhile lies behind `end`; only what
/// has expired goes, which `RecheckJudge` knows. A leaf is believed for what it says itself, as far as
/// it is the published one: columns beside it only say where to look. The server publishes whatever is
/// in the database, so that times and starts of published leaves are held against the process's own
/// start and the leaves before them.
struct RecheckWalk: Sendable {
    /// Leaves of one reading: some 1,000 certificates at most, and a reader is taken for milliseconds.
    static let leavesMax = 32
    /// Intents read at once, twice what a record has; what somebody added beyond is only counted.
    static let intentsMax = 2 * IssuanceBatch.certificatesMax
    /// How far a record's time may lie before that of a record before it: acts wait for the database,
    /// and clocks are set by so much without anybody's notice.
    static let timeStepMax: Duration = .seconds(300)

    /// The first leaf of the window; it may still fall as long as `isPlaced` is false.
    private(set) var first: UInt64
    /// How many leaves there were when it began; what came later may not be published yet.
    let end: UInt64
    /// The newest start, of the process that reads.
    let today: RecheckStart?
    private(set) var next: UInt64
    private(set) var isFinished = false
    /// Whether what lies before `first` is older than the window.
    private var isPlaced = false
    /// What is of this time or later is looked at.
    private let begin: Date
    /// What ended before has no intent any more.
    private let trimmedBefore: Date
    private var log: RecheckLog
    private var start: RecheckStart?
    private var active: [UInt8]?
    private var open: RecheckRecord?
    /// The tile of leaves of which it was said last that it is not proven.
    private var unprovenTile: UInt64?
    /// Intents up to here are compared.
    private var place: IntentPlace
    /// The latest time of a record so far, or of the last one that was found to be before it.
    private var latest = Date.distantPast

    /// Begins where the window does.
    ///
    /// - Parameters:
    ///   - since: What was issued before is not looked at; nil: all that intents keep.
    ///   - now: The wall clock.
    ///   - longest: The longest lifetime of an SVID today.
    ///   - log: What is published.
    ///   - today: The start of the process that reads; nil: the newest that the database names.
    ///   - transaction: What there is.
    /// - Throws: `DatastoreError`.
    init(
        since: Date?,
        now: Date,
        longest: Duration,
        log: RecheckLog,
        today: RecheckStart?,
        in transaction: ReadTransaction
    ) throws {
        self.log = log
        let size = log.end
        let trimmed = now.addingTimeInterval(-Retention.expiredIntentSeconds)
        let oldest: Date
        if let since {
            oldest = since
        } else {
            // Lifetimes may have been longer when it was issued, but its authority was active.
            let activation = try transaction.oldestActivation(signedUntil: trimmed)
            let shortest = trimmed.addingTimeInterval(-(longest / .seconds(1)))
            oldest = min(shortest, activation ?? shortest)
        }
        var found = min(try transaction.firstLeaf(since: oldest) ?? size, size)
        if since == nil, let named = try transaction.firstIntentLeaf() { found = min(found, named) }
        // No record that somebody had published since hides where the window begins.
        if let today, since == nil || oldest < today.time { found = min(found, today.leafIndex) }
        let newest = try transaction.lastLeaf(
            event: AuditEvent.Name.serverStarted.rawValue,
            below: size
        )
        end = size
        trimmedBefore = trimmed
        begin = oldest
        first = found
        next = found
        place = IntentPlace(leafIndex: found)
        self.today = today ?? Self.start(in: newest)
        // A window of the whole log asks no other record where it begins.
        guard let zero = try transaction.leaves(from: 0, limit: 1).first, zero.index == 0,
            self.log.standing(of: zero) != .changed,
            let record = try? AuditRecord(parsing: zero.bytes), record.time.date < oldest
        else {
            first = 0
            next = 0
            place = IntentPlace(leafIndex: 0)
            return
        }
    }

    private static func start(in leaf: StoredLeaf?) -> RecheckStart? {
        guard let leaf, let record = try? AuditRecord(parsing: leaf.bytes),
            case .serverStarted(let start) = record.event
        else { return nil }
        return RecheckStart(leafIndex: leaf.index, time: record.time.date, value: start)
    }

    // MARK: - Where the window begins

    /// Goes back as long as something before `first` is of the window: it was found by the column of
    /// the time, which may say something else than the records.
    private mutating func stepBack(
        in transaction: ReadTransaction,
        findings: inout [RecheckFinding]
    ) throws {
        let from = first - min(first, UInt64(Self.leavesMax))
        let leaves = try transaction.leaves(from: from, limit: Int(first - from))
            .filter { $0.index < first }
        guard leaves.count == Int(first - from) else {
            first = from
            return
        }
        for leaf in leaves {
            let isChanged = log.standing(of: leaf) == .changed
            let record = try? AuditRecord(parsing: leaf.bytes)
            guard !isChanged, let record, record.time.date < begin else {
                // Parts of a record have one time, so that this is where one begins.
                first = leaf.index
                return
            }
        }
        isPlaced = true
        next = first
        place = IntentPlace(leafIndex: first)
        if let today, today.leafIndex < first {
            start = today
        } else {
            start = Self.start(in: try last(.serverStarted, in: transaction, &findings))
        }
        // A log that a restore began says first who signs.
        var activation = try last(.authorityActivated, in: transaction, &findings)
        if activation == nil, let zero = try last(.serverRestored, in: transaction, &findings),
            zero.index == 0
        {
            activation = zero
        }
        switch activation.flatMap({ try? AuditRecord(parsing: $0.bytes) })?.event {
        case .authorityActivated(let step): active = step.authority
        case .serverRestored(let restoration): active = restoration.authority
        default: break
        }
    }

    /// The last leaf of an event before the window, if it is the published one.
    private mutating func last(
        _ event: AuditEvent.Name,
        in transaction: ReadTransaction,
        _ findings: inout [RecheckFinding]
    ) throws -> StoredLeaf? {
        guard let leaf = try transaction.lastLeaf(event: event.rawValue, below: first) else {
            return nil
        }
        guard log.standing(of: leaf) != .changed else {
            findings.append(Self.changed(leaf))
            return nil
        }
        return leaf
    }

    // MARK: - The window

    /// Reads the next page.
    ///
    /// - Throws: `DatastoreError`.
    mutating func page(in transaction: ReadTransaction) throws -> RecheckPage {
        var page = RecheckPage()
        guard isPlaced else {
            try stepBack(in: transaction, findings: &page.findings)
            return page
        }
        page.authorities = try transaction.authorities()
        var entries = EntryShelf()
        let leaves = try transaction.leaves(from: next, limit: Self.leavesMax)
        var isOver = leaves.count < Self.leavesMax
        for leaf in leaves {
            // What is published may end within a record, which is read whole: all of its leaves were
            // committed at once.
            guard leaf.index < end || leaf.index == open?.end else {
                isOver = true
                break
            }
            if leaf.index > next { page.findings.append(Self.absent(next..<leaf.index)) }
            next = leaf.index + 1
            if let record = take(leaf, findings: &page.findings) {
                try compare(record, &entries, &page, in: transaction)
            }
        }
        if isOver {
            if next < end { page.findings.append(Self.absent(next..<end)) }
            next = max(next, end)
            isFinished = true
            if let open { page.findings.append(Self.torn(open)) }
            try belowZero(&page, in: transaction)
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
        let standing = log.standing(of: leaf)
        switch standing {
        case .published, .unpublished: break
        case .changed: findings.append(Self.changed(leaf))
        case .unproven(let reason):
            let tile = RecheckLog.tileIndex(of: leaf.index)
            if unprovenTile != tile {
                unprovenTile = tile
                findings.append(
                    RecheckFinding(.logUnproven, leafIndex: leaf.index, detail: reason)
                )
            }
        }
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
        if standing != .changed { follow(record.time.date, of: leaf, findings: &findings) }
        switch record.event {
        case .authorityActivated(let activation) where standing != .changed:
            active = activation.authority
        case .serverRestored(let restoration) where standing != .changed && leaf.index == 0:
            active = restoration.authority
        case .serverStarted(let start) where standing != .changed:
            guard today.map({ leaf.index <= $0.leafIndex }) ?? true else {
                findings.append(Self.implausible(leaf, "the server has not been started since"))
                break
            }
            self.start = RecheckStart(
                leafIndex: leaf.index,
                time: record.time.date,
                value: start
            )
        case .svidsIssued(let issuance):
            return whole(record, issuance, at: leaf, findings: &findings)
        default: break
        }
        return nil
    }

    /// Requires that the time of a record is not long before that of one before it.
    private mutating func follow(
        _ time: Date,
        of leaf: StoredLeaf,
        findings: inout [RecheckFinding]
    ) {
        guard time < latest.addingTimeInterval(-(Self.timeStepMax / .seconds(1))) else {
            latest = max(latest, time)
            return
        }
        findings.append(
            Self.implausible(
                leaf,
                "its time, \(AuditTime(time)), is before that of a record before it, "
                    + "\(AuditTime(latest))"
            )
        )
        // Those that follow are held against this one: it is said once.
        latest = time
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
            joined.isPublished = joined.end <= log.size
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
                isPublished: leaf.index < log.size,
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
        var unread: UInt64 = 0
        let last = intents.count == Self.intentsMax ? intents.last : nil
        if let last {
            unread = try transaction.intentCount(
                after: IntentPlace(leafIndex: last.leafIndex, serial: last.serial),
                leavesBelow: record.end
            )
        }
        place = IntentPlace(leafIndex: record.end)
        // Of what ended long ago the intents are gone, rightly.
        for svid in record.issuance.svids
        where open[svid.serial] == svid && svid.notAfter.date >= trimmedBefore {
            open[svid.serial] = nil
            guard let intent = try transaction.intent(serial: svid.serial) else {
                page.withoutIntent.append((svid, record.first))
                continue
            }
            // It was counted as one that the record does not have, only since it comes late.
            if let last, intent.leafIndex == record.first, last.leafIndex == record.first,
                last.serial.lexicographicallyPrecedes(intent.serial)
            {
                unread -= min(unread, 1)
            }
            let entry = try entries.entry(of: intent, svid, in: transaction)
            page.subjects.append(
                RecheckSubject(svid: svid, record: facts, intent: intent, entry: entry)
            )
        }
        page.unlisted += unread
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

    /// Tells of intents that name a leaf below zero, which only a restore writes: all of them, or, of
    /// a log that a restore began, those of certificates that begin after it.
    private mutating func belowZero(
        _ page: inout RecheckPage,
        in transaction: ReadTransaction
    ) throws {
        let restoredAt = try restorationTime(in: transaction)
        let count = try transaction.earlierLogIntentCount(beginningAfter: restoredAt)
        let intents = try transaction.earlierLogIntents(
            beginningAfter: restoredAt,
            limit: Self.intentsMax
        )
        page.findings += intents.map(Self.strange)
        page.unlisted += count - min(count, UInt64(intents.count))
        guard restoredAt != nil else { return }
        let all = try transaction.earlierLogIntentCount()
        page.earlierLog = all - min(all, count)
    }

    /// Until when another log was written, if this one says so in its first record and that is
    /// published: in any other place a hand in the database could have put it.
    private mutating func restorationTime(in transaction: ReadTransaction) throws -> Date? {
        guard let zero = try transaction.leaves(from: 0, limit: 1).first, zero.index == 0,
            log.standing(of: zero) == .published,
            let record = try? AuditRecord(parsing: zero.bytes),
            case .serverRestored(let restoration) = record.event
        else { return nil }
        return max(record.time.date, restoration.lastRecordAt?.date ?? .distantPast)
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

    private static func changed(_ leaf: StoredLeaf) -> RecheckFinding {
        RecheckFinding(
            .leafChanged,
            leafIndex: leaf.index,
            detail: "the database has another record than was published here"
        )
    }

    private static func absent(_ leaves: Range<UInt64>) -> RecheckFinding {
        RecheckFinding(
            .leafChanged,
            leafIndex: leaves.lowerBound,
            detail: "the database has no record from here to below \(leaves.upperBound)"
        )
    }

    private static func implausible(_ leaf: StoredLeaf, _ detail: String) -> RecheckFinding {
        RecheckFinding(.leafImplausible, leafIndex: leaf.index, detail: detail)
    }

    private static func unreadable(_ leaf: StoredLeaf, _ detail: String) -> RecheckFinding {
        RecheckFinding(.leafUnreadable, leafIndex: leaf.index, detail: detail)
    }
}
