// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// A chain as a peer presented it, read and limited, before a path is built.
///
/// For shells whose TLS library builds paths and checks signatures, synchronously inside the
/// handshake. What the library is not asked, because libraries differ in it, is decided here: the
/// limits, times, the rules of X509-SVID for leaf and authorities, and which of the certificates
/// may be used at all.
package struct PresentedChain: Sendable {
    /// The leaf, which keeps every rule that a leaf can keep by itself.
    package let leaf: LeafCertificate
    package let id: SPIFFEID
    /// SHA-256 of the leaf's DER, by which others name the certificate.
    package let leafSHA256: [UInt8]
    private let intermediates: [LeafCertificate]

    /// Reads a chain.
    ///
    /// - Parameters:
    ///   - chain: DER of each certificate, leaf first.
    ///   - now: The wall clock.
    /// - Throws: `PeerVerificationError` naming what is wrong with the leaf or the whole.
    package init(_ chain: [[UInt8]], now: Date) throws(PeerVerificationError) {
        guard let leafDER = chain.first else { throw .chainEmpty }
        guard chain.count <= PeerVerifier.chainCountMax else { throw .chainTooLong }
        guard chain.reduce(0, { $0 + $1.count }) <= PeerVerifier.chainBytesMax else {
            throw .chainTooLarge
        }
        do throws(LeafCertificateError) {
            leaf = try LeafCertificate(der: leafDER)
        } catch {
            throw .leafMalformed(error)
        }
        do throws(X509SVIDError) {
            id = try leaf.checkSVIDRules()
        } catch {
            throw .ruleBroken(error)
        }
        leafSHA256 = sha256(leafDER)
        // Without a number every comparison would be as good as its opposite.
        guard !now.timeIntervalSince1970.isNaN else {
            throw .pathRefused(reason: "the clock shows no time")
        }
        guard now >= leaf.notBefore else { throw .notYetValid }
        guard now <= leaf.notAfter else { throw .expired }
        var intermediates: [LeafCertificate] = []
        for (index, der) in chain.enumerated().dropFirst() {
            guard let read = try? LeafCertificate(der: der) else {
                throw .certificateMalformed(index: index)
            }
            intermediates.append(read)
        }
        self.intermediates = intermediates
    }

    /// Which of the presented certificates a path may use, by their place in the chain.
    ///
    /// - Parameter now: The wall clock.
    /// - Returns: One bit for each certificate; the leaf's is the lowest.
    package func usable(now: Date) -> UInt32 {
        var bits: UInt32 = 1
        for (index, certificate) in intermediates.enumerated()
        where certificate.isValid(at: now) {
            bits |= 1 << UInt32(index + 1)
        }
        return bits
    }

    /// Holds a path that the library found to the rules that it was not asked.
    ///
    /// - Parameters:
    ///   - presented: The places in the chain of the certificates between leaf and authority.
    ///   - authority: The authority that the path ends in.
    /// - Returns: What the path says of the peer.
    /// - Throws: `PeerVerificationError.pathRefused` in the words of the rule broken.
    package func checkPath(
        through presented: [Int],
        to authority: LeafCertificate
    ) throws(PeerVerificationError) -> CheckedPath {
        do throws(X509SVIDError) {
            var used: [LeafCertificate] = []
            for place in presented {
                guard intermediates.indices.contains(place - 1) else { throw .authorityMayNotSign }
                used.append(intermediates[place - 1])
            }
            try Self.checkAuthorities(used, to: authority, of: id.trustDomain)
            let above = used + [authority]
            return CheckedPath(
                notAfter: above.reduce(leaf.notAfter) { min($0, $1.notAfter) },
                keyIDs: above.map(\.keyIdentifier.bytes)
            )
        } catch {
            throw .pathRefused(reason: "\(error)")
        }
    }

    /// The rules for everything above a leaf.
    static func checkAuthorities(
        _ presented: [LeafCertificate],
        to authority: LeafCertificate,
        of trustDomain: TrustDomain
    ) throws(X509SVIDError) {
        // Libraries differ in when they look at path lengths.
        var below = 0
        for certificate in presented {
            guard below <= certificate.pathLength ?? .max else { throw .pathTooLong }
            if !certificate.isSelfIssued { below += 1 }
            try certificate.checkSignatureAlgorithm()
            try certificate.checkAuthorityRules(for: trustDomain)
        }
        guard below <= authority.pathLength ?? .max else { throw .pathTooLong }
        try authority.checkAuthorityRules(for: trustDomain)
    }
}

/// A path that keeps every rule; nothing else can make one.
package struct CheckedPath: Hashable, Sendable {
    /// The earliest end of validity in the path, the leaf's included.
    package let notAfter: Date
    /// The computed IDs of the authorities' keys, from the one that signed the leaf to the bundle's;
    /// never empty.
    package let keyIDs: [[UInt8]]

    fileprivate init(notAfter: Date, keyIDs: [[UInt8]]) {
        (self.notAfter, self.keyIDs) = (notAfter, keyIDs)
    }
}

extension LeafCertificate {
    fileprivate func checkSignatureAlgorithm() throws(X509SVIDError) {
        guard Self.signatureAlgorithmsAccepted.contains(signatureAlgorithm) else {
            throw .signatureAlgorithmRefused
        }
    }

    /// The rules of `SPIFFEPolicy` for an issuer, over this reading.
    fileprivate func checkAuthorityRules(for trustDomain: TrustDomain) throws(X509SVIDError) {
        guard !hasUnknownCriticalExtensionForAuthority else { throw .criticalExtensionUnknown }
        guard isCA, let keyUsage, keyUsage.contains(.keyCertSign) else {
            throw .authorityMayNotSign
        }
        if let extendedKeyUsages {
            let both = [Self.serverAuth, Self.clientAuth]
            guard
                extendedKeyUsages.contains(Self.anyUsage)
                    || both.allSatisfy(extendedKeyUsages.contains)
            else { throw .authorityExtendedKeyUsage }
        }
        if let uriConstraints, !uriConstraints.admit(trustDomain) { throw .authorityConstrained }
        guard uriNames.count <= 1 else { throw .uriMany }
        // Without a SPIFFE ID it is no SVID, and X509-SVID asks nothing more of it.
        guard let uri = uriNames.first, uri.utf8.starts(with: "spiffe:".utf8) else { return }
        guard let id = spiffeID, id.path.isEmpty else { throw .authorityIDMalformed }
        guard id.trustDomain == trustDomain else { throw .authorityForeign }
        guard keyUsageIsCritical else { throw .keyUsageNotCritical }
    }

    /// anyExtendedKeyUsage, 2.5.29.37.0.
    private static let anyUsage: [UInt8] = [0x55, 0x1D, 0x25, 0x00]
}
