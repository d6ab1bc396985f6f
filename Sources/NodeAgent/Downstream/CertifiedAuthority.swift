// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE
internal import SwiftASN1
internal import X509

/// What a server below asks to have certified, read and held to limits.
package struct CertifyRequest: Sendable {
    /// Largest request: one for RSA-4096 is below 2 KiB, and the server above takes no larger one.
    package static let csrBytesMax = 8 * 1024
    /// Longest life that is asked for: that of an authority below an upstream.
    package static let lifetimeSecondsMax: Int64 = 7 * 86_400

    /// DER of the PKCS #10 request.
    package let csr: [UInt8]
    /// How long from now the certificate shall be valid.
    package let lifetimeSeconds: Int64
    fileprivate let publicKey: Certificate.PublicKey

    /// Reads a request whose sender has its key; what it says is judged by the server above.
    ///
    /// - Throws: `DownstreamRefusal.invalid`.
    package init(csr: [UInt8], lifetimeSeconds: Int64) throws(DownstreamRefusal) {
        guard csr.count <= Self.csrBytesMax else {
            throw .invalid(rule: "csrTooLong", "csr has more than \(Self.csrBytesMax) bytes")
        }
        guard (1...Self.lifetimeSecondsMax).contains(lifetimeSeconds) else {
            throw .invalid(
                rule: "lifetimeOutOfRange",
                "lifetime_seconds is not 1 to \(Self.lifetimeSecondsMax); see authorityTTL"
            )
        }
        guard let request = try? CertificateSigningRequest(derEncoded: csr) else {
            throw .invalid(rule: "csrMalformed", "csr is no PKCS #10 request in DER")
        }
        guard request.publicKey.isValidSignature(request.signature, for: request) else {
            throw .invalid(rule: "possessionNotProven", "csr is not signed with its own key")
        }
        self.csr = csr
        self.lifetimeSeconds = lifetimeSeconds
        publicKey = request.publicKey
    }
}

/// An authority of a server below as the server above has certified it; nothing else can make one.
///
/// The agent does not trust the answer blindly: it stands for the process that asks.
package struct CertifiedAuthority: Hashable, Sendable {
    /// Most certificates below the root: as many as verifiers take above a leaf.
    package static let chainCountMax = PeerVerifier.chainCountMax - 1

    /// DER of the authority and of those above it, in order, without the root.
    package let chain: [[UInt8]]
    /// The computed IDs of the keys of the path, from the authority's to the root's.
    package let keyIDs: [[UInt8]]
    package let notAfter: Date

    /// Checks what a server answered.
    ///
    /// - Parameters:
    ///   - chain: DER of the authority and of those above it.
    ///   - request: What it was asked for.
    ///   - bundle: The agent's.
    ///   - now: The wall clock.
    /// - Throws: `DownstreamRefusal.answerRefused`: the chain is given to nobody.
    package init(
        checking chain: [[UInt8]],
        for request: CertifyRequest,
        in bundle: TrustBundle,
        now: Date
    ) async throws(DownstreamRefusal) {
        guard (1...Self.chainCountMax).contains(chain.count) else {
            throw .answerRefused("it has no certificate, or more than \(Self.chainCountMax)")
        }
        guard chain.reduce(0, { $0 + $1.count }) <= PeerVerifier.chainBytesMax else {
            throw .answerRefused("it has more than \(PeerVerifier.chainBytesMax) bytes")
        }
        var read: [LeafCertificate] = []
        for der in chain {
            guard let one = try? LeafCertificate(der: der) else {
                throw .answerRefused("a certificate of it cannot be read")
            }
            read.append(one)
        }
        guard let certificate = try? Certificate(derEncoded: chain[0]),
            certificate.publicKey == request.publicKey
        else { throw .answerRefused("it is for another key") }
        guard read[0].uriNames == [bundle.trustDomain.id.description] else {
            throw .answerRefused("its one URI is not the trust domain's")
        }
        let root = try await Self.root(above: chain, read, in: bundle, now: now)
        self.chain = chain
        keyIDs = (read + [root]).map(\.keyIdentifier.bytes)
        notAfter = read[0].notAfter
    }

    /// The root of the bundle that the path ends at.
    private static func root(
        above chain: [[UInt8]],
        _ read: [LeafCertificate],
        in bundle: TrustBundle,
        now: Date
    ) async throws(DownstreamRefusal) -> LeafCertificate {
        var reason = "its path ends at no root that the agent knows"
        for der in bundle.rootsOfAuthorities {
            guard let root = try? LeafCertificate(der: der),
                root.subjectKeyID == read[read.count - 1].authorityKeyID
            else { continue }
            do throws(PeerVerificationError) {
                try await AuthorityPath.check(chain, to: der, of: bundle.trustDomain, now: now)
                return root
            } catch { reason = "\(error)" }
        }
        throw .answerRefused(reason)
    }
}
