// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// What must hold besides of a request or its connection (docs/decisions/0025).
package enum AccessCondition: Hashable, Sendable {
    /// A field of the request, by its name in small letters.
    case header(String, AccessField<HeaderPattern>)
    /// The name that the client asked for in the handshake.
    case serverName(AccessField<HostPattern>)

    /// Most conditions of a rule: a person must judge them.
    package static let conditionsMax = 16
    /// Longest name of a header: registered ones have up to 40 letters.
    package static let headerNameBytesMax = 64

    /// How it is called in documents.
    package var key: String {
        switch self {
        case .header(let name, _): Self.headerKey.start + name + Self.headerKey.end
        case .serverName: "connection.sni"
        }
    }

    private static let headerKey = (start: "request.headers[", end: "]")

    /// The name of the header that a key of a document is about; nil if it is about none.
    package static func headerName(ofKey key: String) -> String? {
        let (start, end) = (headerKey.start.utf8, headerKey.end.utf8)
        let bytes = Array(key.utf8)
        guard bytes.starts(with: start), bytes.suffix(end.count).elementsEqual(end),
            bytes.count >= start.count + end.count
        else { return nil }
        return String(
            decoding: bytes.dropFirst(start.count).dropLast(end.count),
            as: UTF8.self
        )
    }

    /// Whether it asks for what only a request over HTTP has.
    package var asksHTTP: Bool {
        if case .header = self { true } else { false }
    }

    /// Whether it asks for what only a TCP connection is known to have asked for.
    package var asksServerName: Bool {
        if case .serverName = self { true } else { false }
    }

    /// What may be asked of a header.
    package enum HeaderUse: Hashable, Sendable {
        /// Whether it is there, and what it says.
        case value
        /// Whether it is there: what it says is a secret, and a policy is read by many.
        case presence
        /// Nothing: the proxy writes, removes or refuses it, so that a server sees another one.
        case none
        /// It is no name in small letters that a request can have.
        case malformed
    }

    /// Fields that are secrets; of version 2 of the encoding, and closed with it.
    package static let presenceOnly: Set = ["authorization", "cookie", "proxy-authorization"]

    /// Fields that a proxy writes, removes or refuses, or may in a later release, and those by which
    /// another proxy tells something; of version 2 of the encoding, and closed with it.
    ///
    /// A later addition is refused in documents only: a policy that has travelled is read as ever.
    package static let unaskable: Set = [
        "b3", "baggage", "connection", "content-length", "expect", "forwarded", "host",
        "http2-settings", "keep-alive", "proxy-authenticate", "proxy-connection", "te",
        "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade", "via", "x-host",
        "x-method-override", "x-real-ip", "x-rewrite-url",
    ]
    /// What the names of more such fields begin with.
    package static let unaskableStarts = [
        "client-cert", "l5d-", "ssl-client-", "x-amzn-mtls-", "x-arr-clientcert", "x-b3-",
        "x-client-cert", "x-envoy-", "x-forwarded-", "x-http-", "x-original-", "x-request-",
        "x-signet-", "x-ssl-client-",
    ]

    /// What may be asked of a header of this name.
    package static func use(ofHeader name: String) -> HeaderUse {
        let bytes = Array(name.utf8)
        guard (1...headerNameBytesMax).contains(bytes.count),
            bytes.allSatisfy({ Octet.isFieldName($0) && !Octet.isUppercaseLetter($0) })
        else { return .malformed }
        if presenceOnly.contains(name) { return .presence }
        return unaskable.contains(name)
            || unaskableStarts.contains { name.utf8.starts(with: $0.utf8) }
            ? .none : .value
    }
}

/// What a header says, or that it is there.
package enum HeaderPattern: Hashable, Sendable, CustomStringConvertible {
    /// It is there.
    case any
    case exact([UInt8])

    /// Longest value that a policy names: a word, not a text.
    package static let bytesMax = 256

    /// - Returns: nil for anything but `*` and visible ASCII with spaces inside, without a byte that
    ///   could be meant as a pattern, or that parts or quotes what servers read.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        if bytes == [UInt8(ascii: "*")] {
            self = .any
            return
        }
        guard (1...Self.bytesMax).contains(bytes.count), bytes.first != Octet.space,
            bytes.last != Octet.space,
            bytes.allSatisfy({ (0x20..<0x7F).contains($0) && !Self.isReserved($0) })
        else { return nil }
        self = .exact(bytes)
    }

    private static func isReserved(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "*"), UInt8(ascii: ","), UInt8(ascii: ";"): true
        default: isEscape(byte)
        }
    }

    /// Whether a byte stands for another spelling of what follows or surrounds it.
    static func isEscape(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "%"), UInt8(ascii: "\\"): true
        default: false
        }
    }

    /// As it is written.
    package var description: String {
        switch self {
        case .any: "*"
        case .exact(let value): String(decoding: value, as: UTF8.self)
        }
    }

    /// Whether every value that another one names is named by this one.
    package func covers(_ other: HeaderPattern) -> Bool { self == .any || self == other }

    /// Longest value of a request that is compared part by part: servers cut longer ones.
    package static let comparedBytesMax = 1_024
    /// Most parts of such a value, for the same reason.
    package static let comparedPartsMax = 32

    /// Whether nobody knows what servers read in a value.
    static func isStrange(_ head: Span<UInt8>, _ value: ByteRange) -> Bool {
        guard value.count <= comparedBytesMax else { return true }
        var parts = 1
        for place in value.range {
            let byte = head[place]
            if byte == UInt8(ascii: ",") || byte == UInt8(ascii: ";") { parts += 1 }
            let isVisible = (0x20..<0x7F).contains(byte) || byte == Octet.horizontalTab
            if !isVisible || isEscape(byte) { return true }
        }
        return parts > comparedPartsMax
    }

    /// Whether it names a value that is not empty.
    ///
    /// - Parameters:
    ///   - value: What the request has.
    ///   - isAgainst: Whether that counts against access: then it is compared without regard to
    ///     case, and part by part, as some servers do, and what nobody can read is every value.
    /// - Returns: Whether it is such a value.
    package func matches(_ value: [UInt8], isAgainst: Bool) -> Bool {
        guard case .exact(let own) = self else { return true }
        if own == value { return true }
        guard isAgainst else { return false }
        if Self.isStrange(value.span, ByteRange(0..<value.count)) { return true }
        let (wanted, read) = (own.map(Octet.lowercased), value.map(Octet.lowercased))
        let blanks = [Octet.space, Octet.horizontalTab]
        return wanted == read
            || read.split { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: ";") }.contains { part in
                part.drop { blanks.contains($0) }.reversed().drop { blanks.contains($0) }
                    .reversed().elementsEqual(wanted)
            }
    }
}
