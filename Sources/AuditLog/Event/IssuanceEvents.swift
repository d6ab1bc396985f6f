// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// SVIDs that were about to be signed, committed before the signature.
package struct SVIDIssuance: Hashable, Sendable, AuditPayload {
    /// The kind of peer that the SVIDs are for.
    package enum Profile: String, CaseIterable, Sendable {
        case agent
        case bundleEndpoint
        case server
        case workload
    }

    /// The agent that asked; nil if the server asked for itself.
    package let agent: SPIFFEID?
    /// The subject key identifier of the signing authority.
    package let authority: [UInt8]
    package let profile: Profile
    package internal(set) var svids: [IssuedSVID]

    package init(agent: SPIFFEID?, authority: [UInt8], profile: Profile, svids: [IssuedSVID]) {
        self.agent = agent
        self.authority = authority
        self.profile = profile
        self.svids = svids
    }

    /// Adds the SVIDs of the next leaf of one record.
    package mutating func append(_ part: Self) { svids += part.svids }

    func write(to fields: inout FieldWriter) {
        if let agent { fields.set("agent", agent) }
        fields.set("authority", authority)
        fields.set("profile", profile.rawValue)
        fields.set("svids", svids) { svid, fields in svid.write(to: &fields) }
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            agent: fields.has("agent") ? try fields.id("agent") : nil,
            authority: try fields.bytes("authority"),
            profile: try fields.parsed("profile", Profile.init(rawValue:)),
            svids: try fields.objects("svids", IssuedSVID.init)
        )
    }

    func index(into subjects: inout AuditSubjects) {
        if let agent { subjects.spiffeIDs.insert(agent.description) }
        for svid in svids {
            subjects.spiffeIDs.insert(svid.spiffeID.description)
            subjects.serials.insert(Hexadecimal.text(svid.serial))
            if let entry = svid.entry { subjects.namespaces.insert(entry.namespace) }
        }
    }
}

/// One SVID of an issuance.
package struct IssuedSVID: Hashable, Sendable {
    /// The registration entry that granted an SVID, as it was then.
    package struct Entry: Hashable, Sendable {
        package let id: String
        package let namespace: String
        package let revision: UInt64

        package init(id: String, namespace: String, revision: UInt64) {
            self.id = id
            self.namespace = namespace
            self.revision = revision
        }
    }

    package let spiffeID: SPIFFEID
    package let serial: [UInt8]
    package let notAfter: AuditTime
    /// SHA-256 of the DER of the TBSCertificate that was signed.
    package let tbsSHA256: [UInt8]
    /// Nil for the SVIDs of all but workloads.
    package let entry: Entry?
    /// The Proxy that holds the key, as `namespace/name`; nil if the workload itself does.
    package let proxy: String?

    package init(
        spiffeID: SPIFFEID,
        serial: [UInt8],
        notAfter: AuditTime,
        tbsSHA256: [UInt8],
        entry: Entry?,
        proxy: String? = nil
    ) {
        self.spiffeID = spiffeID
        self.serial = serial
        self.notAfter = notAfter
        self.tbsSHA256 = tbsSHA256
        self.entry = entry
        self.proxy = proxy
    }

    func write(to fields: inout FieldWriter) {
        if let entry {
            fields.set("entry", entry.id)
            fields.set("entryRevision", entry.revision)
            fields.set("namespace", entry.namespace)
        }
        fields.set("notAfter", notAfter)
        if let proxy { fields.set("proxy", proxy) }
        fields.set("serial", serial)
        fields.set("spiffeID", spiffeID)
        fields.set("tbsSHA256", tbsSHA256)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        var entry: Entry?
        if fields.has("entry") {
            entry = Entry(
                id: try fields.text("entry"),
                namespace: try fields.text("namespace"),
                revision: try fields.number("entryRevision")
            )
        }
        self.init(
            spiffeID: try fields.id("spiffeID"),
            serial: try fields.bytes("serial"),
            notAfter: try fields.time("notAfter"),
            tbsSHA256: try fields.bytes("tbsSHA256"),
            entry: entry,
            proxy: fields.has("proxy") ? try fields.text("proxy") : nil
        )
    }
}

/// The server refused what an authenticated caller asked; the caller is the record's actor.
package struct RequestRefusal: Hashable, Sendable, AuditPayload {
    /// What was asked, for example `sign` or `apply`.
    package let what: String
    /// The rule that forbade it, as a sentence.
    package let reason: String
    /// The namespace asked for; empty if none.
    package let namespace: String
    /// The ID asked for; nil if none or if what was asked for is not an ID.
    package let spiffeID: SPIFFEID?

    /// Long texts are cut, not refused: a caller must not be able to escape its record.
    package init(what: String, reason: String, namespace: String = "", spiffeID: SPIFFEID? = nil) {
        self.what = AuditText.word(what)
        self.reason = AuditText.sentence(reason)
        self.namespace = AuditText.word(namespace)
        self.spiffeID = spiffeID
    }

    func write(to fields: inout FieldWriter) {
        fields.set("namespace", unlessEmpty: namespace)
        fields.set("reason", reason)
        if let spiffeID { fields.set("spiffeID", spiffeID) }
        fields.set("what", what)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            what: try fields.text("what"),
            reason: try fields.text("reason"),
            namespace: try fields.textOrEmpty("namespace"),
            spiffeID: fields.has("spiffeID") ? try fields.id("spiffeID") : nil
        )
    }

    func index(into subjects: inout AuditSubjects) {
        if !namespace.isEmpty { subjects.namespaces.insert(namespace) }
        if let spiffeID { subjects.spiffeIDs.insert(spiffeID.description) }
    }
}

/// An admin took away one certificate.
package struct CertificateRevocation: Hashable, Sendable, AuditPayload {
    package let serial: [UInt8]
    package let spiffeID: SPIFFEID
    /// The node that it was issued to; empty for the server itself.
    package let node: String
    /// Its authority's subject key identifier.
    package let authority: [UInt8]
    /// What the admin gave as the reason; empty if none.
    package let reason: String
    /// The revision number of the change.
    package let revision: UInt64

    package init(
        serial: [UInt8],
        spiffeID: SPIFFEID,
        node: String,
        authority: [UInt8],
        reason: String,
        revision: UInt64
    ) {
        self.serial = serial
        self.spiffeID = spiffeID
        self.node = AuditText.word(node)
        self.authority = authority
        self.reason = AuditText.sentence(reason)
        self.revision = revision
    }

    func write(to fields: inout FieldWriter) {
        fields.set("authority", authority)
        fields.set("node", unlessEmpty: node)
        fields.set("reason", unlessEmpty: reason)
        fields.set("revision", revision)
        fields.set("serial", serial)
        fields.set("spiffeID", spiffeID)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            serial: try fields.bytes("serial"),
            spiffeID: try fields.id("spiffeID"),
            node: try fields.textOrEmpty("node"),
            authority: try fields.bytes("authority"),
            reason: try fields.textOrEmpty("reason"),
            revision: try fields.number("revision")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(spiffeID.description)
        subjects.serials.insert(Hexadecimal.text(serial))
    }
}

/// An admin took away every SVID of an identity that was issued before a moment.
package struct IdentityRevocation: Hashable, Sendable, AuditPayload {
    package let spiffeID: SPIFFEID
    /// Whole seconds; until then nothing is signed for the identity either.
    package let issuedBefore: AuditTime
    /// What the admin gave as the reason; empty if none.
    package let reason: String
    /// The revision number of the change.
    package let revision: UInt64

    package init(spiffeID: SPIFFEID, issuedBefore: AuditTime, reason: String, revision: UInt64) {
        self.spiffeID = spiffeID
        self.issuedBefore = issuedBefore
        self.reason = AuditText.sentence(reason)
        self.revision = revision
    }

    func write(to fields: inout FieldWriter) {
        fields.set("issuedBefore", issuedBefore)
        fields.set("reason", unlessEmpty: reason)
        fields.set("revision", revision)
        fields.set("spiffeID", spiffeID)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            spiffeID: try fields.id("spiffeID"),
            issuedBefore: try fields.time("issuedBefore"),
            reason: try fields.textOrEmpty("reason"),
            revision: try fields.number("revision")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(spiffeID.description)
    }
}
