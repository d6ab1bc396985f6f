// SPDX-License-Identifier: Apache-2.0

/// The value of `x-request-id`, by which the logs of all programs on a request's way are joined.
///
/// A random UUID of version 4 (RFC 9562 section 5.4), for a request that came without one.
package struct RequestID: Hashable, Sendable {
    /// Longest ID that is kept: all that is known in the field are shorter, and it stands in every
    /// log line.
    package static let bytesMax = 128

    private let high: UInt64
    private let low: UInt64

    /// Makes the ID of 128 random bits, six of which it does not use.
    package init(high: UInt64, low: UInt64) {
        self.high = high & ~0xF000 | 0x4000
        self.low = low & ~(0b11 << 62) | 0b10 << 62
    }

    /// Whether a client's ID can be kept: letters, digits and `-._~:+/=@`, so that it means nothing
    /// to a log, a shell or a page.
    package static func isWellFormed(_ head: Span<UInt8>, _ value: ByteRange) -> Bool {
        guard (1...bytesMax).contains(value.count) else { return false }
        for index in value.range {
            let byte = head[index]
            guard Octet.isUnreserved(byte) || isTolerated(byte) else { return false }
        }
        return true
    }

    private static func isTolerated(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: ":"), UInt8(ascii: "+"), UInt8(ascii: "/"), UInt8(ascii: "="),
            UInt8(ascii: "@"):
            true
        default: false
        }
    }

    /// The 36 characters, without memory of their own.
    package var text: InlineArray<36, UInt8> {
        let (high, low) = (high, low)
        return InlineArray { place in
            switch place {
            case 8, 13, 18, 23: return UInt8(ascii: "-")
            default:
                // Hyphens before this place.
                let passed = place < 8 ? 0 : place < 13 ? 1 : place < 18 ? 2 : place < 23 ? 3 : 4
                let digit = place - passed
                let word = digit < 16 ? high : low
                let value = UInt8(truncatingIfNeeded: word >> UInt64(60 - 4 * (digit & 15)) & 15)
                return value < 10 ? 0x30 + value : 0x61 - 10 + value
            }
        }
    }
}
