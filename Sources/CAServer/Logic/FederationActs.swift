// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import ControlAPI
internal import Crypto
package import Datastore
package import FoundationEssentials
package import PolicyDocuments
package import SPIFFE
internal import Synchronization

/// Whom the trust domain federates with, as it is on record.
package struct FederatedPartner: Sendable {
    /// Of the FederatedTrustDomain.
    package let name: String
    /// Of the document as it is read here.
    package let version: UInt64
    /// Nil when this release cannot read the document: nothing is fetched then, and what was
    /// fetched is believed for as long as if the document did not say.
    package let spec: FederatedTrustDomainSpec?
    package let record: FederatedBundleRecord

    package var trustDomain: TrustDomain { record.trustDomain }

    /// Why nothing is fetched; nil: the document can be read.
    package var unreadable: UnreadableDocument? {
        guard spec == nil else { return nil }
        return UnreadableDocument(
            key: DocumentKey(
                group: DocumentKey.nativeGroup,
                kind: DocumentKind.federatedTrustDomain.rawValue,
                namespace: "",
                name: name
            )
        )
    }

    private var staleAfterSeconds: Int {
        spec?.staleAfterSeconds ?? FederatedTrustDomainSpec.staleAfterSecondsDefault
    }

    /// Until when the bundle is believed if it is fetched no more; nil: there is none.
    package var staleAt: Date? {
        record.confirmedAt?.addingTimeInterval(TimeInterval(staleAfterSeconds))
    }

    /// The bundle by which the endpoint's SVID is verified.
    ///
    /// Of the fetched trust domain it is the last good one, also if it is withheld: only so can a
    /// newer one be fetched. Another's counts as it does for everybody.
    ///
    /// - Parameter partners: All that are federated with.
    /// - Returns: nil if there is none: with https_web nobody needs it.
    package func endpointBundle(
        among partners: [TrustDomain: FederatedPartner]
    ) -> TrustBundle? {
        guard case .spiffe(let id, let text) = spec?.bundleEndpointProfile else { return nil }
        let endpoint = id.trustDomain
        let bytes: [UInt8]?
        if endpoint != trustDomain {
            bytes = partners[endpoint]?.record.shownDocument
        } else if let text, record.document == nil || record.verifiedBySHA256 != configuredSHA256 {
            bytes = Array(text.utf8)
        } else {
            bytes = record.document
        }
        return bytes.flatMap { try? BundleDocument(parsing: $0) }?.bundle(of: endpoint)
    }

    /// Whether validators would go on believing what is believed for too long already.
    func mustBeWithheld(now: Date) -> Bool {
        record.shownDocument != nil
            && BundleFreshness.isStale(
                confirmedAt: record.confirmedAt ?? .distantPast,
                limit: .seconds(staleAfterSeconds),
                now: now
            )
    }

    /// SHA-256 of `trustDomainBundle`; nil: the document has none.
    var configuredSHA256: [UInt8]? {
        guard case .spiffe(_, let text?) = spec?.bundleEndpointProfile else { return nil }
        return Array(SHA256.hash(data: Array(text.utf8)))
    }

    /// The same document with the row as it is now.
    fileprivate func with(_ record: FederatedBundleRecord) -> Self {
        Self(name: name, version: version, spec: spec, record: record)
    }

    /// What is believed when a document is judged: what was fetched last, or what was configured.
    fileprivate func believed(_ record: FederatedBundleRecord) -> BelievedBundle? {
        if let bytes = record.document, let document = try? BundleDocument(parsing: bytes) {
            return BelievedBundle(
                fetched: document,
                sequenceNumber: record.sequenceNumber,
                newKeysAt: record.newKeysAt
            )
        }
        guard case .spiffe(_, let text?) = spec?.bundleEndpointProfile,
            let document = try? BundleDocument(parsing: Array(text.utf8))
        else { return nil }
        return BelievedBundle(configured: document)
    }
}

/// What the documents of kind FederatedTrustDomain say, each version read once.
package final class FederationSpecs: Sendable {
    private struct Known: Sendable {
        let version: UInt64
        /// Nil when this release cannot read it.
        let spec: FederatedTrustDomainSpec?
    }

    /// By the documents' UIDs.
    private let known = Mutex<[String: Known]>([:])

    package init() {}

    fileprivate func specs(of documents: [StoredDocument]) -> [FederatedTrustDomainSpec?] {
        let before = known.withLock { $0 }
        var now: [String: Known] = [:]
        for stored in documents {
            if let known = before[stored.uid], known.version == stored.resourceVersion {
                now[stored.uid] = known
            } else {
                now[stored.uid] = Known(
                    version: stored.resourceVersion,
                    spec: Self.spec(of: stored)
                )
            }
        }
        known.withLock { [now] in $0 = now }
        return documents.map { now[$0.uid]?.spec }
    }

    private static func spec(of stored: StoredDocument) -> FederatedTrustDomainSpec? {
        guard let document = try? Document(stored: stored),
            case .federatedTrustDomain(let spec) = document.spec
        else { return nil }
        return spec
    }
}

/// A document that an endpoint served, read.
package struct FetchedBundle: Sendable {
    package let document: BundleDocument
    /// The form in which it is stored, and told to agents.
    package let stored: [UInt8]

    /// Reads a document.
    ///
    /// - Throws: `BundleDocumentError`, also if it has a key that could not be written again.
    package init(_ bytes: [UInt8], of trustDomain: TrustDomain) throws(BundleDocumentError) {
        document = try BundleDocument(parsing: bytes)
        stored = try document.bundle(of: trustDomain).document()
    }
}

/// What became of a document that an endpoint served.
package enum FederationResult: Hashable, Sendable {
    case confirmed
    case postponed(until: Date)
    /// Refused by a rule; what was believed stays.
    case refused(BundleRefusal)
    /// The FederatedTrustDomain is another one by now, or gone.
    case superseded
    case taken(isSequenceReused: Bool)
}

/// Bundles of other trust domains, from what was fetched to the row that agents are told of
/// (docs/decisions/0021-federation.md).
extension ServerLogic {
    /// Who fetches bundles by himself.
    package static let federator = Actor.system("federation")

    /// Whom the trust domain federates with, also by documents that this release cannot read.
    ///
    /// - Parameters:
    ///   - transaction: One that writes nothing: the version of what it writes may be taken back.
    ///   - specs: What the documents said the last time.
    /// - Returns: Each, in the order of the documents' names.
    /// - Throws: `DatastoreError`.
    package func partners(
        in transaction: ReadTransaction,
        knowing specs: FederationSpecs
    ) throws -> [FederatedPartner] {
        let filter = DocumentFilter(
            group: DocumentKey.nativeGroup,
            kind: DocumentKind.federatedTrustDomain.rawValue
        )
        let documents = try transaction.documents(filter, limit: FederatedBundleRecord.countMax)
        return try zip(documents, specs.specs(of: documents)).compactMap { stored, spec in
            guard let record = try transaction.federatedBundle(documentUID: stored.uid) else {
                return nil
            }
            return FederatedPartner(
                name: stored.key.name,
                version: stored.resourceVersion,
                spec: spec,
                record: record
            )
        }
    }

    /// Judges what an endpoint served, and writes what comes of it.
    ///
    /// - Parameters:
    ///   - fetched: What it served.
    ///   - partner: As it was when the fetch began; a result counts for no other version.
    ///   - asking: Who asked for the fetch.
    ///   - actor: Whom the audit log names.
    ///   - now: The wall clock.
    ///   - transaction: Where all of it happens.
    /// - Returns: What became of it; nothing is written unless it was taken or confirmed.
    /// - Throws: `APIError` if the clock is not believed; `DatastoreError`.
    package func take(
        _ fetched: FetchedBundle,
        of partner: FederatedPartner,
        asking: BundleSuccession.Asking,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws -> FederationResult {
        if let problem = try clockProblem(now, in: transaction) { throw APIError(problem) }
        let uid = partner.record.documentUID
        guard var record = try transaction.federatedBundle(documentUID: uid) else {
            return .superseded
        }
        let wasWithheld = record.isWithheld
        let cause: FederatedBundleChange.Cause?
        let result: FederationResult
        let believed = partner.believed(record)
        switch BundleSuccession.judge(believed, fetched.document, asking: asking, now: now) {
        case .postponed(let until): return .postponed(until: until)
        case .refused(let refusal): return .refused(refusal)
        case .confirmed(let sequence):
            let isLowered = Self.isLowered(record.sequenceNumber, to: sequence)
            record.sequenceNumber = sequence
            cause = isLowered ? .olderAccepted : wasWithheld ? .returned : nil
            result = .confirmed
        case .taken(let taking):
            record.document = fetched.stored
            record.sequenceNumber = taking.sequenceNumber
            record.changedAt = now
            if taking.hasNewKeys { record.newKeysAt = now }
            cause = taking.isOlderAccepted ? .olderAccepted : .fetched
            result = .taken(isSequenceReused: taking.isSequenceReused)
        }
        record.confirmedAt = now
        record.isWithheld = false
        record.verifiedBySHA256 = partner.configuredSHA256
        guard try transaction.update(record, ifDocumentHasVersion: partner.version) else {
            return .superseded
        }
        if let cause {
            try transaction.append(
                .federatedBundleChanged(FederatedBundleChange(record, cause)),
                by: actor,
                at: now
            )
        }
        return result
    }

    /// Whether an old bundle may be believed now that would have been refused before.
    private static func isLowered(_ remembered: UInt64?, to sequence: UInt64?) -> Bool {
        guard let remembered else { return false }
        return sequence.map { $0 < remembered } ?? true
    }

    /// Withholds the bundle of a partner whose fetch has failed, or cannot be made, if it is
    /// believed for too long already.
    ///
    /// - Returns: Whether it is withheld from now on.
    /// - Throws: `APIError` if the clock is not believed; `DatastoreError`.
    package func withholdIfStale(
        _ partner: FederatedPartner,
        now: Date,
        in transaction: Transaction
    ) throws -> Bool {
        if let problem = try clockProblem(now, in: transaction) { throw APIError(problem) }
        let uid = partner.record.documentUID
        guard var record = try transaction.federatedBundle(documentUID: uid),
            partner.with(record).mustBeWithheld(now: now)
        else { return false }
        record.isWithheld = true
        guard try transaction.update(record, ifDocumentHasVersion: partner.version) else {
            return false
        }
        try transaction.append(
            .federatedBundleChanged(FederatedBundleChange(record, .withheld)),
            by: Self.federator,
            at: now
        )
        return true
    }
}

extension FederatedBundleChange {
    /// What a row says, and why it says something else than before.
    init(_ record: FederatedBundleRecord, _ cause: Cause) {
        self.init(
            trustDomain: record.trustDomain,
            cause: cause,
            sequenceNumber: record.sequenceNumber,
            content: record.document.map(Content.init)
        )
    }
}

extension FederatedBundleChange.Content {
    fileprivate init(_ bytes: [UInt8]) {
        let document = try? BundleDocument(parsing: bytes)
        self.init(
            documentSHA256: Array(SHA256.hash(data: bytes)),
            authorities: document?.x509Authorities.map { Array(SHA256.hash(data: $0)) } ?? [],
            tokenKeys: document?.jwtAuthorities.map(\.key.thumbprint) ?? []
        )
    }
}
