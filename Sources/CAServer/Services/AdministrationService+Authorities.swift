// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import Issuance
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf

/// The life of authorities (docs/decisions/0014-life-of-an-authority.md).
extension AdministrationService {
    // MARK: - Reading

    func listAuthorities(
        request: Signet_Admin_V1alpha1_ListAuthoritiesRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListAuthoritiesResponse {
        let (authorities, above, below, issued) = try await gate.read(
            .exactly(.authorityShow),
            context
        ) { transaction, standing in
            let records = try transaction.authorities()
            let isTainted = records.contains { $0.state == AuthorityRecord.taintedState }
            return (
                try records.map { ($0, try Authority($0, in: transaction)) },
                try transaction.upstreams(),
                try transaction.downstreamAuthorities(),
                // Reads all that are valid, so only when somebody waits for the number.
                isTainted ? try transaction.issued(validAt: standing.now) : [:]
            )
        }
        let status = core.rotationStatus
        let outdated = core.hub.outdatedPeers
        return try .with {
            $0.authorities = try authorities.map { record, authority in
                try message(authority, record, issued[authority.id])
            }
            $0.above = try above.map { try message($0) }
            $0.downstream = try below.map { try message($0, withCertificate: false) }
            $0.nextStep = [status.text, core.waitingProblem].compactMap(\.self)
                .joined(separator: "; ")
            $0.nextStepAtUnixSeconds = status.at?.wholeSeconds ?? 0
            $0.waitingAgents = Array(status.waitingFor.prefix(AuthorityOutlook.namesMax))
            $0.waitingAgentCount = UInt64(status.waitingFor.count)
            $0.latestActivationUnixSeconds = status.latest?.wholeSeconds ?? 0
            $0.agentsWithoutIntermediates = Array(
                outdated.agents.prefix(AuthorityOutlook.namesMax)
            )
            $0.agentsWithoutIntermediatesCount = UInt64(outdated.agents.count)
            $0.proxyNodesWithoutIntermediates = Array(
                outdated.proxyNodes.prefix(AuthorityOutlook.namesMax)
            )
            $0.proxyNodesWithoutIntermediatesCount = UInt64(outdated.proxyNodes.count)
        }
    }

    func listRevocationLists(
        request: Signet_Admin_V1alpha1_ListRevocationListsRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListRevocationListsResponse {
        let id = request.authorityID
        let logic = core.logic
        let lists = try await gate.read(.exactly(.authorityShow), context) { transaction, _ in
            guard !id.isEmpty else { return try transaction.revocationLists() }
            _ = try logic.requireAuthority(id, in: transaction)
            guard let list = try transaction.revocationList(of: id) else {
                throw APIError(
                    .notFound,
                    "revocationListMissing",
                    "authority \(id) has no revocation list; signet health says why, if its bundle "
                        + "names it"
                )
            }
            return [list]
        }
        return .with {
            $0.lists = lists.map { list in
                .with {
                    $0.authorityID = list.authorityID
                    $0.isLast = list.isLast
                    $0.der = Data(list.der)
                }
            }
        }
    }

    private func message(
        _ authority: Authority,
        _ record: AuthorityRecord,
        _ issued: IssuedUnder?
    ) throws -> Signet_Admin_V1alpha1_Authority {
        try .with {
            $0.id = authority.id
            $0.kind = "authority"
            $0.serverID = authority.serverID
            $0.state = authority.state.rawValue
            $0.notBeforeUnixSeconds = authority.notBefore.wholeSeconds
            $0.notAfterUnixSeconds = authority.notAfter.wholeSeconds
            $0.publishedAtUnixSeconds = authority.publishedAt?.wholeSeconds ?? 0
            $0.activatedAtUnixSeconds = authority.activatedAt?.wholeSeconds ?? 0
            $0.lastSvidNotAfterUnixSeconds = authority.lastSVIDNotAfter?.wholeSeconds ?? 0
            $0.certificate = Data(authority.certificateDER)
            $0.spkiSha256 = Hexadecimal.text(try authoritySPKISHA256(authority.certificateDER))
            if let ancestry = authority.ancestry {
                $0.issuerID = ancestry.issuerID
                $0.rootID = ancestry.rootID
                $0.chain = ancestry.chain.map { Data($0) }
            }
            if let distrust = record.distrust {
                $0.taintedAtUnixSeconds = distrust.taintedAt?.wholeSeconds ?? 0
                $0.revokedAtUnixSeconds = distrust.revokedAt?.wholeSeconds ?? 0
                $0.distrustReason = distrust.reason
                $0.distrustedBy = distrust.actor
            }
            if authority.state == .tainted, let issued {
                $0.validSvids = issued.valid
                $0.notReplacedSvids = issued.notReplaced
            }
        }
    }

    // MARK: - Steps of a rotation

    func prepareAuthority(
        request: Signet_Admin_V1alpha1_PrepareAuthorityRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_AuthorityActionResponse {
        let question = AdminQuestion.exactly(.authorityPrepare)
        let core = core
        if request.rehearse {
            let outlook = try await outlook(question, context) { transaction in
                let server = core.logic.serverID
                let records = try transaction.authorities().filter { $0.serverID == server }
                return records.first { $0.state == Authority.State.prepared.rawValue }
                    ?? records.first { $0.state == AuthorityRecord.activeState }
            }
            return try response(outlook, isRehearsal: true)
        }
        let authority = try await gate.handOn(question, context) { permit throws(APIError) in
            try await core.rotationDesk.order(
                .prepare(acceptsPrepared: request.unlessPrepared, isUrgent: request.now),
                permit
            )
        }
        return try await response(authority)
    }

    func activateAuthority(
        request: Signet_Admin_V1alpha1_AuthorityActionRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_AuthorityActionResponse {
        let question = AdminQuestion.exactly(.authorityActivate)
        let outlook = try await outlook(of: request, question, context)
        guard outlook.record.state == Authority.State.prepared.rawValue else {
            throw APIError(
                .failedPrecondition,
                "authorityState",
                "authority \(request.id) is \(outlook.record.state); only one that is prepared begins "
                    + "to sign"
            )
        }
        if !request.rehearse { try outlook.require(isNow: request.now) }
        // By the formula it would soon begin by itself.
        if core.approvalRules.needed > 0, !outlook.objections.isEmpty {
            let order = ProposedStep(.authorityActivate, request, outlook.record)
            let (_, proposal, _) = try await perform(order, request, question, context)
            return try response(outlook, isRehearsal: request.rehearse, proposal)
        }
        if request.rehearse { return try response(outlook, isRehearsal: true) }
        let core = core
        let authority = try await gate.handOn(question, context) { permit throws(APIError) in
            try await core.rotationDesk.order(.activate(id: request.id), permit)
        }
        return try await response(authority)
    }

    // MARK: - Ending an authority

    func taintAuthority(
        request: Signet_Admin_V1alpha1_AuthorityActionRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_AuthorityActionResponse {
        try await distrust(request, .authorityTaint, .tainted, context)
    }

    func revokeAuthority(
        request: Signet_Admin_V1alpha1_AuthorityActionRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_AuthorityActionResponse {
        try await distrust(request, .authorityRevoke, .revoked, context)
    }

    private func distrust(
        _ request: Signet_Admin_V1alpha1_AuthorityActionRequest,
        _ verb: AdminVerb,
        _ standing: AuthorityStanding,
        _ context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_AuthorityActionResponse {
        if try await isBelow(request.id, verb, context) {
            return try await distrustBelow(request, verb, context)
        }
        if try await isAbove(request.id, verb, context) {
            return try await distrustAbove(request, verb, standing, context)
        }
        let question = AdminQuestion.exactly(verb)
        let outlook = try await outlook(of: request, question, context)
        // One that signs is refused by the act itself, which names what has to come first.
        let isDone = [standing.state, AuthorityRecord.activeState].contains(outlook.record.state)
        if !request.rehearse, !isDone { try outlook.require(isNow: request.now) }
        let order = ProposedStep(verb, request, outlook.record)
        // Whether it may be done at all is for the act to say, in a rehearsal too.
        let (result, proposal, revision) = try await perform(order, request, question, context)
        if request.rehearse {
            return advised(
                try response(outlook, isRehearsal: true, proposal),
                verb,
                outlook.record
            )
        }
        guard case .authority(let record, _)? = result else {
            return try response(outlook, isRehearsal: false, proposal)
        }
        var done = try response(outlook.with(record), isRehearsal: false)
        done.revision = revision.message
        return advised(done, verb, record)
    }

    /// Does it or proposes it, and tells of it.
    ///
    /// - Returns: What was done or proposed, and the revision with which it is in force.
    func perform(
        _ step: ProposedStep,
        _ request: Signet_Admin_V1alpha1_AuthorityActionRequest,
        _ question: AdminQuestion,
        _ context: ServerContext
    ) async throws -> (ProposedResult?, Signet_Admin_V1alpha1_Proposal?, Revision) {
        let desk = ApprovalDesk(core: core, svid: try gate.svid(context))
        let (isRehearsal, takes) = (request.rehearse, request.rehearse || request.takesProposal)
        let (answer, revision) = try await gate.write(
            question,
            isRehearsal: isRehearsal,
            context
        ) { transaction, standing in
            var generator = SystemRandomness()
            let answer = try desk.act(by: standing, in: transaction)
                .order(.authority(step), takesProposal: takes, using: &generator)
            return (answer, try transaction.revision())
        }
        let (result, proposal) = answer
        guard !isRehearsal else {
            let shown = proposal?.summary.unstored.message(approved: 0, core.approvalRules)
            return (result, shown, revision)
        }
        if let result { await core.carriedOut(result) }
        if proposal != nil { await core.countProposals() }
        return (result, proposal?.summary.message(approved: 0, core.approvalRules), revision)
    }

    // MARK: - What an act would do

    private func outlook(
        of request: Signet_Admin_V1alpha1_AuthorityActionRequest,
        _ question: AdminQuestion,
        _ context: ServerContext
    ) async throws -> AuthorityOutlook {
        let logic = core.logic
        return try await outlook(question, context) {
            try logic.requireAuthority(request.id, in: $0)
        }
    }

    private func outlook(
        _ question: AdminQuestion,
        _ context: ServerContext,
        _ find: @escaping @Sendable (ReadTransaction) throws -> AuthorityRecord?
    ) async throws -> AuthorityOutlook {
        let (hub, hold, makesBelow) = (core.hub, core.logic.hold, core.upstream != nil)
        let isClockBelieved = await core.isClockBelieved()
        return try await gate.read(question, context) { transaction, standing in
            guard let record = try find(transaction) else {
                throw APIError(.unavailable, "noAuthority", "there is no authority yet; retry")
            }
            let applied = hub.appliedState(
                of: try transaction.bundleSequenceNumber(),
                amongAll: true
            )
            return try AuthorityOutlook(
                record,
                verb: question.verb,
                agents: applied,
                outdated: hub.outdatedPeers,
                makesBelow: makesBelow,
                hold: hold,
                isClockBelieved: isClockBelieved,
                now: standing.now,
                in: transaction
            )
        }
    }

    /// What verifiers outside do not notice (docs/decisions/0019).
    private static let revocationAdvice =
        "verifiers outside that keep a key until they meet an unknown one (Vault, Kubernetes API "
        + "servers) take tokens by this authority until then: rotate once more with --now, and have "
        + "each of them verify a new token, or restart it"

    private func advised(
        _ response: Signet_Admin_V1alpha1_AuthorityActionResponse,
        _ verb: AdminVerb,
        _ record: AuthorityRecord
    ) -> Signet_Admin_V1alpha1_AuthorityActionResponse {
        guard verb == .authorityRevoke else { return response }
        var response = response
        if core.configuration.publicURL != nil { response.advice.append(Self.revocationAdvice) }
        if record.ancestry != nil, record.state != Authority.State.prepared.rawValue {
            response.advice.append(Self.outsideAdvice(until: record.notAfter))
        }
        return response
    }

    /// Its root stays in the bundle.
    static func outsideAdvice(until end: Date) -> String {
        "workloads that verify peers themselves, verifiers outside and other trust domains believe what "
            + "is below it until \(AuditTime(end)), or until its root leaves the bundle"
    }

    private func response(
        _ outlook: AuthorityOutlook,
        isRehearsal: Bool,
        _ proposal: Signet_Admin_V1alpha1_Proposal? = nil
    ) throws -> Signet_Admin_V1alpha1_AuthorityActionResponse {
        try .with {
            if let proposal { $0.proposal = proposal }
            $0.authority = try message(outlook.authority, outlook.record, outlook.issued)
            $0.rehearsed = isRehearsal
            $0.objections = outlook.objections
            $0.waitingAgents = Array(outlook.waiting.prefix(AuthorityOutlook.namesMax))
            $0.waitingAgentCount = UInt64(outlook.waiting.count)
            $0.absentAgents = Array(outlook.absent.prefix(AuthorityOutlook.namesMax))
            $0.absentAgentCount = UInt64(outlook.absent.count)
            $0.validSvids = outlook.issued.valid
            $0.notReplacedSvids = outlook.issued.notReplaced
            $0.notReplacedIds = outlook.notReplaced
        }
    }

    private func response(
        _ authority: Authority
    ) async throws -> Signet_Admin_V1alpha1_AuthorityActionResponse {
        try .with { $0.authority = try message(authority, AuthorityRecord(authority), nil) }
    }
}

extension ProposedStep {
    fileprivate init(
        _ verb: AdminVerb,
        _ request: Signet_Admin_V1alpha1_AuthorityActionRequest,
        _ record: AuthorityRecord
    ) {
        self.init(
            verb,
            of: record.id,
            in: record.state,
            reason: request.reason,
            isNow: request.now
        )
    }
}

extension AuthorityStanding {
    fileprivate var state: String {
        switch self {
        case .revoked: AuthorityRecord.revokedState
        case .tainted: AuthorityRecord.taintedState
        }
    }
}
