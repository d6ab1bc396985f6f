// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// A moment in a leaf: UTC, RFC 3339 with exactly three digits of milliseconds.
package struct AuditTime: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds; from 1970 to 9999.
    package let milliseconds: Int64

    private static let millisecondsPerDay: Int64 = 86_400_000
    /// 9999-12-31T23:59:59.999Z, the last moment RFC 3339 can write.
    private static let millisecondsMax: Int64 = 253_402_300_799_999

    /// Takes a date to the nearest millisecond; one before 1970 or after 9999 becomes that end.
    package init(_ date: Date) {
        let exact = (date.timeIntervalSince1970 * 1000).rounded()
        // Not a number compares with nothing and becomes 1970.
        let bounded = exact > 0 ? min(exact, Double(Self.millisecondsMax)) : 0
        milliseconds = min(Int64(bounded), Self.millisecondsMax)
    }

    package init?(milliseconds: Int64) {
        guard (0...Self.millisecondsMax).contains(milliseconds) else { return nil }
        self.milliseconds = milliseconds
    }

    package var date: Date { Date(timeIntervalSince1970: Double(milliseconds) / 1000) }

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.milliseconds < rhs.milliseconds }

    /// For example `2026-01-02T03:04:05.678Z`.
    package var description: String {
        let (year, month, day) = Self.civil(day: milliseconds / Self.millisecondsPerDay)
        let ofDay = milliseconds % Self.millisecondsPerDay
        var text = Array("0000-00-00T00:00:00.000Z".utf8)
        Self.write(year, into: &text[0..<4])
        Self.write(month, into: &text[5..<7])
        Self.write(day, into: &text[8..<10])
        Self.write(ofDay / 3_600_000, into: &text[11..<13])
        Self.write(ofDay / 60_000 % 60, into: &text[14..<16])
        Self.write(ofDay / 1000 % 60, into: &text[17..<19])
        Self.write(ofDay % 1000, into: &text[20..<23])
        return String(decoding: text, as: UTF8.self)
    }

    /// Writes a number that fits into the digits.
    private static func write(_ number: Int64, into digits: inout ArraySlice<UInt8>) {
        var rest = number
        for position in digits.indices.reversed() {
            digits[position] = UInt8(ascii: "0") + UInt8(rest % 10)
            rest /= 10
        }
    }

    /// Reads exactly what `description` writes; nil for anything else.
    package init?(parsing text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count == 24 else { return nil }
        func number(_ range: Range<Int>) -> Int64? {
            Int64(String(decoding: bytes[range], as: UTF8.self))
        }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16),
            let second = number(17..<19), let fraction = number(20..<23)
        else { return nil }
        guard (1970...9999).contains(year), (1...12).contains(month), (1...31).contains(day),
            (0...23).contains(hour), (0...59).contains(minute), (0...59).contains(second),
            (0...999).contains(fraction)
        else { return nil }
        let seconds = (hour * 60 + minute) * 60 + second
        self.init(
            milliseconds: Self.day(year: year, month: month, day: day) * Self.millisecondsPerDay
                + seconds * 1000 + fraction
        )
        // Separators, signs and days that the month does not have show in the difference.
        guard description.utf8.elementsEqual(bytes) else { return nil }
    }

    /// Days of the proleptic Gregorian calendar since 1970-01-01, counted in years that begin in
    /// March so that the leap day comes last.
    private static func day(year: Int64, month: Int64, day: Int64) -> Int64 {
        let marchYear = month <= 2 ? year - 1 : year
        let marchMonth = (month + 9) % 12
        let dayOfYear = (153 * marchMonth + 2) / 5 + day - 1
        return marchYear * 365 + marchYear / 4 - marchYear / 100 + marchYear / 400 + dayOfYear
            - daysFromMarchOfYearZero
    }

    /// From 0000-03-01 to 1970-01-01.
    private static let daysFromMarchOfYearZero: Int64 = 719_468

    private static func civil(day: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let days = day + daysFromMarchOfYearZero
        let era = days / 146_097
        let dayOfEra = days % 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        let year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * marchMonth + 2) / 5 + 1)
    }
}
