// SPDX-License-Identifier: Apache-2.0

import AuditLog
import ControlAPIProtos
import DecisionLog
import Foundation
import SwiftProtobuf
import Testing
import signet

/// What `signet decisions verify` finds.
@Suite struct DecisionStoreCheckTests {
    typealias Segment = Signet_Admin_V1alpha1_StoredDecisionSegment

    private static let store = [UInt8](repeating: 7, count: 16)
    private static let spool = [UInt8](repeating: 1, count: DecisionSegment.spoolBytes)

    private func segment(_ sequence: UInt64, number: UInt64? = nil) -> Segment {
        let content = DecisionSegment.encoded(
            DecisionSegment.Header(
                spool: Self.spool,
                number: number ?? sequence,
                madeAtUnixMilliseconds: 5,
                lost: sequence
            ),
            records: []
        )
        return .with {
            $0.sequence = sequence
            $0.agent = "spiffe://example.org/signet/agent/web-1"
            $0.spool = Data(Self.spool)
            $0.number = number ?? sequence
            $0.sha256 = Data(content.suffix(DecisionSegment.digestBytes))
            $0.content = Data(content)
        }
    }

    /// The leaf that a server writes over some segments.
    private func leaf(
        _ index: UInt64,
        _ segments: [Segment],
        store: [UInt8] = Self.store
    ) throws -> DecisionStoreCheck.Leaf {
        var tree = MerkleFrontier()
        for segment in segments {
            let bytes = SegmentLeaf.bytes(
                agent: segment.agent,
                spool: Array(segment.spool),
                number: segment.number,
                digest: Array(segment.sha256)
            )
            tree.append(MerkleHash(leaf: bytes))
        }
        let digest = DecisionDigest(
            store: store,
            first: try #require(segments.first).sequence,
            last: try #require(segments.last).sequence,
            segments: UInt64(segments.count),
            records: 0,
            lost: 0,
            oldest: 1,
            root: tree.root
        )
        let time = AuditTime(Date(timeIntervalSince1970: Double(index)))
        return DecisionStoreCheck.Leaf(index: index, time: time, digest: digest)
    }

    private func report(
        _ leaves: [DecisionStoreCheck.Leaf],
        _ segments: [Segment],
        oldest: UInt64 = 1,
        accepted: Set<[UInt8]> = [],
        keptSince: AuditTime? = nil
    ) -> DecisionStoreCheck.Report {
        var check = DecisionStoreCheck(
            leaves: leaves,
            storeID: Self.store,
            oldest: oldest,
            accepted: accepted,
            keptSince: keptSince
        )
        for segment in segments { check.received(segment) }
        return check.finished()
    }

    private var segments: [Segment] { (1...5).map { segment($0) } }

    private func leaves() throws -> [DecisionStoreCheck.Leaf] {
        [try leaf(10, Array(segments[0..<2])), try leaf(11, Array(segments[2..<4]))]
    }

    @Test func `a store that was left alone is intact`() throws {
        let other = try leaf(9, Array(segments[0..<1]), store: Array(repeating: 0, count: 16))
        let since = AuditTime(Date(timeIntervalSince1970: 9.5))
        let report = report(try leaves() + [other], segments, keptSince: since)
        #expect(report.isIntact)
        #expect(report.gaps == 0 && report.notices.isEmpty)
        #expect(report.proved == 2)
        #expect(report.undigested == 1)
        #expect(report.others == 1)
        #expect(report.segments == 5)
    }

    @Test(arguments: 0..<4)
    func `a segment that is gone is missed`(_ place: Int) throws {
        var left = segments
        left.remove(at: place)
        let report = report(try leaves(), left)
        #expect(report.problemCount == 1)
        #expect(report.problems.first?.contains("1 of the 2") == true)
        #expect(report.problems.first?.contains("record \(place < 2 ? 10 : 11)") == true)
    }

    private static let edits: [@Sendable (inout Segment) -> Void] = [
        { $0.content[30] ^= 1 },
        { $0.content.removeLast() },
        { $0.content = Data() },
        { $0.number += 1 },
        { $0.spool[0] ^= 1 },
        { $0.agent += "x" },
    ]

    @Test(arguments: edits.indices)
    func `a segment that was altered is named`(_ edit: Int) throws {
        var changed = segments
        Self.edits[edit](&changed[2])
        #expect(!report(try leaves(), changed).isIntact)
    }

    @Test func `another segment in its place, with everything that belongs to it, is seen`() throws
    {
        var changed = segments
        var other = segment(9)
        other.sequence = 3
        changed[2] = other
        let report = report(try leaves(), changed)
        #expect(report.problems == ["segments 3 to 4 are not those that record 11 covers"])
    }

    @Test func `what was removed for its age is counted, and the rest of its digest proved`() throws
    {
        var left = segments
        left.removeFirst(2)
        left[0].content = Data()
        let report = report(try leaves(), left, oldest: 4)
        #expect(report.isIntact)
        #expect(report.expired == 1)
        #expect(report.expiredUntil == AuditTime(Date(timeIntervalSince1970: 10)))
        #expect(report.proved == 1)
    }

    @Test func `a new store ID hides nothing while the old store should be there`() throws {
        let gone = [UInt8](repeating: 0xA0, count: 16)
        let text = String(repeating: "a0", count: 16)
        let all = try leaves() + [leaf(9, Array(segments[0..<1]), store: gone)]
        // A server that does not say how long it keeps, and one that keeps longer.
        for since in [nil, AuditTime(Date(timeIntervalSince1970: 9))] {
            let report = report(all, segments, keptSince: since)
            #expect(report.problemCount == 1)
            #expect(report.problems.first?.contains("--accept-store \(text)") == true)
            #expect(report.others == 0)
        }
        let id = try #require(StoreID.bytes(text.uppercased()))
        #expect(id == gone)
        let accepted = report(all, segments, accepted: [id])
        #expect(accepted.isIntact)
        #expect(accepted.others == 1)
        for wrong in ["", "a0", text + "a0", "+" + text.dropFirst(), "g0" + text.dropFirst(2)] {
            #expect(StoreID.bytes(wrong) == nil)
        }
    }

    @Test func `what the server removes while it is read is no problem`() throws {
        var left = segments
        left[2].content = Data()
        let leaves = try leaves()
        var check = DecisionStoreCheck(leaves: leaves, storeID: Self.store, oldest: 1)
        // The first two go before they are read, the third loses its content.
        for segment in left.dropFirst(2) {
            check.received(segment)
            check.kept(from: 4)
            check.kept(from: 2)
        }
        let removed = check.finished()
        #expect(removed.isIntact)
        #expect(removed.expired == 1)
        #expect(removed.proved == 1)
        #expect(report(leaves, Array(left.dropFirst(2)), oldest: 1).problemCount == 2)
    }

    @Test func `numbers that an agent leaves out are told of, and are no problem`() throws {
        let sent = [segment(1, number: 4), segment(2, number: 5), segment(3, number: 9)]
        let report = report([try leaf(10, sent)], sent)
        #expect(report.isIntact)
        #expect(report.gaps == 3)
        #expect(report.notices.count == 1)
        #expect(report.notices.first?.contains("3 segment(s) between number 4 and 9") == true)
    }

    @Test func `a segment between digests is covered by none`() throws {
        let leaves = [try leaf(10, [segment(1)]), try leaf(11, [segment(3)])]
        let report = report(leaves, (1...3).map { segment($0) })
        #expect(report.problemCount == 1)
        #expect(report.problems.first?.contains("segment 2 of") == true)
    }
}
