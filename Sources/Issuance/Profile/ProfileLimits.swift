// SPDX-License-Identifier: Apache-2.0

/// By how much a profile file is narrower than what the code certifies.
package struct ProfileLimits: Hashable, Sendable {
    /// Most suffixes of DNS names in one file: as many as a certificate has names.
    package static let suffixesMax = 32

    /// The longest that a certificate lives after the moment of signing; nil: what the server's
    /// lifetimes say.
    package let lifetimeMax: Duration?
    /// The kinds of key that are certified; nil: all that `SubjectPublicKey` reads.
    package let keys: [SubjectKeyKind]?
    /// Most DNS names; nil: `Issuer.dnsNamesMax`.
    package let dnsNamesMax: Int?
    /// Each DNS name is one of these or below one of them; nil: any.
    package let dnsSuffixes: [String]?
    /// Whether an authority is constrained to URIs of its trust domain.
    package let constrainsNames: Bool

    /// Nothing is narrower.
    package static let none = Self()

    package init(
        lifetimeMax: Duration? = nil,
        keys: [SubjectKeyKind]? = nil,
        dnsNamesMax: Int? = nil,
        dnsSuffixes: [String]? = nil,
        constrainsNames: Bool = false
    ) {
        self.lifetimeMax = lifetimeMax
        self.keys = keys
        self.dnsNamesMax = dnsNamesMax
        self.dnsSuffixes = dnsSuffixes
        self.constrainsNames = constrainsNames
    }

    /// Whether registration entries can be outside.
    package var narrowsEntries: Bool {
        lifetimeMax != nil || dnsNamesMax != nil || dnsSuffixes != nil
    }

    /// Whether a certificate may live so long after the moment of signing.
    package func allows(lifetime: Duration) -> Bool {
        lifetimeMax.map { lifetime <= $0 } ?? true
    }

    /// Whether a key of this kind may be certified.
    package func allows(_ algorithm: SubjectPublicKey.Algorithm) -> Bool {
        keys?.contains { $0.contains(algorithm) } ?? true
    }

    /// The first name that may not stand in a certificate; nil if all may.
    package func dnsNameOutside(_ names: [String]) -> String? {
        let most = dnsNamesMax ?? names.count
        for (position, name) in names.enumerated() where position >= most || !allows(name) {
            return name
        }
        return nil
    }

    private func allows(_ name: String) -> Bool {
        dnsSuffixes?.contains { name == $0 || name.hasSuffix(".\($0)") } ?? true
    }
}

/// A kind of subject key as profile files write it: `P-256`, `RSA-2048, exponent 65537` or
/// `RSA-2048 to RSA-4096, exponent 65537`.
package enum SubjectKeyKind: Hashable, Sendable, CustomStringConvertible {
    case p256
    case p384
    /// RSA with a modulus of so many bits.
    case rsa(bits: ClosedRange<Int>)

    private static let exponent = ", exponent 65537"

    /// Reads the one spelling of a kind; nil for anything else.
    package init?(parsing text: String) {
        switch text {
        case "P-256": self = .p256
        case "P-384": self = .p384
        default:
            let sizes = text.dropLast(Self.exponent.count).split(separator: " to ")
                .map { Int($0.dropFirst("RSA-".count)) }
            guard let least = sizes.first ?? nil, let most = sizes.last ?? nil, least <= most
            else { return nil }
            self = .rsa(bits: least...most)
            guard description == text else { return nil }
        }
    }

    /// Whether keys of the algorithm are of this kind.
    package func contains(_ algorithm: SubjectPublicKey.Algorithm) -> Bool {
        switch (self, algorithm) {
        case (.p256, .p256), (.p384, .p384): true
        case (.rsa(let sizes), .rsa(let bits)): sizes.contains(bits)
        default: false
        }
    }

    /// Whether authorities' keys of the type are of this kind.
    package func contains(_ type: AuthorityKeyType) -> Bool {
        switch type {
        case .p256: contains(SubjectPublicKey.Algorithm.p256)
        case .p384: contains(SubjectPublicKey.Algorithm.p384)
        case .rsa2048: contains(SubjectPublicKey.Algorithm.rsa(bits: 2048))
        case .rsa4096: contains(SubjectPublicKey.Algorithm.rsa(bits: 4096))
        }
    }

    /// Whether every key of the other kind is of this one.
    func includes(_ other: Self) -> Bool {
        guard case .rsa(let sizes) = self, case .rsa(let others) = other else {
            return self == other
        }
        return sizes.contains(others.lowerBound) && sizes.contains(others.upperBound)
    }

    package var description: String {
        switch self {
        case .p256: "P-256"
        case .p384: "P-384"
        case .rsa(let bits) where bits.lowerBound == bits.upperBound:
            "RSA-\(bits.lowerBound)\(Self.exponent)"
        case .rsa(let bits):
            "RSA-\(bits.lowerBound) to RSA-\(bits.upperBound)\(Self.exponent)"
        }
    }
}
