// SPDX-License-Identifier: Apache-2.0

/// What an admin may be allowed to do: a closed list, so that a new verb is in nobody's role until
/// somebody writes it there.
package enum AdminVerb: String, CaseIterable, Hashable, Sendable, CustomStringConvertible {
    /// Create or change documents; a rollback is an apply.
    case apply
    case auditRead = "audit.read"
    /// Let the prepared authority sign now.
    case authorityActivate = "authority.activate"
    /// Let a server below this one have authorities certified, which can be anybody of the trust
    /// domain: writing such an entry, and admitting a node that one selects.
    case authorityDownstream = "authority.downstream"
    /// Make the next authority, which also begins a rotation.
    case authorityPrepare = "authority.prepare"
    /// End an authority: nothing it signed counts any more.
    case authorityRevoke = "authority.revoke"
    case authorityShow = "authority.show"
    /// Have everything replaced that an authority signed.
    case authorityTaint = "authority.taint"
    case bundleShow = "bundle.show"
    case delete
    /// Ask why a workload has the identity it has, or has none.
    case explain
    /// Read one document and its history.
    case get
    case list
    case nodeBan = "node.ban"
    case nodeEvict = "node.evict"
    case nodeList = "node.list"
    /// Refuse the SVIDs of an identity that were issued so far.
    case revoke
    /// Say that the server's wall clock is right; only the admin socket takes it.
    case serverAcceptClock = "server.acceptClock"
    /// Take a backup of all that is declared, which only the passphrase opens.
    case serverBackup = "server.backup"
    /// End the hold of a restored server; only the admin socket takes it.
    case serverRecover = "server.recover"
    /// Admit a node. Whoever runs a node may claim every identity whose entry selects that node, so
    /// this is as strong as the entries are.
    case tokenCreate = "token.create"

    /// Whether the verb acts on documents, so that a rule with it names kinds.
    ///
    /// All other verbs are acts on the whole cluster: only a RoleBinding in `signet-system`
    /// grants them.
    package var isOnDocuments: Bool {
        switch self {
        case .apply, .delete, .get, .list: true
        case .auditRead, .authorityActivate, .authorityDownstream, .authorityPrepare,
            .authorityRevoke, .authorityShow, .authorityTaint, .bundleShow, .explain, .nodeBan,
            .nodeEvict, .nodeList, .revoke, .serverAcceptClock, .serverBackup, .serverRecover,
            .tokenCreate:
            false
        }
    }

    /// Whether an act concerns one SPIFFE ID, that of a workload (`explain`, `revoke`) or of an
    /// agent, so that a rule may narrow it by prefix.
    package var concernsSPIFFEID: Bool {
        switch self {
        case .explain, .nodeBan, .nodeEvict, .revoke, .tokenCreate: true
        case .apply, .auditRead, .authorityActivate, .authorityDownstream, .authorityPrepare,
            .authorityRevoke, .authorityShow, .authorityTaint, .bundleShow, .delete, .get, .list,
            .nodeList, .serverAcceptClock, .serverBackup, .serverRecover:
            false
        }
    }

    package var description: String { rawValue }
}
