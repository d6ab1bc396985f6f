// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Crypto
package import Datastore
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE

/// What may be missing from a restored server, as far as is known
/// (docs/decisions/0022-backup-and-restore.md, "Held").
package struct HoldOutlook: Sendable {
    /// Most names of each kind that an answer has; how many there are is always said.
    package static let namesMax = 1_000

    package let hold: HoldRecord
    /// Nodes and authorities that the log alone knew, and that are there still.
    package let nodes: [String]
    package let authorities: [String]
    /// Documents that are not what they were last on record.
    package let documents: [HeldDocument]
    /// Authorities of which keys are there, and no record: a start destroys them.
    package let unnamedKeys: [String]
    /// Agents that need a new join token, as the authority that should sign has no key; nil: it has
    /// one.
    package let agentsNeedingTokens: Int?

    /// Looks at everything.
    ///
    /// - Parameters:
    ///   - hold: The hold.
    ///   - keys: The authorities of which the vault has keys.
    ///   - serverID: Whose server it is.
    ///   - transaction: What is known.
    /// - Throws: `DatastoreError`.
    package init(
        _ hold: HoldRecord,
        keys: Set<String>,
        serverID: String,
        in transaction: ReadTransaction
    ) throws {
        self.hold = hold
        nodes = try transaction.heldNames(.node).filter { try transaction.node(named: $0) != nil }
        let records = try transaction.authorities()
        let published = Set(records.filter { $0.state != AuthorityRecord.revokedState }.map(\.id))
        authorities = try transaction.heldNames(.authority).filter(published.contains)
        documents = try transaction.heldDocuments().filter { held in
            let stored = try transaction.document(held.key)
            return stored.map { Array(SHA256.hash(data: $0.canonicalJSON)) } != held.sha256
        }
        // A key service does not say which keys are for tokens.
        let tokenKeys = records.compactMap(\.tokenKeySPKI)
            .compactMap { AuthorityPublicKey(subjectPublicKeyInfo: $0)?.authorityID }
        unnamedKeys = keys.subtracting(records.map(\.id)).subtracting(tokenKeys).sorted()
        let active = records.first {
            $0.serverID == serverID && $0.state == AuthorityRecord.activeState
        }
        agentsNeedingTokens =
            active.map { keys.contains($0.id) } == true ? nil : try transaction.nodeCount()
    }

    /// Why the hold is not ended unless it has to be now.
    package var objections: [String] {
        var result: [String] = []
        if !documents.isEmpty {
            result.append(
                "\(documents.count) document(s) are not what they were last on record; apply your "
                    + "repository, with --prune for those that should be gone"
            )
        }
        if !unnamedKeys.isEmpty {
            result.append(
                "there are keys of \(unnamedKeys.count) authorities that no record names, and the "
                    + "start destroys them; look for a newer copy of the log, and restore again"
            )
        }
        if let agentsNeedingTokens {
            result.append(
                "the authority that should sign has no key here: another one is made, and "
                    + "\(agentsNeedingTokens) agent(s) need a new join token to know it; look for a "
                    + "copy of keys/"
            )
        }
        return result
    }

    /// What the log says of it.
    var recovery: ServerRecovery {
        ServerRecovery(
            agents: UInt64(agentsNeedingTokens ?? 0),
            authorities: UInt64(authorities.count),
            documents: UInt64(documents.count),
            keys: UInt64(unnamedKeys.count),
            nodes: UInt64(nodes.count)
        )
    }
}
