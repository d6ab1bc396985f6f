// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import ControlAPI
internal import Datastore
internal import PolicyDocuments
package import SPIFFE

extension ApprovalAct {
    /// Counts the caller among those who approve a proposal, and does it if he was the last who is
    /// needed.
    ///
    /// - Parameters:
    ///   - id: The proposal.
    ///   - sha256: The hash of what the caller has looked at.
    ///   - generator: Random numbers for uids.
    /// - Returns: What became of it, to be committed whatever it is: also ends and strikes are.
    /// - Throws: `APIError` (`proposalUnknown`, `proposalChanged`, `proposalUnreadable`,
    ///   `approverUnknown`, `approvalDenied`, `adminDenied`, `nodeBanned`, and what else keeps the act
    ///   from being done); nothing has changed.
    package func approve(
        _ id: [UInt8],
        sha256: [UInt8],
        using generator: inout some RandomNumberGenerator
    ) throws -> ApprovalAnswer {
        let proposal = try require(id)
        guard proposal.sha256 == sha256 else { throw Self.proposalChanged }
        try requireClock()
        if let cause = try endOf(proposal) {
            try drop(proposal, cause)
            return .ended(cause, reason: "", struck: [])
        }
        let act = try ProposedAct(content: proposal.content)
        var count = try count(of: proposal)
        try add(to: &count, act, of: proposal, using: &generator)
        var struck: [String] = []
        if count.approvers.count >= rules.needed {
            struck = try strikeThoseDenied(act, count, of: proposal, using: &generator)
        }
        let left = count.approvers.count - struck.count
        guard left >= rules.needed else {
            try append(left, struck, isCarriedOut: false, of: proposal)
            return .approved(count: left, struck: struck)
        }
        return try carryOut(act, count, left, struck, of: proposal, using: &generator)
    }

    /// Requires, where the rotation lets an authority sign, that all have approved it who are needed,
    /// and could do it now.
    ///
    /// - Parameters:
    ///   - id: The proposal.
    ///   - sha256: The hash of what the caller has approved.
    ///   - generator: Random numbers for uids.
    /// - Returns: Who has proposed it, in whose name it is done, and who counts.
    /// - Throws: `APIError`; nothing has changed.
    package func requireApproved(
        _ id: [UInt8],
        sha256: [UInt8],
        using generator: inout some RandomNumberGenerator
    ) throws -> ApprovedActivation {
        let proposal = try require(id)
        guard proposal.sha256 == sha256 else { throw Self.proposalChanged }
        let act = try ProposedAct(content: proposal.content)
        var count = try count(of: proposal)
        try add(to: &count, act, of: proposal, using: &generator)
        let denied = try strikeThoseDenied(act, count, of: proposal, using: &generator)
        let (proposer, left) = (count.proposer.actor, count.approvers.count - denied.count)
        guard try endOf(proposal) == nil, left >= rules.needed,
            try denial(of: act, by: other(proposer), using: &generator) == nil
        else {
            throw APIError(
                .conflict,
                "proposalChanged",
                "something has changed since it was approved; approve it again"
            )
        }
        return ApprovedActivation(proposer: proposer, count: left, struck: denied)
    }

    /// Ends a proposal that the rotation has just carried out.
    ///
    /// - Parameters:
    ///   - id: The proposal.
    ///   - approved: What `requireApproved` has found in the same transaction.
    /// - Throws: `DatastoreError`, and what recording it throws.
    package func carriedOut(_ id: [UInt8], _ approved: ApprovedActivation) throws {
        let proposal = try require(id)
        try transaction.deleteProposal(id: id)
        try append(approved.count, approved.struck, isCarriedOut: true, of: proposal)
    }

    private static let proposalChanged = APIError(
        .conflict,
        "proposalChanged",
        "the proposal is not the one with this hash; look at it again with signet approval show ID"
    )

    /// Why a proposal is over; nil: it is not.
    private func endOf(_ proposal: ProposalRecord) throws -> ChangeDrop.Cause? {
        if isOver(proposal) { return .expired }
        return try isCurrent(ProposedAct(content: proposal.content)) ? nil : .stale
    }

    /// Whether everything that the act was judged by is as it was.
    func isCurrent(_ act: ProposedAct) throws -> Bool {
        switch act {
        case .documents(let changes):
            try changes.allSatisfy {
                try transaction.document($0.key)?.resourceVersion ?? 0 == $0.version
            }
        case .token(let token): try logic.isCurrent(token.pins, in: transaction)
        case .unban(let node, _): try transaction.node(named: node)?.ban != nil
        case .authority(let step): try state(of: step) == step.state
        }
    }

    /// The state of an authority, or of what is above or below authorities; nil: there is no such.
    func state(of step: ProposedStep) throws -> String? {
        try transaction.authority(id: step.authorityID)?.state
            ?? transaction.upstream(id: step.authorityID)?.state
            ?? transaction.downstreamAuthority(id: step.authorityID)?.state
    }

    /// Those who have approved it before the caller, without him.
    private func count(of proposal: ProposalRecord) throws -> ApprovalCount {
        var count = ApprovalCount(
            proposer: try proposal.party(),
            alsoOn: Set(proposal.moreNodes)
        )
        for approval in try transaction.approvals(of: proposal.id)
        where approval.actor != standing.actor.description {
            let party = try approval.party()
            do throws(ApprovalRefusal) {
                try count.add(party)
            } catch {
                // Each was taken beside the others; somebody else has written into the table.
                throw APIError(.fault, "approvalsMalformed", "\(approval.actor): \(error)")
            }
        }
        return count
    }

    /// Takes the caller, if he is a person of his own and could do it himself.
    private func add(
        to count: inout ApprovalCount,
        _ act: ProposedAct,
        of proposal: ProposalRecord,
        using generator: inout some RandomNumberGenerator
    ) throws {
        let certificate = try caller.certificate(in: transaction)
        do throws(ApprovalRefusal) {
            try count.add(ApprovalParty(actor: standing.actor, node: certificate?.node))
        } catch {
            throw APIError(error)
        }
        if let denial = try denial(of: act, by: standing, using: &generator) {
            // What nobody could do is no fault of his.
            guard denial.kind == .permissionDenied else { throw denial }
            throw APIError(
                .permissionDenied,
                "approvalDenied",
                "nobody approves what he could not do himself: \(denial.message) [\(denial.reason)]"
            )
        }
        try requireGet(act)
        try transaction.record(
            ApprovalRecord(
                proposalID: proposal.id,
                actor: standing.actor.description,
                certificate: certificate,
                approvedAt: standing.now
            )
        )
    }

    /// A day may lie between: rights count as they are now.
    private func strikeThoseDenied(
        _ act: ProposedAct,
        _ count: ApprovalCount,
        of proposal: ProposalRecord,
        using generator: inout some RandomNumberGenerator
    ) throws -> [String] {
        var struck: [String] = []
        for approver in count.approvers where approver.actor != standing.actor {
            guard try denial(of: act, by: other(approver.actor), using: &generator) != nil else {
                continue
            }
            let actor = approver.actor.description
            try transaction.deleteApproval(of: proposal.id, actor: actor)
            struck.append(actor)
        }
        return struck
    }

    /// Does it as the proposer's, if he still may, or leaves it to the rotation.
    private func carryOut(
        _ act: ProposedAct,
        _ count: ApprovalCount,
        _ approved: Int,
        _ struck: [String],
        of proposal: ProposalRecord,
        using generator: inout some RandomNumberGenerator
    ) throws -> ApprovalAnswer {
        let proposer = other(count.proposer.actor)
        if let denial = try denial(of: act, by: proposer, using: &generator) {
            try drop(proposal, .denied)
            let reason = "\(denial.message) [\(denial.reason)]"
            return .ended(.denied, reason: reason, struck: struck)
        }
        if case .authority(let step) = act, step.verb == .authorityActivate {
            try append(approved, struck, isCarriedOut: false, of: proposal)
            return .ready(authorityID: step.authorityID, count: approved, struck: struck)
        }
        if case .authority(let step) = act, !step.isNow {
            try logic.requireNobodyBelow(step, now: standing.now, in: transaction)
            for record in try concerned(by: step) {
                try requireReady(step, record, standing.now, transaction)
            }
        }
        // Before the act, which may strike what is left of it.
        try transaction.deleteProposal(id: proposal.id)
        let result = try perform(act, by: proposer, in: transaction, using: &generator)
        try append(approved, struck, isCarriedOut: true, of: proposal)
        return .carriedOut(result, count: approved, struck: struck)
    }

    /// The authorities whose SVIDs it ends or has replaced.
    private func concerned(by step: ProposedStep) throws -> [AuthorityRecord] {
        guard try transaction.downstreamAuthority(id: step.authorityID) == nil else { return [] }
        guard try transaction.upstream(id: step.authorityID) != nil else {
            return [try logic.requireAuthority(step.authorityID, in: transaction)]
        }
        return try logic.authoritiesBelow(step.authorityID, in: transaction)
            .filter { $0.state != AuthorityRecord.revokedState }
    }

    /// What another may do at this moment.
    private func other(_ actor: Actor) -> AdminStanding {
        AdminStanding(actor: actor, access: standing.access, now: standing.now)
    }

    private func append(
        _ approved: Int,
        _ struck: [String],
        isCarriedOut: Bool,
        of proposal: ProposalRecord
    ) throws {
        let leaf = ChangeApproval(
            proposal: proposal.id,
            contentSHA256: proposal.sha256,
            approved: UInt64(approved),
            needed: UInt64(rules.needed),
            isCarriedOut: isCarriedOut,
            // An activation that failed may have been approved by more than were needed.
            struck: Array(struck.prefix(ApprovalCount.neededMax))
        )
        try transaction.append(.changeApproved(leaf), by: standing.actor, at: standing.now)
    }

    // MARK: - Acts

    /// Why somebody could not do the act himself; nil if he could.
    ///
    /// - Throws: What says nothing of him: a fault of the datastore, or of the server.
    func denial(
        of act: ProposedAct,
        by standing: AdminStanding,
        using generator: inout some RandomNumberGenerator
    ) throws -> APIError? {
        // Nobody reads its warnings.
        switch try rehearse(act, by: standing, warns: false, using: &generator) {
        case .success: nil
        case .failure(let denial): denial
        }
    }

    /// What the act would do if somebody did it himself, or why he could not.
    ///
    /// - Throws: What says nothing of him: a fault of the datastore, or of the server.
    func rehearse(
        _ act: ProposedAct,
        by standing: AdminStanding,
        warns: Bool = true,
        using generator: inout some RandomNumberGenerator
    ) throws -> Result<ProposedResult, APIError> {
        do {
            return .success(
                try transaction.rehearse { rehearsal in
                    try perform(act, by: standing, warns: warns, in: rehearsal, using: &generator)
                }
            )
        } catch let error as APIError where error.kind.isDenial {
            return .failure(error)
        }
    }

    func perform(
        _ act: ProposedAct,
        by standing: AdminStanding,
        warns: Bool = true,
        in transaction: Transaction,
        using generator: inout some RandomNumberGenerator
    ) throws -> ProposedResult {
        switch act {
        case .documents(let changes):
            var order = DocumentOrder()
            order.documents = try changes.compactMap { try $0.document() }
            order.deletions = changes.filter { $0.canonicalJSON == nil }.map(\.key)
            return .documents(
                try perform(order, by: standing, warns: warns, in: transaction, using: &generator)
            )
        case .authority(let step):
            return try perform(step, by: standing, in: transaction)
        case .token(let token):
            try logic.requireTrusted(token.pins, in: transaction)
            _ = try logic.createToken(token.order, by: standing, in: transaction)
            return .token
        case .unban(let node, let reason):
            return .unban(
                try logic.change(
                    .unban,
                    ofNode: node,
                    reason: reason,
                    by: standing,
                    in: transaction
                )
            )
        }
    }

    /// Does it, as far as it is done in a transaction of anybody's: an authority begins to sign in one
    /// of the rotation's, and of that only right and state are judged here.
    private func perform(
        _ step: ProposedStep,
        by standing: AdminStanding,
        in transaction: Transaction
    ) throws -> ProposedResult {
        try standing.require(step.verb)
        if step.verb != .authorityActivate, try transaction.upstream(id: step.authorityID) != nil {
            let act = step.verb == .authorityTaint ? logic.taintUpstream : logic.revokeUpstream
            return .above(
                try act(step.authorityID, step.reason, standing.actor, standing.now, transaction),
                step.verb
            )
        }
        if try transaction.downstreamAuthority(id: step.authorityID) != nil {
            guard step.verb == .authorityRevoke else { throw ServerLogic.onlyRevoked }
            return .below(
                try logic.revokeDownstream(
                    step.authorityID,
                    .named,
                    reason: step.reason,
                    by: standing.actor,
                    now: standing.now,
                    in: transaction
                )
            )
        }
        let record: AuthorityRecord
        switch step.verb {
        case .authorityActivate:
            record = try logic.requirePrepared(step.authorityID, in: transaction)
        case .authorityTaint:
            record = try logic.taint(
                step.authorityID,
                reason: step.reason,
                by: standing.actor,
                now: standing.now,
                in: transaction
            )
        default:
            record = try logic.revokeAuthority(
                step.authorityID,
                reason: step.reason,
                by: standing.actor,
                now: standing.now,
                in: transaction
            )
        }
        return .authority(record, step.verb)
    }

    /// Carries out an order of documents.
    ///
    /// - Returns: What became of each, with a warning if too few are left who could approve.
    func perform(
        _ order: DocumentOrder,
        by standing: AdminStanding,
        warns: Bool = true,
        in transaction: Transaction,
        using generator: inout some RandomNumberGenerator
    ) throws -> DocumentResult {
        var act = DocumentAct(
            logic,
            by: standing,
            peers: peers,
            namesGivers: warns,
            in: transaction
        )
        let result = try act.perform(order, using: &generator)
        let bindings = DocumentKind.roleBinding.rawValue
        guard rules.needed > 0, warns,
            result.outcomes.contains(where: { $0.key.kind == bindings && $0.action != .unchanged })
        else { return result }
        let access = try AdminAccess(stored: transaction, admins: rules.admins)
        guard let warning = rules.warning(of: access, now: standing.now) else { return result }
        return DocumentResult(
            revision: result.revision,
            outcomes: result.outcomes,
            warnings: result.warnings + [warning]
        )
    }
}

/// What was found when an authority was about to sign that others have approved.
package struct ApprovedActivation: Hashable, Sendable {
    /// In whose name it is done.
    package let proposer: Actor
    /// How many have approved it and could do it now.
    package let count: Int
    /// Who had approved it and may not do it any more.
    package let struck: [String]
}

extension APIError {
    fileprivate init(_ refusal: ApprovalRefusal) {
        switch refusal {
        case .nodeUnknown, .proposersNodeUnknown:
            self.init(.failedPrecondition, "approverUnknown", refusal.description)
        case .localAlready, .noApprover, .onNodeOf, .proposer:
            self.init(.permissionDenied, "approvalDenied", refusal.description)
        }
    }
}

extension APIError.Kind {
    /// Whether a refusal says that the act is not for the caller to do, or cannot be done; the others
    /// say that the server could not tell.
    fileprivate var isDenial: Bool {
        switch self {
        case .conflict, .exhausted, .failedPrecondition, .invalidArgument, .notFound,
            .permissionDenied:
            true
        case .fault, .unauthenticated, .unavailable, .unimplemented: false
        }
    }
}

extension ProposalRecord {
    /// Who proposed it, and from where.
    func party() throws(APIError) -> ApprovalParty {
        ApprovalParty(actor: try Actor(recorded: actor), node: certificate?.node)
    }
}

extension ApprovalRecord {
    fileprivate func party() throws(APIError) -> ApprovalParty {
        ApprovalParty(actor: try Actor(recorded: actor), node: certificate?.node)
    }
}

extension Actor {
    /// Reads who was written into the table.
    fileprivate init(recorded text: String) throws(APIError) {
        guard let actor = Self(auditText: text) else {
            throw APIError(.fault, "approvalsMalformed", "\(text) is nobody that is known")
        }
        self = actor
    }
}
