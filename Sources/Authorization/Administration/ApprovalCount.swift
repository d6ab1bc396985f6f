// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// Who proposed or approved an act, and from where.
package struct ApprovalParty: Hashable, Sendable {
    package let actor: Actor
    /// The node that the certificate he showed was issued to; nil for local users of the server,
    /// and where it is not on record.
    package let node: String?

    package init(actor: Actor, node: String?) {
        self.actor = actor
        self.node = node
    }
}

/// Why an approval does not count (docs/decisions/0023-approvals.md, "Who counts").
package enum ApprovalRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// All local users of a server are one person, because root is each of them.
    case localAlready
    /// A part of Signet, or somebody known in another way than by an SVID.
    case noApprover
    /// It is not on record to which node the certificate was issued.
    case nodeUnknown
    /// Root on the node is both of them.
    case onNodeOf(Actor, node: String)
    /// He proposed it himself.
    case proposer
    /// It is not on record to which node the proposer's certificate was issued, so nobody can tell
    /// who else is on it.
    case proposersNodeUnknown

    package var description: String {
        switch self {
        case .localAlready:
            "a local user of the server is in this already, and all of them are one person"
        case .noApprover: "only local users of the server and holders of an SVID approve"
        case .nodeUnknown:
            "it is not on record to which node this certificate was issued; it counts once renewed"
        case .onNodeOf(let actor, let node):
            "\(actor) is in this already with a certificate of the same node, \(node)"
        case .proposer: "nobody approves what he has proposed"
        case .proposersNodeUnknown:
            "it is not on record to which node the proposer's certificate was issued; "
                + "it has to be proposed again once that is renewed"
        }
    }
}

/// How many other persons have approved what one has proposed.
///
/// It says who is a person of his own; whether he may do the act is asked elsewhere.
package struct ApprovalCount: Sendable {
    /// Most approvals that a configuration may ask for: each is one more rehearsal of the act.
    package static let neededMax = 4

    package let proposer: ApprovalParty
    /// Other nodes from which he has proposed the same.
    private let proposersMoreNodes: Set<String>
    /// Those who count, in the order in which they were added.
    package private(set) var approvers: [ApprovalParty] = []

    package init(proposer: ApprovalParty, alsoOn moreNodes: Set<String> = []) {
        self.proposer = proposer
        proposersMoreNodes = moreNodes
    }

    /// Counts an approver; who is counted already stays so, with the node of now.
    ///
    /// Order matters only to who is refused: of two on one node the first counts.
    ///
    /// - Throws: `ApprovalRefusal`, and nothing has changed.
    package mutating func add(_ party: ApprovalParty) throws(ApprovalRefusal) {
        let others = approvers.filter { $0.actor != party.actor }
        switch (party.actor, party.node) {
        case (.localUser, _), (.spiffe, .some): break
        case (.spiffe, nil): throw .nodeUnknown
        case (.person, _), (.system, _): throw .noApprover
        }
        guard party.actor != proposer.actor else { throw .proposer }
        if case .spiffe = proposer.actor, case .spiffe = party.actor, proposer.node == nil {
            throw .proposersNodeUnknown
        }
        if case .spiffe = party.actor, let node = party.node, proposersMoreNodes.contains(node) {
            throw .onNodeOf(proposer.actor, node: node)
        }
        for other in [proposer] + others {
            switch (party.actor, other.actor) {
            case (.localUser, .localUser): throw .localAlready
            case (.spiffe, .spiffe):
                if let node = party.node, node == other.node {
                    throw .onNodeOf(other.actor, node: node)
                }
            default: break
            }
        }
        approvers = others + [party]
    }
}
