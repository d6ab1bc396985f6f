// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import CryptoExtras

/// The algorithms that a JWT-SVID may be signed with, and no others (JWT-SVID section 2.1).
package enum JWSAlgorithm: String, CaseIterable, Hashable, Sendable {
    case es256 = "ES256"
    case es384 = "ES384"
    case es512 = "ES512"
    case ps256 = "PS256"
    case ps384 = "PS384"
    case ps512 = "PS512"
    case rs256 = "RS256"
    case rs384 = "RS384"
    case rs512 = "RS512"

    /// Whether a key of this kind makes such signatures (RFC 7518 sections 3.3 to 3.5): each ECDSA
    /// algorithm has one curve.
    package func fits(_ kind: JSONWebKey.Kind) -> Bool {
        switch (self, kind) {
        case (.es256, .p256), (.es384, .p384), (.es512, .p521): true
        case (.ps256, .rsa), (.ps384, .rsa), (.ps512, .rsa): true
        case (.rs256, .rsa), (.rs384, .rsa), (.rs512, .rsa): true
        default: false
        }
    }
}

extension JWSAlgorithm {
    /// The algorithm that is the same in certificates and revocation lists, of those that
    /// authorities sign with.
    ///
    /// - Parameter x509Identifier: DER of the AlgorithmIdentifier (RFC 5758 section 3.2, RFC 4055
    ///   section 5); parameters must be as they say there.
    init?(x509Identifier: [UInt8]) {
        switch x509Identifier {
        case [0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02]:
            self = .es256
        case [0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03]:
            self = .es384
        case [
            0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B, 0x05,
            0x00,
        ]:
            self = .rs256
        default: return nil
        }
    }

    /// A signature of a certificate or a revocation list in the form of tokens: for ECDSA r and s,
    /// each as wide as the curve (RFC 7518 section 3.4), in place of the DER of ECDSA-Sig-Value.
    ///
    /// - Parameter signature: The content of the signature's bit string.
    /// - Returns: nil if it is not in that form, or no authority signs so.
    package func signature(ofX509 signature: [UInt8]) -> [UInt8]? {
        switch self {
        case .es256:
            (try? P256.Signing.ECDSASignature(derRepresentation: signature)).map {
                Array($0.rawRepresentation)
            }
        case .es384:
            (try? P384.Signing.ECDSASignature(derRepresentation: signature)).map {
                Array($0.rawRepresentation)
            }
        case .rs256: signature
        default: nil
        }
    }
}

/// A public key in the form that verifies signatures, which is costly to make twice.
enum JWSVerificationKey: Sendable {
    case p256(P256.Signing.PublicKey)
    case p384(P384.Signing.PublicKey)
    case p521(P521.Signing.PublicKey)
    case rsa(_RSA.Signing.PublicKey)

    /// Verifies a signature in the form of RFC 7518: for ECDSA r and s, each as wide as the curve.
    ///
    /// - Returns: Whether it is the key's; never if the algorithm does not fit the key.
    func verifies(
        _ signature: [UInt8],
        of bytes: some Collection<UInt8>,
        by algorithm: JWSAlgorithm
    ) -> Bool {
        let bytes = Array(bytes)
        switch (algorithm, self) {
        case (.es256, .p256(let key)):
            guard let parsed = try? P256.Signing.ECDSASignature(rawRepresentation: signature)
            else { return false }
            return key.isValidSignature(parsed, for: SHA256.hash(data: bytes))
        case (.es384, .p384(let key)):
            guard let parsed = try? P384.Signing.ECDSASignature(rawRepresentation: signature)
            else { return false }
            return key.isValidSignature(parsed, for: SHA384.hash(data: bytes))
        case (.es512, .p521(let key)):
            guard let parsed = try? P521.Signing.ECDSASignature(rawRepresentation: signature)
            else { return false }
            return key.isValidSignature(parsed, for: SHA512.hash(data: bytes))
        case (.ps256, .rsa(let key)):
            return Self.verifies(signature, of: SHA256.hash(data: bytes), with: key, .PSS)
        case (.ps384, .rsa(let key)):
            return Self.verifies(signature, of: SHA384.hash(data: bytes), with: key, .PSS)
        case (.ps512, .rsa(let key)):
            return Self.verifies(signature, of: SHA512.hash(data: bytes), with: key, .PSS)
        // "Insecure" is its use for encryption; as a signature it is what RFC 7518 names.
        case (.rs256, .rsa(let key)):
            return Self.verifies(signature, of: SHA256.hash(data: bytes), with: key, pkcs1)
        case (.rs384, .rsa(let key)):
            return Self.verifies(signature, of: SHA384.hash(data: bytes), with: key, pkcs1)
        case (.rs512, .rsa(let key)):
            return Self.verifies(signature, of: SHA512.hash(data: bytes), with: key, pkcs1)
        default:
            return false
        }
    }

    private var pkcs1: _RSA.Signing.Padding { .insecurePKCS1v1_5 }

    private static func verifies(
        _ signature: [UInt8],
        of digest: some Digest,
        with key: _RSA.Signing.PublicKey,
        _ padding: _RSA.Signing.Padding
    ) -> Bool {
        key.isValidSignature(
            _RSA.Signing.RSASignature(rawRepresentation: signature),
            for: digest,
            padding: padding
        )
    }
}
