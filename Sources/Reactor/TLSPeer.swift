// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// A peer whose chain the handshake has verified; nothing else can make one.
package final class TLSPeer: Sendable {
    /// The identity; its path is not empty.
    package let id: SPIFFEID
    package let notBefore: Date
    /// The end of the leaf's validity, itself included.
    package let notAfter: Date
    /// The earliest end of validity in the verified path; not after `notAfter`.
    package let pathNotAfter: Date
    /// The leaf's serial number in the form of `LeafCertificate.serial`.
    package let serial: [UInt8]
    /// The computed IDs of the authorities' keys (`KeyIdentifier`), from the one that signed the leaf
    /// to the bundle's; never empty.
    package let path: [[UInt8]]
    /// SHA-256 of the leaf certificate.
    package let leafSHA256: [UInt8]

    private init(_ chain: PresentedChain, _ path: CheckedPath) {
        id = chain.id
        notBefore = chain.leaf.notBefore
        notAfter = chain.leaf.notAfter
        pathNotAfter = path.notAfter
        serial = chain.leaf.serial
        self.path = path.keyIDs
        leafSHA256 = chain.leafSHA256
    }

    /// Judges a chain inside the handshake.
    ///
    /// - Parameters:
    ///   - chain: DER of each certificate, leaf first.
    ///   - requirements: Who is believed, and who may be at the other end.
    ///   - now: The wall clock.
    ///   - findPath: Asks the TLS library for a path, given the certificates that it may use and
    ///     the authorities of the leaf's own trust domain.
    /// - Returns: The peer.
    /// - Throws: Why the peer is refused.
    static func verified(
        chain: [[UInt8]],
        requirements: PeerRequirements,
        now: Date,
        findPath: (UInt32, TLSAuthorities.Domain) throws(PeerVerificationError) -> FoundPath
    ) throws(PeerRefusal) -> TLSPeer {
        let peer: TLSPeer
        do throws(PeerVerificationError) {
            let presented = try PresentedChain(chain, now: now)
            let authorities = requirements.authorities
            guard requirements.believe(presented.id.trustDomain),
                let domain = authorities.domains[presented.id.trustDomain]
            else {
                throw .trustDomainUnknown(presented.id.trustDomain)
            }
            let usable = presented.usable(now: now)
            let path = try findPath(usable, domain)
            let authority = domain.certificates[path.authority]
            peer = TLSPeer(
                presented,
                try presented.checkPath(through: path.presented, to: authority)
            )
        } catch {
            throw .verification(error)
        }
        if let refusal = requirements.refusal(of: peer) { throw refusal }
        return peer
    }
}

/// A path as the library found it.
struct FoundPath {
    /// The places in the presented chain of the certificates between leaf and authority.
    let presented: [Int]
    /// The place of the authority in its domain.
    let authority: Int
}

/// Whom a handshake believes, and whom it admits.
package struct PeerRequirements: Sendable {
    /// Of every trust domain that anybody in this process believes; see `believe`.
    package let authorities: TLSAuthorities
    /// The trust domain of the identity that is presented.
    package let trustDomain: TrustDomain
    /// The other trust domains whose peers that identity believes.
    package let federations: Set<TrustDomain>
    package let revocations: PeerRevocations
    /// The only identities that may be at the other end; nil admits all that verify.
    package let expected: Set<SPIFFEID>?

    package init(
        authorities: TLSAuthorities,
        in trustDomain: TrustDomain,
        federatingWith federations: Set<TrustDomain> = [],
        revocations: PeerRevocations = .none,
        expected: Set<SPIFFEID>? = nil
    ) {
        self.authorities = authorities
        self.trustDomain = trustDomain
        self.federations = federations
        self.revocations = revocations
        self.expected = expected
    }

    /// Whether peers of a trust domain are believed, if an authority of its bundle vouches for them.
    package func believe(_ other: TrustDomain) -> Bool {
        other == trustDomain || federations.contains(other)
    }

    /// Looks at a peer again that was verified, maybe by older requirements.
    ///
    /// - Parameter peer: Who it is; its path is not looked for again.
    /// - Returns: Why it would not be admitted now; nil if it would.
    package func refusal(of peer: TLSPeer) -> PeerRefusal? {
        if revocations.contain(peer) { return .revoked(peer.id) }
        let domain = peer.id.trustDomain
        guard believe(domain), authorities.know(domain) else {
            return .verification(.trustDomainUnknown(domain))
        }
        // Of the own trust domain revocations tell of an authority that counts no longer; of others
        // only its leaving the bundle does (docs/decisions/0021-federation.md).
        if domain != trustDomain {
            guard let anchor = peer.path.last, authorities.hold(anchor, of: domain) else {
                return .verification(.noPath)
            }
        }
        if let expected, !expected.contains(peer.id) { return .unexpected(peer.id) }
        return nil
    }
}

/// Whose certificates count no longer although their time is not over.
package final class PeerRevocations: Sendable {
    /// A leaf by the computed ID of the key that signed it, and its serial number.
    package struct Leaf: Hashable, Sendable {
        package let authorityKeyID: [UInt8]
        package let serial: [UInt8]

        package init(authorityKeyID: [UInt8], serial: [UInt8]) {
            (self.authorityKeyID, self.serial) = (authorityKeyID, serial)
        }
    }

    package static let none = PeerRevocations()

    private let leaves: Set<Leaf>
    private let identities: [SPIFFEID: Date]
    private let authorities: Set<[UInt8]>
    private let taintedAuthorities: Set<[UInt8]>

    /// - Parameters:
    ///   - leaves: Single certificates.
    ///   - identities: Every certificate of an identity whose validity begins before the instant.
    ///     Authorities date certificates back, so it lies before that of the revocation.
    ///   - authorities: Everything whose path leads through these, by the computed IDs of their keys.
    ///   - taintedAuthorities: What these vouch for counts, but nothing outlives its certificate.
    package init(
        leaves: Set<Leaf> = [],
        identities: [SPIFFEID: Date] = [:],
        authorities: Set<[UInt8]> = [],
        taintedAuthorities: Set<[UInt8]> = []
    ) {
        (self.leaves, self.identities) = (leaves, identities)
        (self.authorities, self.taintedAuthorities) = (authorities, taintedAuthorities)
    }

    /// Whether an authority of the peer's path is tainted, so that its connections end with its
    /// certificate.
    package func taint(_ peer: TLSPeer) -> Bool {
        !taintedAuthorities.isEmpty && peer.path.contains(where: taintedAuthorities.contains)
    }

    /// Whether the peer's certificate or an authority of its path is revoked.
    package func contain(_ peer: TLSPeer) -> Bool {
        if !authorities.isEmpty, peer.path.contains(where: authorities.contains) { return true }
        if !identities.isEmpty, let before = identities[peer.id], peer.notBefore < before {
            return true
        }
        guard !leaves.isEmpty, let signer = peer.path.first else { return false }
        return leaves.contains(Leaf(authorityKeyID: signer, serial: peer.serial))
    }
}

/// Why a peer was refused in the handshake.
package enum PeerRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case verification(PeerVerificationError)
    case revoked(SPIFFEID)
    /// It verifies, but is not who was to be reached.
    case unexpected(SPIFFEID)

    /// The alert that tells the peer (RFC 8446 section 6.2).
    var alert: UInt8 {
        switch self {
        case .verification(let error):
            switch error {
            case .chainEmpty: 116
            case .certificateMalformed, .chainTooLarge, .chainTooLong, .leafMalformed: 42
            case .expired, .notYetValid: 45
            case .noPath, .trustDomainUnknown: 48
            case .pathRefused: 42
            case .ruleBroken: 43
            }
        case .revoked: 44
        case .unexpected: 42
        }
    }

    /// The reason in one word, for metrics: a closed set.
    package var label: String {
        switch self {
        case .verification(let error):
            switch error {
            case .certificateMalformed: "certificate_malformed"
            case .chainEmpty: "certificate_missing"
            case .chainTooLarge: "chain_too_large"
            case .chainTooLong: "chain_too_long"
            case .expired: "expired"
            case .leafMalformed: "leaf_malformed"
            case .noPath: "authority_unknown"
            case .notYetValid: "not_yet_valid"
            case .pathRefused: "path_refused"
            case .ruleBroken: "svid_rule_broken"
            case .trustDomainUnknown: "trust_domain_unknown"
            }
        case .revoked: "revoked"
        case .unexpected: "identity_unexpected"
        }
    }

    package var description: String {
        switch self {
        case .verification(let error): "\(error)"
        case .revoked(let id): "the certificate of \(id) is revoked"
        case .unexpected(let id): "\(id) is not who may answer here"
        }
    }
}
