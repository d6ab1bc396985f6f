// SPDX-License-Identifier: Apache-2.0

package import AuditLog
package import Authorization
internal import ControlAPI
internal import Crypto
package import Datastore
package import FoundationEssentials
internal import Issuance
internal import NodeSync
internal import PolicyDocuments
internal import SPIFFE

/// What became of an order of documents.
package enum DocumentAnswer: Hashable, Sendable {
    case done(DocumentResult)
    /// Nothing was done; the result is what would be done, at the revision that there is.
    case proposed(ProposalRecord, DocumentResult)
}

/// What became of a proposal that somebody approved.
package enum ApprovalAnswer: Hashable, Sendable {
    /// Others are needed still; named are those who count no longer.
    case approved(count: Int, struck: [String])
    case carriedOut(ProposedResult, count: Int, struck: [String])
    /// All have approved that the authority of the ID begins to sign: the rotation has to let it.
    case ready(authorityID: String, count: Int, struck: [String])
    /// It has ended without having been done; with the reason that the proposer would get, if that
    /// is why.
    case ended(ChangeDrop.Cause, reason: String, struck: [String])
}

/// What a proposed act did.
package enum ProposedResult: Hashable, Sendable {
    case documents(DocumentResult)
    case token
    /// The node as it was.
    case unban(NodeRecord)
    /// A root or an upstream authority, and what is below it.
    case above(ServerLogic.UpstreamOutcome, AdminVerb)
    /// The authority of a server below, as it is.
    case below(DownstreamRecord)
    /// The authority as it is; of one that is to begin to sign as it was, for the rotation alone lets
    /// it.
    case authority(AuthorityRecord, AdminVerb)
}

/// Acts that others have to approve, while they are proposed, approved and dropped in a transaction
/// (docs/decisions/0023-approvals.md).
package struct ApprovalAct {
    /// How long a proposal waits for approval, in seconds: a day, so that those who are asleep can look.
    package static let secondsMax: TimeInterval = 86_400

    let logic: ServerLogic
    let rules: ApprovalRules
    let peers: DocumentPeers
    let caller: ApprovalCaller
    /// Whether nobody doubts the wall clock.
    let isClockBelieved: Bool
    /// Requires that nobody is hurt by an act on an authority that is not to be done in any case.
    let requireReady: ReadinessCheck
    let transaction: Transaction

    /// Throws `APIError` (`authorityInUse`) with who would be hurt.
    package typealias ReadinessCheck =
        @Sendable (ProposedStep, AuthorityRecord, Date, ReadTransaction) throws -> Void

    /// Begins an act of somebody whose standing was read in the same transaction.
    ///
    /// - Parameters:
    ///   - logic: The server's.
    ///   - rules: How many have to approve.
    ///   - peers: What connected agents and proxies can do.
    ///   - caller: Who asks.
    ///   - isClockBelieved: Whether the time of the caller's standing can be believed.
    ///   - requireReady: Looks whom an act on an authority would hurt.
    ///   - transaction: Everything happens in it, or nothing.
    package init(
        _ logic: ServerLogic,
        _ rules: ApprovalRules,
        peers: DocumentPeers = .none,
        by caller: ApprovalCaller,
        isClockBelieved: Bool,
        requireReady: @escaping ReadinessCheck = { _, _, _, _ in },
        in transaction: Transaction
    ) {
        self.logic = logic
        self.rules = rules
        self.peers = peers
        self.caller = caller
        self.isClockBelieved = isClockBelieved
        self.requireReady = requireReady
        self.transaction = transaction
    }

    var standing: AdminStanding { caller.standing }

    // MARK: - Proposing

    /// Carries out an order, or proposes it if others have to approve it.
    ///
    /// - Parameters:
    ///   - order: What to do.
    ///   - takesProposal: Whether the caller understands that nothing may have been done.
    ///   - generator: Random numbers for uids and IDs.
    /// - Returns: What became of it.
    /// - Throws: `APIError` as `DocumentAct` does; `approvalsNeeded`, `proposalsFull`,
    ///   `proposalTooLarge`; nothing has changed.
    package func apply(
        _ order: DocumentOrder,
        takesProposal: Bool,
        using generator: inout some RandomNumberGenerator
    ) throws -> DocumentAnswer {
        guard rules.needed > 0 else {
            return .done(try perform(order, by: standing, in: transaction, using: &generator))
        }
        // Those by which somebody gets an admin's identity.
        let subjects = try AdminSubjects(standing.access, in: transaction)
        // The server of a downstream entry can be anybody.
        let giving = Set(
            order.documents.filter { $0.isDownstream || $0.gives(anyOf: subjects) }.map(\.key)
        )
        let needsApproval = { (result: DocumentResult) in
            result.outcomes.contains { outcome in
                outcome.action != .unchanged
                    && (DocumentKind.ofAccess.contains(outcome.key.kind)
                        || giving.contains(outcome.key))
            }
        }
        // What needs none is done by then, and not done twice.
        let result = try transaction.attempt(keptIf: { !needsApproval($0) }) { attempt in
            try perform(order, by: standing, in: attempt, using: &generator)
        }
        guard needsApproval(result) else { return .done(result) }
        guard takesProposal else { throw Self.approvalsNeeded(rules.needed) }
        let act = try proposedAct(order, result.outcomes)
        let proposal = try propose(act, using: &generator)
        return .proposed(proposal, try result.proposed(in: transaction))
    }

    private static func approvalsNeeded(_ count: Int) -> APIError {
        APIError(
            .failedPrecondition,
            "approvalsNeeded",
            "\(count) other(s) have to approve this, and this program does not know proposals; use "
                + "a newer signet"
        )
    }

    /// Carries out an act, or proposes it if others have to approve it.
    ///
    /// - Parameters:
    ///   - act: What to do.
    ///   - takesProposal: Whether the caller understands that nothing may have been done.
    ///   - generator: Random numbers for IDs.
    /// - Returns: What it did; nil with the proposal if it was proposed.
    /// - Throws: `APIError` as the act does; `approvalsNeeded`, `proposalsFull`, `reasonTooLong`;
    ///   nothing has changed.
    package func order(
        _ act: ProposedAct,
        takesProposal: Bool,
        using generator: inout some RandomNumberGenerator
    ) throws -> (result: ProposedResult?, proposal: ProposalRecord?) {
        // Of an authority that is to sign nobody else looks at it.
        guard act.reason.utf8.count <= ServerLogic.reasonBytesMax else {
            throw APIError(
                .invalidArgument,
                "reasonTooLong",
                "a reason has at most \(ServerLogic.reasonBytesMax) bytes"
            )
        }
        guard rules.needed > 0, try needsApproval(act) else {
            return (try perform(act, by: standing, in: transaction, using: &generator), nil)
        }
        _ = try transaction.rehearse { rehearsal in
            try perform(act, by: standing, in: rehearsal, using: &generator)
        }
        guard takesProposal else { throw Self.approvalsNeeded(rules.needed) }
        return (nil, try propose(act, using: &generator))
    }

    private func needsApproval(_ act: ProposedAct) throws -> Bool {
        let selectors: Set<Selector>
        switch act {
        case .documents: return true
        // What would change nothing is not asked about.
        case .authority(let step):
            return try state(of: step) != step.outcome.rawValue
        case .token(let token):
            selectors = Set(token.selectors).union(try logic.ownSelectors(ofNode: token.name))
        case .unban(let name, _):
            guard let node = try transaction.node(named: name), node.ban != nil else {
                return false
            }
            selectors = node.selectors
        }
        let subjects = try AdminSubjects(standing.access, in: transaction)
        return try logic.admits(selectors, anyOf: subjects, in: transaction)
    }

    /// The documents of the order that would change, and nothing of the others.
    private func proposedAct(
        _ order: DocumentOrder,
        _ outcomes: [DocumentOutcome]
    ) throws -> ProposedAct {
        var documents: [DocumentKey: [UInt8]] = [:]
        for document in order.documents { documents[document.key] = document.canonicalJSON }
        var (changes, before) = ([ProposedChange](), 0)
        for outcome in outcomes where outcome.action != .unchanged {
            let stored = try transaction.document(outcome.key)
            before += stored?.canonicalJSON.count ?? 0
            changes.append(
                ProposedChange(
                    key: outcome.key,
                    version: stored?.resourceVersion ?? 0,
                    canonicalJSON: outcome.action == .deleted ? nil : documents[outcome.key]
                )
            )
        }
        guard changes.count <= ProposedAct.changesMax, before <= ProposedAct.beforeBytesMax else {
            throw Self.tooLarge
        }
        return .documents(changes)
    }

    private static let tooLarge = APIError(
        .invalidArgument,
        "proposalTooLarge",
        "others have to approve this, and nobody can look over so much: at most "
            + "\(ProposedAct.changesMax) changes, of \(ProposalRecord.contentBytesMax) bytes "
            + "together, in place of \(ProposedAct.beforeBytesMax), with "
            + "\(ProposedAct.subjectsMax) SPIFFE IDs in RoleBindings; apply roles, and what gives "
            + "admins their identities, apart from the rest"
    )

    /// Stores a proposal, or finds it: the same act of the same actor is one.
    func propose(
        _ act: ProposedAct,
        using generator: inout some RandomNumberGenerator
    ) throws -> ProposalRecord {
        let (actor, content) = (standing.actor.description, act.content)
        let topic = try act.topic()
        guard content.count <= ProposalRecord.contentBytesMax,
            topic.boundIDs.count <= ProposedAct.subjectsMax
        else { throw Self.tooLarge }
        try requireClock()
        let certificate = try caller.certificate(in: transaction)
        let hash = Array(SHA256.hash(data: content))
        if let open = try transaction.proposal(actor: actor, sha256: hash),
            let same = try kept(open, proposedFrom: certificate?.node)
        {
            return same
        }
        let (open, own) = try transaction.proposalCounts(actor: actor)
        guard open < ProposalRecord.openMax, own < ProposalRecord.openOfActorMax else {
            throw APIError(
                .exhausted,
                "proposalsFull",
                "\(own) proposals of \(actor) wait for approval and \(open) in all, at most "
                    + "\(ProposalRecord.openOfActorMax) and \(ProposalRecord.openMax) may; withdraw "
                    + "one with signet approval withdraw ID, or have it approved"
            )
        }
        let proposal = ProposalRecord(
            id: (0..<ProposalRecord.idByteCount).map { _ in
                UInt8.random(in: .min ... .max, using: &generator)
            },
            actor: actor,
            certificate: certificate,
            topic: topic,
            content: content,
            sha256: hash,
            madeAt: standing.now,
            endsAt: standing.now.addingTimeInterval(Self.secondsMax)
        )
        try transaction.insert(proposal)
        let leaf = ChangeProposal(
            proposal: proposal.id,
            contentSHA256: hash,
            act: act.name,
            subject: act.subject,
            reason: act.reason,
            endsAt: AuditTime(proposal.endsAt),
            documents: act.documentChanges
        )
        try transaction.append(.changeProposed(leaf), by: standing.actor, at: standing.now)
        return proposal
    }

    /// The open proposal that somebody has made again; nil if it has ended, so that it takes a new
    /// one.
    private func kept(
        _ open: ProposalRecord,
        proposedFrom node: String?
    ) throws -> ProposalRecord? {
        if isOver(open) {
            try drop(open, .expired)
            return nil
        }
        guard let node, node != open.certificate?.node, !open.moreNodes.contains(node) else {
            return open
        }
        guard open.certificate?.node != nil else {
            // Nobody of the network could approve it: who else was on his node could not be told.
            try drop(open, .withdrawn)
            return nil
        }
        guard open.moreNodes.count < ProposalRecord.moreNodesMax else {
            throw APIError(
                .exhausted,
                "proposalsFull",
                "\(open.actor) has proposed this from \(open.moreNodes.count + 1) nodes, and no more "
                    + "are kept; have it approved, or withdraw it with signet approval withdraw "
                    + Hexadecimal.text(open.id)
            )
        }
        // Root is there whoever has proposed it, on the one node as on the other.
        try transaction.add(node: node, toProposal: open.id, beside: open.moreNodes)
        return try require(open.id)
    }

    // MARK: - Ending

    /// Ends a proposal of the caller's own.
    ///
    /// - Throws: `APIError` for one that is unknown or of somebody else.
    package func withdraw(_ id: [UInt8]) throws {
        let proposal = try require(id)
        guard proposal.actor == standing.actor.description else {
            throw APIError(
                .permissionDenied,
                "proposalOfAnother",
                "only \(proposal.actor) withdraws what it has proposed"
            )
        }
        try drop(proposal, .withdrawn)
    }

    func drop(_ proposal: ProposalRecord, _ cause: ChangeDrop.Cause) throws {
        try transaction.deleteProposal(id: proposal.id)
        let summary = proposal.summary
        try transaction.append(dropped: summary, cause, by: standing.actor, at: standing.now)
    }

    // MARK: - Checks

    func require(_ id: [UInt8]) throws -> ProposalRecord {
        guard let proposal = try transaction.proposal(id: id) else {
            throw APIError(
                .notFound,
                "proposalUnknown",
                "there is no proposal \(Hexadecimal.text(id.prefix(32))): it was done, has ended or "
                    + "never was; signet approval list shows those that wait"
            )
        }
        return proposal
    }

    func isOver(_ proposal: ProposalRecord) -> Bool { proposal.endsAt <= standing.now }

    /// Nobody can tell when a proposal ends by a clock that is wrong.
    func requireClock() throws(APIError) {
        guard isClockBelieved else {
            throw APIError(
                .unavailable,
                "clockDoubted",
                "the server doubts its clock, so nothing is proposed or approved; signet health says "
                    + "what is wrong with it"
            )
        }
    }
}

extension Document {
    /// Whether the document gives somebody the identity of an admin, or the key of one: he could
    /// approve himself by it.
    func gives(anyOf subjects: AdminSubjects) -> Bool {
        identities.contains { subjects.contains($0) }
    }

    /// The identities that the document gives, or templates of them, and those whose keys it does.
    var identities: [String] {
        switch spec {
        case .registrationEntry(let spec): [spec.spiffeID]
        case .proxy(let spec): spec.identities.map(\.description)
        // Nobody is an admin by a token (`DelegationPolicy`).
        case .accessPolicy, .delegationPolicy, .federatedTrustDomain, .namespace, .role,
            .roleBinding, .service:
            []
        }
    }

    /// Whether authorities may be certified for the workload that it registers.
    var isDownstream: Bool {
        if case .registrationEntry(let spec) = spec { spec.isDownstream } else { false }
    }

    /// What a node shows that gets identities or keys by the document; nil for other kinds.
    var nodeSelectors: [Selector]? {
        switch spec {
        case .registrationEntry(let spec): spec.nodeSelectors
        case .proxy(let spec): spec.nodeSelectors
        case .accessPolicy, .delegationPolicy, .federatedTrustDomain, .namespace, .role,
            .roleBinding, .service:
            nil
        }
    }
}

extension DocumentKind {
    /// The kinds that say who may do what.
    fileprivate static let ofAccess = [role, roleBinding].map(\.rawValue)
}

extension DocumentResult {
    /// The same as what would be done: at the revision that there is, and without what is given only
    /// to documents that are stored.
    fileprivate func proposed(in transaction: ReadTransaction) throws -> Self {
        DocumentResult(
            revision: try transaction.revision(),
            outcomes: try outcomes.map { outcome in
                let stored = try transaction.document(outcome.key)
                return DocumentOutcome(
                    key: outcome.key,
                    action: outcome.action,
                    resourceVersion: stored?.resourceVersion ?? 0,
                    uid: stored?.uid ?? ""
                )
            },
            warnings: warnings
        )
    }
}

extension ProposedAct {
    /// What leaves say of its documents.
    fileprivate var documentChanges: [DocumentChange] {
        switch self {
        case .documents(let changes):
            changes.map { change in
                DocumentChange(
                    key: change.key,
                    verb: change.verb,
                    sha256: change.canonicalJSON.map { Array(SHA256.hash(data: $0)) }
                )
            }
        case .authority, .token, .unban: []
        }
    }
}
