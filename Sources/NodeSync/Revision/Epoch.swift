// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// The life of one datastore: 16 random bytes, new with each datastore and each restore.
///
/// Numbers of different epochs cannot be compared, so whoever meets a new epoch starts over.
package struct Epoch: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Wide enough that two datastores never draw the same value.
    package static let byteCount = 16

    private let high: UInt64
    private let low: UInt64

    /// Draws a new epoch.
    package init(using generator: inout some RandomNumberGenerator) {
        high = generator.next()
        low = generator.next()
    }

    /// Reads the 16 bytes of an epoch.
    ///
    /// - Throws: `EpochError.length` unless there are exactly 16.
    package init(bytes: [UInt8]) throws(EpochError) {
        guard bytes.count == Self.byteCount else { throw .length }
        high = Self.bigEndian(bytes[0..<8])
        low = Self.bigEndian(bytes[8..<16])
    }

    /// Reads 32 hexadecimal digits.
    ///
    /// - Throws: `EpochError` naming the rule that the text breaks.
    package init(hex: String) throws(EpochError) {
        var digits: [UInt8] = []
        for byte in hex.utf8 {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digits.append(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digits.append(byte - UInt8(ascii: "a") + 10)
            default: throw .notLowercaseHexadecimal
            }
        }
        guard digits.count == 2 * Self.byteCount else { throw .length }
        try self.init(
            bytes: stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
        )
    }

    package var bytes: [UInt8] {
        [high, low].flatMap { word in
            stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: word >> $0) }
        }
    }

    /// 32 lowercase hexadecimal digits.
    package var hex: String { Hexadecimal.text(bytes) }

    package var description: String { hex }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.high, lhs.low) < (rhs.high, rhs.low)
    }

    private static func bigEndian(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }
}

/// The rule of `Epoch` that some bytes or a text break.
package enum EpochError: Error, Hashable, Sendable, CustomStringConvertible {
    case length
    case notLowercaseHexadecimal

    package var description: String {
        switch self {
        case .length: "an epoch has \(Epoch.byteCount) bytes"
        case .notLowercaseHexadecimal: "an epoch is written in digits 0-9 and a-f"
        }
    }
}

extension Epoch: Codable {
    package init(from decoder: any Decoder) throws {
        try self.init(hex: decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(hex)
    }
}
