// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import ControlAPI
package import Datastore
package import FoundationEssentials
package import NodeSync
package import SPIFFE

/// Single certificates that are refused before they expire
/// (docs/decisions/0015-revocation-of-certificates.md).
extension ServerLogic {
    /// Refuses one certificate.
    ///
    /// - Parameters:
    ///   - serial: Its serial number as the log has it.
    ///   - isClockBelieved: Whether the clock may say that it has ended.
    ///   - reason: Why.
    ///   - caller: Who wants it.
    ///   - transaction: Where all of it happens.
    /// - Returns: The revocation and the revision that tells of it; of one that was revoked before,
    ///   the first.
    /// - Throws: `APIError` when the caller may not, no certificate of that serial is valid, or too
    ///   many are revoked; `DatastoreError`.
    package func revokeCertificate(
        serial: [UInt8],
        isClockBelieved: Bool = true,
        reason: String,
        by caller: AdminStanding,
        in transaction: Transaction
    ) throws -> (revocation: RevokedCertificate, revision: Revision) {
        try caller.requireAny(.revoke)
        guard reason.utf8.count <= Self.reasonBytesMax else {
            throw APIError(
                .invalidArgument,
                "reasonTooLong",
                "a reason has at most \(Self.reasonBytesMax) bytes"
            )
        }
        let intent = try revocable(serial, isClockBelieved, by: caller, in: transaction)
        if let known = try transaction.revokedCertificate(serial: serial) {
            return (known, try transaction.revision())
        }
        guard try transaction.revokedCertificateCount() < RevokedCertificate.countMax else {
            throw APIError(
                .exhausted,
                "tooManyRevocations",
                "\(RevokedCertificate.countMax) certificates are revoked already; revoke the "
                    + "identity instead, or wait until some have ended"
            )
        }
        let revocation = revocation(of: intent, reason: reason, by: caller)
        let revision = try transaction.advanceRevision()
        try transaction.put(revocation, number: revision.number)
        try transaction.append(
            .certificateRevoked(
                CertificateRevocation(
                    serial: serial,
                    spiffeID: try SPIFFEID(intent.spiffeID),
                    node: intent.node,
                    authority: keyIdentifier(ofAuthority: intent.authorityID),
                    reason: reason,
                    revision: revision.number
                )
            ),
            by: caller.actor,
            at: caller.now
        )
        try strike(.certificate(serial: serial), by: caller.actor, at: caller.now, in: transaction)
        return (revocation, revision)
    }

    /// The certificate of that serial number, if it may be revoked.
    private func revocable(
        _ serial: [UInt8],
        _ isClockBelieved: Bool,
        by caller: AdminStanding,
        in transaction: ReadTransaction
    ) throws -> IssuanceIntent {
        guard let intent = try transaction.intent(serial: serial),
            !isClockBelieved
                || !Revocation.hasEnded(leafNotAfter: intent.notAfter, at: caller.now)
        else {
            // Whose it was is not told: the caller may have to do with other IDs alone.
            throw APIError(
                .notFound,
                "certificateUnknown",
                "no certificate with that serial number is on record as valid; one that was issued "
                    + "before this database was restored is ended by revoking its identity"
            )
        }
        guard caller.may(.revoke, spiffeID: intent.spiffeID) else {
            throw APIError(
                .permissionDenied,
                "certificateNotYours",
                "not allowed: revoke for the SPIFFE ID of this certificate"
            )
        }
        guard intent.entryID != nil else {
            throw APIError(
                .invalidArgument,
                "certificateNotRevocable",
                "that is the certificate of an agent or of the server; agents are banned with "
                    + "signet agent ban"
            )
        }
        return intent
    }

    /// Certificates of one identity beyond which a node is taken to have asked for them so that they
    /// cannot all be named: a workload and some proxies have two each for a while.
    static let heldPerIdentityMax = 8
    /// Identities that bans and evictions leave room for: an admin who names one is not kept waiting
    /// by a node that had thousands.
    static let placesOfAdmins = 1_000
    /// Most certificates that are revoked in one transaction: below what agents still get as a
    /// difference.
    static let certificatesPerActMax = 1_000
    /// Most identities that are revoked in one.
    static let identitiesPerActMax = 500

    /// What a node's workloads and proxies hold, found before anything is done about it.
    package struct HeldCertificates: Sendable {
        /// To be refused one by one; no more than can be.
        package let intents: [IssuanceIntent]
        /// How many there are of these.
        package let count: Int
        /// To be revoked as identities.
        package let identities: [String]
    }

    /// Looks for what a node's workloads and proxies hold; nothing more is signed for it by then.
    ///
    /// - Parameters:
    ///   - name: The node.
    ///   - since: Whatever ends later is looked for.
    ///   - transaction: What is known; it is read whole.
    /// - Returns: What it holds.
    /// - Throws: `DatastoreError`.
    package func held(
        byNode name: String,
        since: Date,
        in transaction: ReadTransaction
    ) throws -> HeldCertificates {
        let counts = try transaction.heldCertificates(node: name, validAfter: since)
        // Tokens have no serial number: whoever may hold one is revoked as an identity.
        let tokens = Set(try transaction.tokenIdentities(node: name, validAfter: since))
        let few = counts.filter {
            $0.value <= Self.heldPerIdentityMax && !tokens.contains($0.key)
        }
        return HeldCertificates(
            intents: try transaction.heldCertificates(
                node: name,
                validAfter: since,
                each: Self.heldPerIdentityMax,
                limit: RevokedCertificate.countMax
            ),
            count: few.values.reduce(0, +),
            identities: tokens.union(counts.keys).subtracting(few.keys).sorted()
        )
    }

    /// What was refused of a part of what a node holds.
    package struct RevokedPart: Sendable {
        package internal(set) var certificates: [RevokedCertificate] = []
        package internal(set) var identities = 0
        /// How many are revoked by now, of every node.
        var certificatesOnRecord = 0
        var identitiesOnRecord = 0
    }

    /// Refuses a part of what a node holds, and records that.
    ///
    /// - Parameters:
    ///   - intents: Certificates to refuse one by one.
    ///   - identities: Identities to revoke.
    ///   - agent: The node's.
    ///   - isClockBelieved: Whether the clock may say up to when identities are refused.
    ///   - left: How many certificates and identities there were to be refused before this part.
    ///   - reason: Why.
    ///   - caller: Who wants it.
    ///   - transaction: Where all of it happens.
    /// - Returns: What was revoked, as far as there was room.
    /// - Throws: `DatastoreError`, and whatever recording it in the log throws.
    package func revoke(
        _ intents: ArraySlice<IssuanceIntent>,
        _ identities: ArraySlice<String>,
        of agent: SPIFFEID,
        isClockBelieved: Bool,
        left: Int,
        reason: String,
        by caller: AdminStanding,
        in transaction: Transaction
    ) throws -> RevokedPart {
        var part = RevokedPart(
            certificatesOnRecord: try transaction.revokedCertificateCount(),
            identitiesOnRecord: try transaction.revocationCount()
        )
        let room = RevokedCertificate.countMax - part.certificatesOnRecord
        part.certificates = intents.prefix(max(0, room)).map {
            revocation(of: $0, reason: reason, by: caller)
        }
        let known = try identities.count { try transaction.revocation(of: SPIFFEID($0)) != nil }
        // A node that had many identities leaves places for those that an admin names.
        let places =
            RevokedIdentity.countMax - Self.placesOfAdmins - part.identitiesOnRecord + known
        let named = identities.prefix(max(0, places))
        if !part.certificates.isEmpty || !named.isEmpty {
            let revision = try transaction.advanceRevision()
            for certificate in part.certificates {
                try transaction.put(certificate, number: revision.number)
            }
            for text in named {
                let id = try SPIFFEID(text)
                let order = RevocationOrder(spiffeID: id, reason: reason, seconds: 0)
                try refuse(
                    order,
                    isClockBelieved: isClockBelieved,
                    by: caller,
                    revision,
                    in: transaction
                )
            }
        }
        // Somebody may have proposed or approved with them since the node was banned.
        if try transaction.proposalCounts(actor: "").open > 0 {
            for certificate in part.certificates {
                try strike(
                    .certificate(serial: certificate.serial),
                    by: caller.actor,
                    at: caller.now,
                    in: transaction
                )
            }
        }
        part.identities = named.count
        part.certificatesOnRecord = try transaction.revokedCertificateCount()
        part.identitiesOnRecord = try transaction.revocationCount()
        let event = NodeCertificates(
            agent: agent,
            certificates: UInt64(part.certificates.count),
            identities: UInt64(part.identities),
            left: UInt64(max(0, left - part.certificates.count - part.identities)),
            reason: reason,
            revision: try transaction.revision().number
        )
        try transaction.append(.nodeCertificatesRevoked(event), by: caller.actor, at: caller.now)
        return part
    }

    private func revocation(
        of intent: IssuanceIntent,
        reason: String,
        by caller: AdminStanding
    ) -> RevokedCertificate {
        RevokedCertificate(
            intent,
            ends: intent.notAfter.addingTimeInterval(Self.clockSkewSeconds),
            reason: reason,
            actor: caller.actor.description,
            revokedAt: caller.now
        )
    }
}
