// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// A time as HTTP writes it, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
package struct HTTPDate: Hashable, Sendable, CustomStringConvertible {
    package let description: String

    private static let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// Writes a time from 1970 to 9999; what is outside is written as the nearest one.
    package init(_ date: Date) {
        let seconds = Int(min(max(date.timeIntervalSince1970, 0), 253_402_300_799))
        let (day, second) = seconds.quotientAndRemainder(dividingBy: 86_400)
        // Years begin in March here, so that the day that comes and goes is the last.
        let shifted = day + 719_468
        let (era, dayOfEra) = shifted.quotientAndRemainder(dividingBy: 146_097)
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let year = yearOfEra + era * 400 + (month >= 10 ? 1 : 0)
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let clock = [second / 3600, second / 60 % 60, second % 60].map(two)
        description =
            "\(Self.days[day % 7]), \(two(dayOfYear - (153 * month + 2) / 5 + 1)) "
            + "\(Self.months[(month + 2) % 12]) \(year) \(clock.joined(separator: ":")) GMT"
    }
}
