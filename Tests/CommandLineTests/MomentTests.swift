// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing
import signet

@Suite struct MomentTests {
    private let now = Date(timeIntervalSince1970: 1_900_000_000)

    @Test(arguments: [
        ("0s", 0), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800),
    ])
    func `a time ago counts back from now`(text: String, seconds: Int64) throws {
        #expect(try Moment.parse(text, now: now) == (1_900_000_000 - seconds) * 1000)
    }

    @Test func `RFC 3339 is read with its offset`() throws {
        #expect(try Moment.parse("1970-01-01T00:00:10Z", now: now) == 10_000)
        #expect(try Moment.parse("1970-01-01T01:00:10+01:00", now: now) == 10_000)
    }

    @Test(arguments: [
        "", "s", "m", "-5m", "5", "5w", "1.5h", "yesterday", "99999999999999999999d",
        "9223372036854775807d", "36601d", "1970-01-01", "1970-13-01T00:00:00Z",
    ])
    func `anything else is refused`(text: String) {
        #expect(throws: CommandFailure.self) { try Moment.parse(text, now: now) }
    }

    @Test(arguments: [
        ("0s", 0), ("90s", 90), ("30d", 2_592_000), ("36601d", 3_162_326_400),
        ("9223372036854775807s", Int64.max),
    ])
    func `a length of time is read whole`(text: String, seconds: Int64) {
        #expect(Moment.seconds(text) == seconds)
    }

    @Test(arguments: ["", "1", "h", "-1h", "+", "1w", "1H", "9223372036854775807m", "1h30m"])
    func `another form is no length of time`(text: String) {
        #expect(Moment.seconds(text) == nil)
    }

    @Test(arguments: [
        (0.0, "0s"), (-5, "0s"), (0.4, "0s"), (12, "12s"), (60, "1m"), (61, "1m1s"),
        (3600, "1h"), (86_340, "23h59m"), (86_400, "1d"), (90_061, "1d1h"), (86_461, "1d"),
    ])
    func `a span is told in its two largest units`(seconds: Double, text: String) {
        #expect(Moment.span(seconds: seconds) == text)
    }

    @Test func `a span that is no number of seconds is bounded`() {
        #expect(Moment.span(seconds: .infinity) == Moment.span(seconds: 100 * 366 * 86_400))
        #expect(Moment.span(.milliseconds(340)) == "0.3s")
        #expect(Moment.span(.seconds(30)) == "30s")
    }
}
