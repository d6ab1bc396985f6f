// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
package import SPIFFE

/// What an admin hands to a new machine: where the server is, which authorities it may show, and
/// a secret that is good for one attestation (docs/attestation.md, "Join token").
///
/// The text form is `signet1.` and base64url of a JSON object with exactly the keys of `Wire`.
package struct JoinToken: Hashable, Sendable {
    /// Longest text; 64 pins and 16 addresses of the longest host names fit.
    package static let textBytesMax = 16 * 1024
    /// Most server addresses; more would only slow down a first contact that fails.
    package static let addressesMax = 16
    /// Most pinned authorities: as many as a bundle may hold.
    package static let pinsMax = TrustBundle.authoritiesMax
    /// Bytes of a secret made here; 128 bits is the least that is accepted.
    package static let secretBytes = 32
    /// 128 bits, below which a secret could be guessed.
    static let secretBytesMin = 16
    static let prefix = "signet1."

    package let trustDomain: TrustDomain
    /// `host:port` each, tried in this order.
    package let serverAddresses: [String]
    /// SHA-256 of the SubjectPublicKeyInfo of each X.509 authority published at that time.
    ///
    /// An authority that is not among them is not believed at first contact.
    package let authorityPins: [[UInt8]]
    /// Known to the holder alone; the server stores `secretHash`.
    package let secret: [UInt8]

    /// Joins the parts of a new token.
    ///
    /// - Throws: `JoinTokenError` naming the rule that a part breaks.
    package init(
        trustDomain: TrustDomain,
        serverAddresses: [String],
        authorityPins: [[UInt8]],
        secret: [UInt8]
    ) throws(JoinTokenError) {
        guard !serverAddresses.isEmpty, serverAddresses.count <= Self.addressesMax else {
            throw .addressCount
        }
        for address in serverAddresses { try Self.check(address: address) }
        guard !authorityPins.isEmpty, authorityPins.count <= Self.pinsMax else { throw .pinCount }
        guard authorityPins.allSatisfy({ $0.count == SHA256.byteCount }) else { throw .pinLength }
        guard secret.count >= Self.secretBytesMin, secret.count <= 64 else { throw .secretLength }
        self.trustDomain = trustDomain
        self.serverAddresses = serverAddresses
        self.authorityPins = authorityPins
        self.secret = secret
    }

    /// Reads the text form.
    ///
    /// - Throws: `JoinTokenError` naming the rule that the text breaks; the text itself, which
    ///   holds a secret, is never part of the error.
    package init(_ text: String) throws(JoinTokenError) {
        guard text.utf8.count <= Self.textBytesMax else { throw .tooLong }
        guard text.hasPrefix(Self.prefix) else { throw .prefixUnknown }
        guard let json = Data(base64URL: String(text.dropFirst(Self.prefix.count))),
            let wire = try? JSONDecoder().decode(Wire.self, from: json)
        else { throw .notDecodable }
        let trustDomain: TrustDomain
        do { trustDomain = try TrustDomain(wire.trustDomain) } catch { throw .trustDomain(error) }
        var pins: [[UInt8]] = []
        for pin in wire.pins {
            guard let bytes = Data(base64URL: pin) else { throw .notDecodable }
            pins.append(Array(bytes))
        }
        guard let secret = Data(base64URL: wire.secret) else { throw .notDecodable }
        try self.init(
            trustDomain: trustDomain,
            serverAddresses: wire.addresses,
            authorityPins: pins,
            secret: Array(secret)
        )
        guard self.text == text else { throw .notCanonical }
    }

    /// The text form, which holds the secret: print it once, never log it.
    package var text: String {
        let wire = Wire(
            trustDomain: trustDomain.name,
            addresses: serverAddresses,
            pins: authorityPins.map { Data($0).base64URL },
            secret: Data(secret).base64URL
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Strings alone always encode; an empty text is refused by every reader.
        let json = (try? encoder.encode(wire)) ?? Data()
        return Self.prefix + json.base64URL
    }

    /// What the server keeps instead of the secret.
    package var secretHash: [UInt8] { Self.hash(secret: secret) }

    /// SHA-256 of a secret, which has full entropy, so that nothing slower is needed.
    package static func hash(secret: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: secret)) }

    private static func check(address: String) throws(JoinTokenError) {
        guard let colon = address.lastIndex(of: ":"),
            let port = UInt16(address[address.index(after: colon)...]), port > 0,
            colon > address.startIndex, address.utf8.count <= 300,
            address.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { throw .address(address) }
    }

    private struct Wire: Codable {
        var trustDomain: String
        var addresses: [String]
        var pins: [String]
        var secret: String
    }
}

/// The rule of `JoinToken` that a text breaks.
package enum JoinTokenError: Error, Hashable, Sendable, CustomStringConvertible {
    case address(String)
    case addressCount
    case notCanonical
    case notDecodable
    case pinCount
    case pinLength
    case prefixUnknown
    case secretLength
    case tooLong
    case trustDomain(SPIFFEIDError)

    package var description: String {
        switch self {
        case .address(let text): "server address \"\(text)\" is not host:port"
        case .addressCount: "a token names 1 to \(JoinToken.addressesMax) server addresses"
        case .notCanonical: "the token was changed after it was made: copy it again, whole"
        case .notDecodable: "the token is not whole: copy it again, from signet1. to its end"
        case .pinCount: "a token pins 1 to \(JoinToken.pinsMax) authorities"
        case .pinLength: "a pin is a SHA-256 hash of 32 bytes"
        case .prefixUnknown: "a join token starts with \"signet1.\""
        case .secretLength: "a token's secret has 16 to 64 bytes"
        case .tooLong: "a token has at most \(JoinToken.textBytesMax) bytes"
        case .trustDomain(let error): error.description
        }
    }
}

extension Data {
    fileprivate var base64URL: String {
        var text = base64EncodedString()
        text.replace("+", with: "-")
        text.replace("/", with: "_")
        text.replace("=", with: "")
        return text
    }

    fileprivate init?(base64URL text: String) {
        guard !text.utf8.contains(where: { "+/=".utf8.contains($0) }) else { return nil }
        var standard = text
        standard.replace("-", with: "+")
        standard.replace("_", with: "/")
        standard += String(repeating: "=", count: (4 - standard.utf8.count % 4) % 4)
        self.init(base64Encoded: standard)
    }
}
