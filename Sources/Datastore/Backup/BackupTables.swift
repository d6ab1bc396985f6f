// SPDX-License-Identifier: Apache-2.0

/// Which tables a backup has the rows of (docs/decisions/0022-backup-and-restore.md).
///
/// Each table of the schema is in exactly one list; a test demands it of every migration.
package enum BackupTables {
    /// What is declared, and what was issued and refused under it.
    package static let copied = [
        "authorities", "bundle", "delegation_parties", "delegation_policies", "delegation_terms",
        "document_history", "document_labels", "documents", "downstream_authorities", "entries",
        "federated_bundles", "intents", "listed_certificates", "meta", "node_selectors", "nodes",
        "proxies", "revocation_lists", "revoked_certificates", "revoked_identities",
        "token_holders", "upstream_revocations", "upstreams", "withdrawn_node_keys",
    ]

    /// What must not come back: the log and its tree, which are files of their own, tokens by which
    /// nodes join, what others were asked to approve, and what is of one epoch or one file alone.
    package static let empty = [
        "approvals", "audit_leaves", "audit_namespaces", "audit_serials", "audit_spiffe_ids",
        "audit_tree", "changes", "hold", "hold_documents", "hold_names", "join_tokens", "probe",
        "proposals",
    ]
}
