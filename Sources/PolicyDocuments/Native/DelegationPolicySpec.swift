// SPDX-License-Identifier: Apache-2.0

package import SPIFFE
import StrictYAML

/// What a `DelegationPolicy` document says (docs/decisions/0024-token-exchange.md).
///
/// Every combination of a subject, an actor and an audience is permitted, and nothing else.
package struct DelegationPolicySpec: Hashable, Sendable {
    /// Most of each: with all of each other they are a quarter of a million combinations, and who
    /// reads the document has to mean every one.
    package static let listMax = 64

    /// For whom somebody may act.
    package let subjects: [SPIFFEID]
    /// Who may.
    package let actors: [SPIFFEID]
    /// At whom; compared byte by byte.
    package let audiences: [String]

    package init(subjects: [SPIFFEID], actors: [SPIFFEID], audiences: [String]) {
        self.subjects = subjects
        self.actors = actors
        self.audiences = audiences
    }

    /// The policy that the document makes.
    package func policy(
        metadata: DocumentMetadata,
        stored: StoredMetadata
    ) -> DelegationPolicy {
        DelegationPolicy(
            id: stored.uid,
            namespace: metadata.namespace,
            name: metadata.name,
            version: stored.resourceVersion,
            subjects: Set(subjects),
            actors: Set(actors),
            audiences: audiences,
            expires: metadata.expires
        )
    }
}

extension DocumentParser {
    mutating func delegationPolicySpec(_ node: YAMLNode) -> DelegationPolicySpec? {
        guard var fields = fields(of: node, path: "spec") else { return nil }
        let subjects = required("subjects", of: &fields).flatMap {
            workloads($0, path: "spec.subjects")
        }
        let actorsNode = required("actors", of: &fields)
        let actors = actorsNode.flatMap { workloads($0, path: "spec.actors") }
        let audiences = required("audiences", of: &fields).flatMap { node in
            // As bytes: Swift calls texts equal that verifiers tell apart.
            list(node, path: "spec.audiences", max: DelegationPolicySpec.listMax) {
                $0.audience($1, path: $2).map { Array($0.utf8) }
            }
        }
        refuseUnknown(in: fields)
        guard let subjects, let actors, let actorsNode, let audiences else { return nil }
        if subjects.count == 1, subjects == actors {
            report(
                actorsNode.position,
                "spec.actors: nobody acts for himself",
                "name who acts for \(subjects[0])"
            )
            return nil
        }
        return DelegationPolicySpec(
            subjects: subjects,
            actors: actors,
            audiences: audiences.map { String(decoding: $0, as: UTF8.self) }
        )
    }

    private mutating func workloads(_ node: YAMLNode, path: String) -> [SPIFFEID]? {
        list(node, path: path, max: DelegationPolicySpec.listMax) { $0.workload($1, path: $2) }
    }

    /// Reads the whole ID of a workload of the own trust domain.
    private mutating func workload(_ node: YAMLNode, path: String) -> SPIFFEID? {
        guard let text = string(node, path: path, bytesMax: SPIFFEID.bytesMax) else { return nil }
        let id: SPIFFEID
        do throws(SPIFFEIDError) { id = try SPIFFEID(text) } catch {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a SPIFFE ID",
                "\(error); write a whole ID without pattern"
            )
            return nil
        }
        do throws(DelegationChainError) { _ = try DelegationChain(subject: id) } catch {
            report(node.position, "\(path): \(error)", "write the ID of a workload")
            return nil
        }
        use(id.trustDomain, as: .own, path: path, at: node.position)
        return id
    }

    private mutating func audience(_ node: YAMLNode, path: String) -> String? {
        let bytesMax = TokenAudiences.bytesMax
        guard let text = string(node, path: path, bytesMax: bytesMax) else { return nil }
        guard TokenAudiences.isWord(text, bytesMax: bytesMax) else {
            report(node.position, "\(path) holds a tab or line end", "write it on one line")
            return nil
        }
        return text
    }
}
