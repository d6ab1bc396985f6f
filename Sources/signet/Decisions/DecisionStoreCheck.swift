// SPDX-License-Identifier: Apache-2.0

package import AuditLog
package import ControlAPIProtos
internal import DecisionLog
internal import FoundationEssentials
internal import SwiftProtobuf

/// Compares what a decision store holds with what the audit log says that it took.
///
/// Everything is computed here from the segments' own bytes; of the server nothing is believed but
/// which segments it has removed for their age.
package struct DecisionStoreCheck {
    /// A record of the audit log with its digest.
    package struct Leaf: Sendable {
        /// The record's index.
        package let index: UInt64
        package let time: AuditTime
        package let digest: DecisionDigest

        package init(index: UInt64, time: AuditTime, digest: DecisionDigest) {
            self.index = index
            self.time = time
            self.digest = digest
        }

        /// Reads a record of the audit log; nil for one of another kind.
        package init?(index: UInt64, bytes: ArraySlice<UInt8>) {
            guard let record = try? AuditRecord(parsing: Array(bytes)),
                case .decisionDigest(let digest) = record.event
            else { return nil }
            self.init(index: index, time: record.time, digest: digest)
        }
    }

    /// What was found.
    package struct Report: Sendable {
        /// Digests whose segments are all there and unchanged.
        package fileprivate(set) var proved = 0
        /// Segments that no digest covers yet.
        package fileprivate(set) var undigested = 0
        /// Segments and records that were read.
        package fileprivate(set) var segments = 0
        package fileprivate(set) var records = 0
        /// Digests whose segments are no longer kept, and when the newest of these was made.
        package fileprivate(set) var expired = 0
        package fileprivate(set) var expiredUntil: AuditTime?
        /// Digests of other stores that say nothing: older than what is kept, or accepted.
        package fileprivate(set) var others = 0
        /// Segments that agents made, by their numbers, and that never came, which is no problem.
        ///
        /// In `notices` are the first `problemsMax` of their spools in words.
        package fileprivate(set) var gaps: UInt64 = 0
        package fileprivate(set) var notices: [String] = []
        /// What is missing or altered; the first `problemsMax` in words.
        package fileprivate(set) var problems: [String] = []
        package fileprivate(set) var problemCount = 0

        package var isIntact: Bool { problemCount == 0 }

        fileprivate mutating func add(_ problem: String) {
            problemCount += 1
            if problems.count < DecisionStoreCheck.problemsMax { problems.append(problem) }
        }
    }

    /// Most problems that are named; the first ones show what happened.
    package static let problemsMax = 20

    /// Most spools whose numbers are looked at for gaps: an agent that is not honest can make as
    /// many as it sends segments.
    package static let spoolsMax = 100_000

    private var oldest: UInt64
    private let leaves: [Leaf]
    // What is missing unless the server removes it meanwhile: contents by their sequence, leaves
    // by their place.
    private var missingContents: [UInt64] = []
    private var missingLeaves: [(place: Int, segments: UInt64)] = []
    private var spools: [Spool: Numbers] = [:]
    private var next = 0
    private var tree = MerkleFrontier()
    private var lastSequence: UInt64 = 0
    private var report = Report()

    /// Begins a check.
    ///
    /// - Parameters:
    ///   - leaves: Every digest in the audit log.
    ///   - storeID: That of the store.
    ///   - oldest: The lowest sequence number whose content the server says it keeps.
    ///   - accepted: IDs of stores that are known to be gone.
    ///   - keptSince: What was stored later is not removed for its age yet; nil: nothing is.
    ///
    /// Who can write the store can give it another ID, too. So digests of a store that is not
    /// there are a problem while it should be there, unless somebody knows why it is not.
    package init(
        leaves: [Leaf],
        storeID: some Sequence<UInt8>,
        oldest: UInt64,
        accepted: Set<[UInt8]> = [],
        keptSince: AuditTime? = nil
    ) {
        let id = Array(storeID)
        self.leaves =
            leaves.filter { $0.digest.store == id }
            .sorted { ($0.digest.first, $0.index) < ($1.digest.first, $1.index) }
        self.oldest = oldest
        let others = leaves.filter { $0.digest.store != id }
        let missed = others.filter { leaf in
            !accepted.contains(leaf.digest.store) && keptSince.map { leaf.time >= $0 } ?? true
        }
        report.others = others.count - missed.count
        for (store, leaves) in Dictionary(grouping: missed, by: \.digest.store)
            .sorted(by: { $0.key.lexicographicallyPrecedes($1.key) })
        {
            guard let newest = leaves.max(by: { $0.time < $1.time }) else { continue }
            let name = StoreID.text(store)
            report.add(
                "the store \(name) is not there, of which \(leaves.count) digest(s) tell, the "
                    + "last of \(newest.time); if you know why, give --accept-store \(name)"
            )
        }
    }

    /// The server says again what it keeps: it removes old segments while they are read.
    package mutating func kept(from oldest: UInt64) { self.oldest = max(self.oldest, oldest) }

    /// The store gave the next segment, in the order of their numbers.
    package mutating func received(_ segment: Signet_Admin_V1alpha1_StoredDecisionSegment) {
        guard segment.sequence > lastSequence else {
            report.add("segment \(segment.sequence) comes after segment \(lastSequence)")
            return
        }
        lastSequence = segment.sequence
        report.segments += 1
        count(segment)
        while next < leaves.count, leaves[next].digest.last < segment.sequence { closeLeaf() }
        checkContent(of: segment)
        guard next < leaves.count else {
            report.undigested += 1
            return
        }
        guard leaves[next].digest.first <= segment.sequence else {
            report.add("segment \(segment.sequence) of \(segment.agent) is covered by no record")
            return
        }
        let leaf = SegmentLeaf.bytes(
            agent: segment.agent,
            spool: Array(segment.spool),
            number: segment.number,
            digest: Array(segment.sha256)
        )
        tree.append(MerkleHash(leaf: leaf))
    }

    /// There are no more segments.
    package mutating func finished() -> Report {
        while next < leaves.count { closeLeaf() }
        for sequence in missingContents where sequence >= oldest {
            report.add("segment \(sequence): its content is missing")
        }
        for (place, segments) in missingLeaves {
            let leaf = leaves[place]
            guard leaf.digest.last >= oldest else {
                expired(leaf)
                continue
            }
            report.add(
                "\(segments) of the \(leaf.digest.segments) \(leaf.digest.range), which record "
                    + "\(leaf.index) covers, are missing"
            )
        }
        tellGaps()
        return report
    }

    private mutating func expired(_ leaf: Leaf) {
        report.expired += 1
        report.expiredUntil = max(report.expiredUntil ?? leaf.time, leaf.time)
    }

    private mutating func count(_ segment: Signet_Admin_V1alpha1_StoredDecisionSegment) {
        let spool = Spool(agent: segment.agent, id: Array(segment.spool))
        guard spools[spool] != nil || spools.count < Self.spoolsMax else { return }
        spools[spool, default: Numbers(segment.number)].add(segment.number)
    }

    private mutating func tellGaps() {
        let gaps = spools.filter { $0.value.gap > 0 }
        for numbers in gaps.values {
            let (sum, overflows) = report.gaps.addingReportingOverflow(numbers.gap)
            report.gaps = overflows ? .max : sum
        }
        report.notices = gaps.map { spool, numbers in
            "\(spool.agent): \(numbers.gap) segment(s) between number \(numbers.least) and "
                + "\(numbers.greatest) of the spool \(StoreID.text(spool.id)) never came"
        }
        .sorted().prefix(Self.problemsMax).map(\.self)
    }

    private mutating func checkContent(
        of segment: Signet_Admin_V1alpha1_StoredDecisionSegment
    ) {
        let name = "segment \(segment.sequence) of \(segment.agent)"
        guard !segment.content.isEmpty else {
            if segment.sequence >= oldest { missingContents.append(segment.sequence) }
            return
        }
        do throws(DecisionSegmentError) {
            let content = try DecisionSegment(parsing: Array(segment.content))
            guard content.digest == Array(segment.sha256),
                content.header.spool == Array(segment.spool),
                content.header.number == segment.number
            else {
                report.add("\(name): its content is that of another segment")
                return
            }
            report.records += content.records.count
        } catch {
            report.add("\(name) is altered: \(error)")
        }
    }

    private mutating func closeLeaf() {
        let leaf = leaves[next]
        let digest = leaf.digest
        defer {
            next += 1
            tree = MerkleFrontier()
        }
        if tree.size == 0, digest.last < oldest {
            expired(leaf)
        } else if tree.size < digest.segments {
            missingLeaves.append((next, digest.segments - tree.size))
        } else if tree.size > digest.segments || tree.root.bytes != digest.root {
            report.add("\(digest.range) are not those that record \(leaf.index) covers")
        } else {
            report.proved += 1
        }
    }
}

/// One run of an agent.
private struct Spool: Hashable {
    let agent: String
    let id: [UInt8]
}

/// The numbers of one spool.
private struct Numbers {
    private(set) var least: UInt64
    private(set) var greatest: UInt64
    private var count: UInt64 = 0

    init(_ number: UInt64) { (least, greatest) = (number, number) }

    mutating func add(_ number: UInt64) {
        (least, greatest) = (min(least, number), max(greatest, number))
        count += 1
    }

    /// How many between the least and the greatest are not there.
    ///
    /// A store that gives one twice has other problems.
    var gap: UInt64 { (greatest - least) - min(count - 1, greatest - least) }
}

extension DecisionDigest {
    fileprivate var range: String { "segments \(first) to \(last)" }
}

/// The ID of a decision store in hexadecimal digits, as the audit log has it.
package enum StoreID {
    private static let digits = 32

    /// Reads an ID in small or capital letters.
    ///
    /// - Returns: Its bytes; nil for another form.
    package static func bytes(_ text: String) -> [UInt8]? {
        guard text.utf8.count == digits, text.utf8.allSatisfy({ $0 != UInt8(ascii: "+") }) else {
            return nil
        }
        var (bytes, rest): ([UInt8], Substring) = ([], text[...])
        while !rest.isEmpty {
            guard let byte = UInt8(rest.prefix(2), radix: 16) else { return nil }
            bytes.append(byte)
            rest = rest.dropFirst(2)
        }
        return bytes
    }

    static func text(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
