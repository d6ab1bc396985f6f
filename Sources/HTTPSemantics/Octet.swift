// SPDX-License-Identifier: Apache-2.0

/// The classes of bytes that HTTP and URIs are made of, as tests without tables.
package enum Octet {
    package static let horizontalTab = UInt8(ascii: "\t")
    package static let lineFeed = UInt8(ascii: "\n")
    package static let carriageReturn = UInt8(ascii: "\r")
    package static let space = UInt8(ascii: " ")

    // tchar of RFC 9110 section 5.6.2, one bit for each byte below 128.
    private static let tokenLow: UInt64 = 0x03FF_6CFA_0000_0000
    private static let tokenHigh: UInt64 = 0x57FF_FFFF_C7FF_FFFE
    // pchar of RFC 3986 section 3.3 but "%", with "/" between segments.
    private static let pathLow: UInt64 = 0x2FFF_FFD2_0000_0000
    private static let pathHigh: UInt64 = 0x47FF_FFFE_87FF_FFFF
    // unreserved of RFC 3986 section 2.3.
    private static let unreservedLow: UInt64 = 0x03FF_6000_0000_0000
    private static let unreservedHigh: UInt64 = 0x47FF_FFFE_87FF_FFFE

    @inline(__always)
    private static func isIn(_ low: UInt64, _ high: UInt64, _ byte: UInt8) -> Bool {
        let bits = byte < 64 ? low : high
        return byte < 128 && (bits >> UInt64(byte & 63)) & 1 == 1
    }

    /// Whether it may stand in a method or a field name (RFC 9110 section 5.6.2).
    @inline(__always)
    package static func isToken(_ byte: UInt8) -> Bool { isIn(tokenLow, tokenHigh, byte) }

    /// Whether it may stand in a field's name here: a letter, a digit or a hyphen.
    ///
    /// Servers that make variables of names map every other byte of a token to the same one, so
    /// that a field could pose as another.
    @inline(__always)
    package static func isFieldName(_ byte: UInt8) -> Bool {
        isDigit(byte) || (byte | 0x20) &- UInt8(ascii: "a") < 26 || byte == UInt8(ascii: "-")
    }

    /// Whether it may stand for itself in a path (RFC 3986 section 3.3).
    @inline(__always)
    package static func isPath(_ byte: UInt8) -> Bool { isIn(pathLow, pathHigh, byte) }

    /// Whether it may stand for itself in a query (RFC 3986 section 3.4).
    @inline(__always)
    package static func isQuery(_ byte: UInt8) -> Bool { isPath(byte) || byte == UInt8(ascii: "?") }

    /// Whether it means the same escaped and not (RFC 3986 section 2.3).
    @inline(__always)
    package static func isUnreserved(_ byte: UInt8) -> Bool {
        isIn(unreservedLow, unreservedHigh, byte)
    }

    /// Whether it may stand in a field's value (RFC 9110 section 5.5).
    @inline(__always)
    package static func isFieldValue(_ byte: UInt8) -> Bool {
        byte >= 0x20 ? byte != 0x7F : byte == horizontalTab
    }

    /// Whether it is a decimal digit.
    @inline(__always)
    package static func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }

    /// Whether it is a capital ASCII letter.
    @inline(__always)
    package static func isUppercaseLetter(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "A") < 26 }

    /// The byte with a capital ASCII letter made small.
    @inline(__always)
    package static func lowercased(_ byte: UInt8) -> UInt8 {
        isUppercaseLetter(byte) ? byte | 0x20 : byte
    }

    /// The value of a hexadecimal digit; nil if it is none.
    @inline(__always)
    package static func hexDigit(_ byte: UInt8) -> UInt8? {
        if isDigit(byte) { return byte &- UInt8(ascii: "0") }
        let letter = (byte | 0x20) &- UInt8(ascii: "a")
        return letter < 6 ? letter + 10 : nil
    }
}
