// SPDX-License-Identifier: Apache-2.0

/// The header fields that a proxy must tell apart; every other one is only passed on.
package enum KnownHeader: UInt8, CaseIterable, Hashable, Sendable {
    case authorization
    case clientCertificate
    case connection
    case contentLength
    case contentType
    case cookie
    case decision
    case expect
    case host
    case http2Settings
    case keepAlive
    case methodOverride
    case proxyAuthenticate
    case proxyAuthorization
    case proxyConnection
    case requestID
    case te
    case trailer
    case transferEncoding
    case upgrade
    case urlOverride
    case forwardedClientCert
    case other

    /// The name in lower case; empty for `other`.
    package var name: String {
        switch self {
        case .authorization: "authorization"
        case .clientCertificate: "client-cert"
        case .connection: "connection"
        case .contentLength: "content-length"
        case .contentType: "content-type"
        case .cookie: "cookie"
        case .decision: "x-signet-decision"
        case .expect: "expect"
        case .host: "host"
        case .http2Settings: "http2-settings"
        case .keepAlive: "keep-alive"
        case .methodOverride: "x-http-method-override"
        case .proxyAuthenticate: "proxy-authenticate"
        case .proxyAuthorization: "proxy-authorization"
        case .proxyConnection: "proxy-connection"
        case .requestID: "x-request-id"
        case .te: "te"
        case .trailer: "trailer"
        case .transferEncoding: "transfer-encoding"
        case .upgrade: "upgrade"
        case .urlOverride: "x-original-url"
        case .forwardedClientCert: "x-forwarded-client-cert"
        case .other: ""
        }
    }

    private static let names: [[UInt8]] = allCases.map { Array($0.name.utf8) }

    /// Other names of the overrides, each with the case that stands for it.
    private static let aliases: [(name: [UInt8], header: Self)] = [
        (Array("x-http-method".utf8), .methodOverride),
        (Array("x-method-override".utf8), .methodOverride),
        (Array("x-rewrite-url".utf8), .urlOverride),
    ]

    /// Reads a field's name, in any case.
    package init(_ head: Span<UInt8>, _ name: ByteRange) {
        let candidate = Self.candidate(head, name)
        if candidate == .other {
            self = Self.tellsClientCertificate(head, name) ? .clientCertificate : .other
        } else if head.holdsLowercased(Self.names[Int(candidate.rawValue)], at: name) {
            self = candidate
        } else {
            let alias = Self.aliases.first { head.holdsLowercased($0.name, at: name) }
            self =
                alias?.header
                ?? (Self.tellsClientCertificate(head, name) ? .clientCertificate : .other)
        }
    }

    /// Whether a proxy tells in it whose certificate it saw (RFC 9440 section 2 and the habits of
    /// nginx, Linkerd, Traefik and of the balancers of clouds); by first letter, so that other
    /// fields cost nothing.
    private static func tellsClientCertificate(_ head: Span<UInt8>, _ name: ByteRange) -> Bool {
        guard name.count >= 11 else { return false }
        switch Octet.lowercased(head[Int(name.lower)]) {
        case UInt8(ascii: "c"): return head.begins("client-cert", name)
        case UInt8(ascii: "l"): return head.begins("l5d-client-id", name)
        case UInt8(ascii: "s"): return head.begins("ssl-client-", name)
        case UInt8(ascii: "x"):
            return head.begins("x-forwarded-client-cert-", name)
                || head.begins("x-forwarded-tls-client-cert", name)
                || head.begins("x-ssl-client-", name) || head.begins("x-client-cert", name)
                || head.begins("x-amzn-mtls-clientcert", name)
                || head.begins("x-arr-clientcert", name)
        default: return false
        }
    }

    /// The only one that it can be, by length and one letter; most fields are none.
    private static func candidate(_ head: Span<UInt8>, _ name: ByteRange) -> Self {
        let first = Octet.lowercased(head[Int(name.lower)])
        switch (name.count, first) {
        case (2, UInt8(ascii: "t")): return .te
        case (4, UInt8(ascii: "h")): return .host
        case (6, UInt8(ascii: "c")): return .cookie
        case (6, UInt8(ascii: "e")): return .expect
        case (7, UInt8(ascii: "t")): return .trailer
        case (7, UInt8(ascii: "u")): return .upgrade
        case (10, UInt8(ascii: "c")): return .connection
        case (10, UInt8(ascii: "k")): return .keepAlive
        case (12, UInt8(ascii: "c")): return .contentType
        case (12, UInt8(ascii: "x")): return .requestID
        case (13, UInt8(ascii: "a")): return .authorization
        case (13, UInt8(ascii: "x")): return .urlOverride
        case (14, UInt8(ascii: "c")): return .contentLength
        case (14, UInt8(ascii: "h")): return .http2Settings
        case (14, UInt8(ascii: "x")): return .urlOverride
        case (16, UInt8(ascii: "p")): return .proxyConnection
        case (17, UInt8(ascii: "t")): return .transferEncoding
        case (17, UInt8(ascii: "x")): return .decision
        case (18, UInt8(ascii: "p")): return .proxyAuthenticate
        case (19, UInt8(ascii: "p")): return .proxyAuthorization
        case (22, UInt8(ascii: "x")): return .methodOverride
        case (23, UInt8(ascii: "x")): return .forwardedClientCert
        default: return .other
        }
    }

    /// Whether a second one is refused: some take the first, some the last, some join them.
    package var isSingle: Bool {
        switch self {
        case .authorization, .contentLength, .contentType, .expect, .host, .proxyAuthorization,
            .requestID, .transferEncoding, .upgrade:
            true
        case .clientCertificate, .connection, .cookie, .decision, .http2Settings, .keepAlive,
            .methodOverride, .proxyAuthenticate, .proxyConnection, .te, .trailer, .urlOverride,
            .forwardedClientCert, .other:
            false
        }
    }
}

extension Span<UInt8> {
    /// Whether a name begins with a literal in small letters, which is never counted as an array
    /// would be.
    fileprivate func begins(_ text: String, _ name: ByteRange) -> Bool {
        let text = text.utf8Span.span
        guard name.count >= text.count else { return false }
        let start = Int(name.lower)
        for index in text.indices where Octet.lowercased(self[start + index]) != text[index] {
            return false
        }
        return true
    }
}
