// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import DecisionLog
import Foundation
import NodeAgent
import SwiftProtobuf
import Testing

/// How far a proxy is believed.
struct DecisionIntakeTests {
    private func records(
        _ judged: DecisionIntake.Judged
    ) throws -> [Signet_Decisions_V1alpha1_SegmentRecord] {
        let header = DecisionSegment.Header(
            spool: Array(repeating: 0, count: DecisionSegment.spoolBytes),
            number: 1,
            madeAtUnixMilliseconds: 0,
            lost: 0
        )
        let bytes = DecisionSegment.encoded(header, records: judged.records.map(\.bytes))
        return try DecisionSegment(parsing: bytes).records
    }

    @Test func `denials, samples and counts become records in the agent's own words`() throws {
        var message = DecisionSamples.denials(0..<1)
        message.samples = [DecisionSamples.decision(1, allowed: true)]
        message.counts = [DecisionSamples.count(), DecisionSamples.count(9)]
        message.dropped = 6
        let judged = DecisionSamples.judged(message)
        #expect(judged.records.map(\.kind) == [.counts, .denial, .sample])
        #expect(judged.lost == 6)
        #expect(judged.refused == 0)
        let records = try records(judged)
        for record in records {
            #expect(record.proxy == "shop/db")
            #expect(Array(record.instance) == DecisionSamples.instance)
            #expect(record.heardAtUnixMilliseconds == 1_700_000_000_500)
        }
        #expect(records[0].counts.counts.map(\.count) == [3, 9])
        #expect(records[1].decision == message.denials[0])
    }

    @Test func `fields that nobody knows spoil no segment`() throws {
        let unknown = try Signet_Proxy_V1alpha1_DecisionCount(serializedBytes: [0xF8, 0x07, 1])
            .unknownFields
        var message = DecisionSamples.denials(0..<2)
        message.denials[0].unknownFields = unknown
        message.denials[1].revision.unknownFields = unknown
        message.counts = [DecisionSamples.count()]
        message.counts[0].unknownFields = unknown
        let judged = DecisionSamples.judged(message)
        #expect(judged.refused == 0)
        let records = try records(judged)
        #expect(records.count == 3)
        #expect(records[0].counts.counts == [DecisionSamples.count()])
        #expect(records[1].decision == DecisionSamples.decision(0))
        #expect(records[2].decision == DecisionSamples.decision(1))
    }

    private static let lies: [@Sendable (inout Signet_Node_V1alpha1_DecisionExplanation) -> Void] =
        [
            // An identity that the Proxy does not name.
            { $0.identity = "spiffe://example.org/other" },
            // The decision of another process.
            { $0.id = "b" + $0.id.dropFirst() },
            // No denial.
            { $0.allowed = true },
            { $0.logged = .init() },
            { $0.toldBy = .init() },
            { $0.peer = "x" },
            { $0.policy = String(repeating: "p", count: 400) },
        ]

    @Test(arguments: lies.indices)
    func `what a process cannot know or say is refused and counted`(_ place: Int) {
        var message = DecisionSamples.denials(0..<2)
        Self.lies[place](&message.denials[0])
        let judged = DecisionSamples.judged(message)
        #expect(judged.records.count == 1)
        #expect(judged.refused == 1)
    }

    @Test func `counts of a foreign identity are refused, the others are kept`() throws {
        var message = Signet_Proxy_V1alpha1_TrafficRecords()
        message.counts = [DecisionSamples.count(), DecisionSamples.count()]
        message.counts[0].identity = "spiffe://example.org/other"
        let judged = DecisionSamples.judged(message)
        #expect(judged.refused == 1)
        #expect(try records(judged).first?.counts.counts.count == 1)
    }

    @Test func `a proxy of the release before, which tells every rule, is cut`() throws {
        var message = DecisionSamples.denials(0..<1)
        message.denials[0].rules = Array(repeating: .init(), count: 50)
        message.denials[0].path = "/" + String(repeating: "a", count: 9_000)
        message.denials[0].nearestMiss = String(repeating: "b", count: 9_000)
        let record = try #require(try records(DecisionSamples.judged(message)).first)
        #expect(record.decision.rules.isEmpty)
        #expect(record.decision.path.utf8.count == DecisionText.pathBytesMax)
        #expect(record.decision.nearestMiss.utf8.count == DecisionText.nearestMissBytesMax)
    }

    @Test func `denials take nothing from counts, and counts have a limit of their own`() {
        var message = DecisionSamples.denials(0..<1_000)
        for place in message.denials.indices {
            message.denials[place].path = "/" + String(repeating: "a", count: 1_000)
        }
        var intake = DecisionIntake()
        _ = DecisionSamples.judged(message, by: &intake)
        #expect(DecisionSamples.judged(message, by: &intake).records.isEmpty)
        var counts = Signet_Proxy_V1alpha1_TrafficRecords()
        counts.counts = Array(repeating: DecisionSamples.count(), count: 2_001)
        let first = DecisionSamples.judged(counts, by: &intake)
        #expect(first.records.map(\.kind) == [.counts, .counts])
        // The row beyond what a message may have.
        #expect(first.excess == 1)
        var excess = 0
        for _ in 0..<10 { excess += DecisionSamples.judged(counts, by: &intake).excess }
        #expect(excess > 10)
    }

    @Test func `one process has its part of a second, and the next second a new one`() {
        var message = DecisionSamples.denials(0..<1_000)
        for place in message.denials.indices {
            message.denials[place].path = "/" + String(repeating: "a", count: 1_000)
        }
        var intake = DecisionIntake()
        let first = DecisionSamples.judged(message, by: &intake)
        let second = DecisionSamples.judged(message, by: &intake, boot: .seconds(5.9))
        #expect(first.excess + second.excess > 0)
        let bytes = (first.records + second.records).reduce(0) { $0 + $1.bytes.count }
        #expect(bytes <= DecisionIntake.bytesPerSecondMax)
        #expect(second.records.isEmpty)
        #expect(!DecisionSamples.judged(message, by: &intake, boot: .seconds(6)).records.isEmpty)
    }
}
