// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import SwiftASN1
@_spi(FixedExpiryValidationTime) internal import X509

/// Turns the certificates a peer presents into a `VerifiedPeer`, or refuses them.
///
/// The value holds the parsed authorities of one snapshot of the bundles: build it once per
/// snapshot and share it; it never changes. Proof that the peer holds the leaf's key is the TLS
/// handshake's part.
package struct PeerVerifier: Sendable {
    /// Most certificates in a presented chain, the leaf included (design: leaf, two intermediates
    /// and a root sent needlessly).
    package static let chainCountMax = 4
    /// Most bytes in a presented chain.
    package static let chainBytesMax = 32 * 1024

    /// An authority of a bundle that no path can end in, because it does not parse.
    package struct UnusableAuthority: Hashable, Sendable {
        package let trustDomain: TrustDomain
        /// Its place in `TrustBundle.x509Authorities`.
        package let index: Int

        package init(trustDomain: TrustDomain, index: Int) {
            (self.trustDomain, self.index) = (trustDomain, index)
        }
    }

    /// Authorities left out, for the shell to report; leaving one out only narrows trust.
    package let unusableAuthorities: [UnusableAuthority]

    private let authorities: [TrustDomain: CertificateStore]

    /// Parses the authorities of every bundle.
    ///
    /// - Parameter bundles: The bundle of each trusted trust domain. A bundle under another name
    ///   than its own, or with more than `TrustBundle.authoritiesMax` authorities, is left out whole.
    package init(bundles: [TrustDomain: TrustBundle]) {
        var stores: [TrustDomain: CertificateStore] = [:]
        var unusable: [UnusableAuthority] = []
        for (trustDomain, bundle) in bundles {
            let ders = bundle.x509Authorities
            guard bundle.trustDomain == trustDomain, ders.count <= TrustBundle.authoritiesMax else {
                unusable += ders.indices.map { .init(trustDomain: trustDomain, index: $0) }
                continue
            }
            var certificates: [Certificate] = []
            for (index, der) in ders.enumerated() {
                guard (try? LeafCertificate(der: der)) != nil,
                    let certificate = try? Certificate(derEncoded: der)
                else {
                    unusable.append(.init(trustDomain: trustDomain, index: index))
                    continue
                }
                certificates.append(certificate)
            }
            stores[trustDomain] = CertificateStore(certificates)
        }
        self.authorities = stores
        self.unusableAuthorities = unusable
    }

    /// Verifies a chain as it was presented.
    ///
    /// - Parameters:
    ///   - chain: DER of each certificate, leaf first.
    ///   - now: The wall clock.
    /// - Returns: The peer, whose path ends in the bundle of its own trust domain. Whether an
    ///   authority of the path is distrusted is left to whoever knows that.
    /// - Throws: `PeerVerificationError` naming what was wrong.
    /// - SeeAlso: X509-SVID section 5; docs/conformance.md rows.
    package func verify(
        chain: [[UInt8]],
        now: Date
    ) async throws(PeerVerificationError) -> VerifiedPeer {
        guard let leafDER = chain.first else { throw .chainEmpty }
        guard chain.count <= Self.chainCountMax else { throw .chainTooLong }
        guard chain.reduce(0, { $0 + $1.count }) <= Self.chainBytesMax else {
            throw .chainTooLarge
        }
        let (read, id) = try Self.read(leafDER)
        guard now >= read.notBefore else { throw .notYetValid }
        guard now <= read.notAfter else { throw .expired }
        guard let store = authorities[id.trustDomain] else {
            throw .trustDomainUnknown(id.trustDomain)
        }
        let intermediates = try Self.intermediates(of: chain)
        guard let leaf = try? Certificate(derEncoded: leafDER) else {
            throw .certificateMalformed(index: 0)
        }
        // Two parsers read the leaf: what is returned comes from the one, what is verified from the
        // other. The policy refuses the path unless both find the same identity.
        let path = try await Self.path(
            from: leaf,
            intermediates: intermediates,
            to: store,
            id: id,
            now: now
        )
        // No revocation of an authority reaches a leaf that the bundle itself holds.
        guard path.count > 1 else { throw .noPath }
        return VerifiedPeer(
            id: id,
            serial: read.serial,
            notBefore: read.notBefore,
            notAfter: read.notAfter,
            pathNotAfter: path.map(\.notValidAfter).min() ?? read.notAfter,
            spkiSHA256: read.spkiSHA256,
            path: path.dropFirst().map(Self.keyID(of:))
        )
    }

    private static func keyID(of certificate: Certificate) -> [UInt8] {
        // Despite its name: the content of the bit string.
        KeyIdentifier(hashing: certificate.publicKey.subjectPublicKeyInfoBytes).bytes
    }

    /// Verifies the chain of whoever has to be a Signet server of `trustDomain`, not anybody who
    /// has an SVID of it.
    ///
    /// - Parameters:
    ///   - chain: DER of each certificate, leaf first.
    ///   - trustDomain: The client's own.
    ///   - now: The wall clock.
    /// - Returns: The server; its ID is `spiffe://<trust domain>/signet/server/<id>`.
    /// - Throws: `PeerVerificationError`, `ServerRefusal`.
    package func verifyServer(
        chain: [[UInt8]],
        of trustDomain: TrustDomain,
        now: Date
    ) async throws -> VerifiedPeer {
        let peer = try await verify(chain: chain, now: now)
        guard peer.id.serverID(in: trustDomain) != nil else {
            throw ServerRefusal.notAServer(peer.id)
        }
        return peer
    }

    private static func read(
        _ der: [UInt8]
    ) throws(PeerVerificationError) -> (LeafCertificate, SPIFFEID) {
        let leaf: LeafCertificate
        do throws(LeafCertificateError) {
            leaf = try LeafCertificate(der: der)
        } catch {
            throw .leafMalformed(error)
        }
        do throws(X509SVIDError) {
            return (leaf, try leaf.checkSVIDRules())
        } catch {
            throw .ruleBroken(error)
        }
    }

    private static func intermediates(
        of chain: [[UInt8]]
    ) throws(PeerVerificationError) -> CertificateStore {
        var certificates: [Certificate] = []
        for (index, der) in chain.enumerated().dropFirst() {
            guard (try? LeafCertificate(der: der)) != nil,
                let certificate = try? Certificate(derEncoded: der)
            else { throw .certificateMalformed(index: index) }
            certificates.append(certificate)
        }
        return CertificateStore(certificates)
    }

    private static func path(
        from leaf: Certificate,
        intermediates: CertificateStore,
        to authorities: CertificateStore,
        id: SPIFFEID,
        now: Date
    ) async throws(PeerVerificationError) -> ValidatedCertificateChain {
        var verifier = Verifier(rootCertificates: authorities) {
            RFC5280Policy(fixedExpiryValidationTime: now.inCertificateRange)
            SPIFFEPolicy(id: id)
        }
        switch await verifier.validate(leaf: leaf, intermediates: intermediates) {
        case .validCertificate(let path): return path
        case .couldNotValidate(let failures):
            guard let failure = failures.first else { throw .noPath }
            throw .pathRefused(reason: printable(failure.policyFailureReason.description))
        }
    }

    /// Shortens a reason that may quote the peer's own certificate, and keeps it on one line.
    static func printable(_ reason: String) -> String {
        let lengthMax = 200
        let bytes = reason.utf8.prefix(lengthMax).map { (0x20..<0x7F).contains($0) ? $0 : 0x3F }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// A peer whose chain `PeerVerifier` has verified; nothing else can make one.
package struct VerifiedPeer: Hashable, Sendable {
    /// The identity; its path is not empty.
    package let id: SPIFFEID
    /// The leaf's serial number in the form of `LeafCertificate.serial`.
    package let serial: [UInt8]
    package let notBefore: Date
    /// The end of the leaf's validity, itself included.
    package let notAfter: Date
    /// The earliest end of validity in the verified path; not after `notAfter`.
    package let pathNotAfter: Date
    /// SHA-256 of the leaf's SubjectPublicKeyInfo.
    package let spkiSHA256: [UInt8]
    /// The computed IDs of the authorities' keys (`KeyIdentifier`), from the one that signed the leaf
    /// to the bundle's; never empty.
    package let path: [[UInt8]]

    fileprivate init(
        id: SPIFFEID,
        serial: [UInt8],
        notBefore: Date,
        notAfter: Date,
        pathNotAfter: Date,
        spkiSHA256: [UInt8],
        path: [[UInt8]]
    ) {
        self.id = id
        self.serial = serial
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.pathNotAfter = pathNotAfter
        self.spkiSHA256 = spkiSHA256
        self.path = path
    }
}

/// Why `PeerVerifier` refused a chain.
package enum PeerVerificationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A certificate of the chain, counted from 0 (the leaf), does not parse.
    case certificateMalformed(index: Int)
    case chainEmpty
    case chainTooLarge
    case chainTooLong
    /// The leaf's validity is over.
    case expired
    case leafMalformed(LeafCertificateError)
    /// No authority of the trust domain has signed the chain.
    case noPath
    case notYetValid
    /// There is a path to an authority, but it breaks a rule; one line of printable ASCII.
    case pathRefused(reason: String)
    /// The leaf breaks a rule of X509-SVID.
    case ruleBroken(X509SVIDError)
    /// There is no bundle for the leaf's own trust domain.
    case trustDomainUnknown(TrustDomain)

    package var description: String {
        switch self {
        case .certificateMalformed(let index): "certificate \(index) of the chain is malformed"
        case .chainEmpty: "the peer presented no certificate"
        case .chainTooLarge: "the chain has more than \(PeerVerifier.chainBytesMax) bytes"
        case .chainTooLong: "the chain has more than \(PeerVerifier.chainCountMax) certificates"
        case .expired: "the certificate has expired"
        case .leafMalformed(let error): "the leaf certificate is malformed: \(error)"
        case .noPath: "no authority of the peer's trust domain signed the chain"
        case .notYetValid: "the certificate is not yet valid"
        case .pathRefused(let reason): "the path is refused: \(reason)"
        case .ruleBroken(let error): "the certificate is no X509-SVID for a peer: \(error)"
        case .trustDomainUnknown(let name): "there is no bundle for trust domain \(name)"
        }
    }
}

/// Why a peer is not talked to as a server, although its certificate verifies.
package enum ServerRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// An authority of its path is tainted or revoked.
    case authorityDistrusted(SPIFFEID)
    case notAServer(SPIFFEID)

    package var description: String {
        switch self {
        case .authorityDistrusted(let id):
            "\(id) shows a certificate of an authority that is distrusted"
        case .notAServer(let id): "\(id) is not the ID of a server"
        }
    }
}

extension Date {
    /// The instant, moved into the years 1970 to 9999, outside of which swift-asn1 traps.
    var inCertificateRange: Date {
        let last = 253_402_300_799.0
        // A clock that shows no number at all must not trap either: nothing is valid in 9999.
        let seconds = timeIntervalSince1970.isNaN ? last : timeIntervalSince1970
        return Date(timeIntervalSince1970: min(max(seconds, 0), last))
    }
}
