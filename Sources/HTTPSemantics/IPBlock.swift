// SPDX-License-Identifier: Apache-2.0

/// An IP address: 16 bytes, IPv4 in its IPv6 form (RFC 4291 section 2.5.5.2), so that both forms of
/// one address are equal.
package struct IPAddress: Hashable, Sendable, CustomStringConvertible {
    package let high: UInt64
    package let low: UInt64

    /// The first 96 bits of every IPv4 address.
    private static let ipv4Prefix: UInt64 = 0x0000_FFFF_0000_0000

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// An IPv4 address, its first byte the highest.
    package init(ipv4: UInt32) {
        self.init(high: 0, low: Self.ipv4Prefix | UInt64(ipv4))
    }

    /// As RFC 5952 writes it; IPv4 in its own form.
    package var description: String {
        if isIPv4 {
            let bytes: [UInt8] = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: low >> $0) }
            return bytes.map(\.description).joined(separator: ".")
        }
        let groups: [UInt16] = [high, low].flatMap { half in
            [48, 32, 16, 0].map { UInt16(truncatingIfNeeded: half >> $0) }
        }
        var gap = 0..<0
        var start = 0
        for place in 0...8 where place == 8 || groups[place] != 0 {
            // One group alone is written out, and the first of equal gaps is left out.
            if place - start > max(gap.count, 1) { gap = start..<place }
            start = place + 1
        }
        func text(_ range: Range<Int>) -> String {
            groups[range].map { String($0, radix: 16) }.joined(separator: ":")
        }
        guard !gap.isEmpty else { return text(0..<8) }
        return text(0..<gap.lowerBound) + "::" + text(gap.upperBound..<8)
    }

    package var isIPv4: Bool { high == 0 && low & 0xFFFF_FFFF_0000_0000 == Self.ipv4Prefix }

    /// Parses `192.0.2.1` or an IPv6 address (RFC 4291 section 2.2), without zone and brackets.
    ///
    /// - Returns: nil for anything else.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        if bytes.contains(UInt8(ascii: ":")) {
            self.init(ipv6: bytes)
        } else {
            guard let address = Self.dotted(bytes[...]) else { return nil }
            self.init(ipv4: address)
        }
    }

    /// Parses an IPv6 address.
    package init?(ipv6 bytes: [UInt8]) {
        guard let groups = Self.groups(bytes[...]) else { return nil }
        let words = groups.map(UInt64.init)
        self.init(
            high: words[0] << 48 | words[1] << 32 | words[2] << 16 | words[3],
            low: words[4] << 48 | words[5] << 32 | words[6] << 16 | words[7]
        )
    }

    private static func dotted(_ text: ArraySlice<UInt8>) -> UInt32? {
        let parts = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var address: UInt32 = 0
        for part in parts {
            // One number has one spelling: a leading zero is base eight for some.
            guard (1...3).contains(part.count), part.count == 1 || part.first != UInt8(ascii: "0"),
                let value = number(part, radix: 10), value < 256
            else { return nil }
            address = address << 8 | value
        }
        return address
    }

    private static func groups(_ text: ArraySlice<UInt8>) -> [UInt16]? {
        var (head, tail): ([UInt16], [UInt16]) = ([], [])
        var hasGap = false
        var rest = text
        if rest.starts(with: [UInt8(ascii: ":"), UInt8(ascii: ":")]) {
            hasGap = true
            rest = rest.dropFirst(2)
        }
        while !rest.isEmpty {
            let end = rest.firstIndex(of: UInt8(ascii: ":")) ?? rest.endIndex
            let part = rest[..<end]
            var words: [UInt16]
            if end == rest.endIndex, part.contains(UInt8(ascii: ".")) {
                guard let address = dotted(part) else { return nil }
                words = [UInt16(address >> 16), UInt16(truncatingIfNeeded: address)]
            } else {
                guard (1...4).contains(part.count), let value = number(part, radix: 16) else {
                    return nil
                }
                words = [UInt16(value)]
            }
            if hasGap { tail += words } else { head += words }
            rest = rest[end...]
            guard !rest.isEmpty else { break }
            rest = rest.dropFirst()
            if rest.first == UInt8(ascii: ":") {
                guard !hasGap else { return nil }
                hasGap = true
                rest = rest.dropFirst()
            } else if rest.isEmpty {
                return nil
            }
        }
        let missing = 8 - head.count - tail.count
        guard hasGap ? missing >= 1 : missing == 0 else { return nil }
        return head + [UInt16](repeating: 0, count: missing) + tail
    }

    private static func number(_ digits: ArraySlice<UInt8>, radix: UInt32) -> UInt32? {
        var value: UInt32 = 0
        for byte in digits {
            let digit: UInt32
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = UInt32(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"):
                digit = UInt32(byte - UInt8(ascii: "a")) + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"):
                digit = UInt32(byte - UInt8(ascii: "A")) + 10
            default: return nil
            }
            guard digit < radix else { return nil }
            value = value * radix + digit
        }
        return value
    }
}

/// A block of addresses (RFC 4632).
package struct IPBlock: Hashable, Sendable, CustomStringConvertible {
    package let address: IPAddress
    /// Of 128 bits; that of IPv4 plus 96.
    package let prefixLength: Int

    /// Parses `192.0.2.0/24`, `2001:db8::/32`, or one address.
    ///
    /// - Returns: nil for anything else, and for bits beyond the prefix: somebody meant another
    ///   block than the one that would be compared.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let address = IPAddress(String(parts[0])) else { return nil }
        // `::ffff:192.0.2.0/120` is that block too, but nobody means to write it.
        let isIPv4 = !parts[0].utf8.contains(UInt8(ascii: ":"))
        var length = isIPv4 ? 32 : 128
        if parts.count == 2 {
            guard let written = Int(parts[1]), "\(written)" == parts[1], 0...length ~= written
            else { return nil }
            length = written
        }
        self.address = address
        prefixLength = isIPv4 ? length + 96 : length
        guard masked(address) == address else { return nil }
    }

    /// As it is written, with its length: `192.0.2.0/24`.
    package var description: String {
        "\(address)/\(isIPv4 ? prefixLength - 96 : prefixLength)"
    }

    private var isIPv4: Bool { address.isIPv4 && prefixLength >= 96 }

    /// Whether every address of another block is in this one.
    package func covers(_ other: IPBlock) -> Bool {
        prefixLength <= other.prefixLength && contains(other.address)
    }

    /// Whether an address of the same family begins with the block's bits: `::/0` is all of IPv6 and
    /// nothing of IPv4.
    package func contains(_ other: IPAddress) -> Bool {
        other.isIPv4 == isIPv4 && masked(other) == address
    }

    private func masked(_ address: IPAddress) -> IPAddress {
        func mask(_ bits: Int) -> UInt64 {
            bits <= 0 ? 0 : bits >= 64 ? .max : ~(.max >> UInt64(bits))
        }
        return IPAddress(
            high: address.high & mask(prefixLength),
            low: address.low & mask(prefixLength - 64)
        )
    }
}
