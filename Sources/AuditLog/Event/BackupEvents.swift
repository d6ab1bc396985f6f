// SPDX-License-Identifier: Apache-2.0

/// A backup was made.
package struct BackupMaking: Hashable, Sendable, AuditPayload {
    /// 16 random bytes, which are also inside the backup.
    package let id: [UInt8]
    /// How long its file is.
    package let bytes: UInt64
    /// SHA-256 of its file.
    package let sha256: [UInt8]
    /// The revision number of what it holds.
    package let revision: UInt64

    package init(id: [UInt8], bytes: UInt64, sha256: [UInt8], revision: UInt64) {
        self.id = id
        self.bytes = bytes
        self.sha256 = sha256
        self.revision = revision
    }

    func write(to fields: inout FieldWriter) {
        fields.set("backupID", id)
        fields.set("bytes", bytes)
        fields.set("revision", revision)
        fields.set("sha256", sha256)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            id: try fields.bytes("backupID"),
            bytes: try fields.number("bytes"),
            sha256: try fields.bytes("sha256"),
            revision: try fields.number("revision")
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}

/// Somebody ended the hold of a server that was restored; it signs from then on.
package struct ServerRecovery: Hashable, Sendable, AuditPayload {
    /// How many agents need a new join token, as the authority that should sign has no key.
    package let agents: UInt64
    /// Authorities that the log alone knew, not the backup.
    package let authorities: UInt64
    /// Documents that were not what they were last on record.
    package let documents: UInt64
    /// Authorities of which keys were there, and no record.
    package let keys: UInt64
    /// Nodes that the log alone knew.
    package let nodes: UInt64
    /// Keys for tokens that left the bundle, of authorities that the log alone knew and that stay, as
    /// they were not there: what they signed is refused from now on.
    package let tokenKeys: UInt64

    package init(
        agents: UInt64,
        authorities: UInt64,
        documents: UInt64,
        keys: UInt64,
        nodes: UInt64,
        tokenKeys: UInt64
    ) {
        self.agents = agents
        self.authorities = authorities
        self.documents = documents
        self.keys = keys
        self.nodes = nodes
        self.tokenKeys = tokenKeys
    }

    func write(to fields: inout FieldWriter) {
        fields.set("agents", agents)
        fields.set("authorities", authorities)
        fields.set("documents", documents)
        fields.set("keys", keys)
        fields.set("nodes", nodes)
        if tokenKeys > 0 { fields.set("tokenKeys", tokenKeys) }
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            agents: try fields.number("agents"),
            authorities: try fields.number("authorities"),
            documents: try fields.number("documents"),
            keys: try fields.number("keys"),
            nodes: try fields.number("nodes"),
            tokenKeys: fields.has("tokenKeys") ? try fields.number("tokenKeys") : 0
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}
