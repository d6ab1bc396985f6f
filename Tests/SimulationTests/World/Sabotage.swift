// SPDX-License-Identifier: Apache-2.0

/// One broken promise each: proof that the checkers can fail.
enum Sabotage: String, CaseIterable, Sendable {
    /// The server takes what it sent for what the agent has.
    case earlyAcknowledgement
    /// The server takes whatever bundle a partner's endpoint serves.
    case believedRollback
    /// Proxies take nothing of what their agents tell them after the first word.
    case deafProxy
    /// Agents are told of no taint.
    case deafToTaint
    /// A commit is answered but not made.
    case droppedWrite
    /// Proxies hear of no revoked authority.
    case forgivingProxy
    /// The server shows an audit log that does not continue its past.
    case forkedLog
    /// Certificates leave the server without a leaf.
    case forgottenLeaf
    /// An authority signs before the agents have it.
    case hastyRotation
    /// An agent does not write to disk what it has applied.
    case lostDisk
    /// A removal is left out of what an agent is sent.
    case lostRemoval
    /// No prepared authority ever becomes the active one.
    case missedRotation
    /// An agent has certificates signed again as soon as it has them.
    case repeatedSigning
    /// One agent gets no SVIDs, and its network is said to be well.
    case silence
    /// The server signs no revocation list but the first of each authority.
    case staleLists
    /// The server signs what has changed since it looked.
    case uncheckedCommit

    /// The rules of which at least one must be found broken.
    var broken: Set<Rule> {
        switch self {
        case .believedRollback: [.federation]
        case .deafProxy: [.federation, .revocation]
        case .forgivingProxy, .staleLists: [.revocation]
        case .droppedWrite: [.durability, .revisions, .issuance]
        case .earlyAcknowledgement: [.revisions, .rotation]
        case .forgottenLeaf: [.audit]
        case .forkedLog: [.audit]
        case .deafToTaint, .hastyRotation, .missedRotation: [.rotation]
        case .lostDisk: [.revisions]
        case .lostRemoval: [.revisions, .issuance]
        case .silence: [.availability]
        case .repeatedSigning, .uncheckedCommit: [.issuance]
        }
    }

    /// In one of these worlds it must be found.
    var seeds: [UInt64] {
        switch self {
        // Worlds with partners.
        case .believedRollback: [7, 9, 20, 22, 31]
        // Worlds with revocations.
        case .deafProxy, .staleLists: [7, 8, 15, 16]
        // Worlds with orders.
        case .deafToTaint, .forgivingProxy: [12, 26, 38, 65, 78, 90]
        default: Array(1...5)
        }
    }
}
