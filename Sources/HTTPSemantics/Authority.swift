// SPDX-License-Identifier: Apache-2.0

/// Where a request is addressed: a host and perhaps a port (RFC 3986 section 3.2, RFC 9110
/// section 7.2).
package struct Authority: Hashable, Sendable {
    /// The host as it was written; names are compared in lower case.
    package let host: ByteRange
    /// nil when none was written.
    package let port: UInt16?

    package init(host: ByteRange, port: UInt16?) {
        self.host = host
        self.port = port
    }

    /// Longest host name (RFC 1035 section 2.3.4).
    package static let hostBytesMax = 253

    /// Reads `host`, `host:port`, `[address]` or `[address]:port`; no user information, no escapes.
    ///
    /// - Returns: nil for anything else.
    package init?(_ head: Span<UInt8>, _ text: ByteRange) {
        let end = Int(text.upper)
        var index = Int(text.lower)
        guard index < end else { return nil }
        if head[index] == UInt8(ascii: "[") {
            index += 1
            while index < end, Self.isAddressByte(head[index]) { index += 1 }
            let address = ByteRange((Int(text.lower) + 1)..<index)
            guard index < end, head[index] == UInt8(ascii: "]"),
                IPAddress(ipv6: head.bytes(address)) != nil
            else { return nil }
            index += 1
        } else {
            // A name has one spelling: no empty label, thus no dot at its end.
            var isLabelEmpty = true
            while index < end, Self.isNameByte(head[index]) {
                let isDot = head[index] == UInt8(ascii: ".")
                guard !isDot || !isLabelEmpty else { return nil }
                isLabelEmpty = isDot
                index += 1
            }
            guard !isLabelEmpty else { return nil }
        }
        let host = Int(text.lower)..<index
        guard host.count <= Self.hostBytesMax else { return nil }
        guard index < end else {
            self.init(host: ByteRange(host), port: nil)
            return
        }
        guard head[index] == UInt8(ascii: ":"),
            let port = Self.port(head, (index + 1)..<end)
        else { return nil }
        self.init(host: ByteRange(host), port: port)
    }

    private static func port(_ head: Span<UInt8>, _ digits: Range<Int>) -> UInt16? {
        guard (1...5).contains(digits.count) else { return nil }
        var value: UInt32 = 0
        for index in digits {
            guard Octet.isDigit(head[index]) else { return nil }
            value = value * 10 + UInt32(head[index] &- UInt8(ascii: "0"))
        }
        // One number has one spelling.
        guard value > 0, head[digits.lowerBound] != UInt8(ascii: "0") else { return nil }
        return UInt16(exactly: value)
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        Octet.isUnreserved(byte) && byte != UInt8(ascii: "~")
    }

    private static func isAddressByte(_ byte: UInt8) -> Bool {
        Octet.hexDigit(byte) != nil || byte == UInt8(ascii: ":") || byte == UInt8(ascii: ".")
    }
}
