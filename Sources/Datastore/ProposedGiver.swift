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
    /// Whether authorities may be certified for its workload.
    package let isDownstream: Bool

    package init(
        kind: String,
        namespace: String,
        spiffeIDs: [String],
        nodeSelectors: [String],
        isDownstream: Bool = false
    ) {
        self.kind = kind
        self.namespace = namespace
        self.spiffeIDs = spiffeIDs
        self.nodeSelectors = nodeSelectors
        self.isDownstream = isDownstream
    }

    /// Reads also what a release before has stored.
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            kind: try fields.decode(String.self, forKey: .kind),
            namespace: try fields.decode(String.self, forKey: .namespace),
            spiffeIDs: try fields.decode([String].self, forKey: .spiffeIDs),
            nodeSelectors: try fields.decode([String].self, forKey: .nodeSelectors),
            isDownstream: try fields.decodeIfPresent(Bool.self, forKey: .isDownstream) ?? false
        )
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
