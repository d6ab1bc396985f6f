// SPDX-License-Identifier: Apache-2.0

/// What a segment's file is called: when it was made, its spool and its number, in hexadecimal
/// digits of fixed width, so that names sort in the order in which segments are sent.
package struct SegmentName: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// What names end in.
    private static let suffix = ".segment"
    private static let numberDigits = 16
    private static let spoolDigits = 2 * DecisionSegment.spoolBytes

    package let madeAtUnixMilliseconds: UInt64
    package let spool: [UInt8]
    package let number: UInt64

    /// The name of the segment with this header.
    package init(_ header: DecisionSegment.Header) {
        madeAtUnixMilliseconds = header.madeAtUnixMilliseconds
        spool = header.spool
        number = header.number
    }

    /// Reads a file's name; nil for every other spelling.
    package init?(_ text: String) {
        guard text.hasSuffix(Self.suffix) else { return nil }
        let parts = text.dropLast(Self.suffix.count)
            .split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0].utf8.count == Self.numberDigits,
            parts[1].utf8.count == Self.spoolDigits, parts[2].utf8.count == Self.numberDigits,
            let time = UInt64(parts[0], radix: 16), let number = UInt64(parts[2], radix: 16)
        else { return nil }
        var spool: [UInt8] = []
        var digits = parts[1]
        while !digits.isEmpty {
            guard let byte = UInt8(digits.prefix(2), radix: 16) else { return nil }
            spool.append(byte)
            digits = digits.dropFirst(2)
        }
        (madeAtUnixMilliseconds, self.spool, self.number) = (time, spool, number)
        guard description == text else { return nil }
    }

    package var description: String {
        let parts = [
            Self.digits(madeAtUnixMilliseconds),
            spool.map { Self.digits(UInt64($0), count: 2) }.joined(),
            Self.digits(number),
        ]
        return parts.joined(separator: "-") + Self.suffix
    }

    package static func < (left: Self, right: Self) -> Bool {
        guard left.madeAtUnixMilliseconds == right.madeAtUnixMilliseconds else {
            return left.madeAtUnixMilliseconds < right.madeAtUnixMilliseconds
        }
        guard left.spool == right.spool else {
            return left.spool.lexicographicallyPrecedes(right.spool)
        }
        return left.number < right.number
    }

    private static func digits(_ number: UInt64, count: Int = numberDigits) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: count - text.count) + text
    }
}
