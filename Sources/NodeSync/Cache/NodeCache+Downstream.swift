// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// Servers below this trust domain's, which are workloads of a node
/// (docs/decisions/0020-authorities-under-another.md, "Nested").
extension NodeCache {
    /// The IDs of the entries with `downstream` that mean whoever shows these selectors, the oldest
    /// entry first.
    package func downstreamEntries(for selectors: Set<Selector>) -> [String] {
        identities(for: selectors).map(\.entryID).filter { id in
            entries[id]?.entry.isDownstream ?? false
        }
    }

    /// The key IDs of the authorities that are revoked, of those above and below others too.
    package var revokedAuthorities: Set<[UInt8]> { revocations.authorities }
}
