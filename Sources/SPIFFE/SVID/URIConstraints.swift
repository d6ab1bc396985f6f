// SPDX-License-Identifier: Apache-2.0

/// What the name constraints of a signing certificate say of URIs (RFC 5280 section 4.2.1.10).
struct URIConstraints: Hashable {
    private(set) var permitted: [String] = []
    private(set) var excluded: [String] = []
    /// Whether names of another form are constrained too.
    private(set) var constrainsOthers = false

    /// Takes what another reader found.
    init(permitted: [String], excluded: [String]) {
        (self.permitted, self.excluded) = (permitted, excluded)
    }

    /// Reads a NameConstraints value.
    init(reading reader: inout DERReader) throws(LeafCertificateError) {
        var inside = DERReader(inside: try reader.read(.sequence))
        guard !inside.isAtEnd else { throw .sequenceEmpty }
        if let subtrees = try inside.readOptional(.contextConstructed0) {
            permitted = try uris(subtrees)
        }
        if let subtrees = try inside.readOptional(.contextConstructed1) {
            excluded = try uris(subtrees)
        }
        try inside.finish()
    }

    private mutating func uris(_ subtrees: DERValue) throws(LeafCertificateError) -> [String] {
        var list = DERReader(inside: subtrees)
        guard !list.isAtEnd else { throw .sequenceEmpty }
        var uris: [String] = []
        while !list.isAtEnd {
            var subtree = DERReader(inside: try list.read(.sequence))
            let base = try subtree.readAny()
            if base.tag == 0x86 {
                uris.append(try base.ia5String())
            } else {
                constrainsOthers = true
            }
            // RFC 5280 forbids minimum and maximum.
            try subtree.finish()
        }
        return uris
    }

    /// Whether leaves of the trust domain are admitted.
    ///
    /// `td` permits that host only, `.td` only what lies below it; either excludes both, as readers
    /// differ. A host that looks like an address is admitted by no constraint.
    func admit(_ trustDomain: TrustDomain) -> Bool {
        guard !permitted.isEmpty || !excluded.isEmpty else { return true }
        let name = trustDomain.name
        guard !Self.looksLikeAddress(name) else { return false }
        let isPermitted =
            permitted.isEmpty
            || permitted.contains { constraint in
                let constraint = constraint.lowercased()
                return constraint.utf8.first == UInt8(ascii: ".")
                    ? name.hasSuffix(constraint) && name != constraint : name == constraint
            }
        let isExcluded = excluded.contains { constraint in
            let constraint = constraint.lowercased()
            let below = constraint.utf8.first == UInt8(ascii: ".") ? constraint : ".\(constraint)"
            return constraint.isEmpty || name == below.dropFirst() || name.hasSuffix(below)
        }
        return isPermitted && !isExcluded
    }

    /// Four numbers and three dots; a trust domain holds no colon.
    private static func looksLikeAddress(_ name: String) -> Bool {
        let parts = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        return parts.count == 4
            && parts.allSatisfy { part in
                !part.isEmpty
                    && part.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            }
    }
}
