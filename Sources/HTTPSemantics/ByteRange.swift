// SPDX-License-Identifier: Apache-2.0

/// A run of bytes in a head, without the head: two offsets that outlive no copy of it.
package struct ByteRange: Hashable, Sendable {
    package var lower: UInt32
    package var upper: UInt32

    package static let empty = Self(lower: 0, upper: 0)

    package init(lower: UInt32, upper: UInt32) {
        self.lower = lower
        self.upper = upper
    }

    package init(_ range: Range<Int>) {
        self.init(lower: UInt32(range.lowerBound), upper: UInt32(range.upperBound))
    }

    package var count: Int { Int(upper - lower) }
    package var isEmpty: Bool { lower == upper }
    package var range: Range<Int> { Int(lower)..<Int(upper) }
}

extension Span<UInt8> {
    /// Whether `range` holds exactly these bytes.
    package func holds(_ text: [UInt8], at range: ByteRange) -> Bool {
        guard range.count == text.count else { return false }
        let start = Int(range.lower)
        for index in text.indices where self[start + index] != text[index] { return false }
        return true
    }

    /// Whether `range` holds these bytes when ASCII letters are read in lower case; `text` is.
    package func holdsLowercased(_ text: [UInt8], at range: ByteRange) -> Bool {
        guard range.count == text.count else { return false }
        let start = Int(range.lower)
        for index in text.indices where Octet.lowercased(self[start + index]) != text[index] {
            return false
        }
        return true
    }

    /// Whether two runs hold the same bytes when ASCII letters are read in lower case.
    package func areEqualLowercased(_ first: ByteRange, _ second: ByteRange) -> Bool {
        guard first.count == second.count else { return false }
        for offset in 0..<first.count {
            let (left, right) = (self[Int(first.lower) + offset], self[Int(second.lower) + offset])
            guard Octet.lowercased(left) == Octet.lowercased(right) else { return false }
        }
        return true
    }

    /// The bytes of a run, for logs and answers; not for the path of a request that is allowed.
    package func bytes(_ range: ByteRange) -> [UInt8] {
        range.range.map { self[$0] }
    }
}
