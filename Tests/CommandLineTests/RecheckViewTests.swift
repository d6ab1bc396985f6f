// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import SwiftProtobuf
import Testing
import signet

/// What `signet ca recheck` makes of the server's answer.
struct RecheckViewTests {
    private typealias Part = Signet_Admin_V1alpha1_RecheckPart

    private static let summary = Part.with {
        $0.summary = .with {
            ($0.firstRecord, $0.endRecord, $0.certificates) = (3, 9, 40)
            ($0.findings, $0.notJudged) = (2, 5)
            $0.notJudgedReasons = ["otherRelease": 5, "entryForgotten": 1]
        }
    }

    private static let finding = Part.with {
        $0.finding = .with {
            ($0.name, $0.serial, $0.record) = ("leafMissing", "01ab", 7)
            ($0.spiffeID, $0.detail) = ("spiffe://example.org/web", "why")
        }
    }

    @Test func `findings are rows, and the sentence has every number`() throws {
        var reading = RecheckReading()
        let progress = try reading.take(.with { $0.progress.records = 6 })
        #expect(progress?.contains("of 6 records") == true)
        #expect(try reading.take(Self.finding) == nil)
        #expect(try reading.take(Self.summary) == nil)
        let view = try reading.finish()
        #expect(
            view.table.rows == [["leafMissing", "01ab", "spiffe://example.org/web", "7", "why"]]
        )
        #expect(
            view.summary
                == "40 certificates of records 3 to below 9: 2 findings, of which 1 are not listed, "
                + "5 not judged (entryForgotten 1, otherRelease 5)"
        )
    }

    @Test func `an answer without its end is none`() throws {
        var reading = RecheckReading()
        _ = try reading.take(Self.finding)
        #expect(throws: CommandFailure.self) { try reading.finish() }
        _ = try reading.take(Self.summary)
        #expect(throws: CommandFailure.self) { try reading.take(Self.finding) }
        #expect(throws: CommandFailure.self) { try reading.take(Part()) }
    }
}
