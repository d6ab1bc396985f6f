// SPDX-License-Identifier: Apache-2.0

internal import Crypto

/// The SHA-256 of an authority's public key: what a join token pins and what a revocation names.
///
/// - Parameter der: The authority's certificate.
/// - Returns: 32 bytes, the hash of the DER of SubjectPublicKeyInfo.
/// - Throws: `LeafCertificateError` if the certificate does not parse.
package func authoritySPKISHA256(_ der: [UInt8]) throws(LeafCertificateError) -> [UInt8] {
    try LeafCertificate(der: der).spkiSHA256
}

/// The SHA-256 of `bytes`, 32 bytes.
func sha256(_ bytes: [UInt8]) -> [UInt8] {
    Array(SHA256.hash(data: bytes))
}
