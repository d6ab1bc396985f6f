// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// A node proved who it is for the first time.
package struct NodeAttestation: Hashable, Sendable, AuditPayload {
    package let agent: SPIFFEID
    /// How it proved it, for example `join_token`.
    package let attestor: String
    /// What it proved it with; for a join token the token's ID, never its secret.
    package let evidence: String
    /// The selectors that the server holds for the node from now on.
    package let selectors: [Selector]
    /// SHA-256 of the agent key's SubjectPublicKeyInfo.
    package let publicKeySHA256: [UInt8]

    package init(
        agent: SPIFFEID,
        attestor: String,
        evidence: String,
        selectors: [Selector],
        publicKeySHA256: [UInt8]
    ) {
        self.agent = agent
        self.attestor = AuditText.word(attestor)
        self.evidence = AuditText.word(evidence)
        self.selectors = selectors
        self.publicKeySHA256 = publicKeySHA256
    }

    func write(to fields: inout FieldWriter) {
        fields.set("agent", agent)
        fields.set("attestor", attestor)
        fields.set("evidence", evidence)
        fields.set("publicKeySHA256", publicKeySHA256)
        fields.set("selectors", selectors)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            agent: try fields.id("agent"),
            attestor: try fields.text("attestor"),
            evidence: try fields.text("evidence"),
            selectors: try fields.selectors("selectors"),
            publicKeySHA256: try fields.bytes("publicKeySHA256")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(agent.description)
    }
}

/// A node that had just attested was answered again with the same key: its first answer was lost.
package struct NodeAttestationRepetition: Hashable, Sendable, AuditPayload {
    package let agent: SPIFFEID
    /// As in `NodeAttestation`.
    package let attestor: String
    /// What it proved itself with, the same as the first time.
    package let evidence: String
    package let previousSerial: [UInt8]
    /// SHA-256 of the SubjectPublicKeyInfo of the key, which is the one attested before.
    package let publicKeySHA256: [UInt8]

    package init(
        agent: SPIFFEID,
        attestor: String,
        evidence: String,
        previousSerial: [UInt8],
        publicKeySHA256: [UInt8]
    ) {
        self.agent = agent
        self.attestor = AuditText.word(attestor)
        self.evidence = AuditText.word(evidence)
        self.previousSerial = previousSerial
        self.publicKeySHA256 = publicKeySHA256
    }

    func write(to fields: inout FieldWriter) {
        fields.set("agent", agent)
        fields.set("attestor", attestor)
        fields.set("evidence", evidence)
        fields.set("previousSerial", previousSerial)
        fields.set("publicKeySHA256", publicKeySHA256)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            agent: try fields.id("agent"),
            attestor: try fields.text("attestor"),
            evidence: try fields.text("evidence"),
            previousSerial: try fields.bytes("previousSerial"),
            publicKeySHA256: try fields.bytes("publicKeySHA256")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(agent.description)
        subjects.serials.insert(Hexadecimal.text(previousSerial))
    }
}

/// An agent got its next SVID while the one before was valid.
package struct NodeRenewal: Hashable, Sendable, AuditPayload {
    package let agent: SPIFFEID
    /// The serial of the SVID that it renewed with.
    package let previousSerial: [UInt8]
    /// SHA-256 of the new key's SubjectPublicKeyInfo.
    package let publicKeySHA256: [UInt8]

    package init(agent: SPIFFEID, previousSerial: [UInt8], publicKeySHA256: [UInt8]) {
        self.agent = agent
        self.previousSerial = previousSerial
        self.publicKeySHA256 = publicKeySHA256
    }

    func write(to fields: inout FieldWriter) {
        fields.set("agent", agent)
        fields.set("previousSerial", previousSerial)
        fields.set("publicKeySHA256", publicKeySHA256)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            agent: try fields.id("agent"),
            previousSerial: try fields.bytes("previousSerial"),
            publicKeySHA256: try fields.bytes("publicKeySHA256")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(agent.description)
        subjects.serials.insert(Hexadecimal.text(previousSerial))
    }
}

/// An agent whose SVID had expired was let in again with the same key.
package struct NodeReadmission: Hashable, Sendable, AuditPayload {
    package let agent: SPIFFEID
    /// When its SVID expired.
    package let expiredAt: AuditTime
    package let previousSerial: [UInt8]
    /// SHA-256 of the SubjectPublicKeyInfo of the key, which is the one attested before.
    package let publicKeySHA256: [UInt8]

    package init(
        agent: SPIFFEID,
        expiredAt: AuditTime,
        previousSerial: [UInt8],
        publicKeySHA256: [UInt8]
    ) {
        self.agent = agent
        self.expiredAt = expiredAt
        self.previousSerial = previousSerial
        self.publicKeySHA256 = publicKeySHA256
    }

    func write(to fields: inout FieldWriter) {
        fields.set("agent", agent)
        fields.set("expiredAt", expiredAt)
        fields.set("previousSerial", previousSerial)
        fields.set("publicKeySHA256", publicKeySHA256)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            agent: try fields.id("agent"),
            expiredAt: try fields.time("expiredAt"),
            previousSerial: try fields.bytes("previousSerial"),
            publicKeySHA256: try fields.bytes("publicKeySHA256")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(agent.description)
        subjects.serials.insert(Hexadecimal.text(previousSerial))
    }
}

/// An admin changed what a node may do: banned it, took the ban back, or evicted it so that it
/// must attest again.
package struct NodeStanding: Hashable, Sendable, AuditPayload {
    package let agent: SPIFFEID
    /// What the admin gave as the reason; empty if none.
    package let reason: String

    package init(agent: SPIFFEID, reason: String) {
        self.agent = agent
        self.reason = AuditText.sentence(reason)
    }

    func write(to fields: inout FieldWriter) {
        fields.set("agent", agent)
        fields.set("reason", unlessEmpty: reason)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(agent: try fields.id("agent"), reason: try fields.textOrEmpty("reason"))
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(agent.description)
    }
}

/// What a node's workloads and proxies held is refused, after a ban or an eviction.
package struct NodeCertificates: Hashable, Sendable, AuditPayload {
    package let agent: SPIFFEID
    /// Certificates that are refused one by one.
    package let certificates: UInt64
    /// Identities that were revoked, because the node held many certificates of each.
    package let identities: UInt64
    /// Certificates for which there was no room.
    package let left: UInt64
    /// What the admin gave as the reason; empty if none.
    package let reason: String
    /// The revision number of the change.
    package let revision: UInt64

    package init(
        agent: SPIFFEID,
        certificates: UInt64,
        identities: UInt64,
        left: UInt64,
        reason: String,
        revision: UInt64
    ) {
        self.agent = agent
        self.certificates = certificates
        self.identities = identities
        self.left = left
        self.reason = AuditText.sentence(reason)
        self.revision = revision
    }

    func write(to fields: inout FieldWriter) {
        fields.set("agent", agent)
        fields.set("certificates", certificates)
        fields.set("identities", identities)
        fields.set("left", left)
        fields.set("reason", unlessEmpty: reason)
        fields.set("revision", revision)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            agent: try fields.id("agent"),
            certificates: try fields.number("certificates"),
            identities: try fields.number("identities"),
            left: try fields.number("left"),
            reason: try fields.textOrEmpty("reason"),
            revision: try fields.number("revision")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(agent.description)
    }
}

/// An admin created a join token.
package struct TokenCreation: Hashable, Sendable, AuditPayload {
    package let agent: SPIFFEID
    package let expires: AuditTime
    /// The selectors that the node will have.
    package let selectors: [Selector]
    /// Names the token without giving away its secret.
    package let tokenID: String

    package init(agent: SPIFFEID, expires: AuditTime, selectors: [Selector], tokenID: String) {
        self.agent = agent
        self.expires = expires
        self.selectors = selectors
        self.tokenID = AuditText.word(tokenID)
    }

    func write(to fields: inout FieldWriter) {
        fields.set("agent", agent)
        fields.set("expires", expires)
        fields.set("selectors", selectors)
        fields.set("tokenID", tokenID)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            agent: try fields.id("agent"),
            expires: try fields.time("expires"),
            selectors: try fields.selectors("selectors"),
            tokenID: try fields.text("tokenID")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(agent.description)
    }
}

/// An admin took back the join tokens of a name.
package struct TokenDeletion: Hashable, Sendable, AuditPayload {
    package let agent: SPIFFEID
    /// Join tokens that nobody had used.
    package let tokensDeleted: UInt64

    package init(agent: SPIFFEID, tokensDeleted: UInt64) {
        self.agent = agent
        self.tokensDeleted = tokensDeleted
    }

    func write(to fields: inout FieldWriter) {
        fields.set("agent", agent)
        fields.set("tokensDeleted", tokensDeleted)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            agent: try fields.id("agent"),
            tokensDeleted: try fields.number("tokensDeleted")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(agent.description)
    }
}
