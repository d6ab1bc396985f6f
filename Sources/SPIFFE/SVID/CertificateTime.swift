// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials

extension DERValue {
    /// The instant that a UTCTime or GeneralizedTime names.
    ///
    /// Only the forms of RFC 5280 section 4.1.2.5 are known: whole seconds and the letter Z.
    func time() throws(LeafCertificateError) -> Date {
        let content = contentBytes
        guard content.last == UInt8(ascii: "Z") else { throw .timeMalformed }
        var digits: [Int] = []
        for byte in content.dropLast() {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else {
                throw .timeMalformed
            }
            digits.append(Int(byte - UInt8(ascii: "0")))
        }
        let pairs = stride(from: 0, to: digits.count - 1, by: 2).map {
            digits[$0] * 10 + digits[$0 + 1]
        }
        switch (tag, digits.count) {
        case (DERTag.utcTime.rawValue, 12):
            // Two digits mean 1950 to 2049 (RFC 5280 section 4.1.2.5.1).
            return try Self.date(year: pairs[0] + (pairs[0] < 50 ? 2000 : 1900), pairs.suffix(5))
        case (DERTag.generalizedTime.rawValue, 14):
            return try Self.date(year: pairs[0] * 100 + pairs[1], pairs.suffix(5))
        default:
            throw .timeMalformed
        }
    }

    /// Joins a year and the five pairs month, day, hour, minute, second.
    private static func date(
        year: Int,
        _ pairs: ArraySlice<Int>
    ) throws(LeafCertificateError) -> Date {
        let parts = Array(pairs)
        let (month, day, hour, minute, second) = (parts[0], parts[1], parts[2], parts[3], parts[4])
        guard (1...12).contains(month), (1...days(in: month, of: year)).contains(day), hour < 24,
            minute < 60, second < 60
        else { throw .timeMalformed }
        let days = daysSinceEpoch(year: year, month: month, day: day)
        return Date(
            timeIntervalSince1970: Double(days * 86_400 + hour * 3600 + minute * 60 + second)
        )
    }

    private static func days(in month: Int, of year: Int) -> Int {
        switch month {
        case 4, 6, 9, 11: 30
        case 2: isLeap(year) ? 29 : 28
        default: 31
        }
    }

    private static func isLeap(_ year: Int) -> Bool {
        year.isMultiple(of: 4) && (!year.isMultiple(of: 100) || year.isMultiple(of: 400))
    }

    /// Days from 1970-01-01, in the Gregorian calendar; the year lies in 0...9999.
    private static func daysSinceEpoch(year: Int, month: Int, day: Int) -> Int {
        // Years that begin in March put the leap day last. 719,468 days lie between 0000-03-01 and
        // 1970-01-01; counting starts 400 years (146,097 days) earlier so that nothing is negative.
        let shifted = (month <= 2 ? year - 1 : year) + 400
        let dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
        return shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + dayOfYear
            - 719_468 - 146_097
    }
}
