// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE
import StrictYAML

/// One document of the admin's language, completely understood.
///
/// What could not be read entirely was refused entirely: there is no document with a part that
/// nobody looked at.
package struct Document: Sendable {
    /// Most documents in one file; more are never written by hand, and one file is one message.
    package static let perFileMax = 10_000
    /// The only accepted `apiVersion` of the native kinds.
    package static let nativeAPIVersion = "\(DocumentKey.nativeGroup)/v1alpha1"

    package let metadata: DocumentMetadata
    package let spec: DocumentSpec
    /// Where the document starts: file and line, counted from 1.
    package let file: String
    package let line: Int
    let trustDomainUses: [TrustDomainUse]
    /// What is no error, but probably not what was meant; to be shown by whoever applies it.
    package let warnings: [DocumentProblem]
    /// Where parts stand that are judged again together with other documents, by their path.
    let places: [String: TextPosition]

    init(
        metadata: DocumentMetadata,
        spec: DocumentSpec,
        file: String,
        line: Int,
        trustDomainUses: [TrustDomainUse],
        warnings: [DocumentProblem],
        places: [String: TextPosition]
    ) {
        self.metadata = metadata
        self.spec = spec
        self.file = file
        self.line = line
        self.trustDomainUses = trustDomainUses
        self.warnings = warnings
        self.places = places
    }

    package var kind: DocumentKind { spec.kind }

    package var key: DocumentKey {
        DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: kind.rawValue,
            namespace: metadata.namespace,
            name: metadata.name
        )
    }

    /// The document as JSON with sorted keys and without spaces (RFC 8785), for storage and
    /// digests.
    ///
    /// It holds nothing that the server adds. `parse` reads it back to the same document.
    package var canonicalJSON: [UInt8] { Array(json(stored: nil).canonical.utf8) }

    /// Reads all documents of one file, YAML or JSON.
    ///
    /// - Parameters:
    ///   - text: at most 1 MiB of UTF-8.
    ///   - file: the name that problems are reported under.
    /// - Returns: the documents in the order of the text; empty ones are left out.
    /// - Throws: everything that is wrong, if anything is; then no document is returned.
    package static func parse(
        _ text: [UInt8],
        file: String
    ) throws(DocumentProblems) -> [Document] {
        var parser = DocumentParser(file: file)
        let documents = parser.documents(in: text)
        guard parser.problems.isEmpty else { throw DocumentProblems(parser.problems) }
        return documents
    }

    /// The problems of a set of documents that only show when they are together: a key that
    /// several of them have.
    package static func problems(among documents: [Document]) -> [DocumentProblem] {
        var first: [DocumentKey: Document] = [:]
        var problems: [DocumentProblem] = []
        for document in documents {
            guard let other = first[document.key] else {
                first[document.key] = document
                continue
            }
            problems.append(
                DocumentProblem(
                    file: document.file,
                    line: document.line,
                    column: 1,
                    what: "\(document.key) is already at \(other.file):\(other.line)",
                    remedy: "remove one of them or change its name"
                )
            )
        }
        return problems
    }

    /// What a server of `trustDomain` must refuse: IDs of other trust domains where its own are
    /// meant, federation with itself, and tests of an AccessPolicy that fail.
    package func problems(inTrustDomain trustDomain: TrustDomain) -> [DocumentProblem] {
        let misused = misuses(inTrustDomain: trustDomain)
        guard case .accessPolicy(let spec) = spec else { return misused }
        let failing = spec.tests.enumerated().compactMap { index, test in
            test.failure(of: spec.action, spec.rules, in: trustDomain).map { failure in
                problem(ofTest: test, at: "spec.tests[\(index)]", failure)
            }
        }
        return misused + failing.prefix(DocumentProblems.problemsMax)
    }

    private func problem(
        ofTest test: AccessPolicyTest,
        at path: String,
        _ failure: String
    ) -> DocumentProblem {
        let title = test.name.map { " (\(DocumentParser.shown($0)))" } ?? ""
        let position = places[path]
        return DocumentProblem(
            file: file,
            line: position?.line ?? line,
            column: position?.column ?? 1,
            what: "\(path)\(title) fails: expected \(test.expected), but \(failure)",
            remedy: "change the rules, or what the test expects"
        )
    }

    private func misuses(inTrustDomain trustDomain: TrustDomain) -> [DocumentProblem] {
        trustDomainUses.sorted { $0.position < $1.position }.compactMap { use in
            let isOwn = use.trustDomain == trustDomain
            let problem: (what: String, remedy: String)
            switch use.meaning {
            case .foreign where isOwn:
                problem = (
                    "\(use.path): \(trustDomain) is this server's own trust domain", "remove it"
                )
            case .own where !isOwn:
                problem = (
                    "\(use.path): the trust domain is \(use.trustDomain), this server's is "
                        + "\(trustDomain)",
                    "write spiffe://\(trustDomain)/..."
                )
            case .foreign, .own: return nil
            }
            return DocumentProblem(
                file: file,
                line: use.position.line,
                column: use.position.column,
                what: problem.what,
                remedy: problem.remedy
            )
        }
    }
}

/// The kinds of document.
package enum DocumentKind: String, CaseIterable, Hashable, Sendable {
    case accessPolicy = "AccessPolicy"
    case delegationPolicy = "DelegationPolicy"
    case federatedTrustDomain = "FederatedTrustDomain"
    case namespace = "Namespace"
    case proxy = "Proxy"
    case registrationEntry = "RegistrationEntry"
    case role = "Role"
    case roleBinding = "RoleBinding"
    case service = "Service"

    /// The word before its name.
    var article: String { self == .accessPolicy ? "an" : "a" }

    /// Whether documents of the kind lie in a namespace.
    package var isNamespaced: Bool { self != .namespace && self != .federatedTrustDomain }
    /// Whether documents of the kind grant something, so that they may expire.
    package var isGrant: Bool {
        self == .delegationPolicy || self == .registrationEntry || self == .roleBinding
    }
}

/// What a document says, by kind.
package enum DocumentSpec: Hashable, Sendable {
    case accessPolicy(AccessPolicySpec)
    case delegationPolicy(DelegationPolicySpec)
    case federatedTrustDomain(FederatedTrustDomainSpec)
    case namespace(NamespaceSpec)
    case proxy(ProxySpec)
    case registrationEntry(RegistrationEntrySpec)
    case role(RoleSpec)
    case roleBinding(RoleBindingSpec)
    case service(ServiceSpec)

    package var kind: DocumentKind {
        switch self {
        case .accessPolicy: .accessPolicy
        case .delegationPolicy: .delegationPolicy
        case .federatedTrustDomain: .federatedTrustDomain
        case .namespace: .namespace
        case .proxy: .proxy
        case .registrationEntry: .registrationEntry
        case .role: .role
        case .roleBinding: .roleBinding
        case .service: .service
        }
    }
}

/// What a document says about itself.
package struct DocumentMetadata: Hashable, Sendable {
    /// The namespace of a document that names none.
    package static let defaultNamespace = "default"

    package let name: String
    /// Empty for kinds that belong to the whole cluster.
    package let namespace: String
    package let labels: [String: String]
    package let annotations: [String: String]
    /// Who answers for the document; free text.
    package let owner: String?
    /// Why the document is there; free text.
    package let reason: String?
    /// From here on the document grants nothing; whole seconds.
    package let expires: Date?
    /// The document that the author means to change; not part of the content.
    package let uid: String?
    /// The version that the author means to change (compare and set); not part of the content.
    package let resourceVersion: UInt64?

    package init(
        name: String,
        namespace: String,
        labels: [String: String] = [:],
        annotations: [String: String] = [:],
        owner: String? = nil,
        reason: String? = nil,
        expires: Date? = nil,
        uid: String? = nil,
        resourceVersion: UInt64? = nil
    ) {
        self.name = name
        self.namespace = namespace
        self.labels = labels
        self.annotations = annotations
        self.owner = owner
        self.reason = reason
        self.expires = expires
        self.uid = uid
        self.resourceVersion = resourceVersion
    }
}

/// What the server adds to the metadata of a stored document.
package struct StoredMetadata: Hashable, Sendable {
    /// Never used again after deletion.
    package let uid: String
    /// Grows with every change of this document.
    package let resourceVersion: UInt64
    /// When the document was first created; shown in whole seconds.
    package let creationTimestamp: Date
    /// The revision number of the change that last wrote the document.
    package let revision: UInt64

    package init(
        uid: String,
        resourceVersion: UInt64,
        creationTimestamp: Date,
        revision: UInt64
    ) {
        self.uid = uid
        self.resourceVersion = resourceVersion
        self.creationTimestamp = creationTimestamp
        self.revision = revision
    }
}

/// A trust domain that stands in a document, for the check that only a server can make.
struct TrustDomainUse: Hashable, Sendable {
    enum Meaning: Hashable, Sendable {
        case foreign
        case own
    }

    let trustDomain: TrustDomain
    let meaning: Meaning
    let path: String
    let position: TextPosition
}
