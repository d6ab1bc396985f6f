// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// That a workload may have JWT-SVIDs of an identity.
package struct TokenGrant: Hashable, Sendable {
    package let entryID: String
    package let entryRevision: UInt64
    package let spiffeID: SPIFFEID
    /// Unique among the grants of a workload; may be empty.
    package let hint: String
    /// The template variables that the agent asserts.
    package let variables: [String: String]

    package init(
        entryID: String,
        entryRevision: UInt64,
        spiffeID: SPIFFEID,
        hint: String,
        variables: [String: String]
    ) {
        self.entryID = entryID
        self.entryRevision = entryRevision
        self.spiffeID = spiffeID
        self.hint = hint
        self.variables = variables
    }
}

extension NodeCache {
    /// What the entries grant to a workload, the oldest entry first, as of its X.509-SVIDs (A-9,
    ///
    package func tokenGrants(to selectors: Set<Selector>) -> [TokenGrant] {
        var hints: Set<String> = []
        return identities(for: selectors).compactMap { key in
            guard let cached = entries[key.entryID] else { return nil }
            let entry = cached.entry
            let isNew = !entry.hint.isEmpty && hints.insert(entry.hint).inserted
            var variables: [String: String] = [:]
            if cached.nodeIdentity == nil {
                guard let values = try? cached.template?.workloadValues(from: selectors) else {
                    return nil
                }
                variables = values
            }
            return TokenGrant(
                entryID: entry.id,
                entryRevision: entry.revision,
                spiffeID: key.spiffeID,
                hint: isNew ? entry.hint : "",
                variables: variables
            )
        }
    }

    /// Whether an entry means whoever shows these selectors and gives it nothing yet; see
    /// `mayBeGranted(_:)`.
    package func mayBeGranted(to selectors: Set<Selector>) -> Bool {
        selectors.contains { anchor in
            entriesByAnchor[anchor, default: []].contains { id in
                guard let cached = entries[id], cached.isActive else { return false }
                return cached.entry.matches(workload: selectors)
                    && cached.identity(for: selectors, trustDomain: trustDomain, node: node) == nil
            }
        }
    }

    /// The bundles with which a workload may verify tokens: its own trust domain's, and those that
    /// its entries federate with, without the keys of authorities that are revoked.
    package func tokenBundles(for selectors: Set<Selector>) -> [TrustBundle] {
        let names = identities(for: selectors)
            .reduce(into: Set<String>()) { names, key in
                names.formUnion(entries[key.entryID]?.entry.federatesWith ?? [])
            }
        return ([bundles[trustDomain]].compactMap(\.self) + bundles(federatedWith: names))
            .map(believedTokens)
    }

    /// The own bundle as tokens are verified with it.
    package var tokenBundle: TrustBundle? { bundles[trustDomain].map(believedTokens) }

    /// A bundle without the keys for JWT-SVIDs of authorities that are revoked.
    package func believedTokens(_ bundle: TrustBundle) -> TrustBundle {
        TrustBundle(
            trustDomain: bundle.trustDomain,
            x509Authorities: bundle.x509Authorities,
            x509Intermediates: bundle.x509Intermediates,
            jwtAuthorities: bundle.jwtAuthorities.filter { key in
                key.authorityKeyID.map { standing(ofAuthority: $0) != .revoked } ?? true
            },
            sequenceNumber: bundle.sequenceNumber,
            refreshHintSeconds: bundle.refreshHintSeconds
        )
    }

    /// How a token of the own trust domain stands with revocations and the bundle.
    ///
    /// - Parameters:
    ///   - id: Its subject.
    ///   - issuedAt: Its `iat`; nil if it does not say.
    ///   - keyID: Whose key signed it.
    /// - Returns: How it stands.
    package func standing(
        ofToken id: SPIFFEID,
        issuedAt: Date?,
        keyID: String
    ) -> TokenMemory.Standing {
        if let before = revokedBefore(id) {
            // Tokens are not dated back, so neither is the moment.
            guard let issuedAt, issuedAt >= before else { return .withheld }
        }
        guard let bundle = bundles[id.trustDomain],
            let key = bundle.jwtAuthorities.first(where: { $0.keyID == keyID })
        else { return .withheld }
        switch key.authorityKeyID.flatMap({ standing(ofAuthority: $0) }) {
        case .revoked: return .withheld
        case .tainted: return .tainted
        case nil: return .good
        }
    }
}
