// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// A certificate's serial number: 0x01 and then 128 random bits.
///
/// The leading byte keeps the INTEGER positive and its length fixed, so that the DER content, the
/// hexadecimal form and the database column are always the same 17 bytes (RFC 5280 section 4.1.2.2
/// allows 20).
package struct SerialNumber: Hashable, Sendable, CustomStringConvertible {
    package static let bytesCount = 17

    /// The content of the DER INTEGER.
    package let bytes: [UInt8]

    /// Draws a new serial; `generator` must be the system's in production.
    package init(using generator: inout some RandomNumberGenerator) {
        var bytes: [UInt8] = [0x01]
        bytes.reserveCapacity(Self.bytesCount)
        for _ in 0..<2 {
            let word = generator.next()
            for shift in stride(from: 56, through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
            }
        }
        self.bytes = bytes
    }

    /// Takes a serial that was drawn before; nil for bytes of another form.
    init?(bytes: [UInt8]) {
        guard bytes.count == Self.bytesCount, bytes.first == 0x01 else { return nil }
        self.bytes = bytes
    }

    /// Lower-case hexadecimal, 34 digits.
    package var description: String { Hexadecimal.text(bytes) }
}
