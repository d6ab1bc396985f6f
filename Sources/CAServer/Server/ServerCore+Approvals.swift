// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import Clocks
internal import ControlAPI
internal import Datastore
package import FoundationEssentials
internal import Logging
internal import PolicyDocuments
internal import SPIFFE
internal import Telemetry

/// What approvals need of the server, carried into a transaction.
struct ApprovalDesk: Sendable {
    private let logic: ServerLogic
    private let rules: ApprovalRules
    private let peers: DocumentPeers
    private let svid: ApprovalCaller.SVID?
    private let isClockBelieved: Bool
    private let requireReady: ApprovalAct.ReadinessCheck

    /// - Parameters:
    ///   - core: The server.
    ///   - svid: What the caller shows; nil for a local user.
    init(core: ServerCore, svid: ApprovalCaller.SVID?) {
        logic = core.logic
        rules = core.approvalRules
        peers = core.hub.documentPeers
        self.svid = svid
        let (hub, hold, isBelieved) = (core.hub, core.logic.hold, core.believedWallTime != nil)
        isClockBelieved = isBelieved
        requireReady = { step, record, now, transaction in
            let applied = hub.appliedState(
                of: try transaction.bundleSequenceNumber(),
                amongAll: true
            )
            let outlook = try AuthorityOutlook(
                record,
                verb: step.verb,
                agents: applied,
                outdated: hub.outdatedPeers,
                hold: hold,
                isClockBelieved: isBelieved,
                now: now,
                in: transaction
            )
            try outlook.require(isNow: step.isNow)
        }
    }

    func act(by standing: AdminStanding, in transaction: Transaction) -> ApprovalAct {
        ApprovalAct(
            logic,
            rules,
            peers: peers,
            by: ApprovalCaller(standing: standing, svid: svid),
            isClockBelieved: isClockBelieved,
            requireReady: requireReady,
            in: transaction
        )
    }
}

extension ServerCore {
    /// How many have to approve.
    var approvalRules: ApprovalRules {
        ApprovalRules(needed: configuration.approvals, admins: configuration.admins)
    }

    /// Counts documents against what one admin may ask for; each rehearsal of them counts anew.
    ///
    /// - Throws: `APIError` (`documentRate`) with how long to wait.
    func takeDocuments(_ count: Int, of actor: Actor) throws(APIError) {
        let wait = documentLimiter.take(count, of: actor.description, now: clock.bootTime)
        guard let wait else { return }
        throw APIError(
            .exhausted,
            "documentRate",
            "too many documents at once from \(actor); try again in \(wait)"
        )
    }

    /// Tells of documents that were changed, after the commit, whoever had it done.
    func documentsChanged(_ result: DocumentResult) {
        metrics.increment(.documentApplies, "applied")
        let change = result.outcomes.entryCountChange
        if change != 0 { metrics.adjust(.entries, by: change) }
        let proxies = result.outcomes.countChange(of: DataPathKind.proxy)
        if proxies != 0 { metrics.adjust(.proxies, by: proxies) }
        let partner = DocumentKind.federatedTrustDomain.rawValue
        if result.outcomes.contains(where: { $0.key.kind == partner }) {
            federation.documentsChanged()
        }
    }

    /// Tells how many proposals there are.
    func countProposals() async {
        guard let count = try? await read({ try $0.proposalCounts(actor: "").open }) else { return }
        metrics.set(.proposals, to: Double(count))
    }

    /// Ends proposals whose time is over at `now`, which is believed.
    ///
    /// - Throws: `APIError`.
    package func endProposals(now: Date) async throws {
        // Nearly always there is none, and a read does not wait for the writer.
        let isAnyOver = try await read { try $0.isAnyProposalOver(at: now) }
        // Others end with what they were proposed with, in transactions that do not count them.
        guard isAnyOver else { return await countProposals() }
        try await write { transaction in
            for proposal in try transaction.endProposals(at: now) {
                try transaction.append(dropped: proposal, .expired, by: .system("server"), at: now)
            }
        }
        await countProposals()
    }

    /// At a start: ends proposals that nobody has to approve any more, and says when there are too
    /// few who could approve.
    ///
    /// - Throws: `APIError`.
    func beginApprovals(now: Date) async throws {
        let rules = approvalRules
        if rules.needed == 0 {
            // Without any, a start writes nothing.
            if try await read({ try $0.proposalCounts(actor: "").open }) > 0 {
                try await write { transaction in
                    for proposal in try transaction.proposals() {
                        try transaction.deleteProposal(id: proposal.id)
                        try transaction.append(
                            dropped: proposal,
                            .withdrawn,
                            by: .system("server"),
                            at: now
                        )
                    }
                }
            }
        } else {
            let access = try await read { try AdminAccess(stored: $0, admins: rules.admins) }
            if let warning = rules.warning(of: access, now: now) { logger.warning("\(warning)") }
        }
        await countProposals()
    }
}

extension Transaction {
    /// Writes the leaf of a proposal that has been deleted.
    func append(
        dropped proposal: ProposalSummary,
        _ cause: ChangeDrop.Cause,
        by actor: Actor,
        at now: Date
    ) throws {
        try append(
            .changeDropped(ChangeDrop(proposal: proposal.id, cause: cause)),
            by: actor,
            at: now
        )
    }
}
