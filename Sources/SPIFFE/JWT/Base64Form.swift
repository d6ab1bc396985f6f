// SPDX-License-Identifier: Apache-2.0

/// The two forms of base 64 that JOSE uses; each byte string has one text in each form.
package enum Base64Form: Sendable {
    /// RFC 4648 section 4, padded: certificates in `x5c` (RFC 7517 section 4.7).
    case standard
    /// RFC 4648 section 5, without padding: everything else (RFC 7515 section 2).
    case url

    /// Writes bytes as text.
    package func text(_ bytes: some Collection<UInt8>) -> String {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
        let all = digits + lastDigits
        var text: [UInt8] = []
        text.reserveCapacity(bytes.count / 3 * 4 + 4)
        var bits: UInt32 = 0
        var count = 0
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            count += 8
            while count >= 6 {
                count -= 6
                text.append(all[Int(bits >> UInt32(count) & 0x3F)])
            }
            bits &= 0xFF
        }
        if count > 0 { text.append(all[Int(bits << UInt32(6 - count) & 0x3F)]) }
        while self == .standard, text.count % 4 != 0 { text.append(UInt8(ascii: "=")) }
        return String(decoding: text, as: UTF8.self)
    }

    /// Reads exactly what `text` writes: no white space, no bits that no byte has.
    ///
    /// - Returns: nil for anything else.
    package func bytes(_ text: some Collection<UInt8>) -> [UInt8]? {
        var digits = Array(text)
        if self == .standard {
            guard digits.count % 4 == 0 else { return nil }
            for _ in 0..<2 where digits.last == UInt8(ascii: "=") { digits.removeLast() }
        }
        guard digits.count % 4 != 1 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(digits.count * 3 / 4)
        var bits: UInt32 = 0
        var count: UInt32 = 0
        for digit in digits {
            guard let value = value(of: digit) else { return nil }
            bits = bits << 6 | value
            count += 6
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> count))
                bits &= 1 << count - 1
            }
        }
        return bits == 0 ? bytes : nil
    }

    private var lastDigits: [UInt8] {
        switch self {
        case .standard: [UInt8(ascii: "+"), UInt8(ascii: "/")]
        case .url: [UInt8(ascii: "-"), UInt8(ascii: "_")]
        }
    }

    private func value(of digit: UInt8) -> UInt32? {
        switch digit {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(digit - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(digit - UInt8(ascii: "a")) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(digit - UInt8(ascii: "0")) + 52
        case lastDigits[0]: 62
        case lastDigits[1]: 63
        default: nil
        }
    }
}
