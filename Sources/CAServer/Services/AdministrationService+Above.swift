// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf

/// Roots and upstream authorities (docs/decisions/0020-authorities-under-another.md, "Taint and revoke
/// above").
extension AdministrationService {
    /// Whether an ID is that of something above authorities, for a caller who may ask.
    func isAbove(
        _ id: String,
        _ verb: AdminVerb,
        _ context: ServerContext
    ) async throws -> Bool {
        let (isAbove, isAuthority) = try await gate.read(
            .exactly(verb),
            context
        ) { transaction, _ in
            (try transaction.upstream(id: id) != nil, try transaction.authority(id: id) != nil)
        }
        guard !isAbove, !isAuthority else { return isAbove }
        // Its certificate may have been put in place a moment ago.
        await core.recordAbove()
        return try await core.read { try $0.upstream(id: id) != nil }
    }

    /// Taints or revokes it, once nobody is hurt or it has to be now, or proposes that.
    func distrustAbove(
        _ request: Signet_Admin_V1alpha1_AuthorityActionRequest,
        _ verb: AdminVerb,
        _ standing: AuthorityStanding,
        _ context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_AuthorityActionResponse {
        let question = AdminQuestion.exactly(verb)
        let (record, outlooks) = try await outlooks(below: request.id, question, context)
        let objections = try await objectionsBelow(to: verb, of: request.id, question, context)
        if !request.rehearse, record.standing != standing, !record.isRevoked {
            let active = outlooks.contains { $0.record.state == AuthorityRecord.activeState }
            // While one below signs, the act itself refuses and names what has to come first.
            if !active {
                for outlook in outlooks { try outlook.require(isNow: request.now) }
                try Self.require(objections, isNow: request.now)
            }
        }
        let step = ProposedStep(
            verb,
            of: record.id,
            in: record.state,
            reason: request.reason,
            isNow: request.now
        )
        // Whether it may be done at all is for the act to say, in a rehearsal too.
        let (result, proposal, revision) = try await perform(step, request, question, context)
        guard !request.rehearse, case .above(let outcome, _)? = result else {
            var answer = try response(
                record,
                outlooks,
                verb,
                isRehearsal: request.rehearse,
                proposal
            )
            answer.objections += objections
            return answer
        }
        var done = try response(outcome.record, outlooks, verb, isRehearsal: false)
        done.revision = revision.message
        return done
    }

    private func outlooks(
        below id: String,
        _ question: AdminQuestion,
        _ context: ServerContext
    ) async throws -> (UpstreamRecord, [AuthorityOutlook]) {
        let (logic, hub) = (core.logic, core.hub)
        let isClockBelieved = await core.isClockBelieved()
        return try await gate.read(question, context) { transaction, standing in
            guard let record = try transaction.upstream(id: id) else {
                throw APIError(.unavailable, "authorityState", "\(id) has just gone; retry")
            }
            let agents = hub.appliedState(
                of: try transaction.bundleSequenceNumber(),
                amongAll: true
            )
            let outlooks = try logic.authoritiesBelow(id, in: transaction)
                .filter { $0.state != AuthorityRecord.revokedState }
                .map { authority in
                    try AuthorityOutlook(
                        authority,
                        verb: question.verb,
                        agents: agents,
                        hold: logic.hold,
                        isClockBelieved: isClockBelieved,
                        now: standing.now,
                        in: transaction
                    )
                }
            return (record, outlooks)
        }
    }

    private func response(
        _ record: UpstreamRecord,
        _ outlooks: [AuthorityOutlook],
        _ verb: AdminVerb,
        isRehearsal: Bool,
        _ proposal: Signet_Admin_V1alpha1_Proposal? = nil
    ) throws -> Signet_Admin_V1alpha1_AuthorityActionResponse {
        try .with {
            if let proposal { $0.proposal = proposal }
            $0.authority = try message(record)
            $0.rehearsed = isRehearsal
            $0.objections = outlooks.flatMap { outlook in
                outlook.objections.map { "authority \(outlook.record.id.prefix(16)): \($0)" }
            }
            // The same of all: how far the bundle of the moment has reached.
            let (waiting, absent) = (outlooks.first?.waiting ?? [], outlooks.first?.absent ?? [])
            $0.waitingAgents = Array(waiting.prefix(AuthorityOutlook.namesMax))
            $0.waitingAgentCount = UInt64(waiting.count)
            $0.absentAgents = Array(absent.prefix(AuthorityOutlook.namesMax))
            $0.absentAgentCount = UInt64(absent.count)
            $0.validSvids = outlooks.reduce(0) { $0 + $1.issued.valid }
            $0.notReplacedSvids = outlooks.reduce(0) { $0 + $1.issued.notReplaced }
            $0.notReplacedIds = Array(
                outlooks.flatMap(\.notReplaced).prefix(AuthorityOutlook.namesMax)
            )
            if verb == .authorityRevoke, record.kind == .intermediate {
                $0.advice = [Self.outsideAdvice(until: record.notAfter)]
            }
        }
    }

    /// What is above authorities, in the words of an authority.
    func message(_ record: UpstreamRecord) throws -> Signet_Admin_V1alpha1_Authority {
        let read = try LeafCertificate(der: record.certificateDER)
        return .with {
            $0.id = record.id
            $0.kind = record.kind.rawValue
            $0.state = record.state
            $0.notBeforeUnixSeconds = read.notBefore.wholeSeconds
            $0.notAfterUnixSeconds = record.notAfter.wholeSeconds
            $0.publishedAtUnixSeconds = record.publishedAt.wholeSeconds
            $0.certificate = Data(record.certificateDER)
            $0.spkiSha256 = Hexadecimal.text(read.spkiSHA256)
            if let distrust = record.distrust {
                $0.taintedAtUnixSeconds = distrust.taintedAt?.wholeSeconds ?? 0
                $0.revokedAtUnixSeconds = distrust.revokedAt?.wholeSeconds ?? 0
                $0.distrustReason = distrust.reason
                $0.distrustedBy = distrust.actor
            }
        }
    }
}
