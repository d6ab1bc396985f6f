// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import PolicyDocuments
internal import SPIFFE

/// Whom the trust domain federates with (docs/decisions/0021-federation.md).
extension DocumentAct {
    /// Most entries that are counted when a trust domain is federated with: more are told as that.
    static let federatingEntriesMax = 1_000

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
        let filter = DocumentFilter(group: DocumentKey.nativeGroup, kind: Self.kind)
        return try transaction.documents(filter, limit: FederatedBundleRecord.countMax)
            .first { $0.uid == record.documentUID }?.key.name
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

    /// Tells what a federation brings along that its document does not say.
    mutating func warnOfFederation(_ documents: [Document]) throws {
        for document in documents {
            guard case .federatedTrustDomain(let spec) = document.spec else { continue }
            let problems = [
                warningOfBundle(spec), try warningOfVouching(spec),
                try noteOfEntries(spec, document.key),
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

    /// Who federates from now on because of a new document, to who may see every entry.
    private func noteOfEntries(
        _ spec: FederatedTrustDomainSpec,
        _ key: DocumentKey
    ) throws -> String? {
        guard outcomes.contains(where: { $0.key == key && $0.action == .created }),
            standing.may(.list, kind: AdminRule.registrationKind)
        else { return nil }
        let most = Self.federatingEntriesMax
        let count = try transaction.entryCount(
            federatingWith: spec.trustDomain,
            limit: most + 1
        )
        guard count > 0 else { return nil }
        let shown = count > most ? "more than \(most)" : "\(count)"
        return "entries that name \(spec.trustDomain) and federate with it from now on: \(shown)"
    }
}
