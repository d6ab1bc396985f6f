// SPDX-License-Identifier: Apache-2.0

/// An authority was tainted or revoked.
package struct AuthorityDistrustAct: Hashable, Sendable, AuditPayload {
    /// The authority's subject key identifier.
    package let authority: [UInt8]
    /// Why, in the words of whoever did it; cut to `AuditText.sentenceBytesMax`.
    package let reason: String
    /// Join tokens that pinned it and were deleted.
    package let tokensDeleted: UInt64
    /// The number of the revision that tells agents.
    package let revision: UInt64

    package init(authority: [UInt8], reason: String, tokensDeleted: UInt64, revision: UInt64) {
        self.authority = authority
        self.reason = AuditText.sentence(reason)
        self.tokensDeleted = tokensDeleted
        self.revision = revision
    }

    func write(to fields: inout FieldWriter) {
        fields.set("authority", authority)
        fields.set("reason", unlessEmpty: reason)
        fields.set("revision", revision)
        fields.set("tokensDeleted", tokensDeleted)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            authority: try fields.bytes("authority"),
            reason: try fields.textOrEmpty("reason"),
            tokensDeleted: try fields.number("tokensDeleted"),
            revision: try fields.number("revision")
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}
