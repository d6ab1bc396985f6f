// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Crypto
package import Datastore
internal import FoundationEssentials
package import Issuance
internal import SPIFFE

/// The authorities' keys that a held server has.
package struct KeysHere: Sendable {
    /// The authorities of which there are keys.
    package let named: Set<String>
    /// The authorities whose key for certificates is there, and is the one of the record.
    package let proved: Set<String>
    /// The same of the key for tokens.
    package let provedTokens: Set<String>
    /// What is wrong with keys that are there and do not open, which prove nothing.
    package let problems: [String]

    /// Looks at the names of all keys in a vault, and opens those of some authorities.
    ///
    /// A damaged file is no key, and must not keep the others from being told; that a token or a
    /// service is away says nothing of what it holds.
    ///
    /// - Parameters:
    ///   - vault: Where the keys are.
    ///   - authorities: Those that the log alone knew: of no other it is asked what is proved.
    /// - Throws: `PKCS11Error`, `KeyServiceError`, and what reading the directory throws.
    package init(in vault: KeyVault, of authorities: [Authority]) throws {
        named = try vault.authorityIDs()
        var proved: [AuthorityKey.Purpose: Set<String>] = [:]
        var problems: [String] = []
        for authority in authorities {
            for purpose in AuthorityKey.Purpose.allCases {
                do {
                    guard try vault.holdsKey(of: authority, for: purpose) else { continue }
                    proved[purpose, default: []].insert(authority.id)
                } catch let error as PKCS11Error {
                    throw error
                } catch let error as KeyServiceError {
                    throw error
                } catch {
                    problems.append("\(authority.id): \(error)")
                }
            }
        }
        self.proved = proved[.certificates] ?? []
        provedTokens = proved[.tokens] ?? []
        self.problems = problems
    }
}

/// What may be missing from a restored server, as far as is known
/// (docs/decisions/0022-backup-and-restore.md, "Held").
package struct HoldOutlook: Sendable {
    /// Most names of each kind that an answer has; how many there are is always said.
    package static let namesMax = 1_000

    package let hold: HoldRecord
    /// Nodes and authorities that the log alone knew, and that are there still.
    package let nodes: [String]
    package let authorities: [String]
    /// Those of them that stay and whose keys for tokens are not here, and leave: one that signs no
    /// more has none, and nobody but who has it proves that it was the authority's.
    package let tokenKeys: [String]
    /// Documents that are not what they were last on record.
    package let documents: [HeldDocument]
    /// Authorities of which keys are there, and no record: a start destroys them.
    package let unnamedKeys: [String]
    /// Agents that need a new join token, as the authority that should sign has no key; nil: it has
    /// one.
    ///
    /// Below a root that is configured only those whose certificate is of an authority that leaves:
    /// the others know the root, and are believed until another authority is made.
    package let agentsNeedingTokens: Int?
    /// Whether keys may have waited for an upstream, which no record names yet.
    let isBelowUpstream: Bool

    /// Looks at everything.
    ///
    /// - Parameters:
    ///   - hold: The hold.
    ///   - keys: What the vault has.
    ///   - serverID: Whose server it is.
    ///   - roots: The key IDs of the roots that are configured.
    ///   - transaction: What is known.
    /// - Throws: `DatastoreError`.
    package init(
        _ hold: HoldRecord,
        keys: KeysHere,
        serverID: String,
        roots: Set<String>,
        in transaction: ReadTransaction
    ) throws {
        self.hold = hold
        nodes = try transaction.heldNames(.node).filter { try transaction.node(named: $0) != nil }
        let records = try transaction.authorities()
        let published = Set(records.filter { $0.state != AuthorityRecord.revokedState }.map(\.id))
        authorities = try transaction.heldNames(.authority).filter(published.contains)
        let withTokens = Set(records.filter { $0.tokenKeySPKI != nil }.map(\.id))
        tokenKeys = authorities.filter {
            keys.proved.contains($0) && withTokens.contains($0) && !keys.provedTokens.contains($0)
        }
        documents = try transaction.heldDocuments().filter { held in
            let stored = try transaction.document(held.key)
            return stored.map { Array(SHA256.hash(data: $0.canonicalJSON)) } != held.sha256
        }
        // A key service does not say which keys are for tokens.
        let tokenKeys = records.compactMap(\.tokenKeySPKI)
            .compactMap { AuthorityPublicKey(subjectPublicKeyInfo: $0)?.authorityID }
        unnamedKeys = keys.named.subtracting(records.map(\.id)).subtracting(tokenKeys).sorted()
        let active = records.first {
            $0.serverID == serverID && $0.state == AuthorityRecord.activeState
        }
        // One of the log alone leaves without the key that its record names.
        let fromLog = Set(authorities)
        let canSign = active.map {
            (fromLog.contains($0.id) ? keys.proved : keys.named).contains($0.id)
        }
        isBelowUpstream = !roots.isEmpty || active?.ancestry != nil
        guard canSign != true else {
            agentsNeedingTokens = nil
            return
        }
        if let root = active?.ancestry?.rootID, roots.contains(root),
            try transaction.upstream(id: root)?.isRevoked != true
        {
            let stays = published.subtracting(fromLog.subtracting(keys.proved))
            agentsNeedingTokens = try transaction.nodeCount(notSignedBy: stays)
        } else {
            agentsNeedingTokens = try transaction.nodeCount()
        }
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
                    + (isBelowUpstream
                        ? " (keys that waited for the upstream may be among them, and are of no use)"
                        : "")
            )
        }
        if let agentsNeedingTokens {
            result.append(
                "the authority that should sign has no key here: another one is made, and "
                    + "\(agentsNeedingTokens) agent(s) need a new join token; look for a copy of "
                    + "keys/"
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
            nodes: UInt64(nodes.count),
            tokenKeys: UInt64(tokenKeys.count)
        )
    }
}
