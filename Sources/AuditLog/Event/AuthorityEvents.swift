// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// An authority was made and published; it does not sign yet.
package struct AuthorityPreparation: Hashable, Sendable, AuditPayload {
    /// The authority's subject key identifier.
    package let authority: [UInt8]
    /// The authority's certificate, DER: who has the log alone can put it into a bundle again; nil in
    /// leaves of versions that had its hash alone.
    package let certificate: [UInt8]?
    /// SHA-256 of the authority certificate's DER.
    package let certificateSHA256: [UInt8]
    package let notBefore: AuditTime
    package let notAfter: AuditTime
    /// The server whose key it is.
    package let serverID: String
    /// What key it is; nil in leaves of versions that did not say it.
    package let key: Key?
    /// The ID of the second key, which signs JWT-SVIDs; nil if the authority has none.
    package let tokenKeyID: String?
    /// The public half of that key (SubjectPublicKeyInfo); nil without one, and in leaves as above.
    package let tokenKey: [UInt8]?
    /// What certified it; nil if it is self-signed.
    package let above: Above?

    /// What is above an authority.
    package struct Above: Hashable, Sendable {
        /// DER of the certificates between it and its root, from the issuer upwards.
        package let chain: [[UInt8]]
        /// The computed key IDs of the issuer and of the root, which are the same without a chain.
        package let issuer: [UInt8]
        package let root: [UInt8]

        package init(chain: [[UInt8]], issuer: [UInt8], root: [UInt8]) {
            self.chain = chain
            self.issuer = issuer
            self.root = root
        }
    }

    /// What an authority's key is and where it is kept.
    package struct Key: Hashable, Sendable {
        /// As in the server's configuration: `ec-p256`.
        package let type: String
        /// As in the server's configuration: `encrypted`.
        package let storage: String

        package init(type: String, storage: String) {
            self.type = type
            self.storage = storage
        }
    }

    package init(
        authority: [UInt8],
        certificateSHA256: [UInt8],
        notBefore: AuditTime,
        notAfter: AuditTime,
        serverID: String,
        key: Key?,
        tokenKeyID: String? = nil,
        certificate: [UInt8]? = nil,
        tokenKey: [UInt8]? = nil,
        above: Above? = nil
    ) {
        self.above = above
        self.certificate = certificate
        self.tokenKey = tokenKey
        self.key = key
        self.tokenKeyID = tokenKeyID
        self.authority = authority
        self.certificateSHA256 = certificateSHA256
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.serverID = serverID
    }

    func write(to fields: inout FieldWriter) {
        fields.set("authority", authority)
        if let certificate { fields.set("certificate", base64: certificate) }
        fields.set("certificateSHA256", certificateSHA256)
        if let above {
            fields.set("chain", above.chain.map { Base64.text($0) })
            fields.set("issuer", above.issuer)
            fields.set("root", above.root)
        }
        if let key {
            fields.set("keyStorage", key.storage)
            fields.set("keyType", key.type)
        }
        fields.set("notAfter", notAfter)
        fields.set("notBefore", notBefore)
        fields.set("serverID", serverID)
        if let tokenKey { fields.set("tokenKey", base64: tokenKey) }
        if let tokenKeyID { fields.set("tokenKeyID", tokenKeyID) }
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            authority: try fields.bytes("authority"),
            certificateSHA256: try fields.bytes("certificateSHA256"),
            notBefore: try fields.time("notBefore"),
            notAfter: try fields.time("notAfter"),
            serverID: try fields.text("serverID"),
            key: fields.has("keyType") || fields.has("keyStorage")
                ? Key(
                    type: try fields.text("keyType"),
                    storage: try fields.text("keyStorage")
                ) : nil,
            tokenKeyID: fields.has("tokenKeyID") ? try fields.text("tokenKeyID") : nil,
            certificate: fields.has("certificate") ? try fields.base64("certificate") : nil,
            tokenKey: fields.has("tokenKey") ? try fields.base64("tokenKey") : nil,
            above: fields.has("root")
                ? Above(
                    chain: try fields.texts("chain") { Base64.bytes($0) },
                    issuer: try fields.bytes("issuer"),
                    root: try fields.bytes("root")
                ) : nil
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}

/// An authority began to sign.
package struct AuthorityActivation: Hashable, Sendable, AuditPayload {
    /// Most agents named one by one: 6 of the longest IDs still fit into a leaf, and an operator
    /// who has more of them missing needs the number, which is always written.
    package static let missingNamedMax = 6

    package let authority: [UInt8]
    /// The authority that signed until now; nil for the first.
    package let previous: [UInt8]?
    /// Live agents that had not applied the bundle with this authority; activation was due anyway.
    package let missingCount: UInt64
    /// The first of them, at most `missingNamedMax`.
    package let missing: [SPIFFEID]

    package init(authority: [UInt8], previous: [UInt8]?, missing: [SPIFFEID]) {
        self.init(
            authority: authority,
            previous: previous,
            missingCount: UInt64(missing.count),
            missing: Array(missing.prefix(Self.missingNamedMax))
        )
    }

    private init(
        authority: [UInt8],
        previous: [UInt8]?,
        missingCount: UInt64,
        missing: [SPIFFEID]
    ) {
        self.authority = authority
        self.previous = previous
        self.missingCount = missingCount
        self.missing = missing
    }

    func write(to fields: inout FieldWriter) {
        fields.set("authority", authority)
        fields.set("missing", missing)
        fields.set("missingCount", missingCount)
        if let previous { fields.set("previous", previous) }
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            authority: try fields.bytes("authority"),
            previous: fields.has("previous") ? try fields.bytes("previous") : nil,
            missingCount: try fields.number("missingCount"),
            missing: try fields.ids("missing")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        for agent in missing { subjects.spiffeIDs.insert(agent.description) }
    }
}

/// An authority took a step that needs no more words.
package struct AuthorityStep: Hashable, Sendable, AuditPayload {
    /// The authority's subject key identifier.
    package let authority: [UInt8]

    package init(authority: [UInt8]) {
        self.authority = authority
    }

    func write(to fields: inout FieldWriter) {
        fields.set("authority", authority)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(authority: try fields.bytes("authority"))
    }

    func index(into subjects: inout AuditSubjects) {}
}
