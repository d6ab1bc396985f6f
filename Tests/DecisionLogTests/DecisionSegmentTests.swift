// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Crypto
import DecisionLog
import Foundation
import SwiftProtobuf
import Testing

/// What is a segment, and what is none.
struct DecisionSegmentTests {
    /// Bytes with the digest that belongs to them.
    private func sealed(_ body: [UInt8]) -> [UInt8] { body + SHA256.hash(data: body) }

    private func body(_ segment: [UInt8]) -> [UInt8] {
        Array(segment.dropLast(DecisionSegment.digestBytes))
    }

    private func error(_ bytes: [UInt8]) -> DecisionSegmentError? {
        do throws(DecisionSegmentError) {
            _ = try DecisionSegment(parsing: bytes)
            return nil
        } catch {
            return error
        }
    }

    @Test func `what was written is read back`() throws {
        let bytes = SampleRecords.segment
        let segment = try DecisionSegment(parsing: bytes)
        #expect(segment.header == SampleRecords.header)
        #expect(segment.records == [SampleRecords.record(), SampleRecords.counts])
        #expect(segment.digest == Array(bytes.suffix(32)))
        #expect(segment.digest == Array(SHA256.hash(data: bytes.dropLast(32))))
    }

    @Test func `a segment without records tells of what was lost`() throws {
        let bytes = DecisionSegment.encoded(SampleRecords.header, records: [])
        #expect(bytes.count == DecisionSegment.emptyBytes)
        let segment = try DecisionSegment(parsing: bytes)
        #expect(segment.records.isEmpty)
        #expect(segment.header.lost == 7)
    }

    @Test func `every torn segment is refused`() {
        let bytes = SampleRecords.segment
        for count in 0..<bytes.count { #expect(error(Array(bytes.prefix(count))) != nil) }
        #expect(error(bytes + [0]) == .digestDiffers)
    }

    @Test func `every changed byte is refused`() {
        let bytes = SampleRecords.segment
        for place in bytes.indices {
            var changed = bytes
            changed[place] ^= 0x20
            #expect(error(changed) != nil)
        }
    }

    @Test func `a new digest does not make other bytes a segment`() {
        let body = body(SampleRecords.segment)
        #expect(error(sealed(Array(body.dropLast()))) == .torn)
        #expect(error(sealed(body + [0])) == .torn)
        var miscounted = body
        miscounted[body.count - 1] = 3
        #expect(error(sealed(miscounted)) == .recordCountDiffers)
        var newer = body
        newer[7] = 2
        #expect(error(sealed(newer)) == .versionUnknown)
        var unnumbered = body
        unnumbered[31] = 0
        #expect(error(sealed(unnumbered)) == .torn)
        #expect(error(Array(repeating: 0, count: DecisionSegment.bytesMax + 1)) == .tooLarge)
    }

    @Test func `a record has one encoding`() throws {
        let record = SampleRecords.record()
        let bytes = try #require(DecisionSegment.encoded(record))
        // The same fields in another order, and a field that nobody knows.
        let proxy: [UInt8] = [0x0A, 8] + Array("shop/web".utf8)
        #expect(bytes.starts(with: proxy))
        let others = [Array(bytes.dropFirst(proxy.count)) + proxy, bytes + [0xF8, 0x07, 1]]
        for other in others {
            let segment = DecisionSegment.encoded(SampleRecords.header, records: [bytes, other])
            #expect(error(segment) == .recordRefused(at: 1))
        }
    }

    private static let unknown = try? Signet_Decisions_V1alpha1_SegmentRecord(
        serializedBytes: [0xF8, 0x07, 1]
    )
    .unknownFields

    /// Where what a proxy says may have a field that nobody knows.
    private static let strangers:
        [@Sendable (inout Signet_Decisions_V1alpha1_SegmentRecord, UnknownStorage) -> Void] = [
            { $0.unknownFields = $1 },
            { $0.decision.unknownFields = $1 },
            { $0.decision.revision.unknownFields = $1 },
            { $0.counts.unknownFields = $1 },
            { $0.counts.counts[0].unknownFields = $1 },
        ]

    @Test(arguments: strangers.indices)
    func `a field that nobody knows is left out, wherever it stands`(_ place: Int) throws {
        let unknown = try #require(Self.unknown)
        #expect(!unknown.data.isEmpty)
        var record = place < 3 ? SampleRecords.record() : SampleRecords.counts
        let known = record
        Self.strangers[place](&record, unknown)
        #expect(record != known)
        let bytes = try #require(DecisionSegment.encoded(record))
        #expect(bytes == DecisionSegment.encoded(known))
        let segment = DecisionSegment.encoded(SampleRecords.header, records: [bytes])
        #expect(try DecisionSegment(parsing: segment).records == [known])
    }

    private static let breaches:
        [@Sendable (inout Signet_Decisions_V1alpha1_SegmentRecord) -> Void] =
            [
                { $0.proxy = "shop" },
                { $0.proxy = "a/b/c" },
                { $0.instance = Data([1, 2, 3, 4]) },
                // Another process's decision.
                { $0.instance = Data([1, 2, 3, 4, 6]) },
                { $0.content = nil },
                { $0.decision.id = "x" },
                { $0.decision.rules = [.init()] },
                { $0.decision.logged = .init() },
                { $0.decision.toldBy = .init() },
                { $0.decision.identity = "" },
                { $0.decision.identity = "example.org/db" },
                { $0.decision.peer = "nobody" },
                { $0.decision.peerAddress = "here" },
                { $0.decision.port = 65_536 },
                { $0.decision.rule = -2 },
                { $0.decision.revision.epoch = Data() },
                { $0.decision.path = String(repeating: "a", count: 1_025) },
                { $0.decision.nearestMiss = String(repeating: "a", count: 513) },
                { $0.decision.policy = String(repeating: "a", count: 254) },
                { $0.decision.reason = String(repeating: "a", count: 33) },
                { $0.decision.method = String(repeating: "A", count: 33) },
                { $0.counts = .init() },
                { $0.counts = .with { $0.counts = Array(repeating: .init(), count: 1) } },
            ]

    @Test(arguments: breaches.indices)
    func `what breaks a rule is no record`(_ place: Int) {
        #expect(DecisionSegment.encoded(SampleRecords.record()) != nil)
        #expect(DecisionSegment.encoded(SampleRecords.record(Self.breaches[place])) == nil)
    }

    @Test func `a text is cut between characters`() {
        #expect(DecisionText.cut("abc", bytesMax: 3) == "abc")
        #expect(DecisionText.cut("abcdef", bytesMax: 5) == "ab\u{2026}")
        #expect(DecisionText.cut("a\u{20AC}\u{20AC}", bytesMax: 6) == "a\u{2026}")
    }
}
