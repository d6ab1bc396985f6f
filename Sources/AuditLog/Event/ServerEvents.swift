// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// A server process began to serve.
package struct ServerStart: Hashable, Sendable, AuditPayload {
    /// The epoch of the datastore; a new one means a new or restored datastore.
    package let epoch: [UInt8]
    /// The revision number found in the datastore.
    package let revision: UInt64
    package let serverID: String
    /// The version of the program.
    package let version: String
    /// The issuer of its tokens; empty if they name none.
    package let publicURL: String
    /// The profile files that it issues by; empty if all profiles are built in.
    package let profiles: [Profile]

    /// One profile file.
    package struct Profile: Hashable, Sendable {
        /// Its kind, after which the file is named.
        package let name: String
        /// Of the file's bytes.
        package let sha256: [UInt8]

        package init(name: String, sha256: [UInt8]) {
            self.name = name
            self.sha256 = sha256
        }
    }
    /// Whether it exchanges tokens.
    package let exchangesTokens: Bool

    /// The value of `tokenExchange`, which is missing otherwise.
    private static let exchanges = "on"
    /// How many others have to approve acts that need it; 0: nothing needs it.
    package let approvals: UInt64

    package init(
        epoch: [UInt8],
        revision: UInt64,
        serverID: String,
        version: String,
        publicURL: String = "",
        profiles: [Profile] = [],
        exchangesTokens: Bool = false,
        approvals: UInt64 = 0
    ) {
        self.epoch = epoch
        self.revision = revision
        self.serverID = serverID
        self.version = version
        self.publicURL = AuditText.sentence(publicURL)
        self.profiles = profiles
        self.exchangesTokens = exchangesTokens
        self.approvals = approvals
    }

    func write(to fields: inout FieldWriter) {
        if approvals > 0 { fields.set("approvals", approvals) }
        fields.set("epoch", epoch)
        if !profiles.isEmpty {
            fields.set("profiles", profiles) { profile, fields in
                fields.set("name", profile.name)
                fields.set("sha256", profile.sha256)
            }
        }
        fields.set("publicURL", unlessEmpty: publicURL)
        fields.set("revision", revision)
        fields.set("serverID", serverID)
        fields.set("tokenExchange", unlessEmpty: exchangesTokens ? Self.exchanges : "")
        fields.set("version", version)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            epoch: try fields.bytes("epoch"),
            revision: try fields.number("revision"),
            serverID: try fields.text("serverID"),
            version: try fields.text("version"),
            publicURL: try fields.textOrEmpty("publicURL"),
            profiles: try fields.has("profiles")
                ? fields.objects("profiles") { fields throws(AuditRecordParsingError) in
                    Profile(name: try fields.text("name"), sha256: try fields.bytes("sha256"))
                } : [],
            exchangesTokens: fields.has("tokenExchange")
                ? try fields.parsed("tokenExchange") { $0 == Self.exchanges ? true : nil } : false,
            approvals: fields.has("approvals") ? try fields.number("approvals") : 0
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}

/// The server began to refuse to sign because it does not believe its wall clock; the record's own
/// time is what the clock showed.
package struct ClockRefusal: Hashable, Sendable, AuditPayload {
    /// What is wrong with the clock.
    package enum Problem: String, CaseIterable, Sendable {
        /// It is behind the time of the last signature.
        case behind
        /// It ran ahead of the time since boot by more than any correction.
        case jumped
    }

    /// The time of the last signature (`behind`), or what an even clock would show (`jumped`).
    package let expected: AuditTime
    package let problem: Problem

    package init(problem: Problem, expected: AuditTime) {
        self.problem = problem
        self.expected = expected
    }

    func write(to fields: inout FieldWriter) {
        fields.set("expected", expected)
        fields.set("problem", problem.rawValue)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            problem: try fields.parsed("problem", Problem.init(rawValue:)),
            expected: try fields.time("expected")
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}

/// How often callers who proved no identity did one thing within a minute: they must not be able
/// to fill the log, so at most one such record is written per kind and minute.
package struct UnauthenticatedSummary: Hashable, Sendable, AuditPayload {
    package let count: UInt64
    /// What they did, for example `joinTokenRefused`.
    package let kind: String
    /// The first moment of the minute counted.
    package let minute: AuditTime

    package init(count: UInt64, kind: String, minute: AuditTime) {
        self.count = count
        self.kind = AuditText.word(kind)
        self.minute = minute
    }

    func write(to fields: inout FieldWriter) {
        fields.set("count", count)
        fields.set("kind", kind)
        fields.set("minute", minute)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            count: try fields.number("count"),
            kind: try fields.text("kind"),
            minute: try fields.time("minute")
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}

/// Documents that one apply, rollback or delete changed, all under one revision number.
package struct DocumentChanges: Hashable, Sendable, AuditPayload {
    package internal(set) var documents: [DocumentChange]
    /// The revision number of the change.
    package let revision: UInt64

    package init(documents: [DocumentChange], revision: UInt64) {
        self.documents = documents
        self.revision = revision
    }

    func write(to fields: inout FieldWriter) {
        fields.set("documents", documents) { document, fields in document.write(to: &fields) }
        fields.set("revision", revision)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            documents: try fields.objects("documents", DocumentChange.init),
            revision: try fields.number("revision")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        for document in documents where !document.key.namespace.isEmpty {
            subjects.namespaces.insert(document.key.namespace)
        }
    }
}

/// What happened to one document.
package struct DocumentChange: Hashable, Sendable {
    /// What may happen to a document.
    package enum Verb: String, CaseIterable, Sendable {
        case create
        case delete
        case update
    }

    package let key: DocumentKey
    package let verb: Verb
    /// SHA-256 of the document's canonical JSON as stored; nil when it was deleted.
    package let sha256: [UInt8]?

    package init(key: DocumentKey, verb: Verb, sha256: [UInt8]?) {
        self.key = key
        self.verb = verb
        self.sha256 = sha256
    }

    func write(to fields: inout FieldWriter) {
        fields.set("group", key.group)
        fields.set("kind", key.kind)
        fields.set("name", key.name)
        fields.set("namespace", unlessEmpty: key.namespace)
        if let sha256 { fields.set("sha256", sha256) }
        fields.set("verb", verb.rawValue)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        let key = DocumentKey(
            group: try fields.text("group"),
            kind: try fields.text("kind"),
            namespace: try fields.textOrEmpty("namespace"),
            name: try fields.text("name")
        )
        self.init(
            key: key,
            verb: try fields.parsed("verb", Verb.init(rawValue:)),
            sha256: fields.has("sha256") ? try fields.bytes("sha256") : nil
        )
    }
}
