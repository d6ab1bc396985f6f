// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// What the payload of a JWT-SVID says (JWT-SVID section 3, RFC 7519 section 4), read but not
/// verified.
package struct JWTClaims: Hashable, Sendable {
    /// Most claims of a token: those of JWT-SVID are five, other issuers add some dozens.
    package static let claimsMax = 128
    /// Most audiences of a token that is read; JWT-SVID section 3.2 asks for one.
    package static let audiencesMax = 64
    /// 9999-12-31T23:59:59Z: a time beyond it is in other units than seconds, or a mistake.
    static let secondsMax = 253_402_300_799.0

    /// Whose token it is; the ID has a path.
    package let subject: SPIFFEID
    /// Who the token is for: at least one, none empty.
    package let audiences: [String]
    /// From here on the token is worth nothing.
    package let expiresAt: Date
    package let notBefore: Date?
    package let issuedAt: Date?
    package let tokenID: String?
    /// Every claim by name, those above included.
    package let all: [String: JSONValue]

    /// Reads a payload.
    ///
    /// - Throws: `JWTClaimsError`, which quotes nothing of the payload.
    /// - SeeAlso: docs/conformance.md rows J-6 to J-9 and J-12.
    package init(parsing payload: [UInt8]) throws(JWTClaimsError) {
        let claims = try Self.members(of: payload)
        subject = try Self.subject(of: claims)
        audiences = try Self.audiences(of: claims)
        guard let expiresAt = try Self.time("exp", of: claims) else { throw .expiryMissing }
        self.expiresAt = expiresAt
        notBefore = try Self.time("nbf", of: claims)
        issuedAt = try Self.time("iat", of: claims)
        tokenID = claims["jti"]?.text
        guard claims["jti"] == nil || tokenID != nil else { throw .tokenIDNotText }
        all = claims
    }

    /// Whether the token is meant for this audience, byte by byte: Swift's own comparison calls
    /// texts equal that Unicode calls equal.
    package func names(audience: String) -> Bool {
        audiences.contains { $0.utf8.elementsEqual(audience.utf8) }
    }

    /// Every claim of a payload by name, not looked at.
    static func members(of payload: [UInt8]) throws(JWTClaimsError) -> [String: JSONValue] {
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: payload, bytesMax: CompactJWS.bytesMax)
        } catch {
            throw .notJSON(error)
        }
        guard case .object(let claims) = value else { throw .notObject }
        guard claims.count <= claimsMax else { throw .claimsTooMany }
        return claims
    }

    private static func subject(
        of claims: [String: JSONValue]
    ) throws(JWTClaimsError) -> SPIFFEID {
        guard let text = claims["sub"]?.text else { throw .subjectMissing }
        let id: SPIFFEID
        do throws(SPIFFEIDError) { id = try SPIFFEID(text) } catch {
            throw .subjectNotSPIFFEID(error)
        }
        guard !id.path.isEmpty else { throw .subjectHasNoPath }
        return id
    }

    /// Who a token is for: at least one, none empty.
    static func audiences(
        of claims: [String: JSONValue]
    ) throws(JWTClaimsError) -> [String] {
        let audiences: [String]
        switch claims["aud"] {
        case nil: throw .audienceMissing
        case .string(let text): audiences = [text]
        case .array(let values):
            guard values.count <= audiencesMax else { throw .audiencesTooMany }
            audiences = values.compactMap(\.text)
            guard audiences.count == values.count else { throw .audienceNotText }
        default: throw .audienceNotText
        }
        guard !audiences.isEmpty else { throw .audienceMissing }
        guard !audiences.contains("") else { throw .audienceEmpty }
        return audiences
    }

    /// A NumericDate (RFC 7519 section 2): seconds since 1970, which may have a fraction.
    static func time(
        _ name: String,
        of claims: [String: JSONValue]
    ) throws(JWTClaimsError) -> Date? {
        guard let value = claims[name] else { return nil }
        guard case .number(let number) = value, let seconds = number.double,
            (0...secondsMax).contains(seconds)
        else { throw .timeMalformed(name) }
        return Date(timeIntervalSince1970: seconds)
    }
}

/// Why a payload is not that of a JWT-SVID; nothing of the payload is in it.
package enum JWTClaimsError: Error, Hashable, Sendable, CustomStringConvertible {
    case audienceEmpty
    case audienceMissing
    case audienceNotText
    case audiencesTooMany
    case claimsTooMany
    case expiryMissing
    case notJSON(JSONError)
    case notObject
    case subjectHasNoPath
    case subjectMissing
    case subjectNotSPIFFEID(SPIFFEIDError)
    /// A claim of ours that is a time, by name, is no number of seconds until the year 9999.
    case timeMalformed(String)
    case tokenIDNotText

    package var description: String {
        switch self {
        case .audienceEmpty: "an audience (\"aud\") is empty"
        case .audienceMissing: "the token has no audience (\"aud\")"
        case .audienceNotText: "the audience (\"aud\") is neither a text nor a list of texts"
        case .audiencesTooMany: "the token has more than \(JWTClaims.audiencesMax) audiences"
        case .claimsTooMany: "the token has more than \(JWTClaims.claimsMax) claims"
        case .expiryMissing: "the token never expires (no \"exp\")"
        case .notJSON(let error): "the payload: \(error)"
        case .notObject: "the payload is not a JSON object"
        case .subjectHasNoPath: "the subject (\"sub\") is a trust domain, not a workload"
        case .subjectMissing: "the token has no subject (\"sub\")"
        case .subjectNotSPIFFEID(let error): "the subject (\"sub\") is no SPIFFE ID: \(error)"
        case .timeMalformed(let name):
            "\"\(name)\" is not a number of seconds between 1970 and 9999"
        case .tokenIDNotText: "the token's ID (\"jti\") is not a text"
        }
    }
}
