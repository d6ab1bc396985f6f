// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Datastore
internal import PolicyDocuments
internal import SPIFFE

/// Entries at the revisions for which something was issued, read once for each page.
struct EntryShelf {
    private struct Name: Hashable {
        let id: String
        let revision: UInt64
    }

    private var known: [Name: RegistrationEntry?] = [:]

    /// The entry that granted a certificate, as it was then.
    ///
    /// - Returns: Nil of certificates without entry, and when the entry was deleted or that revision of
    ///   its document is kept no more.
    /// - Throws: `DatastoreError`.
    mutating func entry(
        of intent: IssuanceIntent,
        _ svid: IssuedSVID,
        in transaction: ReadTransaction
    ) throws -> RegistrationEntry? {
        guard let id = intent.entryID, let revision = intent.entryRevision else { return nil }
        let name = Name(id: id, revision: revision)
        if let entry = known[name] { return entry }
        let entry = try Self.read(name, in: transaction)
        known[name] = .some(entry)
        return entry
    }

    private static func read(
        _ name: Name,
        in transaction: ReadTransaction
    ) throws -> RegistrationEntry? {
        guard let current = try transaction.entry(id: name.id) else { return nil }
        guard current.revision != name.revision else { return current }
        let key = DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: DocumentKind.registrationEntry.rawValue,
            namespace: current.namespace,
            name: current.name
        )
        // A document of this name from before the entry is another one.
        guard let version = try transaction.version(name.revision, of: key),
            version.uid == name.id,
            let document = version.document, case .registrationEntry(let spec) = document.spec
        else { return nil }
        return spec.entry(
            metadata: document.metadata,
            stored: StoredMetadata(
                uid: version.uid,
                resourceVersion: version.resourceVersion,
                creationTimestamp: current.createdAt,
                revision: name.revision
            )
        )
    }
}
