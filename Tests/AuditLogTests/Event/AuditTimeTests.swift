// SPDX-License-Identifier: Apache-2.0

import AuditLog
import FoundationEssentials
import TestSeeds
import Testing

@Suite struct AuditTimeTests {
    @Test(arguments: [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ])
    func `a moment is written in RFC 3339`(milliseconds: Int64, text: String) throws {
        let time = try #require(AuditTime(milliseconds: milliseconds))
        #expect(time.description == text)
        #expect(AuditTime(parsing: text) == time)
        #expect(AuditTime(time.date) == time)
    }

    @Test(arguments: [
        "", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.67Z", "2026-01-02T03:04:05.6789Z",
        "2026-01-02 03:04:05.678Z", "2026-01-02t03:04:05.678Z", "2026-01-02T03:04:05.678z",
        "2026-01-02T03:04:05.678+00:00", "2026-02-29T00:00:00.000Z", "2026-04-31T00:00:00.000Z",
        "2026-13-01T00:00:00.000Z", "2026-00-01T00:00:00.000Z", "2026-01-00T00:00:00.000Z",
        "2026-01-02T24:00:00.000Z", "2026-01-02T03:60:05.678Z", "2026-01-02T03:04:60.678Z",
        "1969-12-31T23:59:59.999Z", "2026-01-02T03:04:05,678Z", "+026-01-02T03:04:05.678Z",
        "2026-+1-02T03:04:05.678Z", "2100-02-29T00:00:00.000Z", "２026-1-02T03:04:05.67Z",
    ])
    func `any other spelling is refused`(text: String) {
        #expect(AuditTime(parsing: text) == nil)
    }

    @Test func `dates that cannot be written become the nearest that can`() {
        let cases: [(Double, Int64)] = [
            (-1, 0), (-.infinity, 0), (.nan, 0), (.infinity, 253_402_300_799_999),
            (1e300, 253_402_300_799_999), (0.0004, 0), (0.0006, 1),
        ]
        for (seconds, milliseconds) in cases {
            let time = AuditTime(Date(timeIntervalSince1970: seconds))
            #expect(time.milliseconds == milliseconds)
        }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `every moment is read back and later ones sort later`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var last: (AuditTime, String)?
        var milliseconds: Int64 = 0
        while let time = AuditTime(milliseconds: milliseconds) {
            let text = time.description
            #expect(AuditTime(parsing: text) == time)
            #expect(AuditTime(time.date) == time)
            if let last { #expect(last.0 < time && last.1 < text) }
            last = (time, text)
            milliseconds += Int64.random(in: 1...500_000_000_000, using: &random)
        }
    }
}
