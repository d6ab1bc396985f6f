// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import ControlAPI
internal import Crypto
package import Datastore
internal import FoundationEssentials
internal import NodeSync
internal import PolicyDocuments
internal import SPIFFE

/// One order while it is carried out in a transaction.
package struct DocumentAct {
    let logic: ServerLogic
    let standing: AdminStanding
    let transaction: Transaction
    let peers: DocumentPeers
    /// Whether it is looked who gets an admin's identity, which takes its time.
    let namesGivers: Bool
    var dataPath = DataPathChanges()
    private(set) var outcomes: [DocumentOutcome] = []
    private var changes: [DocumentChange] = []
    var warnings: [String] = []
    private var taken: Revision?

    /// Longest document in the form in which it is stored.
    ///
    /// That form is longer than what was written (quotes and escapes), and must be well below what
    /// can be read back and what one message to an agent may hold.
    package static let storedBytesMax = 256 << 10

    /// Begins an order of somebody whose standing was read in the same transaction.
    ///
    /// - Parameters:
    ///   - logic: The server's.
    ///   - standing: Who orders.
    ///   - peers: What connected agents and proxies can do.
    ///   - namesGivers: Whether warnings tell who gets an admin's identity.
    ///   - transaction: Everything happens in it, or nothing.
    package init(
        _ logic: ServerLogic,
        by standing: AdminStanding,
        peers: DocumentPeers = .none,
        namesGivers: Bool = true,
        in transaction: Transaction
    ) {
        self.logic = logic
        self.standing = standing
        self.peers = peers
        self.namesGivers = namesGivers
        self.transaction = transaction
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
        try order.check()
        // Namespaces first, so that one file may hold a namespace and what belongs into it.
        for document in order.documents where document.kind == .namespace {
            try write(document, using: &generator)
        }
        for document in order.documents where document.kind != .namespace {
            try write(document, using: &generator)
        }
        try checkGrants(order.documents)
        for key in order.deletions { try delete(key) }
        if let owner = order.pruneOwner { try prune(owner, keeping: order.documents) }
        try checkRolesLeft()
        try settleProxies(order.documents)
        warnOfStrangeNodes(order.documents)
        try warnOfFederation(order.documents)
        warnOfExchange(order.documents)
        if namesGivers { try warnOfGivers(order.documents) }
        var names = NameReview(of: logic.trustDomain, for: standing, in: transaction)
        for document in order.documents { warnings += try names.warnings(of: document) }
        let reached: Revision
        if let taken {
            reached = taken
            try transaction.append(
                .documentsApplied(DocumentChanges(documents: changes, revision: taken.number)),
                by: standing.actor,
                at: standing.now
            )
        } else {
            reached = try transaction.revision()
        }
        return DocumentResult(revision: reached, outcomes: outcomes, warnings: warnings)
    }

    private mutating func write(
        _ document: Document,
        using generator: inout some RandomNumberGenerator
    ) throws {
        let key = document.key
        try require(.apply, key, spiffeID: document.spiffeID)
        try requireIdentities(of: document)
        try checkContent(document)
        let content = document.canonicalJSON
        try checkStorable(document, content)
        let stored = try transaction.document(key)
        if let stored {
            let old = try transaction.spiffeID(of: stored)
            if old != document.spiffeID { try requireStored(.apply, key, spiffeID: old) }
            if stored.canonicalJSON == content {
                note(stored, .unchanged)
                return
            }
        }
        try checkDownstream(document, over: stored)
        try checkFederation(document, over: stored)
        try checkDelegation(document, over: stored)
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
                canonicalJSON: content,
                labels: document.metadata.labels,
                actor: standing.actor.description,
                reason: document.metadata.reason ?? ""
            ),
            newUID: Self.uid(using: &generator),
            expecting: document.metadata.resourceVersion.map { .version($0) } ?? .any,
            number: revision.number,
            now: standing.now
        )
        if case .registrationEntry(let spec) = document.spec {
            let before = try transaction.entry(id: written.uid)
            let entry = spec.entry(metadata: document.metadata, stored: StoredMetadata(written))
            try transaction.put(entry)
            dataPath.changed(entry, from: before)
            if let before, before.isDownstream, !entry.isDownstream {
                try warnOfCertified(for: entry, "no longer downstream")
            }
        }
        try settleFederation(document, as: written)
        if case .delegationPolicy(let spec) = document.spec {
            let metadata = StoredMetadata(written)
            try transaction.put(spec.policy(metadata: document.metadata, stored: metadata))
        }
        dataPath.changed(key)
        changes.append(
            DocumentChange(
                key: key,
                verb: stored == nil ? .create : .update,
                sha256: Array(SHA256.hash(data: content))
            )
        )
        note(written, stored == nil ? .created : .updated)
    }

    private mutating func delete(_ key: DocumentKey) throws {
        // Without any such right one does not learn whether the document exists.
        try standing.requireAny(.delete, kind: key.kind, namespace: key.namespace)
        guard let stored = try transaction.document(key) else {
            throw APIError(.notFound, "documentUnknown", "there is no \(key)")
        }
        try requireStored(.delete, key, spiffeID: transaction.spiffeID(of: stored))
        if key.kind == DocumentKind.namespace.rawValue { try requireEmpty(namespace: key.name) }
        try remove(stored)
    }

    /// Deletes what may be deleted.
    mutating func remove(_ stored: StoredDocument) throws {
        let number = try revision().number
        if stored.key.kind == DocumentKind.federatedTrustDomain.rawValue {
            let record = try transaction.deleteFederatedBundle(documentUID: stored.uid)
            // Of what was never fetched nothing ends.
            if let record, record.document != nil { try recordEndOfFederation(record) }
        }
        try transaction.deleteDocument(
            stored.key,
            expecting: .any,
            actor: standing.actor.description,
            reason: "",
            number: number,
            now: standing.now
        )
        if stored.key.kind == DocumentKind.registrationEntry.rawValue {
            let entry = try transaction.deleteEntry(id: stored.uid, number: number)
            if let entry {
                dataPath.changed(nil, from: entry)
                try warnOfCertified(for: entry, "deleted")
            }
        }
        if stored.key.kind == DataPathKind.proxy {
            try transaction.deleteProxy(id: stored.uid, number: number)
        }
        dataPath.changed(stored.key)
        changes.append(DocumentChange(key: stored.key, verb: .delete, sha256: nil))
        note(stored, .deleted)
    }

    mutating func revision() throws -> Revision {
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
        let text = Hexadecimal.text(bytes)
        var result = ""
        for (index, digit) in text.enumerated() {
            if [8, 12, 16, 20].contains(index) { result.append("-") }
            result.append(digit)
        }
        return result
    }
}
