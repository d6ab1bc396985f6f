// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import Crypto
internal import CryptoExtras
internal import FoundationEssentials

/// A key that a bridge keeps, here in memory.
enum BridgeKey: Sendable {
    case p256(P256.Signing.PrivateKey)
    case p384(P384.Signing.PrivateKey)
    case rsa(_RSA.Signing.PrivateKey)

    /// - Returns: nil for a type that is not known here.
    init?(_ type: Signet_Keyservice_V1alpha1_KeyType) throws {
        switch type {
        case .ecP256: self = .p256(P256.Signing.PrivateKey())
        case .ecP384: self = .p384(P384.Signing.PrivateKey())
        case .rsa2048: self = .rsa(try _RSA.Signing.PrivateKey(keySize: .bits2048))
        case .rsa4096: self = .rsa(try _RSA.Signing.PrivateKey(keySize: .bits4096))
        case .unspecified, .UNRECOGNIZED: return nil
        }
    }

    /// DER of the SubjectPublicKeyInfo.
    var spki: Data {
        switch self {
        case .p256(let key): key.publicKey.derRepresentation
        case .p384(let key): key.publicKey.derRepresentation
        case .rsa(let key): key.publicKey.derRepresentation
        }
    }

    /// The same key otherwise encoded (RFC 5480 section 2.2), as no authority has it.
    var otherSPKI: Data {
        guard case .p256(let key) = self else { return spki }
        let head: [UInt8] = [
            0x30, 0x39, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06,
            0x08,
            0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x22, 0x00,
        ]
        return Data(head) + key.publicKey.compressedRepresentation
    }

    /// What the key is named by.
    var name: Data { Data(SHA256.hash(data: spki)) }

    /// The only algorithm of its kind.
    var algorithm: Signet_Keyservice_V1alpha1_Algorithm {
        switch self {
        case .p256: .ecdsaSha256
        case .p384: .ecdsaSha384
        case .rsa: .rsaPkcs1Sha256
        }
    }

    func signature(for message: Data) throws -> Data {
        switch self {
        case .p256(let key): try key.signature(for: message).derRepresentation
        case .p384(let key): try key.signature(for: message).derRepresentation
        case .rsa(let key):
            // "Insecure" is its use for encryption; as a signature it is what RFC 8017 names.
            try key.signature(for: SHA256.hash(data: message), padding: .insecurePKCS1v1_5)
                .rawRepresentation
        }
    }
}
