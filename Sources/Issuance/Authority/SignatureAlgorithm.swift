// SPDX-License-Identifier: Apache-2.0

/// How authorities sign; it follows from the kind of their key.
package enum SignatureAlgorithm: Hashable, Sendable, CaseIterable {
    /// With a P-256 key (RFC 5758 section 3.2).
    case ecdsaWithSHA256
    /// With a P-384 key (RFC 5758 section 3.2).
    case ecdsaWithSHA384
    /// RSASSA-PKCS1-v1_5 with an RSA key of any size (RFC 4055 section 5).
    case sha256WithRSAEncryption

    /// DER of the AlgorithmIdentifier: ECDSA has no parameters, RSA has NULL.
    var identifierDER: [UInt8] {
        switch self {
        case .ecdsaWithSHA256:
            [0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02]
        case .ecdsaWithSHA384:
            [0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03]
        case .sha256WithRSAEncryption:
            [
                0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B, 0x05,
                0x00,
            ]
        }
    }

    var hash: VerificationKey.Hash {
        switch self {
        case .ecdsaWithSHA256, .sha256WithRSAEncryption: .sha256
        case .ecdsaWithSHA384: .sha384
        }
    }
}

extension SubjectPublicKey.Algorithm {
    /// How an authority with such a key signs.
    package var signatureAlgorithm: SignatureAlgorithm {
        switch self {
        case .p256: .ecdsaWithSHA256
        case .p384: .ecdsaWithSHA384
        case .rsa: .sha256WithRSAEncryption
        }
    }
}
