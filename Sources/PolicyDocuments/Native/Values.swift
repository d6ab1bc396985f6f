// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials

/// DNS names as they stand in certificates and names of documents (RFC 1123 section 2.1), in lower
/// case.
enum DNSName {
    /// Longest name in text form (RFC 1035 section 2.3.4).
    static let bytesMax = 253
    /// Longest label (RFC 1035 section 2.3.4).
    private static let labelBytesMax = 63

    /// Labels joined by dots.
    static func isSubdomain(_ text: String) -> Bool {
        guard text.utf8.count <= bytesMax else { return false }
        return text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
            .allSatisfy(isLabel)
    }

    static func isLabel(_ text: String) -> Bool { isLabel(text.utf8[...]) }

    private static func isLabel(_ text: Substring.UTF8View) -> Bool {
        guard text.count <= labelBytesMax, let first = text.first, let last = text.last else {
            return false
        }
        let hyphen = UInt8(ascii: "-")
        return first != hyphen && last != hyphen && text.allSatisfy(isLetterDigitOrHyphen)
    }

    /// A name that a certificate may carry: no wildcard, and not an address in disguise.
    static func isHost(_ text: String) -> Bool {
        guard isSubdomain(text), let last = text.split(separator: ".").last else { return false }
        return !last.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    static func isLetterDigitOrHyphen(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "-"):
            true
        default: false
        }
    }
}

/// Durations as people write them: `30s`, `15m`, `1h`, `1h30m`.
enum DurationText {
    private static let units: [(suffix: Character, seconds: Int)] = [
        ("h", 3600), ("m", 60), ("s", 1),
    ]
    /// More digits are no lifetime of anything here.
    private static let digitsMax = 6

    /// Each unit at most once, the greater before the lesser, no sign, no fraction.
    static func seconds(parsing text: String) -> Int? {
        var rest = text[...]
        var total = 0
        var isEmpty = true
        for (suffix, seconds) in units {
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            guard rest.dropFirst(digits.count).first == suffix else { continue }
            guard !digits.isEmpty, digits.count <= digitsMax, let count = Int(digits) else {
                return nil
            }
            total += count * seconds
            rest = rest.dropFirst(digits.count + 1)
            isEmpty = false
        }
        return rest.isEmpty && !isEmpty ? total : nil
    }

    static func text(seconds: Int) -> String {
        var rest = seconds
        var text = ""
        for (suffix, unit) in units where rest >= unit {
            text += "\(rest / unit)\(suffix)"
            rest %= unit
        }
        return text.isEmpty ? "0s" : text
    }
}

/// Points in time as RFC 3339 writes them, in whole seconds.
enum Timestamp {
    /// Reads `2027-01-31T00:00:00Z` or with an offset such as `+01:00`; years 1970 to 9999.
    static func date(parsing text: String) -> Date? {
        let bytes = Array(text.utf8)
        guard bytes.count == 20 || bytes.count == 25 else { return nil }
        let marks: [(Int, UInt8)] = [
            (4, UInt8(ascii: "-")), (7, UInt8(ascii: "-")), (10, UInt8(ascii: "T")),
            (13, UInt8(ascii: ":")), (16, UInt8(ascii: ":")),
        ]
        guard marks.allSatisfy({ bytes[$0.0] == $0.1 }),
            let year = number(bytes[0..<4]), let month = number(bytes[5..<7]),
            let day = number(bytes[8..<10]), let hour = number(bytes[11..<13]),
            let minute = number(bytes[14..<16]), let second = number(bytes[17..<19]),
            let offset = offset(bytes[19...]),
            year >= 1970, (1...12).contains(month), (1...days(in: month, of: year)).contains(day),
            hour < 24, minute < 60, second < 60
        else { return nil }
        let seconds =
            days(before: year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset
        return Date(timeIntervalSince1970: Double(seconds))
    }

    /// Writes a time in UTC; fractions of a second are cut off.
    static func text(_ date: Date) -> String {
        // Everything outside the years 1970 to 9999 is a mistake of the caller and shown at the
        // end of the range.
        let seconds = Int(min(max(date.timeIntervalSince1970, 0), 253_402_300_799).rounded(.down))
        var day = seconds / 86_400
        let second = seconds % 86_400
        var year = 1970 + day / 366
        while days(before: year + 1, 1, 1) <= day { year += 1 }
        day -= days(before: year, 1, 1)
        var month = 1
        while day >= days(in: month, of: year) {
            day -= days(in: month, of: year)
            month += 1
        }
        let clock = [second / 3600, second / 60 % 60, second % 60].map { padded($0, to: 2) }
        return "\(padded(year, to: 4))-\(padded(month, to: 2))-\(padded(day + 1, to: 2))T"
            + "\(clock.joined(separator: ":"))Z"
    }

    private static func offset(_ bytes: ArraySlice<UInt8>) -> Int? {
        guard let first = bytes.first else { return nil }
        if bytes.count == 1 { return first == UInt8(ascii: "Z") ? 0 : nil }
        let digits = bytes.dropFirst()
        let start = digits.startIndex
        guard digits.count == 5, digits[start + 2] == UInt8(ascii: ":"),
            let hours = number(digits[start..<(start + 2)]), hours < 24,
            let minutes = number(digits[(start + 3)...]), minutes < 60
        else { return nil }
        let seconds = hours * 3600 + minutes * 60
        switch first {
        case UInt8(ascii: "+"): return seconds
        case UInt8(ascii: "-"): return -seconds
        default: return nil
        }
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> Int? {
        var value = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            value = value * 10 + Int(digit - UInt8(ascii: "0"))
        }
        return value
    }

    private static func padded(_ value: Int, to width: Int) -> String {
        let text = "\(value)"
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }

    private static func isLeap(_ year: Int) -> Bool {
        (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
    }

    private static func days(in month: Int, of year: Int) -> Int {
        switch month {
        case 2: isLeap(year) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Days from 1970-01-01 to a date of the Gregorian calendar.
    private static func days(before year: Int, _ month: Int, _ day: Int) -> Int {
        let past = year - 1
        // 719,162 days lie before 1970-01-01 in the proleptic calendar.
        var days = past * 365 + past / 4 - past / 100 + past / 400 - 719_162
        for earlier in 1..<month { days += self.days(in: earlier, of: year) }
        return days + day - 1
    }
}
