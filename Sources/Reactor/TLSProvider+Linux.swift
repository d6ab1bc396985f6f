// SPDX-License-Identifier: Apache-2.0

internal import CTLS
internal import CTLSBoringSSL
internal import CTLSOpenSSL
package import SPIFFE

/// The TLS library of a process, chosen when it starts.
package enum TLSProvider: String, CaseIterable, Sendable {
    case boringSSL = "boringssl"
    case openSSL = "openssl"

    var table: UnsafePointer<ctls_provider> {
        switch self {
        case .boringSSL: unsafe ctls_boringssl()
        case .openSSL: unsafe ctls_openssl()
        }
    }

    /// Name and version of the library.
    package var version: String { unsafe String(cString: table.pointee.version()) }

    /// Whether the library has a group; OpenSSL before 3.5 lacks the post-quantum one.
    package func supports(_ group: TLSGroup) -> Bool {
        unsafe table.pointee.knows_group(group.rawValue)
    }
}

/// A group in which keys are agreed upon, by its IANA number.
package struct TLSGroup: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt16

    package init(rawValue: UInt16) { self.rawValue = rawValue }

    /// ML-KEM-768 beside X25519, against who records today and computes later.
    package static let x25519MLKEM768 = Self(rawValue: 0x11EC)
    package static let x25519 = Self(rawValue: 0x001D)
    package static let secp256r1 = Self(rawValue: 0x0017)

    /// All that is offered and accepted, best first.
    package static let preferred: [TLSGroup] = [.x25519MLKEM768, .x25519, .secp256r1]
}

/// A certificate chain with its key, as a TLS context uses it.
package struct TLSIdentity: Sendable {
    /// DER of each certificate, leaf first.
    package let chain: [[UInt8]]
    package let privateKeyPKCS8: [UInt8]
    /// The server names by which clients ask for it; no meaning for a client's own identity.
    package let names: [String]

    package init(chain: [[UInt8]], privateKeyPKCS8: [UInt8], names: [String] = []) {
        self.chain = chain
        self.privateKeyPKCS8 = privateKeyPKCS8
        self.names = names
    }
}

/// The authorities of every trusted trust domain, parsed by one library; never changes.
@safe package final class TLSAuthorities: Sendable {
    /// The authorities of one trust domain; shared by all who have the same.
    @safe final class Domain: Sendable {
        nonisolated(unsafe) let parsed: OpaquePointer
        /// In the order in which the library has them.
        let certificates: [LeafCertificate]
        /// The computed IDs of their keys (`KeyIdentifier`).
        let keyIDs: Set<[UInt8]>
        /// As the bundle had them, those too that do not parse.
        fileprivate let ders: [[UInt8]]
        /// The places of those that do not parse.
        fileprivate let unusable: [Int]
        fileprivate let provider: TLSProvider

        /// Takes over what was parsed.
        fileprivate init(
            _ parsed: OpaquePointer,
            _ certificates: [LeafCertificate],
            ders: [[UInt8]],
            unusable: [Int],
            provider: TLSProvider
        ) {
            unsafe self.parsed = parsed
            self.certificates = certificates
            keyIDs = Set(certificates.map(\.keyIdentifier.bytes))
            self.ders = ders
            self.unusable = unusable
            self.provider = provider
        }

        deinit {
            unsafe provider.table.pointee.authorities_free(parsed)
        }
    }

    let domains: [TrustDomain: Domain]

    /// Whether anybody of a trust domain is known.
    package func know(_ trustDomain: TrustDomain) -> Bool { domains[trustDomain] != nil }

    /// Whether an authority is in the bundle of a trust domain, by the computed ID of its key.
    package func hold(_ keyID: [UInt8], of trustDomain: TrustDomain) -> Bool {
        domains[trustDomain]?.keyIDs.contains(keyID) ?? false
    }

    /// Whether both have parsed the authorities of a trust domain only once.
    package func share(_ trustDomain: TrustDomain, with other: TLSAuthorities) -> Bool {
        guard let domain = domains[trustDomain] else { return false }
        return domain === other.domains[trustDomain]
    }

    /// Authorities left out because they do not parse; leaving one out only narrows trust.
    package let unusableAuthorities: [PeerVerifier.UnusableAuthority]
    let provider: TLSProvider

    /// Parses the authorities of every bundle, by the rules of `PeerVerifier`.
    ///
    /// - Parameters:
    ///   - provider: The library.
    ///   - bundles: By their trust domains; one under another name is left out whole.
    ///   - former: What of it is the same is not parsed again.
    package init(
        provider: TLSProvider,
        bundles: [TrustDomain: TrustBundle],
        reusing former: TLSAuthorities? = nil
    ) {
        var domains: [TrustDomain: Domain] = [:]
        var unusable: [PeerVerifier.UnusableAuthority] = []
        for (trustDomain, bundle) in bundles {
            let ders = bundle.x509Authorities
            guard bundle.trustDomain == trustDomain, ders.count <= TrustBundle.authoritiesMax else {
                unusable += ders.indices.map { .init(trustDomain: trustDomain, index: $0) }
                continue
            }
            let known = former?.domains[trustDomain]
            let domain: Domain?
            if let known, known.provider == provider, known.ders == ders {
                domain = known
            } else {
                domain = Self.domain(of: ders, provider)
            }
            domains[trustDomain] = domain
            unusable += (domain?.unusable ?? Array(ders.indices)).map {
                .init(trustDomain: trustDomain, index: $0)
            }
        }
        self.domains = domains
        self.unusableAuthorities = unusable
        self.provider = provider
    }

    private static func domain(of ders: [[UInt8]], _ provider: TLSProvider) -> Domain? {
        var usable: [(der: [UInt8], read: LeafCertificate)] = []
        var unusable: [Int] = []
        for (index, der) in ders.enumerated() {
            guard let read = try? LeafCertificate(der: der), parses(der, provider) else {
                unusable.append(index)
                continue
            }
            usable.append((der, read))
        }
        guard let parsed = unsafe parse(usable.map(\.der), provider) else { return nil }
        return unsafe Domain(
            parsed,
            usable.map(\.read),
            ders: ders,
            unusable: unusable,
            provider: provider
        )
    }

    private static func parses(_ der: [UInt8], _ provider: TLSProvider) -> Bool {
        guard let parsed = unsafe parse([der], provider) else { return false }
        unsafe provider.table.pointee.authorities_free(parsed)
        return true
    }

    private static func parse(_ ders: [[UInt8]], _ provider: TLSProvider) -> OpaquePointer? {
        unsafe withBytes(ders) { ranges in
            unsafe ranges.withUnsafeBufferPointer { ranges in
                // An empty list has no address; nothing is read from this one.
                var none = unsafe ctls_bytes(bytes: nil, count: 0)
                return unsafe withUnsafePointer(to: &none) { none in
                    unsafe provider.table.pointee.authorities_new(
                        ranges.baseAddress ?? none,
                        ranges.count
                    )
                }
            }
        }
    }
}

/// Calls with the addresses of several byte arrays, which are valid during the call only.
func withBytes<Result>(_ arrays: [[UInt8]], _ body: ([ctls_bytes]) -> Result) -> Result {
    // One copy of everything: pointers into single arrays would need a closure for each.
    let all = arrays.flatMap { $0 }
    return unsafe all.withUnsafeBufferPointer { buffer in
        var offset = 0
        var ranges: [ctls_bytes] = unsafe []
        for array in arrays {
            unsafe ranges.append(
                ctls_bytes(bytes: buffer.baseAddress.map { unsafe $0 + offset }, count: array.count)
            )
            offset += array.count
        }
        return unsafe body(ranges)
    }
}
