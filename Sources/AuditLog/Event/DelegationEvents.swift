// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// A token "A, through B" that was about to be signed, committed before the signature
/// (docs/decisions/0024-token-exchange.md).
package struct DelegatedTokenIssuance: Hashable, Sendable, AuditPayload {
    /// The agent that asked.
    package let agent: SPIFFEID
    /// The subject key identifier of the authority whose second key signs.
    package let authority: [UInt8]
    /// The key's ID in tokens and bundles.
    package let keyID: String
    /// The entry that gives the last actor its ID.
    package let entry: IssuedSVID.Entry
    /// Whose request it is.
    package let subject: SPIFFEID
    /// Through whom it came, in the order of time; the last one holds the token.
    package let actors: [SPIFFEID]
    /// Who the token is for.
    package let audience: String
    /// The `jti` claim.
    package let tokenID: String
    package let notAfter: AuditTime
    /// SHA-256 of the JWS signing input: of the token up to its last dot.
    package let signingInputSHA256: [UInt8]
    /// The `jti` claim and the same digest of the token exchanged, by which its own leaf is found.
    package let subjectTokenID: String
    package let subjectTokenSHA256: [UInt8]
    /// What permitted each hop, in the order of time.
    package let policies: [Policy]

    /// A wording of a DelegationPolicy.
    package struct Policy: Hashable, Sendable {
        package let namespace: String
        package let name: String
        /// The document's version.
        package let version: UInt64

        package init(namespace: String, name: String, version: UInt64) {
            self.namespace = namespace
            self.name = name
            self.version = version
        }

        fileprivate func write(to fields: inout FieldWriter) {
            fields.set("policy", "\(namespace)/\(name)")
            fields.set("version", version)
        }

        fileprivate init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
            let (namespace, name) = try fields.parsed("policy") { text in
                let parts = text.split(separator: "/", omittingEmptySubsequences: false)
                return parts.count == 2 && parts.allSatisfy { !$0.isEmpty }
                    ? (String(parts[0]), String(parts[1])) : nil
            }
            self.init(
                namespace: namespace,
                name: name,
                version: try fields.number("version")
            )
        }
    }

    package init(
        agent: SPIFFEID,
        authority: [UInt8],
        keyID: String,
        entry: IssuedSVID.Entry,
        subject: SPIFFEID,
        actors: [SPIFFEID],
        audience: String,
        tokenID: String,
        notAfter: AuditTime,
        signingInputSHA256: [UInt8],
        subjectTokenID: String,
        subjectTokenSHA256: [UInt8],
        policies: [Policy]
    ) {
        self.agent = agent
        self.authority = authority
        self.keyID = keyID
        self.entry = entry
        self.subject = subject
        self.actors = actors
        self.audience = audience
        self.tokenID = tokenID
        self.notAfter = notAfter
        self.signingInputSHA256 = signingInputSHA256
        self.subjectTokenID = subjectTokenID
        self.subjectTokenSHA256 = subjectTokenSHA256
        self.policies = policies
    }

    func write(to fields: inout FieldWriter) {
        fields.set("actors", actors)
        fields.set("agent", agent)
        fields.set("audience", audience)
        fields.set("authority", authority)
        fields.set("entry", entry.id)
        fields.set("entryRevision", entry.revision)
        fields.set("keyID", keyID)
        fields.set("namespace", entry.namespace)
        fields.set("notAfter", notAfter)
        fields.set("policies", policies) { policy, fields in policy.write(to: &fields) }
        fields.set("signingInputSHA256", signingInputSHA256)
        fields.set("subject", subject)
        fields.set("subjectTokenID", subjectTokenID)
        fields.set("subjectTokenSHA256", subjectTokenSHA256)
        fields.set("tokenID", tokenID)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            agent: try fields.id("agent"),
            authority: try fields.bytes("authority"),
            keyID: try fields.text("keyID"),
            entry: IssuedSVID.Entry(
                id: try fields.text("entry"),
                namespace: try fields.text("namespace"),
                revision: try fields.number("entryRevision")
            ),
            subject: try fields.id("subject"),
            actors: try fields.ids("actors"),
            audience: try fields.text("audience"),
            tokenID: try fields.text("tokenID"),
            notAfter: try fields.time("notAfter"),
            signingInputSHA256: try fields.bytes("signingInputSHA256"),
            subjectTokenID: try fields.text("subjectTokenID"),
            subjectTokenSHA256: try fields.bytes("subjectTokenSHA256"),
            policies: try fields.objects("policies", Policy.init)
        )
    }

    /// Everybody in the chain finds it, and who wrote what permitted it.
    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.formUnion(([agent, subject] + actors).map(\.description))
        subjects.namespaces.insert(entry.namespace)
        subjects.namespaces.formUnion(policies.map(\.namespace))
    }
}
