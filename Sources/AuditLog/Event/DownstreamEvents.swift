// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// An authority of a server below this one was certified, and its agent is given the certificate.
package struct DownstreamCertification: Hashable, Sendable, AuditPayload {
    /// The computed ID of its key.
    package let authority: [UInt8]
    /// DER: who has the log alone can refuse it, and knows who made whom an authority.
    package let certificate: [UInt8]
    /// What certified it.
    package let above: AuthorityPreparation.Above
    /// The agent that asked.
    package let agent: SPIFFEID
    /// The entry that allowed it.
    package let entry: IssuedSVID.Entry
    /// The entry's name in its namespace.
    package let entryName: String
    /// The SPIFFE ID of the entry.
    package let spiffeID: SPIFFEID
    /// The server that holds the key, by its own word.
    package let serverID: String
    package let notBefore: AuditTime
    package let notAfter: AuditTime

    package init(
        authority: [UInt8],
        certificate: [UInt8],
        above: AuthorityPreparation.Above,
        agent: SPIFFEID,
        entry: IssuedSVID.Entry,
        entryName: String,
        spiffeID: SPIFFEID,
        serverID: String,
        notBefore: AuditTime,
        notAfter: AuditTime
    ) {
        self.authority = authority
        self.certificate = certificate
        self.above = above
        self.agent = agent
        self.entry = entry
        self.entryName = entryName
        self.spiffeID = spiffeID
        self.serverID = serverID
        self.notBefore = notBefore
        self.notAfter = notAfter
    }

    func write(to fields: inout FieldWriter) {
        fields.set("agent", agent)
        fields.set("authority", authority)
        fields.set("certificate", base64: certificate)
        fields.set("chain", above.chain.map { Base64.text($0) })
        fields.set("entry", entry.id)
        fields.set("entryName", entryName)
        fields.set("entryRevision", entry.revision)
        fields.set("issuer", above.issuer)
        fields.set("namespace", entry.namespace)
        fields.set("notAfter", notAfter)
        fields.set("notBefore", notBefore)
        fields.set("root", above.root)
        fields.set("serverID", serverID)
        fields.set("spiffeID", spiffeID)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            authority: try fields.bytes("authority"),
            certificate: try fields.base64("certificate"),
            above: AuthorityPreparation.Above(
                chain: try fields.texts("chain") { Base64.bytes($0) },
                issuer: try fields.bytes("issuer"),
                root: try fields.bytes("root")
            ),
            agent: try fields.id("agent"),
            entry: IssuedSVID.Entry(
                id: try fields.text("entry"),
                namespace: try fields.text("namespace"),
                revision: try fields.number("entryRevision")
            ),
            entryName: try fields.text("entryName"),
            spiffeID: try fields.id("spiffeID"),
            serverID: try fields.text("serverID"),
            notBefore: try fields.time("notBefore"),
            notAfter: try fields.time("notAfter")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.namespaces.insert(entry.namespace)
        subjects.spiffeIDs.insert(spiffeID.description)
        subjects.spiffeIDs.insert(agent.description)
    }
}

/// An authority of a server below this one was revoked.
package struct DownstreamRevocation: Hashable, Sendable, AuditPayload {
    /// Why it is, beside the reason in somebody's words.
    package enum Cause: String, Hashable, Sendable, CaseIterable {
        /// Something above it was revoked.
        case above
        /// It begins later than a clock that somebody has said is right.
        case clock
        /// Somebody revoked it.
        case named
        /// The node whose agent asked for it was banned or evicted.
        case node
        /// What certifies this server's authorities says that it is revoked.
        case upstream
    }

    /// The computed ID of its key.
    package let authority: [UInt8]
    package let cause: Cause
    /// The ID of the entry that allowed it.
    package let entry: String
    package let namespace: String
    /// The SPIFFE ID of the entry.
    package let spiffeID: SPIFFEID
    /// Why, in the words of whoever did it; cut to `AuditText.sentenceBytesMax`.
    package let reason: String
    /// The number of the revision that tells agents.
    package let revision: UInt64

    package init(
        authority: [UInt8],
        cause: Cause,
        entry: String,
        namespace: String,
        spiffeID: SPIFFEID,
        reason: String,
        revision: UInt64
    ) {
        self.authority = authority
        self.cause = cause
        self.entry = entry
        self.namespace = namespace
        self.spiffeID = spiffeID
        self.reason = AuditText.sentence(reason)
        self.revision = revision
    }

    func write(to fields: inout FieldWriter) {
        fields.set("authority", authority)
        fields.set("cause", cause.rawValue)
        fields.set("entry", entry)
        fields.set("namespace", namespace)
        fields.set("reason", unlessEmpty: reason)
        fields.set("revision", revision)
        fields.set("spiffeID", spiffeID)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            authority: try fields.bytes("authority"),
            cause: try fields.parsed("cause") { Cause(rawValue: $0) },
            entry: try fields.text("entry"),
            namespace: try fields.text("namespace"),
            spiffeID: try fields.id("spiffeID"),
            reason: try fields.textOrEmpty("reason"),
            revision: try fields.number("revision")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.namespaces.insert(namespace)
        subjects.spiffeIDs.insert(spiffeID.description)
    }
}
