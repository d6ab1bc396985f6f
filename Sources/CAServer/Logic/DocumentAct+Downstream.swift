// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import PolicyDocuments
internal import SPIFFE

/// Entries by which servers below this one have their authorities certified
/// (docs/decisions/0020-authorities-under-another.md, "Nested").
extension DocumentAct {
    /// Whoever writes such an entry says who can be anybody: it takes a right on the whole cluster,
    /// whatever he changes of it.
    ///
    /// - Throws: `APIError` (`downstreamNotYours`).
    func checkDownstream(_ document: Document, over stored: StoredDocument?) throws {
        guard case .registrationEntry(let spec) = document.spec else { return }
        let before = try stored.flatMap { try transaction.entry(id: $0.uid) }
        guard spec.isDownstream || before?.isDownstream == true,
            !standing.may(.authorityDownstream)
        else { return }
        throw APIError(
            .permissionDenied,
            "downstreamNotYours",
            "\(document.file):\(document.line): not allowed: \(standing.actor) writes an entry that "
                + "\(spec.isDownstream ? "is" : "was") downstream, whose server can be anybody of the "
                + "trust domain; that takes \(AdminVerb.authorityDownstream)"
        )
    }

    /// Says that what was certified for an entry stays.
    mutating func warnOfCertified(for entry: RegistrationEntry, _ what: String) throws {
        let valid = try transaction.downstreamAuthorities(ofEntry: entry.id)
            .filter { $0.isValid(at: standing.now) }
        guard let last = valid.map(\.notAfter).max() else { return }
        let ids = valid.prefix(Self.giversNamedMax).map(\.id).joined(separator: ", ")
        warnings.append(
            "RegistrationEntry \(entry.namespace)/\(entry.name) is \(what), and \(valid.count) "
                + "authorities that were certified for it count until \(AuditTime(last)) at the "
                + "latest: signet authority revoke ID --now ends each (\(ids))"
        )
    }
}
