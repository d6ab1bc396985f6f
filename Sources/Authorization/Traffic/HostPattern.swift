// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// A host as policies name it: `api.example.org`, `*.example.org`, each perhaps with a port.
package struct HostPattern: Hashable, Sendable, CustomStringConvertible {
    /// In small letters; what follows `*.` if it is open.
    package let name: [UInt8]
    /// Whether every name is meant that ends so and has something before the dot.
    package let isOpen: Bool
    /// nil: with every port, and without.
    package let port: UInt16?

    /// - Returns: nil for what is no name, an address among it: it has many spellings.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        isOpen = bytes.starts(with: "*.".utf8)
        let start = isOpen ? 2 : 0
        guard start < bytes.count,
            !bytes.contains(where: Octet.isUppercaseLetter),
            let authority = Authority(bytes.span, ByteRange(start..<bytes.count)),
            !HostForm.isAddress(bytes.span, authority.host)
        else { return nil }
        name = Array(bytes[authority.host.range])
        port = authority.port
    }

    /// As it is written.
    package var description: String {
        (isOpen ? "*." : "") + String(decoding: name, as: UTF8.self)
            + (port.map { ":\($0)" } ?? "")
    }

    /// Whether every host that another one names is named by this one.
    package func covers(_ other: HostPattern) -> Bool {
        (port == nil || port == other.port)
            && (isOpen ? ends(other.name, orIsBase: other.isOpen) : self.name == other.name)
            && (isOpen || !other.isOpen)
    }

    private func ends(_ host: [UInt8], orIsBase: Bool = false) -> Bool {
        let end = [UInt8(ascii: ".")] + name
        return host.count > end.count && host.suffix(end.count).elementsEqual(end)
            || orIsBase && host == name
    }

    /// Whether it names a host; nil if that depends on a port that the request has not written.
    package func matches(_ host: RequestedHost) -> Bool? {
        guard isOpen ? ends(host.name) : host.name == name else { return false }
        guard let port else { return true }
        return host.port.map { $0 == port }
    }
}

/// A host as a client names it, in the Host field or in the handshake.
package struct RequestedHost: Hashable, Sendable, CustomStringConvertible {
    /// In small letters.
    package let name: [UInt8]
    /// nil if it was not written.
    package let port: UInt16?

    /// Reads what stands in a Host field.
    ///
    /// - Returns: nil for what decision 0007 refuses.
    package init?(authority text: String) {
        let bytes = Array(text.utf8)
        guard let authority = Authority(bytes.span, ByteRange(0..<bytes.count)) else { return nil }
        name = bytes[authority.host.range].map(Octet.lowercased)
        port = authority.port
    }

    /// Reads the name that a client asked for in the handshake (RFC 6066 section 3).
    ///
    /// - Returns: nil for what is no name, an address among it: then none is known.
    package init?(serverName text: String) {
        self.init(authority: text)
        guard port == nil, !isAddress else { return nil }
    }

    /// Whether it is an address or is read as one, so that nobody knows by it which host is meant.
    package var isAddress: Bool { HostForm.isAddress(name.span, ByteRange(0..<name.count)) }

    /// In small letters, with the port if there is one.
    package var description: String {
        String(decoding: name, as: UTF8.self) + (port.map { ":\($0)" } ?? "")
    }
}

/// What the bytes of a host say of it.
enum HostForm {
    /// Whether a host is an address, or a name whose last label is a number in any base, which many
    /// read as one (`127.1`, `0x7f000001`).
    static func isAddress(_ head: Span<UInt8>, _ host: ByteRange) -> Bool {
        let (lower, upper) = (host.range.lowerBound, host.range.upperBound)
        guard lower < upper else { return false }
        guard head[lower] != UInt8(ascii: "[") else { return true }
        var start = upper
        while start > lower, head[start - 1] != UInt8(ascii: ".") { start -= 1 }
        guard start < upper, Octet.isDigit(head[start]) else { return false }
        let isHex =
            upper - start > 1 && head[start] == UInt8(ascii: "0")
            && Octet.lowercased(head[start + 1]) == UInt8(ascii: "x")
        for place in (isHex ? start + 2 : start)..<upper {
            let isPart = isHex ? Octet.hexDigit(head[place]) != nil : Octet.isDigit(head[place])
            if !isPart { return false }
        }
        return true
    }
}

/// The fields that tell a server another host than Host does, and by which many route.
enum ForwardedHost {
    private static let names = ["x-host", "x-original-host", "x-forwarded-host"]
        .map { Array($0.utf8) }
    private static let override = Array("x-http-host-override".utf8)
    private static let forwarded = Array("forwarded".utf8)
    private static let word = Array("host".utf8)

    /// Whether a field is there that names another host than `authority`, or may.
    static func contradicts(
        _ authority: Authority,
        _ fields: Span<HeaderField>,
        _ head: Span<UInt8>
    ) -> Bool {
        for index in fields.indices {
            let (name, value) = (fields[index].name, fields[index].value)
            switch name.count {
            case 9 where head.holdsLowercased(forwarded, at: name):
                // As a list of pairs it has many readings.
                if mentions(head, value) { return true }
            case 6 where head.holdsLowercased(names[0], at: name),
                15 where head.holdsLowercased(names[1], at: name),
                16 where head.holdsLowercased(names[2], at: name),
                20 where head.holdsLowercased(override, at: name):
                if !isSame(head, value, authority) { return true }
            default: break
            }
        }
        return false
    }

    private static func isSame(
        _ head: Span<UInt8>,
        _ value: ByteRange,
        _ authority: Authority
    ) -> Bool {
        guard let other = Authority(head, value), other.port == authority.port,
            other.host.count == authority.host.count
        else { return false }
        let (one, two) = (other.host.range.lowerBound, authority.host.range.lowerBound)
        for offset in 0..<other.host.count
        where Octet.lowercased(head[one + offset]) != Octet.lowercased(head[two + offset]) {
            return false
        }
        return true
    }

    private static func mentions(_ head: Span<UInt8>, _ value: ByteRange) -> Bool {
        var start = value.range.lowerBound
        while start + word.count <= value.range.upperBound {
            if head.holdsLowercased(word, at: ByteRange(start..<(start + word.count))) {
                return true
            }
            start += 1
        }
        return false
    }
}
