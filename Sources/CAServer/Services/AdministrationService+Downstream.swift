// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import SPIFFE
internal import SwiftProtobuf

/// Authorities of servers below (docs/decisions/0020-authorities-under-another.md, "Nested").
extension AdministrationService {
    /// Whether an ID is that of one, for a caller who may ask.
    func isBelow(
        _ id: String,
        _ verb: AdminVerb,
        _ context: ServerContext
    ) async throws -> Bool {
        try await gate.read(.exactly(verb), context) { transaction, _ in
            try transaction.downstreamAuthority(id: id) != nil
        }
    }

    /// Revokes it, once it has to be now, or proposes that; everything else is refused by the act.
    func distrustBelow(
        _ request: Signet_Admin_V1alpha1_AuthorityActionRequest,
        _ verb: AdminVerb,
        _ context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_AuthorityActionResponse {
        let question = AdminQuestion.exactly(verb)
        let objections = try await objectionsBelow(to: verb, of: request.id, question, context)
        let record = try await gate.read(question, context) { transaction, _ in
            guard let record = try transaction.downstreamAuthority(id: request.id) else {
                throw APIError(.unavailable, "authorityState", "\(request.id) has just gone; retry")
            }
            return record
        }
        if !request.rehearse, !record.isRevoked {
            try Self.require(objections, isNow: request.now)
        }
        let step = ProposedStep(
            verb,
            of: record.id,
            in: record.state,
            reason: request.reason,
            isNow: request.now
        )
        let (result, proposal, revision) = try await perform(step, request, question, context)
        var (shown, isDone) = (record, false)
        if !request.rehearse, case .below(let revoked)? = result {
            (shown, isDone) = (revoked, true)
        }
        return try .with {
            if let proposal { $0.proposal = proposal }
            $0.authority = try message(shown)
            $0.rehearsed = request.rehearse
            if isDone { $0.revision = revision.message }
            if !shown.isRevoked { $0.objections = objections }
            $0.advice = advice(on: record)
        }
    }

    /// What a revocation leaves to be done.
    private func advice(on record: DownstreamRecord) -> [String] {
        var advice = [
            Self.outsideAdvice(until: record.notAfter),
            "entry \(record.entry.reference) gets another authority when its server asks, within minutes: "
                + "delete the entry, or ban agent \(record.node), if it shall get none",
        ]
        if let kind = core.upstream?.kind, kind != .disk {
            advice.append(
                "the server above does not learn of it, nor do its agents, or other servers below it, "
                    + "which believe the authority until \(AuditTime(record.notAfter)): revoke "
                    + "\(record.id) there too"
            )
        }
        return advice
    }

    /// Why an act is not done unless it has to be now, for the sake of servers below.
    func objectionsBelow(
        to verb: AdminVerb,
        of id: String,
        _ question: AdminQuestion,
        _ context: ServerContext
    ) async throws -> [String] {
        let logic = core.logic
        return try await gate.read(question, context) { transaction, standing in
            try logic.objectionsBelow(to: verb, of: id, now: standing.now, in: transaction)
        }
    }

    static func require(_ objections: [String], isNow: Bool) throws(APIError) {
        guard !isNow, !objections.isEmpty else { return }
        throw APIError(
            .failedPrecondition,
            "authorityInUse",
            objections.joined(separator: "; ") + "; add --now if it has to be all the same"
        )
    }

    /// An authority of a server below, in the words of an authority.
    func message(
        _ record: DownstreamRecord,
        withCertificate: Bool = true
    ) throws -> Signet_Admin_V1alpha1_Authority {
        let read = try LeafCertificate(der: record.certificateDER)
        return .with {
            $0.id = record.id
            $0.kind = "downstream"
            $0.serverID = record.serverID
            $0.state = record.state
            $0.notBeforeUnixSeconds = record.notBefore.wholeSeconds
            $0.notAfterUnixSeconds = record.notAfter.wholeSeconds
            $0.publishedAtUnixSeconds = record.certifiedAt.wholeSeconds
            $0.spkiSha256 = Hexadecimal.text(read.spkiSHA256)
            $0.issuerID = record.ancestry.issuerID
            $0.rootID = record.ancestry.rootID
            // A list of all of them has to fit into a message.
            if withCertificate {
                $0.certificate = Data(record.certificateDER)
                $0.chain = record.ancestry.chain.map { Data($0) }
            }
            if let revocation = record.revocation {
                $0.revokedAtUnixSeconds = revocation.at.wholeSeconds
                $0.distrustReason = revocation.reason
                $0.distrustedBy = revocation.actor
            }
            $0.entryID = record.entry.id
            $0.entry = record.entry.reference
            $0.spiffeID = record.entry.spiffeID
            $0.node = record.node
        }
    }
}
