// SPDX-License-Identifier: Apache-2.0

/// A JSON Web Signature in compact serialization (RFC 7515 section 7.1), taken apart but not
/// verified.
package struct CompactJWS: Hashable, Sendable {
    /// Longest token that is looked at: one with the longest ID, eight of the longest audiences and
    /// an RSA-4096 signature fits, and HTTP servers take no longer header.
    package static let bytesMax = 16 * 1024
    /// Longest header, encoded: `alg`, `typ` and the longest key ID fit many times.
    package static let headerBytesMax = 2 * 1024

    package let algorithm: JWSAlgorithm
    package let keyID: String?
    package let type: String?
    /// The payload's bytes, which may be anything.
    package let payload: [UInt8]
    package let signature: [UInt8]
    /// What the signature covers: header and payload as they were sent.
    package let signingInput: [UInt8]

    /// Takes a token apart; the algorithm is looked at before anything else of it.
    ///
    /// - Parameter token: The token as it was received.
    /// - Throws: `CompactJWSError`, which quotes nothing of the token.
    /// - SeeAlso: JWT-SVID section 2; docs/conformance.md rows J-1 to J-3.
    package init(parsing token: [UInt8]) throws(CompactJWSError) {
        guard token.count <= Self.bytesMax else { throw .tooLong }
        let parts = token.split(
            separator: UInt8(ascii: "."),
            maxSplits: 3,
            omittingEmptySubsequences: false
        )
        guard parts.count == 3 else { throw .notCompact }
        let header = try Self.header(parts[0])
        guard let name = header["alg"] else { throw .algorithmMissing }
        guard let algorithm = name.text.flatMap({ JWSAlgorithm(rawValue: $0) }) else {
            throw .algorithmRefused
        }
        // RFC 7515 section 4.1.11: whoever knows no extension refuses every critical one, and an
        // empty list is not allowed.
        guard header["crit"] == nil else { throw .criticalHeader }
        self.algorithm = algorithm
        keyID = try Self.text("kid", of: header)
        type = try Self.text("typ", of: header)
        guard let payload = Base64Form.url.bytes(parts[1]) else { throw .payloadNotBase64URL }
        guard let signature = Base64Form.url.bytes(parts[2]), !signature.isEmpty else {
            throw .signatureNotBase64URL
        }
        self.payload = payload
        self.signature = signature
        signingInput = Array(token[..<parts[1].endIndex])
    }

    private static func header(
        _ part: ArraySlice<UInt8>
    ) throws(CompactJWSError) -> [String: JSONValue] {
        guard part.count <= headerBytesMax else { throw .headerTooLong }
        guard let bytes = Base64Form.url.bytes(part) else { throw .headerNotBase64URL }
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: bytes, bytesMax: headerBytesMax)
        } catch {
            throw .headerNotJSON(error)
        }
        guard case .object(let members) = value else { throw .headerNotObject }
        return members
    }

    private static func text(
        _ name: String,
        of header: [String: JSONValue]
    ) throws(CompactJWSError) -> String? {
        guard let value = header[name] else { return nil }
        guard let text = value.text else { throw .headerNotText(name) }
        return text
    }
}

/// Why bytes are not a token that is looked at; nothing of the token is in it.
package enum CompactJWSError: Error, Hashable, Sendable, CustomStringConvertible {
    case algorithmMissing
    /// The algorithm is none of those that JWT-SVID section 2.1 allows.
    case algorithmRefused
    /// There are extensions that the token wants understood (RFC 7515 section 4.1.11).
    case criticalHeader
    case headerNotBase64URL
    case headerNotJSON(JSONError)
    case headerNotObject
    /// A header parameter, named by us, is not a text.
    case headerNotText(String)
    case headerTooLong
    /// There are not exactly three parts, as in the JSON serialization.
    case notCompact
    case payloadNotBase64URL
    case signatureNotBase64URL
    case tooLong

    package var description: String {
        switch self {
        case .algorithmMissing: "the token names no algorithm (\"alg\")"
        case .algorithmRefused:
            "the token's algorithm is none of RS, PS or ES with 256, 384 or 512 bits"
        case .criticalHeader: "the token has critical header parameters (\"crit\")"
        case .headerNotBase64URL: "the token's header is not base64url without padding"
        case .headerNotJSON(let error): "the token's header: \(error)"
        case .headerNotObject: "the token's header is not a JSON object"
        case .headerNotText(let name): "the token's header parameter \"\(name)\" is not a text"
        case .headerTooLong:
            "the token's header has more than \(CompactJWS.headerBytesMax) bytes"
        case .notCompact: "the token is not a JWS in compact serialization: three parts, two dots"
        case .payloadNotBase64URL: "the token's payload is not base64url without padding"
        case .signatureNotBase64URL:
            "the token's signature is empty or not base64url without padding"
        case .tooLong: "the token has more than \(CompactJWS.bytesMax) bytes"
        }
    }
}
