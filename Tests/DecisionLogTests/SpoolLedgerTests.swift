// SPDX-License-Identifier: Apache-2.0

import DecisionLog
import Testing

/// Names of segments, and which of them must go.
struct SpoolLedgerTests {
    private func name(_ number: UInt64, at time: UInt64 = 5, spool: UInt8 = 1) -> SegmentName {
        SegmentName(
            DecisionSegment.Header(
                spool: Array(repeating: spool, count: DecisionSegment.spoolBytes),
                number: number,
                madeAtUnixMilliseconds: time,
                lost: 0
            )
        )
    }

    @Test func `a name is read back, and has one spelling`() {
        let name = name(0x1F, at: 0xABCDEF, spool: 0xA0)
        #expect(SegmentName(name.description) == name)
        #expect(SegmentName(name.description.uppercased()) == nil)
        #expect(SegmentName(name.description + "x") == nil)
        #expect(SegmentName("+" + name.description.dropFirst()) == nil)
        #expect(SegmentName("lock") == nil)
    }

    @Test func `names sort by time and then by number`() {
        let names = [name(1), name(2), name(16), name(1, at: 300, spool: 0)]
        #expect(names.shuffled().sorted() == names)
        // As their spellings do, by which an operator lists them.
        var many: [SegmentName] = []
        for place in 0..<40 as Range<UInt64> {
            let spool = UInt8(place % 6) * 40
            many.append(name(place % 3, at: (place % 5) << 60, spool: spool))
        }
        let sorted: [String] = many.sorted().map(\.description)
        #expect(sorted == sorted.sorted())
    }

    @Test func `the oldest leave until there is room, whatever order they were found in`() {
        var ledger = SpoolLedger(bytesMax: 100, segmentsMax: 4)
        for number in [3, 1, 2] as [UInt64] {
            ledger.added(.init(name: name(number), bytes: 30, records: 1))
        }
        #expect(ledger.oldest?.name == name(1))
        #expect(ledger.bytes == 90)
        #expect(ledger.leaving(for: 10).isEmpty)
        #expect(ledger.leaving(for: 11).map(\.name) == [name(1)])
        #expect(ledger.leaving(for: 70).map(\.name) == [name(1), name(2)])
        #expect(ledger.removed(name(2))?.bytes == 30)
        #expect(ledger.removed(name(2)) == nil)
        #expect(ledger.bytes == 60)
        #expect(ledger.has(name(1)) && !ledger.has(name(2)))
        #expect(ledger.removedAll().map(\.name) == [name(1), name(3)])
        #expect(ledger.count == 0 && ledger.bytes == 0)
    }

    @Test func `there are never more segments than allowed, however small`() {
        var ledger = SpoolLedger(bytesMax: 1_000, segmentsMax: 2)
        ledger.added(.init(name: name(1), bytes: 1, records: 1))
        ledger.added(.init(name: name(2), bytes: 1, records: 1))
        #expect(ledger.leaving(for: 1).map(\.name) == [name(1)])
    }
}
