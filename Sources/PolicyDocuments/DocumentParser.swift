// SPDX-License-Identifier: Apache-2.0

import Authorization
import SPIFFE
import StrictYAML

/// Turns nodes into documents and collects everything that is wrong on the way.
///
/// Every reading method returns nil after having reported why; a document is made only if nothing
/// of it was reported.
struct DocumentParser {
    /// Longest word of a closed list that is still looked at for a suggestion.
    static let wordBytesMax = 256

    let file: String
    private(set) var problems: [DocumentProblem] = []
    private(set) var trustDomainUses: [TrustDomainUse] = []
    /// What is no error, but probably not what was meant.
    private(set) var warnings: [DocumentProblem] = []
    /// Where parts of the document stand that are judged again later, by their path.
    private(set) var places: [String: TextPosition] = [:]

    init(file: String) {
        self.file = file
    }

    /// Problems are still counted one above what is shown, to know that there are more.
    var isFull: Bool { problems.count > DocumentProblems.problemsMax }

    mutating func report(_ position: TextPosition, _ what: String, _ remedy: String) {
        guard !isFull else { return }
        problems.append(
            DocumentProblem(
                file: file,
                line: position.line,
                column: position.column,
                what: what,
                remedy: remedy
            )
        )
    }

    mutating func warn(_ position: TextPosition, _ what: String, _ remedy: String) {
        warnings.append(
            DocumentProblem(
                file: file,
                line: position.line,
                column: position.column,
                what: what,
                remedy: remedy
            )
        )
    }

    /// Remembers where a part stands.
    mutating func place(_ path: String, _ position: TextPosition) {
        places[path] = position
    }

    mutating func use(
        _ trustDomain: TrustDomain,
        as meaning: TrustDomainUse.Meaning,
        path: String,
        at position: TextPosition
    ) {
        trustDomainUses.append(
            TrustDomainUse(
                trustDomain: trustDomain,
                meaning: meaning,
                path: path,
                position: position
            )
        )
    }

    // MARK: - Files and documents

    mutating func documents(in raw: [UInt8]) -> [Document] {
        let stream = YAMLStream(reading: raw, documentsMax: Document.perFileMax)
        for problem in stream.problems { report(problem.position, problem.what, problem.remedy) }
        var documents: [Document] = []
        for node in stream.documents where !isFull {
            (trustDomainUses, warnings, places) = ([], [], [:])
            if let document = document(node) { documents.append(document) }
        }
        for problem in Document.problems(among: documents) where !isFull {
            problems.append(problem)
        }
        return documents
    }

    private mutating func document(_ node: YAMLNode) -> Document? {
        let before = problems.count
        guard var fields = fields(of: node, path: "") else { return nil }
        let apiVersion = required("apiVersion", of: &fields)
        let kindNode = required("kind", of: &fields)
        let metadataNode = required("metadata", of: &fields)
        guard let apiVersion, let kind = kind(kindNode, apiVersion: apiVersion) else {
            // What else stands there depends on the kind.
            return nil
        }
        let specNode = kind == .namespace ? fields.take("spec") : required("spec", of: &fields)
        refuseUnknown(in: fields)
        let metadata = metadataNode.flatMap { self.metadata($0, of: kind) }
        let spec = self.spec(specNode, of: kind, namespace: metadata?.namespace)
        guard problems.count == before, let metadata, let spec else { return nil }
        if case .role(let role) = spec, role.role(metadata: metadata).reference == .builtInAdmin {
            report(
                node.position,
                "Role \(AdminRoleReference.builtInAdmin) is built in and cannot be written",
                "choose another name"
            )
        }
        return Document(
            metadata: metadata,
            spec: spec,
            file: file,
            line: node.position.line,
            trustDomainUses: trustDomainUses,
            warnings: warnings,
            places: places
        )
    }

    private mutating func kind(_ node: YAMLNode?, apiVersion: YAMLNode) -> DocumentKind? {
        let version = string(apiVersion, path: "apiVersion", bytesMax: Self.wordBytesMax)
        guard let node, let version,
            let name = string(node, path: "kind", bytesMax: Self.wordBytesMax)
        else { return nil }
        guard version == Document.nativeAPIVersion else {
            report(
                apiVersion.position,
                "the apiVersion \"\(version)\" is unknown",
                "write \(Document.nativeAPIVersion)"
            )
            return nil
        }
        guard let kind = DocumentKind(rawValue: name) else {
            report(
                node.position,
                "the kind \"\(name)\" is unknown",
                Suggestion.remedy(for: name, among: DocumentKind.allCases.map(\.rawValue))
            )
            return nil
        }
        return kind
    }

    private mutating func spec(
        _ node: YAMLNode?,
        of kind: DocumentKind,
        namespace: String?
    ) -> DocumentSpec? {
        switch kind {
        case .accessPolicy:
            return node.flatMap { accessPolicySpec($0) }.map(DocumentSpec.accessPolicy)
        case .delegationPolicy:
            return node.flatMap { delegationPolicySpec($0) }.map(DocumentSpec.delegationPolicy)
        case .federatedTrustDomain:
            return node.flatMap { federatedTrustDomainSpec($0) }
                .map(DocumentSpec.federatedTrustDomain)
        case .namespace:
            return namespaceSpec(node).map(DocumentSpec.namespace)
        case .proxy:
            return node.flatMap { proxySpec($0) }.map(DocumentSpec.proxy)
        case .registrationEntry:
            return node.flatMap { registrationEntrySpec($0) }.map(DocumentSpec.registrationEntry)
        case .role:
            return node.flatMap { roleSpec($0, namespace: namespace) }.map(DocumentSpec.role)
        case .roleBinding:
            return node.flatMap { roleBindingSpec($0, namespace: namespace) }
                .map(DocumentSpec.roleBinding)
        case .service:
            return node.flatMap { serviceSpec($0) }.map(DocumentSpec.service)
        }
    }

    private mutating func namespaceSpec(_ node: YAMLNode?) -> NamespaceSpec? {
        guard let node else { return NamespaceSpec() }
        guard let fields = fields(of: node, path: "spec") else { return nil }
        refuseUnknown(in: fields)
        return NamespaceSpec()
    }
}

/// A namespace says nothing yet beyond that it is there.
package struct NamespaceSpec: Hashable, Sendable {
    package init() {}
}
