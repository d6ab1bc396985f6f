// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import CryptoExtras
internal import FoundationEssentials

/// A public key as a JSON Web Key (RFC 7517, RFC 7518 section 6), of a kind that JWT-SVIDs may be
/// signed with.
///
/// Only the key itself: what a set says about it (`kid`, `use`, `alg`) is `JWTAuthority`'s.
package struct JSONWebKey: Hashable, Sendable {
    /// The kinds of key that are read.
    package enum Kind: Hashable, Sendable {
        case p256
        case p384
        case p521
        /// RSA with a modulus of that many bits.
        case rsa(bits: Int)
    }

    /// RFC 7518 sections 3.3 and 3.5 demand 2,048 bits.
    package static let rsaModulusBitsMin = 2048
    /// Verification cost grows with the square of the size; 4,096 bits is the largest in common
    /// use.
    package static let rsaModulusBitsMax = 4096
    /// The one public exponent in use, 65537; others only serve attacks on weak implementations.
    private static let rsaExponent: [UInt8] = [0x01, 0x00, 0x01]

    package let kind: Kind
    /// `x` of a point, or the modulus.
    private let first: [UInt8]
    /// `y` of a point, or the public exponent.
    private let second: [UInt8]

    /// Reads the members that make the key; others are not looked at.
    ///
    /// - Parameter members: The JWK.
    /// - Throws: `JSONWebKeyError` naming the rule that the key breaks.
    package init(members: [String: JSONValue]) throws(JSONWebKeyError) {
        guard let type = members["kty"]?.text else { throw .memberMissing("kty") }
        // Whoever publishes it has given the key away.
        guard members["d"] == nil else { throw .privateKey }
        switch type {
        case "EC":
            guard let curve = members["crv"]?.text else { throw .memberMissing("crv") }
            let kind: Kind =
                switch curve {
                case "P-256": .p256
                case "P-384": .p384
                case "P-521": .p521
                default: throw JSONWebKeyError.curveUnsupported
                }
            try self.init(kind, x: Self.bytes("x", of: members), y: Self.bytes("y", of: members))
        case "RSA":
            try self.init(
                modulus: Self.bytes("n", of: members),
                exponent: Self.bytes("e", of: members)
            )
        default:
            throw .keyTypeUnsupported
        }
    }

    /// Reads a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
    ///
    /// - Throws: `JSONWebKeyError.subjectPublicKeyInfoUnsupported`, or the rule that an RSA key
    ///   breaks.
    package init(subjectPublicKeyInfo der: [UInt8]) throws(JSONWebKeyError) {
        if let key = try? P256.Signing.PublicKey(derRepresentation: der) {
            self.init(.p256, point: Array(key.rawRepresentation))
        } else if let key = try? P384.Signing.PublicKey(derRepresentation: der) {
            self.init(.p384, point: Array(key.rawRepresentation))
        } else if let key = try? P521.Signing.PublicKey(derRepresentation: der) {
            self.init(.p521, point: Array(key.rawRepresentation))
        } else if let key = try? _RSA.Signing.PublicKey(derRepresentation: der),
            let parts = try? key.getKeyPrimitives()
        {
            try self.init(modulus: Array(parts.modulus), exponent: Array(parts.publicExponent))
        } else {
            throw .subjectPublicKeyInfoUnsupported
        }
    }

    private init(_ kind: Kind, x: [UInt8], y: [UInt8]) throws(JSONWebKeyError) {
        let width =
            switch kind {
            case .p256: 32
            case .p384: 48
            default: 66
            }
        guard x.count == width else { throw .coordinateWidth("x") }
        guard y.count == width else { throw .coordinateWidth("y") }
        (self.kind, first, second) = (kind, x, y)
        guard verificationKey != nil else { throw .pointNotOnCurve }
    }

    /// Takes the two coordinates of a key that was read.
    private init(_ kind: Kind, point: [UInt8]) {
        self.kind = kind
        first = Array(point.prefix(point.count / 2))
        second = Array(point.suffix(point.count / 2))
    }

    private init(modulus: [UInt8], exponent: [UInt8]) throws(JSONWebKeyError) {
        guard let leading = modulus.first, let last = modulus.last else {
            throw .rsaModulusBits(0)
        }
        // RFC 7518 section 2: the fewest octets.
        guard leading != 0 else { throw .rsaLeadingZero }
        let bits = modulus.count * 8 - leading.leadingZeroBitCount
        guard (Self.rsaModulusBitsMin...Self.rsaModulusBitsMax).contains(bits) else {
            throw .rsaModulusBits(bits)
        }
        guard last & 1 == 1 else { throw .rsaModulusEven }
        guard exponent == Self.rsaExponent else { throw .rsaExponent }
        (kind, first, second) = (.rsa(bits: bits), modulus, exponent)
        guard verificationKey != nil else { throw .rsaModulusBits(bits) }
    }

    private static func bytes(
        _ name: String,
        of members: [String: JSONValue]
    ) throws(JSONWebKeyError) -> [UInt8] {
        guard let text = members[name]?.text else { throw .memberMissing(name) }
        guard let bytes = Base64Form.url.bytes(text.utf8) else { throw .notBase64URL(name) }
        return bytes
    }

    /// The key in the form that verifies; nil for a point outside its curve.
    var verificationKey: JWSVerificationKey? {
        let point = [0x04] + first + second
        return switch kind {
        case .p256:
            (try? P256.Signing.PublicKey(x963Representation: point)).map { .p256($0) }
        case .p384:
            (try? P384.Signing.PublicKey(x963Representation: point)).map { .p384($0) }
        case .p521:
            (try? P521.Signing.PublicKey(x963Representation: point)).map { .p521($0) }
        case .rsa:
            (try? _RSA.Signing.PublicKey(n: first, e: second)).map { .rsa($0) }
        }
    }

    /// Verifies one signature in the form of RFC 7518; a verifier of many keeps
    /// `JWTSVIDVerifier`.
    package func verifies(
        _ signature: [UInt8],
        of bytes: some Collection<UInt8>,
        by algorithm: JWSAlgorithm
    ) -> Bool {
        verificationKey?.verifies(signature, of: bytes, by: algorithm) ?? false
    }

    /// The members that RFC 7518 section 6 requires of the key, which are also those of its
    /// thumbprint (RFC 7638 section 3.2).
    package var members: [String: JSONValue] {
        func text(_ bytes: [UInt8]) -> JSONValue { .string(Base64Form.url.text(bytes)) }
        func point(_ curve: String) -> [String: JSONValue] {
            ["kty": .string("EC"), "crv": .string(curve), "x": text(first), "y": text(second)]
        }
        return switch kind {
        case .p256: point("P-256")
        case .p384: point("P-384")
        case .p521: point("P-521")
        case .rsa: ["kty": .string("RSA"), "n": text(first), "e": text(second)]
        }
    }

    /// The SHA-256 thumbprint of the key (RFC 7638) as text of 43 characters: the key ID that
    /// Signet gives its own keys, so that one key has one name.
    package var thumbprint: String {
        Base64Form.url.text(sha256(JSONValue.object(members).encoded))
    }

    /// DER of the SubjectPublicKeyInfo.
    package var subjectPublicKeyInfo: [UInt8] {
        switch verificationKey {
        case .p256(let key): Array(key.derRepresentation)
        case .p384(let key): Array(key.derRepresentation)
        case .p521(let key): Array(key.derRepresentation)
        case .rsa(let key): Array(key.derRepresentation)
        // No key is made without one.
        case nil: []
        }
    }
}

/// Why a JSON Web Key is not used.
package enum JSONWebKeyError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A coordinate is shorter or longer than the curve's (RFC 7518 section 6.2.1.2).
    case coordinateWidth(String)
    case curveUnsupported
    case keyTypeUnsupported
    /// A member is missing or is not a text.
    case memberMissing(String)
    case notBase64URL(String)
    case pointNotOnCurve
    case privateKey
    case rsaExponent
    case rsaLeadingZero
    case rsaModulusBits(Int)
    case rsaModulusEven
    case subjectPublicKeyInfoUnsupported

    package var description: String {
        switch self {
        case .coordinateWidth(let name): "\"\(name)\" is not as wide as the curve"
        case .curveUnsupported: "the curve is none of P-256, P-384 and P-521"
        case .keyTypeUnsupported: "the key type is neither EC nor RSA"
        case .memberMissing(let name): "\"\(name)\" is missing or is not a text"
        case .notBase64URL(let name): "\"\(name)\" is not base64url without padding"
        case .pointNotOnCurve: "the point does not lie on its curve"
        case .privateKey: "the key is published with its private part; replace it"
        case .rsaExponent: "the RSA public exponent is not 65537"
        case .rsaLeadingZero: "the RSA modulus begins with a zero byte"
        case .rsaModulusBits(let bits):
            """
            an RSA modulus of \(bits) bits is outside \(JSONWebKey.rsaModulusBitsMin) to \
            \(JSONWebKey.rsaModulusBitsMax)
            """
        case .rsaModulusEven: "the RSA modulus is even"
        case .subjectPublicKeyInfoUnsupported:
            "the public key is none of P-256, P-384, P-521 and RSA in DER"
        }
    }
}
