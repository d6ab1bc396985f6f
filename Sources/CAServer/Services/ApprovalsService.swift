// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import Logging
internal import NodeSync
internal import PolicyDocuments
internal import SPIFFE
internal import SwiftProtobuf
internal import Synchronization

/// Acts that others have to approve: those that wait, what they would do, and what becomes of them.
struct ApprovalsService: Signet_Admin_V1alpha1_Approvals.SimpleServiceProtocol {
    let core: ServerCore
    var gate: AdminGate { AdminGate(core: core) }

    func list(
        request: Signet_Admin_V1alpha1_ListProposalsRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListProposalsResponse {
        let rules = core.approvalRules
        try core.takeDocuments(1, of: try gate.actor(context))
        let proposals = try await gate.read(.aboutProposals, context) { transaction, standing in
            try transaction.proposals().filter { $0.isListed(for: standing) }.map { proposal in
                let count = try transaction.approvals(of: proposal.id).count
                return proposal.message(approved: count, rules)
            }
        }
        return .with { $0.proposals = proposals }
    }

    func get(
        request: Signet_Admin_V1alpha1_GetProposalRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_GetProposalResponse {
        let desk = ApprovalDesk(core: core, svid: try gate.svid(context))
        try await take(1, request.id, context)
        let (rules, id) = (core.approvalRules, Array(request.id))
        let view = try await gate.write(.aboutProposals, isRehearsal: true, context) {
            transaction,
            standing in
            var generator = SystemRandomness()
            return try desk.act(by: standing, in: transaction).view(id, using: &generator)
        }
        return .with {
            $0.proposal = view.proposal.summary.message(approved: view.approvers.count, rules)
            $0.approvers = view.approvers
            $0.documents = view.documents.map(\.message)
            $0.warnings = view.warnings
            $0.details = view.details.map { detail in
                .with { ($0.name, $0.value) = (detail.name, detail.value) }
            }
        }
    }

    func approve(
        request: Signet_Admin_V1alpha1_ApproveProposalRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ApproveProposalResponse {
        let desk = ApprovalDesk(core: core, svid: try gate.svid(context))
        let rules = core.approvalRules
        // Each approver, the proposer, and the act itself.
        let topic = try await take(rules.needed + 2, request.id, context)
        if let topic { try core.requireNotHeld(forProposed: topic.act) }
        let (id, hash) = (Array(request.id), Array(request.sha256))
        let answer = try await gate.write(.aboutProposals, context) { transaction, standing in
            var generator = SystemRandomness()
            return try desk.act(by: standing, in: transaction).approve(
                id,
                sha256: hash,
                using: &generator
            )
        }
        if case .carriedOut(let result, _, _) = answer { await core.carriedOut(result) }
        if case .ready(let authorityID, _, _) = answer {
            let approved = try await activate(authorityID, id, hash, desk, context)
            await core.countProposals()
            return ApprovalAnswer.ready(
                authorityID: authorityID,
                count: approved.count,
                struck: answer.struck + approved.struck
            ).message(rules)
        }
        await core.countProposals()
        return answer.message(rules)
    }

    /// Has the rotation let an authority sign that all have approved who are needed; it is judged once
    /// more in the transaction that does it.
    ///
    /// - Returns: What was found then.
    /// - Throws: `APIError`; the approvals stand, and whoever approves again goes on.
    private func activate(
        _ authorityID: String,
        _ id: [UInt8],
        _ hash: [UInt8],
        _ desk: ApprovalDesk,
        _ context: ServerContext
    ) async throws -> ApprovedActivation {
        let (core, now) = (core, core.clock.wallTime)
        let actor = try gate.actor(context)
        // From the permit to the settlement, which are parts of one transaction.
        let found = FoundActivation()
        _ = try await gate.handOn(.aboutProposals, context) { permit throws(APIError) in
            try await core.rotationDesk.order(.activate(id: authorityID)) { transaction in
                let caller = try permit(transaction)
                let standing = try core.standing(of: caller, now: now, in: transaction)
                var generator = SystemRandomness()
                let approved = try desk.act(by: standing, in: transaction)
                    .requireApproved(id, sha256: hash, using: &generator)
                found.set(approved)
                return approved.proposer
            } settling: { transaction in
                let standing = try core.standing(of: actor, now: now, in: transaction)
                try desk.act(by: standing, in: transaction).carriedOut(id, try found.get())
            }
        }
        return try found.get()
    }

    func withdraw(
        request: Signet_Admin_V1alpha1_WithdrawProposalRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_WithdrawProposalResponse {
        let desk = ApprovalDesk(core: core, svid: try gate.svid(context))
        let id = Array(request.id)
        try await gate.write(.aboutProposals, context) { transaction, standing in
            try desk.act(by: standing, in: transaction).withdraw(id)
        }
        await core.countProposals()
        return .init()
    }

    /// Counts so many rehearsals of a proposal against what one admin may ask for.
    ///
    /// - Returns: What the proposal is about; nil if there is none.
    @discardableResult
    private func take(
        _ rehearsals: Int,
        _ id: Data,
        _ context: ServerContext
    ) async throws -> ProposalTopic? {
        let id = Array(id)
        let topic = try await gate.read(.aboutProposals, context) { transaction, _ in
            try transaction.proposalTopic(id: id)
        }
        let count = topic.map { $0.changeCount + $0.boundIDs.count } ?? 1
        try core.takeDocuments(count * rehearsals, of: try gate.actor(context))
        return topic
    }
}

/// What a permit has found, for the settlement of the same transaction.
private final class FoundActivation: Sendable {
    private let state = Mutex<ApprovedActivation?>(nil)

    func set(_ approved: ApprovedActivation) { state.withLock { $0 = approved } }

    func get() throws(APIError) -> ApprovedActivation {
        guard let approved = state.withLock({ $0 }) else {
            throw APIError(.fault, "approvalsMalformed", "it was carried out without a permit")
        }
        return approved
    }
}

extension ServerCore {
    /// Tells of an act that was approved, after the commit, as the service does that carries out one
    /// which needs no approval.
    func carriedOut(_ result: ProposedResult) async {
        switch result {
        case .documents(let result): documentsChanged(result)
        case .above(let outcome, let verb):
            await distrusted(outcome, verb == .authorityRevoke ? .revoked : .tainted)
        case .authority(let record, let verb):
            let standing: AuthorityStanding
            switch verb {
            case .authorityRevoke: standing = .revoked
            case .authorityTaint: standing = .tainted
            // The rotation tells of what it does.
            default: return
            }
            distrusted(record.id, standing)
            logger.notice(
                "an authority is distrusted",
                metadata: ["authority": "\(record.id)", "state": "\(record.state)"]
            )
        case .below(let record):
            logger.notice(
                "the authority of a server below is revoked",
                metadata: ["authority": "\(record.id)", "entry": "\(record.entry.reference)"]
            )
            await countDownstream()
        case .token: break
        case .unban(let node):
            hub.remembered(AgentName(node.name), selectors: node.selectors, mayBeLive: false)
        }
    }
}

extension ProposalSummary {
    /// Whether somebody is told that it is there: who proposed it, who holds its right for anything
    /// of its kind, and who reads the audit log, where it is.
    fileprivate func isListed(for standing: AdminStanding) -> Bool {
        if actor == standing.actor.description || standing.may(.auditRead) { return true }
        return topic.rights.compactMap(ProposedRight.init(_:)).contains { right in
            (try? standing.requireAny(right.verb, kind: right.kind)) != nil
        }
    }

    /// The same as it is told when it was only rehearsed, and nobody can approve it.
    var unstored: Self {
        Self(
            id: [],
            actor: actor,
            topic: topic,
            sha256: sha256,
            madeAt: madeAt,
            endsAt: endsAt
        )
    }

    func message(approved: Int, _ rules: ApprovalRules) -> Signet_Admin_V1alpha1_Proposal {
        .with {
            $0.id = Data(id)
            $0.sha256 = Data(sha256)
            $0.actor = actor
            $0.act = topic.act
            $0.changeCount = UInt32(clamping: topic.changeCount)
            $0.approved = UInt32(clamping: approved)
            $0.needed = UInt32(clamping: rules.needed)
            $0.madeAtUnixMilliseconds = madeAt.unixMilliseconds
            $0.endsAtUnixMilliseconds = endsAt.unixMilliseconds
        }
    }
}

extension ProposalView.ViewedDocument {
    fileprivate var message: Signet_Admin_V1alpha1_ProposedDocument {
        .with {
            $0.key = key.message
            $0.verb = verb.rawValue
            $0.before = before
            $0.after = after
            $0.updatedBy = updatedBy
        }
    }
}

extension ApprovalAnswer {
    /// Who had approved it and counts no longer.
    fileprivate var struck: [String] {
        switch self {
        case .approved(_, let struck), .carriedOut(_, _, let struck), .ended(_, _, let struck),
            .ready(_, _, let struck):
            struck
        }
    }

    fileprivate func message(
        _ rules: ApprovalRules
    ) -> Signet_Admin_V1alpha1_ApproveProposalResponse {
        .with {
            $0.needed = UInt32(clamping: rules.needed)
            switch self {
            case .approved(let count, let struck):
                $0.outcome = "approved"
                ($0.approved, $0.struck) = (UInt32(clamping: count), struck)
            case .carriedOut(let result, let count, let struck):
                $0.outcome = "carriedOut"
                ($0.approved, $0.struck) = (UInt32(clamping: count), struck)
                switch result {
                case .documents(let result): $0.applied = result.message(isDryRun: false)
                case .above, .authority, .below, .token, .unban: break
                }
            case .ready(_, let count, let struck):
                $0.outcome = "carriedOut"
                ($0.approved, $0.struck) = (UInt32(clamping: count), struck)
            case .ended(let cause, let reason, let struck):
                $0.outcome = cause.rawValue
                ($0.reason, $0.struck) = (reason, struck)
            }
        }
    }
}
