// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// JWT-SVIDs that were about to be signed, committed before the signature.
package struct JWTSVIDIssuance: Hashable, Sendable, AuditPayload {
    /// The agent that asked.
    package let agent: SPIFFEID
    /// The subject key identifier of the authority whose second key signs.
    package let authority: [UInt8]
    /// The key's ID in tokens and bundles.
    package let keyID: String
    package internal(set) var tokens: [IssuedJWTSVID]

    package init(agent: SPIFFEID, authority: [UInt8], keyID: String, tokens: [IssuedJWTSVID]) {
        self.agent = agent
        self.authority = authority
        self.keyID = keyID
        self.tokens = tokens
    }

    func write(to fields: inout FieldWriter) {
        fields.set("agent", agent)
        fields.set("authority", authority)
        fields.set("keyID", keyID)
        fields.set("tokens", tokens) { token, fields in token.write(to: &fields) }
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            agent: try fields.id("agent"),
            authority: try fields.bytes("authority"),
            keyID: try fields.text("keyID"),
            tokens: try fields.objects("tokens", IssuedJWTSVID.init)
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(agent.description)
        for token in tokens {
            subjects.spiffeIDs.insert(token.spiffeID.description)
            subjects.namespaces.insert(token.entry.namespace)
        }
    }
}

/// One token of an issuance.
package struct IssuedJWTSVID: Hashable, Sendable {
    package let spiffeID: SPIFFEID
    package let audiences: [String]
    /// The `jti` claim.
    package let tokenID: String
    package let notAfter: AuditTime
    /// SHA-256 of the JWS signing input: of the token up to its last dot.
    package let signingInputSHA256: [UInt8]
    package let entry: IssuedSVID.Entry

    package init(
        spiffeID: SPIFFEID,
        audiences: [String],
        tokenID: String,
        notAfter: AuditTime,
        signingInputSHA256: [UInt8],
        entry: IssuedSVID.Entry
    ) {
        self.spiffeID = spiffeID
        self.audiences = audiences
        self.tokenID = tokenID
        self.notAfter = notAfter
        self.signingInputSHA256 = signingInputSHA256
        self.entry = entry
    }

    func write(to fields: inout FieldWriter) {
        fields.set("audiences", audiences)
        fields.set("entry", entry.id)
        fields.set("entryRevision", entry.revision)
        fields.set("namespace", entry.namespace)
        fields.set("notAfter", notAfter)
        fields.set("signingInputSHA256", signingInputSHA256)
        fields.set("spiffeID", spiffeID)
        fields.set("tokenID", tokenID)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            spiffeID: try fields.id("spiffeID"),
            audiences: try fields.texts("audiences") { $0 },
            tokenID: try fields.text("tokenID"),
            notAfter: try fields.time("notAfter"),
            signingInputSHA256: try fields.bytes("signingInputSHA256"),
            entry: IssuedSVID.Entry(
                id: try fields.text("entry"),
                namespace: try fields.text("namespace"),
                revision: try fields.number("entryRevision")
            )
        )
    }
}
