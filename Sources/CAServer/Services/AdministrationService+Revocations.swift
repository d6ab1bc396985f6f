// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf
internal import Telemetry

/// Revocations of identities and of single certificates.
extension AdministrationService {
    func revokeIdentity(
        request: Signet_Admin_V1alpha1_RevokeIdentityRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_RevokeIdentityResponse {
        let id: SPIFFEID
        do throws(SPIFFEIDError) { id = try SPIFFEID(request.spiffeID) } catch {
            throw APIError(.invalidArgument, "spiffeID", "\(error)")
        }
        let order = RevocationOrder(
            spiffeID: id,
            reason: request.reason,
            seconds: request.forSeconds
        )
        // The moment cannot be lowered again, so it is not taken from a clock that is doubted.
        try await core.requireClock()
        let logic = core.logic
        let (result, count) = try await gate.write(
            .exactly(.revoke, spiffeID: id.description),
            context
        ) { transaction, standing in
            let result = try logic.revoke(order, by: standing, in: transaction)
            return (result, try transaction.revocationCount())
        }
        core.metrics.set(.revocations, to: Double(count))
        return .with {
            $0.revision = result.revision.message
            $0.issuedBeforeUnixSeconds = result.revocation.issuedBefore.wholeSeconds
            $0.entries = result.granting.named
            $0.templateEntries = result.granting.templates
            $0.hiddenEntries = UInt32(clamping: result.granting.hidden)
            $0.entriesCut = result.granting.isCut
        }
    }

    func listRevocations(
        request: Signet_Admin_V1alpha1_ListRevocationsRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListRevocationsResponse {
        let (revocations, certificates) = try await gate.read(.any(.revoke), context) {
            transaction,
            standing in
            (
                try transaction.revocations().filter { revocation in
                    standing.may(.revoke, spiffeID: revocation.spiffeID.description)
                },
                try transaction.revokedCertificates().filter { revocation in
                    standing.may(.revoke, spiffeID: revocation.spiffeID)
                }
            )
        }
        return .with {
            $0.revocations = revocations.map { revocation in
                .with {
                    $0.spiffeID = revocation.spiffeID.description
                    $0.issuedBeforeUnixSeconds = revocation.issuedBefore.wholeSeconds
                    $0.reason = revocation.reason
                    $0.actor = revocation.actor
                    $0.revokedAtUnixMilliseconds = revocation.revokedAt.unixMilliseconds
                    $0.endsUnixSeconds = revocation.ends.wholeSeconds
                }
            }
            $0.certificates = certificates.map { message($0) }
        }
    }

    func revokeCertificate(
        request: Signet_Admin_V1alpha1_RevokeCertificateRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_RevokeCertificateResponse {
        let (logic, serial) = (core.logic, Array(request.serial.drop { $0 == 0 }))
        guard !serial.isEmpty, serial.count <= LeafCertificate.serialBytesMax else {
            throw APIError(
                .invalidArgument,
                "serial",
                "a serial number has 1 to \(LeafCertificate.serialBytesMax) bytes"
            )
        }
        // A clock that is not believed does not say what has ended.
        let isBelieved = await core.isClockBelieved()
        let (result, count) = try await gate.write(.any(.revoke), context) {
            transaction,
            standing in
            let result = try logic.revokeCertificate(
                serial: serial,
                isClockBelieved: isBelieved,
                reason: request.reason,
                by: standing,
                in: transaction
            )
            return (result, try transaction.revokedCertificateCount())
        }
        core.revoked([result.revocation])
        core.metrics.set(.revokedCertificates, to: Double(count))
        return .with {
            $0.revision = result.revision.message
            $0.certificate = message(result.revocation)
        }
    }

    /// What a ban or eviction did about the certificates of a node.
    struct RevokedHeld: Equatable {
        var certificates = 0
        var identities = 0
        /// For which there was no room.
        var left = 0
        /// With which what was found is refused; nil if nothing was.
        var revision: Revision?
    }

    /// Refuses what a node's workloads and proxies hold, after nothing more is signed for it: what is
    /// found is looked for beside the writer, and refused in parts that others can wait for.
    ///
    /// - Throws: `APIError`; the ban or eviction stands all the same, and doing it again goes on.
    func revokeHeld(
        by agent: SPIFFEID,
        _ request: Signet_Admin_V1alpha1_NodeActionRequest,
        _ verb: AdminVerb,
        _ context: ServerContext
    ) async throws -> RevokedHeld {
        let (core, logic) = (core, core.logic)
        let question = AdminQuestion.exactly(verb, spiffeID: agent.description)
        // A clock that is not believed does not say what has ended.
        let isBelieved = await core.isClockBelieved()
        let held = try await gate.read(question, context) { transaction, standing in
            let since = standing.now.addingTimeInterval(-Revocation.clockSkewSeconds)
            return try logic.held(
                byNode: request.name,
                since: isBelieved ? since : .distantPast,
                in: transaction
            )
        }
        var result = RevokedHeld(left: held.count + held.identities.count)
        var intents = held.intents[...]
        var names = held.identities[...]
        while result.left > 0 {
            let (some, few) = (
                intents.prefix(ServerLogic.certificatesPerActMax),
                names.prefix(ServerLogic.identitiesPerActMax)
            )
            (intents, names) = (intents.dropFirst(some.count), names.dropFirst(few.count))
            let left = result.left
            let (done, revision) = try await gate.write(question, context) {
                transaction,
                standing in
                let done = try logic.revoke(
                    some,
                    few,
                    of: agent,
                    isClockBelieved: isBelieved,
                    left: left,
                    reason: request.reason,
                    by: standing,
                    in: transaction
                )
                return (done, try transaction.revision())
            }
            result.revision = revision
            core.revoked(done.certificates)
            core.metrics.set(.revokedCertificates, to: Double(done.certificatesOnRecord))
            core.metrics.set(.revocations, to: Double(done.identitiesOnRecord))
            result.certificates += done.certificates.count
            result.identities += done.identities
            result.left -= done.certificates.count + done.identities
            // Where there is no more room of one kind, there may be of the other.
            if done.certificates.count < some.count { intents = [] }
            if done.identities < few.count { names = [] }
            if intents.isEmpty, names.isEmpty { break }
        }
        return result
    }

    private func message(
        _ revocation: RevokedCertificate
    ) -> Signet_Admin_V1alpha1_CertificateRevocationRecord {
        .with {
            $0.serial = Data(revocation.serial)
            $0.spiffeID = revocation.spiffeID
            $0.node = revocation.node
            $0.notAfterUnixSeconds = revocation.notAfter.wholeSeconds
            $0.reason = revocation.reason
            $0.actor = revocation.actor
            $0.revokedAtUnixMilliseconds = revocation.revokedAt.unixMilliseconds
        }
    }
}

extension Signet_Admin_V1alpha1_Node {
    /// Tells what a ban or eviction did.
    mutating func took(_ revoked: AdministrationService.RevokedHeld) {
        certificatesRevoked = UInt64(revoked.certificates)
        identitiesRevoked = UInt64(revoked.identities)
        certificatesNotRevoked = UInt64(revoked.left)
        if let last = revoked.revision { revision = last.message }
    }
}
