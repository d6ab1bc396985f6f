// SPDX-License-Identifier: Apache-2.0

internal import Crypto
package import FoundationEssentials
package import SPIFFE

/// A finished document: what is answered but for the time.
package struct PublicBody: Hashable, Sendable {
    /// How long caches may keep it.
    package enum Freshness: Hashable, Sendable {
        /// For as many seconds.
        case seconds(Int)
        /// For `PublicBody.keptSecondsMax`, but not beyond a time.
        case until(Date)
    }

    /// How many seconds a cache may keep keys, bundle and lists: it adds to the time that passes
    /// before verifiers know a new key, which is an hour by default.
    package static let keptSecondsMax = 60
    /// How many seconds a cache may keep the discovery document, which changes with the public URL
    /// alone.
    package static let discoveryKeptSecondsMax = 300

    package let contentType: String
    package let bytes: [UInt8]
    /// SHA-256 of the bytes, in quotes (RFC 9110 section 8.8.3).
    package let entityTag: String
    package let freshness: Freshness

    /// Takes the bytes of a document.
    package init(contentType: String, bytes: [UInt8], freshness: Freshness) {
        self.contentType = contentType
        self.bytes = bytes
        self.freshness = freshness
        entityTag = "\"\(Hexadecimal.text(SHA256.hash(data: bytes)))\""
    }

    /// The OpenID Connect discovery document (Discovery 1.0 section 3).
    ///
    /// It depends on the URL alone. Some libraries take the algorithms from it once for the life of
    /// their process, so it names all that a server may ever sign with; RS256 is demanded anyway.
    package static func discovery(of url: PublicURL) -> Self {
        discovery(of: url, issuer: url.description)
    }

    /// The same of the issuer of tokens "A, through B", which the same keys sign.
    package static func delegatedDiscovery(of url: PublicURL) -> Self {
        discovery(of: url, issuer: url.delegatedIssuer)
    }

    private static func discovery(of url: PublicURL, issuer: String) -> Self {
        func list(_ texts: String...) -> JSONValue { .array(texts.map { .string($0) }) }
        let members: [String: JSONValue] = [
            "issuer": .string(issuer),
            "jwks_uri": .string("\(url)\(PublicDocument.keys.path)"),
            // It must be an https URL; there is nothing at it, since nothing is authorized.
            "authorization_endpoint": .string("\(issuer)/authorize"),
            "response_types_supported": list("id_token"),
            "subject_types_supported": list("public"),
            "id_token_signing_alg_values_supported": list("RS256", "ES256", "ES384"),
        ]
        return Self(
            contentType: "application/json",
            bytes: JSONValue.object(members).encoded,
            freshness: .seconds(discoveryKeptSecondsMax)
        )
    }

    /// The keys of a trust domain for its tokens, as JOSE libraries look for them (RFC 7517).
    ///
    /// A key whose algorithm the bundle does not name is shown without one.
    package static func keys(_ authorities: [JWTAuthority]) -> Self {
        let keys = authorities.map { authority in
            var members = authority.key.members
            members["kid"] = .string(authority.keyID)
            members["use"] = .string("sig")
            if let algorithm = authority.algorithm {
                members["alg"] = .string(algorithm.rawValue)
            }
            return JSONValue.object(members)
        }
        return Self(
            contentType: "application/json",
            bytes: JSONValue.object(["keys": .array(keys)]).encoded,
            freshness: .seconds(keptSecondsMax)
        )
    }

    /// A SPIFFE bundle document.
    package static func bundle(_ document: [UInt8]) -> Self {
        Self(
            contentType: "application/json",
            bytes: document,
            freshness: .seconds(keptSecondsMax)
        )
    }

    /// The revocation list of one authority.
    ///
    /// - Parameters:
    ///   - der: The list.
    ///   - nextUpdate: Until when it is believed.
    /// - Returns: The document.
    package static func list(_ der: [UInt8], nextUpdate: Date) -> Self {
        Self(contentType: "application/pkix-crl", bytes: der, freshness: .until(nextUpdate))
    }

    /// Lists of several authorities in one PEM file (RFC 7468 section 6), kept until the first of
    /// them ends.
    package static func lists(_ lists: [(der: [UInt8], nextUpdate: Date)]) -> Self {
        var text = ""
        for list in lists {
            text += "-----BEGIN X509 CRL-----\n"
            let base64 = Array(Base64Form.standard.text(list.der).utf8)
            for start in stride(from: 0, to: base64.count, by: 64) {
                let line = base64[start..<min(start + 64, base64.count)]
                text += String(decoding: line, as: UTF8.self) + "\n"
            }
            text += "-----END X509 CRL-----\n"
        }
        return Self(
            contentType: "application/x-pem-file",
            bytes: Array(text.utf8),
            freshness: lists.map(\.nextUpdate).min().map { .until($0) } ?? .seconds(keptSecondsMax)
        )
    }

    /// How many seconds a cache may keep it from now on.
    ///
    /// - Parameter now: The wall clock; nil while it is not believed.
    /// - Returns: 0 when it is over, or nobody knows.
    func secondsKept(now: Date?) -> Int {
        switch freshness {
        case .seconds(let seconds): return seconds
        case .until(let end):
            guard let now else { return 0 }
            let left = end.timeIntervalSince(now)
            guard left > 0 else { return 0 }
            return left < Double(Self.keptSecondsMax) ? Int(left) : Self.keptSecondsMax
        }
    }
}
