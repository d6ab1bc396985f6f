// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import PolicyDocuments
internal import SPIFFE

/// Whom the trust domain federates with (docs/decisions/0021-federation.md).
extension DocumentAct {
    /// Most entries that are looked at to count those that federate from then on, as the writer
    /// waits for it; of more, what was counted is told as the least.
    static let federatingRowsMax = 5_000

    private static let kind = DocumentKind.federatedTrustDomain.rawValue

    /// One trust domain has one document, which never passes to another: what was fetched is of it.
    ///
    /// - Parameters:
    ///   - document: What is to be written, of whatever kind.
    ///   - stored: What it takes the place of.
    /// - Throws: `APIError`: `trustDomainChanged`, `trustDomainTaken` or
    ///   `tooManyFederatedTrustDomains`.
    func checkFederation(_ document: Document, over stored: StoredDocument?) throws {
        guard case .federatedTrustDomain(let spec) = document.spec else { return }
        let place = "\(document.file):\(document.line)"
        if let stored, let record = try transaction.federatedBundle(documentUID: stored.uid),
            record.trustDomain != spec.trustDomain
        {
            throw APIError(
                .failedPrecondition,
                "trustDomainChanged",
                "\(place): \(document.key) is for \(record.trustDomain), which never changes; "
                    + "delete it, or write a document of another name for \(spec.trustDomain)"
            )
        }
        if let record = try transaction.federatedBundle(of: spec.trustDomain),
            record.documentUID != stored?.uid
        {
            let other = try name(of: record)
            throw APIError(
                .failedPrecondition,
                "trustDomainTaken",
                "\(place): \(spec.trustDomain) has a FederatedTrustDomain already"
                    + (other.map { ", \($0)" } ?? "") + "; change that one, or delete it first"
            )
        }
        guard stored == nil else { return }
        guard try transaction.federatedTrustDomains().count < FederatedBundleRecord.countMax else {
            throw APIError(
                .exhausted,
                "tooManyFederatedTrustDomains",
                "\(place): there may be at most \(FederatedBundleRecord.countMax) documents of kind "
                    + Self.kind
            )
        }
    }

    /// The name of a record's document, for those who may see it.
    private func name(of record: FederatedBundleRecord) throws -> String? {
        guard standing.may(.list, kind: Self.kind) else { return nil }
        return try transaction.documentKey(uid: record.documentUID)?.name
    }

    /// Makes the row of a document that was written; an edit keeps what was fetched.
    func settleFederation(_ document: Document, as written: StoredDocument) throws {
        guard case .federatedTrustDomain(let spec) = document.spec,
            try transaction.federatedBundle(documentUID: written.uid) == nil
        else { return }
        try transaction.insert(
            FederatedBundleRecord(trustDomain: spec.trustDomain, documentUID: written.uid)
        )
    }

    /// What was fetched has gone with its document.
    func recordEndOfFederation(_ record: FederatedBundleRecord) throws {
        try transaction.append(
            .federatedBundleChanged(FederatedBundleChange(record, .removed)),
            by: standing.actor,
            at: standing.now
        )
    }

    /// Tells what a federation brings along that its document does not say.
    mutating func warnOfFederation(_ documents: [Document]) throws {
        let entries = try entriesOfCreated(documents)
        for document in documents {
            guard case .federatedTrustDomain(let spec) = document.spec else { continue }
            let problems = [
                warningOfBundle(spec), try warningOfVouching(spec),
                entries.flatMap { Self.note(of: $0, spec.trustDomain) },
            ]
            warnings += problems.compactMap(\.self).map { "\(document.key): \($0)" }
        }
    }

    private func warningOfBundle(_ spec: FederatedTrustDomainSpec) -> String? {
        guard case .spiffe(_, let text?) = spec.bundleEndpointProfile,
            let bundle = try? BundleDocument(parsing: Array(text.utf8))
        else { return nil }
        let isAnyValid = bundle.x509Authorities.contains { der in
            guard let certificate = try? LeafCertificate(der: der) else { return false }
            return certificate.notBefore <= standing.now && standing.now <= certificate.notAfter
        }
        guard !isAnyValid else { return nil }
        return "no authority of trustDomainBundle is valid now, so it verifies no endpoint; get a "
            + "newer one from the partner"
    }

    private func warningOfVouching(_ spec: FederatedTrustDomainSpec) throws -> String? {
        guard let other = spec.vouchingTrustDomain else { return nil }
        let warning =
            "its endpoint is of \(other): whoever holds that trust domain decides who is believed "
            + "in \(spec.trustDomain)"
        guard standing.may(.list, kind: Self.kind),
            try transaction.federatedBundle(of: other) == nil
        else { return warning }
        return warning + "; and no FederatedTrustDomain names \(other), so nothing is fetched yet"
    }

    /// Who federates from now on because of new documents, to who may see every entry.
    private func entriesOfCreated(_ documents: [Document]) throws -> FederatingEntries? {
        let created = Set(outcomes.lazy.filter { $0.action == .created }.map(\.key))
        var trustDomains: Set<TrustDomain> = []
        for document in documents where created.contains(document.key) {
            guard case .federatedTrustDomain(let spec) = document.spec else { continue }
            trustDomains.insert(spec.trustDomain)
        }
        guard !trustDomains.isEmpty, standing.may(.list, kind: AdminRule.registrationKind) else {
            return nil
        }
        return try transaction.federatingEntries(
            with: trustDomains,
            rowsMax: Self.federatingRowsMax
        )
    }

    private static func note(
        of entries: FederatingEntries,
        _ trustDomain: TrustDomain
    ) -> String? {
        guard let count = entries.counts[trustDomain], count > 0 || !entries.isComplete else {
            return nil
        }
        let shown = entries.isComplete ? "\(count)" : "at least \(count)"
        return "entries that name \(trustDomain) and federate with it from now on: \(shown)"
    }
}
