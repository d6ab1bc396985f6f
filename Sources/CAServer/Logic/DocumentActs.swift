// SPDX-License-Identifier: Apache-2.0

internal import Issuance
internal import AuditLog
package import Authorization
internal import ControlAPI
package import Datastore
package import FoundationEssentials
package import NodeSync
package import PolicyDocuments
package import SPIFFE

internal import Crypto

/// What an apply or a delete is to do.
package struct DocumentOrder: Sendable {
    /// Documents to create or change, already understood.
    package var documents: [Document] = []
    /// Documents to delete.
    package var deletions: [DocumentKey] = []
    /// Delete what carries this value of `ownerLabel` and is not among `documents`.
    package var pruneOwner: String?
    /// The label by which prune finds documents.
    package static let ownerLabel = "signet/owner"
    /// Most documents of one order, to create or to delete: as many as one file may hold.
    package static let documentsMax = 10_000
    /// Most documents deleted by one prune: more is a mistake rather than a wish.
    package static let prunedMax = 10_000

    package init() {}
}

/// What became of one document.
package struct DocumentOutcome: Hashable, Sendable {
    /// What happened to it.
    package enum Action: String, Hashable, Sendable {
        case created
        case deleted
        case unchanged
        case updated
    }

    package let key: DocumentKey
    package let action: Action
    package let resourceVersion: UInt64
    package let uid: String
}

/// What an order did, all of it under one revision.
package struct DocumentResult: Hashable, Sendable {
    package let revision: Revision
    package let outcomes: [DocumentOutcome]
    package let warnings: [String]
}

/// One order while it is carried out in a transaction.
package struct DocumentAct {
    private let logic: ServerLogic
    private let actor: Actor
    private let access: AdminAccess
    private let now: Date
    private let transaction: Transaction
    private var outcomes: [DocumentOutcome] = []
    private var changes: [DocumentChange] = []
    private var warnings: [String] = []
    private var taken: Revision?

    /// Begins an order of `actor`, who may do what `admins` and the stored roles say.
    package init(
        _ logic: ServerLogic,
        by actor: Actor,
        admins: [ActorPattern],
        now: Date,
        in transaction: Transaction
    ) throws {
        self.logic = logic
        self.actor = actor
        self.now = now
        self.transaction = transaction
        access = try AdminAccess(stored: transaction, admins: admins)
    }

    /// Carries the order out.
    ///
    /// - Parameters:
    ///   - order: What to do.
    ///   - generator: Random numbers for uids.
    /// - Returns: What became of each document.
    /// - Throws: `APIError` naming the document and the rule that forbids it; nothing is changed.
    package mutating func perform(
        _ order: DocumentOrder,
        using generator: inout some RandomNumberGenerator
    ) throws -> DocumentResult {
        try check(order)
        // Namespaces first, so that one file may hold a namespace and what belongs into it.
        for document in order.documents where document.kind == .namespace {
            try write(document, using: &generator)
        }
        for document in order.documents where document.kind != .namespace {
            try write(document, using: &generator)
        }
        try checkGrants(order.documents)
        for key in order.deletions { try delete(key, mustExist: true) }
        if let owner = order.pruneOwner {
            try prune(owner, keeping: Set(order.documents.map(\.key)))
        }
        try checkRolesLeft()
        let reached: Revision
        if let taken {
            reached = taken
            try transaction.append(
                .documentsApplied(DocumentChanges(documents: changes, revision: taken.number)),
                by: actor,
                at: now
            )
        } else {
            reached = try transaction.revision()
        }
        return DocumentResult(revision: reached, outcomes: outcomes, warnings: warnings)
    }

    private func check(_ order: DocumentOrder) throws {
        let count = order.documents.count + order.deletions.count
        guard count > 0 || order.pruneOwner != nil else {
            throw APIError(
                .invalidArgument,
                "orderEmpty",
                "there is no document to apply or delete"
            )
        }
        guard count <= DocumentOrder.documentsMax else {
            throw APIError(
                .invalidArgument,
                "orderTooLarge",
                "at most \(DocumentOrder.documentsMax) documents in one request"
            )
        }
    }

    private mutating func write(
        _ document: Document,
        using generator: inout some RandomNumberGenerator
    ) throws {
        let key = document.key
        try require(.apply, key, spiffeID: document.spiffeID)
        try checkContent(document)
        let stored = try transaction.document(key)
        if let stored {
            if let old = try Document(stored: stored).spiffeID, old != document.spiffeID {
                try require(.apply, key, spiffeID: old)
            }
            if stored.canonicalJSON == document.canonicalJSON {
                note(stored, .unchanged)
                return
            }
        }
        if let uid = document.metadata.uid, uid != stored?.uid {
            throw APIError(
                .conflict,
                "uidDiffers",
                "\(key): the document is not the one with uid \(uid); remove metadata.uid"
            )
        }
        let revision = try revision()
        let written = try transaction.put(
            DocumentDraft(
                key: key,
                canonicalJSON: document.canonicalJSON,
                labels: document.metadata.labels,
                actor: actor.description,
                reason: document.metadata.reason ?? ""
            ),
            newUID: Self.uid(using: &generator),
            expecting: document.metadata.resourceVersion.map { .version($0) } ?? .any,
            number: revision.number,
            now: now
        )
        if case .registrationEntry(let spec) = document.spec {
            try transaction.put(
                spec.entry(metadata: document.metadata, stored: StoredMetadata(written))
            )
        }
        changes.append(
            DocumentChange(
                key: key,
                verb: stored == nil ? .create : .update,
                sha256: Array(SHA256.hash(data: document.canonicalJSON))
            )
        )
        note(written, stored == nil ? .created : .updated)
    }

    private mutating func delete(_ key: DocumentKey, mustExist: Bool) throws {
        // Without any such right one does not learn whether the document exists.
        let denial = access.lacksAll(
            actor,
            .delete,
            kind: key.kind,
            namespace: key.namespace,
            now: now
        )
        if let denial {
            throw APIError(.permissionDenied, "adminDenied", denial.description)
        }
        guard let stored = try transaction.document(key) else {
            guard mustExist else { return }
            throw APIError(.notFound, "documentUnknown", "there is no \(key)")
        }
        try require(.delete, key, spiffeID: Document(stored: stored).spiffeID)
        if key.kind == DocumentKind.namespace.rawValue { try requireEmpty(namespace: key.name) }
        let number = try revision().number
        try transaction.deleteDocument(
            key,
            expecting: .any,
            actor: actor.description,
            reason: "",
            number: number,
            now: now
        )
        if key.kind == DocumentKind.registrationEntry.rawValue {
            try transaction.deleteEntry(id: stored.uid, number: number)
        }
        changes.append(DocumentChange(key: key, verb: .delete, sha256: nil))
        note(stored, .deleted)
    }

    private mutating func prune(_ owner: String, keeping kept: Set<DocumentKey>) throws {
        let keys = try transaction.documentKeys(
            label: DocumentOrder.ownerLabel,
            value: owner,
            after: nil,
            limit: DocumentOrder.prunedMax
        )
        // Namespaces last: they must be empty.
        let pruned = keys.filter { !kept.contains($0) }
        for key in pruned where !key.namespace.isEmpty { try delete(key, mustExist: false) }
        for key in pruned where key.namespace.isEmpty { try delete(key, mustExist: false) }
    }

    // MARK: - Rules

    private func require(_ verb: AdminVerb, _ key: DocumentKey, spiffeID: String?) throws {
        let request = AdminRequest(
            actor: actor,
            verb: verb,
            kind: key.kind,
            namespace: key.namespace,
            spiffeID: spiffeID
        )
        if case .denied(let denial) = access.allows(request, now: now) {
            throw APIError(.permissionDenied, "adminDenied", denial.description)
        }
    }

    private func checkContent(_ document: Document) throws {
        let problems = document.problems(inTrustDomain: logic.trustDomain)
        guard problems.isEmpty else {
            throw APIError(
                .invalidArgument,
                "documentRefused",
                problems.map(\.description).joined(separator: "\n")
            )
        }
        let namespace = document.metadata.namespace
        if !namespace.isEmpty, try !exists(namespace: namespace) {
            throw APIError(
                .failedPrecondition,
                "namespaceUnknown",
                "\(document.file):\(document.line): there is no namespace \(namespace); "
                    + "apply a Namespace document first or with it"
            )
        }
        if case .registrationEntry(let spec) = document.spec, let ttl = spec.x509SVIDTTLSeconds,
            .seconds(ttl) > logic.lifetimes.workloadMax
        {
            throw APIError(
                .invalidArgument,
                "lifetimeExceedsProfile",
                "\(document.file):\(document.line): x509SVIDTTL is longer than this server's "
                    + "limit of \(logic.lifetimes.workloadMax)"
            )
        }
    }

    /// Nobody gives away what he does not hold; judged over the roles as they will be.
    private func checkGrants(_ documents: [Document]) throws {
        var roles: [AdminRoleReference: AdminRole] = [.builtInAdmin: .builtInAdmin]
        for document in try StoredAccess.documents(.role, in: transaction) {
            if case .role(let spec) = document.spec {
                let role = spec.role(metadata: document.metadata)
                roles[role.reference] = role
            }
        }
        for document in documents {
            let escalation: AdminEscalation?
            switch document.spec {
            case .namespace: escalation = nil
            case .registrationEntry(let spec):
                escalation = access.escalation(by: actor, registering: spec.spiffeID, now: now)
            case .role(let spec):
                escalation = access.escalation(
                    by: actor,
                    writing: spec.role(metadata: document.metadata),
                    now: now
                )
            case .roleBinding(let spec):
                let binding = spec.binding(metadata: document.metadata)
                // A binding that waits for its role would be pre-planted: whoever writes the role
                // later would give it to somebody he never thought of.
                guard roles[binding.role] != nil else {
                    throw APIError(
                        .failedPrecondition,
                        "roleUnknown",
                        "\(document.file):\(document.line): role \(binding.role) does not exist; "
                            + "apply it first or with its binding"
                    )
                }
                escalation = access.escalation(
                    by: actor,
                    writing: binding,
                    role: roles[binding.role],
                    now: now
                )
            }
            if let escalation {
                throw APIError(
                    .permissionDenied,
                    "grantExceedsOwn",
                    "\(document.file):\(document.line): \(escalation)"
                )
            }
        }
    }

    /// A role that is bound stays, for the same reason; and neither kind outgrows what is read.
    private func checkRolesLeft() throws {
        let kinds = [DocumentKind.role, .roleBinding].map(\.rawValue)
        guard outcomes.contains(where: { kinds.contains($0.key.kind) }) else { return }
        _ = try StoredAccess.documents(.role, in: transaction)
        let deleted = Set(
            outcomes
                .filter { $0.action == .deleted && $0.key.kind == DocumentKind.role.rawValue }
                .map { AdminRoleReference(namespace: $0.key.namespace, name: $0.key.name) }
        )
        for document in try StoredAccess.documents(.roleBinding, in: transaction) {
            guard case .roleBinding(let spec) = document.spec else { continue }
            let binding = spec.binding(metadata: document.metadata)
            guard !deleted.contains(binding.role) else {
                throw APIError(
                    .failedPrecondition,
                    "roleBound",
                    "role \(binding.role) is bound by \(binding.reference); delete that "
                        + "RoleBinding first or with it"
                )
            }
        }
    }

    private func exists(namespace: String) throws -> Bool {
        if [DocumentMetadata.defaultNamespace, AdminRole.rootNamespace].contains(namespace) {
            return true
        }
        let key = DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: DocumentKind.namespace.rawValue,
            namespace: "",
            name: namespace
        )
        return try transaction.document(key) != nil
    }

    private func requireEmpty(namespace: String) throws {
        let left = try transaction.documents(
            DocumentFilter(namespace: namespace),
            after: nil,
            limit: 1
        )
        if let first = left.first {
            throw APIError(
                .failedPrecondition,
                "namespaceNotEmpty",
                "namespace \(namespace) still holds \(first.key); delete its documents first"
            )
        }
    }

    // MARK: - Steps

    private mutating func revision() throws -> Revision {
        if let taken { return taken }
        let revision = try transaction.advanceRevision()
        taken = revision
        return revision
    }

    private mutating func note(_ stored: StoredDocument, _ action: DocumentOutcome.Action) {
        outcomes.append(
            DocumentOutcome(
                key: stored.key,
                action: action,
                resourceVersion: stored.resourceVersion,
                uid: stored.uid
            )
        )
    }

    /// A random UUID (RFC 9562 section 5.4).
    private static func uid(using generator: inout some RandomNumberGenerator) -> String {
        var bytes: [UInt8] = []
        for _ in 0..<16 { bytes.append(UInt8.random(in: .min ... .max, using: &generator)) }
        bytes[6] = bytes[6] & 0x0F | 0x40
        bytes[8] = bytes[8] & 0x3F | 0x80
        let text = Hex.text(bytes)
        var result = ""
        for (index, digit) in text.enumerated() {
            if [8, 12, 16, 20].contains(index) { result.append("-") }
            result.append(digit)
        }
        return result
    }
}

extension Document {
    /// The SPIFFE ID, or template of one, that the document gives out.
    package var spiffeID: String? {
        if case .registrationEntry(let spec) = spec { return spec.spiffeID }
        return nil
    }

    /// Reads what the datastore holds.
    ///
    /// - Throws: `DatastoreError.corrupt` when it cannot be read any more.
    package init(stored: StoredDocument) throws {
        guard
            let documents = try? Document.parse(stored.canonicalJSON, file: "\(stored.key)"),
            documents.count == 1
        else { throw DatastoreError.corrupt("\(stored.key) cannot be read") }
        self = documents[0]
    }
}

extension StoredMetadata {
    package init(_ stored: StoredDocument) {
        self.init(
            uid: stored.uid,
            resourceVersion: stored.resourceVersion,
            creationTimestamp: stored.createdAt,
            revision: stored.resourceVersion
        )
    }
}

/// The roles and bindings that the datastore holds.
package enum StoredAccess {
    /// Most documents of either kind; the whole set is read for each change.
    ///
    /// An apply beyond it is refused, so that no right is ever left out.
    package static let documentsMax = 10_000

    static func documents(
        _ kind: DocumentKind,
        in transaction: ReadTransaction
    ) throws -> [Document] {
        var filter = DocumentFilter(kind: kind.rawValue)
        filter.group = DocumentKey.nativeGroup
        let stored = try transaction.documents(filter, after: nil, limit: documentsMax + 1)
        guard stored.count <= documentsMax else {
            throw APIError(
                .exhausted,
                "tooManyGrants",
                "there may be at most \(documentsMax) documents of kind \(kind.rawValue)"
            )
        }
        return try stored.map { try Document(stored: $0) }
    }
}

extension AdminAccess {
    /// Reads the stored roles and bindings; `admins` come from the server's configuration.
    package init(stored transaction: ReadTransaction, admins: [ActorPattern]) throws {
        var roles: [AdminRole] = []
        var bindings = [AdminBinding.builtInAdmins(admins)]
        for document in try StoredAccess.documents(.role, in: transaction) {
            if case .role(let spec) = document.spec {
                roles.append(spec.role(metadata: document.metadata))
            }
        }
        for document in try StoredAccess.documents(.roleBinding, in: transaction) {
            if case .roleBinding(let spec) = document.spec {
                bindings.append(spec.binding(metadata: document.metadata))
            }
        }
        self.init(roles: roles, bindings: bindings)
    }
}
