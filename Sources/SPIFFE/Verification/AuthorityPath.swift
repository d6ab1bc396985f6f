// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import SwiftASN1
@_spi(FixedExpiryValidationTime) internal import X509

/// Holds a path from an authority to a root to the rules by which peers' paths are believed, before
/// anything is signed by that authority.
package enum AuthorityPath {
    /// Whether a certificate is signed with the key in it, in a way that verifiers know.
    package static func isSelfSigned(_ der: [UInt8]) -> Bool {
        guard let certificate = try? Certificate(derEncoded: der) else { return false }
        return certificate.publicKey.isValidSignature(certificate.signature, for: certificate)
    }

    /// Checks signatures, times, path lengths and the rules of X509-SVID for issuers, each as both of
    /// our verifiers will (`PeerVerifier` and `PresentedChain`).
    ///
    /// - Parameters:
    ///   - chain: DER of the authority and of what is between it and the root, in order.
    ///   - root: DER of the self-signed root.
    ///   - trustDomain: Whose leaves the authority will sign.
    ///   - now: The wall clock.
    /// - Throws: `PeerVerificationError`: what a peer would be told.
    package static func check(
        _ chain: [[UInt8]],
        to root: [UInt8],
        of trustDomain: TrustDomain,
        now: Date
    ) async throws(PeerVerificationError) {
        var read: [LeafCertificate] = []
        var certificates: [Certificate] = []
        for (index, der) in (chain + [root]).enumerated() {
            guard let reading = try? LeafCertificate(der: der),
                let certificate = try? Certificate(derEncoded: der)
            else { throw .certificateMalformed(index: index) }
            read.append(reading)
            certificates.append(certificate)
        }
        guard let authority = certificates.first, let anchor = read.popLast(), !read.isEmpty else {
            throw .chainEmpty
        }
        do throws(X509SVIDError) {
            try PresentedChain.checkAuthorities(read, to: anchor, of: trustDomain)
        } catch { throw .pathRefused(reason: "\(error)") }
        var verifier = Verifier(rootCertificates: CertificateStore([certificates[read.count]])) {
            RFC5280Policy(fixedExpiryValidationTime: now.inCertificateRange)
            IssuersPolicy(trustDomain: trustDomain)
        }
        let between = CertificateStore(certificates.dropFirst().dropLast())
        switch await verifier.validate(leaf: authority, intermediates: between) {
        case .validCertificate(let path):
            // A shorter way to the root than the one that is delivered says that it is another.
            guard path.count == certificates.count else { throw .noPath }
        case .couldNotValidate(let failures):
            guard let failure = failures.first else { throw .noPath }
            let reason = PeerVerifier.printable(failure.policyFailureReason.description)
            throw .pathRefused(reason: reason)
        }
    }
}

/// `SPIFFEPolicy` for a path that begins with an authority.
private struct IssuersPolicy: VerifierPolicy {
    let trustDomain: TrustDomain

    var verifyingCriticalExtensions: [ASN1ObjectIdentifier] {
        [.X509ExtensionID.subjectAlternativeName, .X509ExtensionID.extendedKeyUsage]
    }

    func chainMeetsPolicyRequirements(chain: UnverifiedCertificateChain) -> PolicyEvaluationResult {
        do throws(X509SVIDError) {
            try SPIFFEPolicy.check(authorities: Array(chain), of: trustDomain)
            return .meetsPolicy
        } catch {
            return .failsToMeetPolicy(reason: "\(error)")
        }
    }
}
