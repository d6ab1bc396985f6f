// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials

/// A moment in a certificate: whole seconds since 1970 in UTC, as X.509 can write them.
struct CertificateTime: Hashable, Comparable {
    /// 1970-01-01: no clock of a running server is earlier.
    static let first: Int64 = 0
    /// 9999-12-31T23:59:59Z, the last moment of GeneralizedTime (RFC 5280 section 4.1.2.5).
    static let last: Int64 = 253_402_300_799
    /// The first moment that is written as GeneralizedTime, 2050-01-01 (RFC 5280 section 4.1.2.5).
    static let generalizedTimeStart: Int64 = 2_524_608_000

    let secondsSince1970: Int64

    /// Nil outside the years 1970 to 9999.
    init?(secondsSince1970: Int64) {
        guard (Self.first...Self.last).contains(secondsSince1970) else { return nil }
        self.secondsSince1970 = secondsSince1970
    }

    /// The last whole second that is not after `date`; nil outside the years 1970 to 9999.
    init?(_ date: Date) {
        let seconds = date.timeIntervalSince1970.rounded(.down)
        guard seconds >= Double(Self.first), seconds <= Double(Self.last) else { return nil }
        self.init(secondsSince1970: Int64(seconds))
    }

    var date: Date { Date(timeIntervalSince1970: Double(secondsSince1970)) }

    /// The moment `duration` later (earlier if negative); nil outside the years 1970 to 9999.
    func adding(_ duration: Duration) -> Self? {
        let sum = secondsSince1970.addingReportingOverflow(duration.components.seconds)
        return sum.overflow ? nil : Self(secondsSince1970: sum.partialValue)
    }

    static func < (lhs: Self, rhs: Self) -> Bool { lhs.secondsSince1970 < rhs.secondsSince1970 }

    /// Year, month, day, hour, minute, second in the proleptic Gregorian calendar.
    var civil: (year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
        let days = Int(secondsSince1970 / 86_400)
        let rest = Int(secondsSince1970 % 86_400)
        // Counting years from March puts the leap day at the end of the year, and 400 years have
        // 146,097 days; 719,468 days lie between 0000-03-01 and 1970-01-01.
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        let year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
        return (year, month, day, rest / 3600, rest / 60 % 60, rest % 60)
    }

    /// The moment of a calendar date, for reading; nil for a date that does not exist.
    init?(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
        guard (1970...9999).contains(year), (1...12).contains(month), (1...31).contains(day),
            (0...23).contains(hour), (0...59).contains(minute), (0...59).contains(second)
        else { return nil }
        let daysBefore = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334]
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let past = year - 1
        let leapDays = past / 4 - past / 100 + past / 400 - 477
        let days =
            (year - 1970) * 365 + leapDays + daysBefore[month - 1]
            + (isLeap && month > 2 ? 1 : 0) + day - 1
        let seconds = Int64(days * 86_400 + hour * 3600 + minute * 60 + second)
        self.init(secondsSince1970: seconds)
        let read = civil
        guard (read.year, read.month, read.day) == (year, month, day) else { return nil }
    }
}
