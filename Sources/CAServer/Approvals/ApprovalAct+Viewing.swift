// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import ControlAPI
package import Datastore
internal import PolicyDocuments
package import SPIFFE

/// All of a proposal, as it is shown to who may approve it.
package struct ProposalView: Hashable, Sendable {
    /// One document that it changes.
    package struct ViewedDocument: Hashable, Sendable {
        package let key: DocumentKey
        let verb: DocumentChange.Verb
        /// YAML of the document as it is; empty if there is none.
        package let before: String
        /// YAML of the document as it would be; empty if it is deleted.
        package let after: String
        /// Who wrote it last; empty if there is none.
        package let updatedBy: String
    }

    package let proposal: ProposalRecord
    /// Who has approved it, the first first.
    package let approvers: [String]
    package let documents: [ViewedDocument]
    /// What an act that is not about documents is about, each with its name.
    package let details: [Detail]
    /// What whoever does it would be warned of, as far as the viewer may know.
    package let warnings: [String]

    /// One thing that an act is about.
    package struct Detail: Hashable, Sendable {
        package let name: String
        package let value: String
    }
}

extension ApprovalAct {
    /// Shows a proposal to the caller, if he could do it himself and may get what it changes.
    ///
    /// - Parameters:
    ///   - id: The proposal.
    ///   - generator: Random numbers for uids.
    /// - Returns: All of it.
    /// - Throws: `APIError` (`proposalUnknown`, `proposalStale`, `proposalUnreadable`,
    ///   `approvalDenied`, `adminDenied`, and what else keeps the act from being done).
    package func view(
        _ id: [UInt8],
        using generator: inout some RandomNumberGenerator
    ) throws -> ProposalView {
        let proposal = try require(id)
        let act = try ProposedAct(content: proposal.content)
        guard try isCurrent(act) else {
            throw APIError(
                .failedPrecondition,
                "proposalStale",
                "what it changes was changed meanwhile, so nobody can approve it; propose it again"
            )
        }
        var warnings: [String] = []
        switch try rehearse(act, by: standing, using: &generator) {
        case .success(.documents(let result)): warnings = result.warnings
        case .success: break
        case .failure(let denial) where denial.kind != .permissionDenied: throw denial
        case .failure(let denial):
            throw APIError(
                .permissionDenied,
                "approvalDenied",
                "a proposal is shown to who could do it himself: \(denial.message) "
                    + "[\(denial.reason)]"
            )
        }
        var documents: [ProposalView.ViewedDocument] = []
        try requireGet(act)
        if case .documents(let changes) = act { documents = try changes.map(viewed) }
        return ProposalView(
            proposal: proposal,
            approvers: try transaction.approvals(of: id).map(\.actor),
            documents: documents,
            details: try details(of: act),
            warnings: warnings
        )
    }

    private func details(of act: ProposedAct) throws -> [ProposalView.Detail] {
        switch act {
        case .documents: return []
        case .authority(let step):
            let above = try transaction.upstream(id: step.authorityID)
            let below = try transaction.downstreamAuthority(id: step.authorityID)
            let kind = above?.kind.rawValue ?? (below == nil ? "authority" : "downstream")
            return [
                .init(name: kind, value: step.authorityID),
                .init(name: "state", value: step.state),
                .init(name: "reason", value: step.reason),
                .init(name: "although somebody is not ready", value: step.isNow ? "yes" : "no"),
            ]
        case .token(let token):
            let selectors = Set(token.selectors).union(try logic.ownSelectors(ofNode: token.name))
            return [
                .init(name: "node", value: token.name),
                .init(name: "selectors", value: token.selectors.list),
                .init(name: "seconds", value: "\(token.ttlSeconds)"),
            ] + (try admitted(selectors))
        case .unban(let name, let reason):
            let node = try transaction.node(named: name)
            return [
                .init(name: "node", value: name),
                .init(name: "reason", value: reason),
                .init(name: "banned because", value: node?.ban?.reason ?? ""),
                .init(name: "selectors", value: (node?.selectors ?? []).sorted().list),
            ] + (try admitted(node?.selectors ?? []))
        }
    }

    /// The identities of admins that a node with the selectors gets, and those of servers whose
    /// authorities are certified, as far as the caller may see them.
    private func admitted(_ selectors: Set<Selector>) throws -> [ProposalView.Detail] {
        let subjects = try AdminSubjects(standing.access, in: transaction)
        let stored = try transaction.entries(node: selectors).filter { standing.mayList($0) }
        let waiting = try logic.waiting(selectors, anyOf: subjects, in: transaction)
        func mayList(_ id: String, of giver: ProposedGiver) -> Bool {
            let isEntry = giver.kind == DocumentKind.registrationEntry.rawValue
            return standing.may(
                .list,
                kind: giver.kind,
                namespace: giver.namespace,
                spiffeID: isEntry ? id : nil
            )
        }
        func details(
            _ name: String,
            _ stored: [RegistrationEntry],
            _ waiting: [(giver: ProposedGiver, id: String)]
        ) -> [ProposalView.Detail] {
            let seen = waiting.filter { mayList($0.id, of: $0.giver) }
            return
                (stored.map(\.spiffeID) + seen.map { "\($0.id) (by what waits for approval)" })
                .map { .init(name: name, value: $0) }
        }
        let all = waiting.flatMap { giver in giver.spiffeIDs.map { (giver: giver, id: $0) } }
        return details(
            "admin's identity",
            stored.filter { subjects.contains($0.spiffeID) },
            all.filter { subjects.contains($0.id) }
        )
            + details(
                "server that can be anybody (downstream)",
                stored.filter(\.isDownstream),
                all.filter(\.giver.isDownstream)
            )
    }

    private func viewed(_ change: ProposedChange) throws -> ProposalView.ViewedDocument {
        let (key, document) = (change.key, try change.document())
        let stored = try transaction.document(key)
        return ProposalView.ViewedDocument(
            key: key,
            verb: change.verb,
            before: stored.map(Self.text) ?? "",
            after: document?.yaml(stored: nil) ?? "",
            updatedBy: stored?.actor ?? ""
        )
    }

    /// Requires that the caller may get each document that the act changes, as it is and as it would
    /// be: nobody approves what he may not see.
    ///
    /// - Throws: `APIError` (`adminDenied`).
    func requireGet(_ act: ProposedAct) throws {
        guard case .documents(let changes) = act else { return }
        for change in changes {
            if let stored = try transaction.document(change.key) {
                try requireGet(change.key, spiffeID: try transaction.spiffeID(of: stored))
            }
            if let document = try change.document() {
                try requireGet(change.key, spiffeID: document.spiffeID)
            }
        }
    }

    /// The refusal does not tell the stored SPIFFE ID, which the caller may not be allowed to see.
    private func requireGet(_ key: DocumentKey, spiffeID: String?) throws(APIError) {
        guard standing.may(.get, kind: key.kind, namespace: key.namespace, spiffeID: spiffeID)
        else {
            throw APIError(
                .permissionDenied,
                "adminDenied",
                "not allowed: \(standing.actor) \(AdminVerb.get) \(key): a proposal is shown to who "
                    + "may get what it changes"
            )
        }
    }

    /// As it is stored, if this release cannot read it.
    private static func text(_ stored: StoredDocument) -> String {
        (try? Document(stored: stored))?.yaml(stored: StoredMetadata(stored))
            ?? String(decoding: stored.canonicalJSON, as: UTF8.self)
    }
}

extension [Selector] {
    fileprivate var list: String { map(\.description).joined(separator: " ") }
}
