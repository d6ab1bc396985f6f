// SPDX-License-Identifier: Apache-2.0

package import Foundation

/// A moment as typed: RFC 3339, or a time ago.
package enum Moment {
    /// No log is older than a century.
    static let secondsAgoMax: Int64 = 100 * 366 * 86_400

    /// Reads what was typed.
    ///
    /// - Parameters:
    ///   - text: RFC 3339, or a count of seconds, minutes, hours or days ago: `90s`, `15m`, `7d`.
    ///   - now: The wall clock.
    /// - Returns: Milliseconds since 1970.
    /// - Throws: `CommandFailure` naming the forms.
    package static func parse(_ text: String, now: Date) throws -> Int64 {
        if let seconds = seconds(text), seconds <= secondsAgoMax {
            return Int64(now.timeIntervalSince1970 * 1000) - seconds * 1000
        }
        guard let date = try? Date(text, strategy: .iso8601) else {
            throw CommandFailure(
                "\"\(text)\" is no time",
                remedy: "Write 15m, 2h, 7d or 2026-01-31T12:00:00Z."
            )
        }
        return Int64(date.timeIntervalSince1970 * 1000)
    }

    /// Reads a length of time: `90s`, `15m`, `2h`, `7d`; nil for another form, or for one that no
    /// clock counts.
    package static func seconds(_ text: String) -> Int64? {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        guard let last = text.last, let unit = units[last], let count = Int64(text.dropLast()),
            count >= 0
        else { return nil }
        let (seconds, isTooLong) = count.multipliedReportingOverflow(by: unit)
        return isTooLong ? nil : seconds
    }

    /// A length of time for people, in its two largest units: `23h59m`, `12s`; `0s` when it is over.
    package static func span(seconds: Double) -> String {
        let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)]
        var rest = Int(max(0, min(seconds, Double(secondsAgoMax))).rounded())
        var parts: [String] = []
        for (name, length) in units where rest >= length || !parts.isEmpty {
            parts.append("\(rest / length)\(name)")
            rest %= length
        }
        while parts.count > 2 || (parts.count > 1 && parts.last?.hasPrefix("0") ?? false) {
            parts.removeLast()
        }
        return parts.isEmpty ? "0s" : parts.joined()
    }

    /// As `span(seconds:)`, with tenths below ten seconds.
    package static func span(_ duration: Duration) -> String {
        let seconds = duration / .seconds(1)
        guard seconds < 10 else { return span(seconds: seconds) }
        return "\((max(0, seconds) * 10).rounded() / 10)s"
    }
}
