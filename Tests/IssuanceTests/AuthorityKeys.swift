// SPDX-License-Identifier: Apache-2.0

import Crypto
import CryptoExtras
import Issuance

extension Workshop {
    /// RSA keys take a while to make: one of each kind for all tests.
    private static let rsa2048 = Result { try _RSA.Signing.PrivateKey(keySize: .bits2048) }
    private static let rsa4096 = Result { try _RSA.Signing.PrivateKey(keySize: .bits4096) }

    /// The key of that kind that every test has.
    static func signer(of type: AuthorityKeyType) throws -> MemorySigner {
        switch type {
        case .p256: try signer(1)
        case .p384:
            try MemorySigner(
                pkcs8DER: Array(
                    P384.Signing.PrivateKey(
                        rawRepresentation: [UInt8](repeating: 1, count: 48)
                    ).derRepresentation
                )
            )
        case .rsa2048:
            try MemorySigner(pkcs8DER: Array(rsa2048.get().pkcs8DERRepresentation))
        case .rsa4096:
            try MemorySigner(pkcs8DER: Array(rsa4096.get().pkcs8DERRepresentation))
        }
    }
}
