// SPDX-License-Identifier: Apache-2.0

internal import GRDB

/// A document that gives identities, or the keys of them, to nodes once it is approved.
package struct ProposedGiver: Hashable, Sendable, Codable {
    package let kind: String
    package let namespace: String
    /// The identities, or templates of them.
    package let spiffeIDs: [String]
    /// What a node shows to get them, all of it, as texts.
    package let nodeSelectors: [String]

    package init(
        kind: String,
        namespace: String,
        spiffeIDs: [String],
        nodeSelectors: [String]
    ) {
        self.kind = kind
        self.namespace = namespace
        self.spiffeIDs = spiffeIDs
        self.nodeSelectors = nodeSelectors
    }
}

extension ReadTransaction {
    /// What all proposals would let give identities.
    package func proposedGivers() throws(DatastoreError) -> [ProposedGiver] {
        try all("SELECT givers FROM proposals WHERE givers IS NOT NULL ORDER BY made_at, id") {
            row throws(DatastoreError) -> [ProposedGiver] in
            try row.json("givers", default: [])
        }
        .flatMap(\.self)
    }
}
