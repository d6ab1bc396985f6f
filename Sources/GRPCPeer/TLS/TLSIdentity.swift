// SPDX-License-Identifier: Apache-2.0

internal import NIOSSL

/// A certificate chain and its private key, ready for handshakes.
///
/// Parsing happens once, here; every handshake then builds its own TLS context from the value.
package struct TLSIdentity: Sendable {
    let certificates: [NIOSSLCertificate]
    let privateKey: NIOSSLPrivateKey

    /// Takes a chain in DER, leaf first, and the leaf's private key as PKCS#8 DER.
    ///
    /// - Throws: `TLSIdentityError`.
    package init(
        certificateChain: [[UInt8]],
        privateKeyPKCS8: [UInt8]
    ) throws(TLSIdentityError) {
        guard !certificateChain.isEmpty else { throw .chainEmpty }
        do {
            self.certificates = try certificateChain.map {
                try NIOSSLCertificate(bytes: $0, format: .der)
            }
        } catch {
            throw .certificateUnreadable
        }
        do {
            self.privateKey = try NIOSSLPrivateKey(bytes: privateKeyPKCS8, format: .der)
        } catch {
            throw .privateKeyUnreadable
        }
    }
}

/// Why a chain and a key cannot serve as a TLS identity.
package enum TLSIdentityError: Error, Hashable {
    case certificateUnreadable
    case chainEmpty
    case privateKeyUnreadable
}
