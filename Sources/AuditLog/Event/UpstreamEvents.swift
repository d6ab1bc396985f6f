// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// A root that certifies authorities entered the bundle.
package struct RootPublication: Hashable, Sendable, AuditPayload {
    /// The computed ID of its key.
    package let root: [UInt8]
    /// DER: who has the log alone knows whom everybody believed.
    ///
    /// No restore puts it into a bundle.
    package let certificate: [UInt8]
    package let notAfter: AuditTime
    /// The number of the revision that tells agents.
    package let revision: UInt64

    package init(root: [UInt8], certificate: [UInt8], notAfter: AuditTime, revision: UInt64) {
        self.root = root
        self.certificate = certificate
        self.notAfter = notAfter
        self.revision = revision
    }

    func write(to fields: inout FieldWriter) {
        fields.set("certificate", base64: certificate)
        fields.set("notAfter", notAfter)
        fields.set("revision", revision)
        fields.set("root", root)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            root: try fields.bytes("root"),
            certificate: try fields.base64("certificate"),
            notAfter: try fields.time("notAfter"),
            revision: try fields.number("revision")
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}

/// A root left the bundle: it is configured no more, and nothing is below it.
package struct RootRemoval: Hashable, Sendable, AuditPayload {
    /// The computed ID of its key.
    package let root: [UInt8]
    /// The number of the revision that tells agents.
    package let revision: UInt64

    package init(root: [UInt8], revision: UInt64) {
        self.root = root
        self.revision = revision
    }

    func write(to fields: inout FieldWriter) {
        fields.set("revision", revision)
        fields.set("root", root)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(root: try fields.bytes("root"), revision: try fields.number("revision"))
    }

    func index(into subjects: inout AuditSubjects) {}
}

/// What is above authorities was tainted or revoked, and they with it.
package struct UpstreamDistrustAct: Hashable, Sendable, AuditPayload {
    /// The computed ID of its key.
    package let upstream: [UInt8]
    /// DER: who has the log alone can refuse what its key signs, and what it is (self-signed: a root)
    /// is seen.
    package let certificate: [UInt8]
    /// The authorities below whose state this changed, by their key IDs.
    package let authorities: [[UInt8]]
    /// Why, in the words of whoever did it; cut to `AuditText.sentenceBytesMax`.
    package let reason: String
    /// Join tokens that were deleted.
    package let tokensDeleted: UInt64
    /// The number of the revision that tells agents.
    package let revision: UInt64

    package init(
        upstream: [UInt8],
        certificate: [UInt8],
        authorities: [[UInt8]],
        reason: String,
        tokensDeleted: UInt64,
        revision: UInt64
    ) {
        self.upstream = upstream
        self.certificate = certificate
        self.authorities = authorities
        self.reason = AuditText.sentence(reason)
        self.tokensDeleted = tokensDeleted
        self.revision = revision
    }

    func write(to fields: inout FieldWriter) {
        fields.set("authorities", authorities.map(Hexadecimal.text))
        fields.set("certificate", base64: certificate)
        fields.set("reason", unlessEmpty: reason)
        fields.set("revision", revision)
        fields.set("tokensDeleted", tokensDeleted)
        fields.set("upstream", upstream)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            upstream: try fields.bytes("upstream"),
            certificate: try fields.base64("certificate"),
            authorities: try fields.texts("authorities", Hexadecimal.bytes),
            reason: try fields.textOrEmpty("reason"),
            tokensDeleted: try fields.number("tokensDeleted"),
            revision: try fields.number("revision")
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}

/// Keys that the upstream has named as revoked, without a certificate.
package struct UpstreamKeys: Hashable, Sendable, AuditPayload {
    /// Most keys of one leaf, with room for the rest of it.
    package static let perLeafMax = 256

    /// The computed IDs of keys that nothing here has: they are refused, or are so no more.
    package let keys: [[UInt8]]
    /// The IDs of what signs, or is above what signs: it is to be revoked once another one does.
    package let waiting: [[UInt8]]
    /// The number of the revision that tells agents.
    package let revision: UInt64

    package init(keys: [[UInt8]], waiting: [[UInt8]] = [], revision: UInt64) {
        (self.keys, self.waiting, self.revision) = (keys, waiting, revision)
    }

    func write(to fields: inout FieldWriter) {
        fields.set("keys", keys.map(Hexadecimal.text))
        fields.set("revision", revision)
        if !waiting.isEmpty { fields.set("waiting", waiting.map(Hexadecimal.text)) }
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            keys: try fields.texts("keys", Hexadecimal.bytes),
            waiting: fields.has("waiting") ? try fields.texts("waiting", Hexadecimal.bytes) : [],
            revision: try fields.number("revision")
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}
