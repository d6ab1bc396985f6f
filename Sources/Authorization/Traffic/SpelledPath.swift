// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// The bytes of a path in the spelling in which paths are compared, without a copy.
struct SpelledPath {
    private var index: Int
    private let end: Int
    /// The digits of an escape that are still to come.
    private var digits: (UInt8, UInt8) = (0, 0)
    private var digitCount = 0

    init(_ path: ByteRange) {
        index = Int(path.lower)
        end = Int(path.upper)
    }

    mutating func next(_ head: Span<UInt8>) -> UInt8? {
        if digitCount > 0 {
            digitCount -= 1
            return digitCount == 1 ? digits.0 : digits.1
        }
        guard index < end else { return nil }
        switch CanonicalPath.escape(head, at: index, end: end) {
        case nil:
            index += 1
            return head[index - 1]
        case .resolved(let byte):
            index += 3
            return byte
        case .kept(let high, let low):
            index += 3
            (digits, digitCount) = ((high, low), 2)
            return UInt8(ascii: "%")
        }
    }

    /// How many bytes are still to come.
    func count(_ head: Span<UInt8>) -> Int {
        var (rest, count) = (self, 0)
        while rest.next(head) != nil { count += 1 }
        return count
    }

    /// Goes on to the end of a segment.
    ///
    /// - Returns: Whether there was a byte of it.
    mutating func skipSegment(_ head: Span<UInt8>) -> Bool {
        var isEmpty = true
        while true {
            var ahead = self
            guard let byte = ahead.next(head), byte != UInt8(ascii: "/") else { return !isEmpty }
            self = ahead
            isEmpty = false
        }
    }
}
