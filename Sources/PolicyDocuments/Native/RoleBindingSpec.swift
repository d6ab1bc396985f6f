// SPDX-License-Identifier: Apache-2.0

package import Authorization
import SPIFFE
import StrictYAML

/// What a `RoleBinding` document says.
package struct RoleBindingSpec: Hashable, Sendable {
    /// Most subjects; a longer list is better several bindings with owners of their own.
    package static let subjectsMax = 256

    /// A role of the binding's own namespace, or of the root namespace.
    package let role: AdminRoleReference
    package let subjects: [ActorPattern]

    package init(role: AdminRoleReference, subjects: [ActorPattern]) {
        self.role = role
        self.subjects = subjects
    }

    /// The binding that the document makes.
    package func binding(metadata: DocumentMetadata) -> AdminBinding {
        AdminBinding(
            namespace: metadata.namespace,
            name: metadata.name,
            role: role,
            subjects: subjects,
            expires: metadata.expires
        )
    }
}

extension DocumentParser {
    mutating func roleBindingSpec(_ node: YAMLNode, namespace: String?) -> RoleBindingSpec? {
        guard var fields = fields(of: node, path: "spec") else { return nil }
        let role = required("role", of: &fields).flatMap {
            roleReference($0, namespace: namespace)
        }
        let subjects = required("subjects", of: &fields).flatMap { node in
            list(node, path: "spec.subjects", max: RoleBindingSpec.subjectsMax) {
                $0.subject($1, path: $2)
            }
        }
        refuseUnknown(in: fields)
        guard let role, let subjects else { return nil }
        return RoleBindingSpec(role: role, subjects: subjects)
    }

    /// Reads `name`, a role of the same namespace, or `namespace/name`.
    private mutating func roleReference(
        _ node: YAMLNode,
        namespace: String?
    ) -> AdminRoleReference? {
        let path = "spec.role"
        let root = AdminRole.rootNamespace
        let bytesMax = MetadataLimits.namespaceBytesMax + 1 + MetadataLimits.nameBytesMax
        guard let text = string(node, path: path, bytesMax: bytesMax) else { return nil }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let name = parts.last ?? ""
        let first = parts.count == 2 ? parts[0] : namespace
        guard parts.count <= 2, DNSName.isSubdomain(name), first.map(DNSName.isLabel) ?? true else {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not the name of a Role",
                "write a name, or \(root)/name for a Role of the root namespace"
            )
            return nil
        }
        // Without a namespace of its own the document is refused anyway.
        guard let first, let namespace else { return nil }
        guard first == namespace || first == root else {
            report(
                node.position,
                "\(path): a RoleBinding in namespace \(namespace) cannot give a Role of namespace "
                    + first,
                "use a Role of namespace \(namespace) or \(root)"
            )
            return nil
        }
        return AdminRoleReference(namespace: first, name: name)
    }

    private mutating func subject(_ node: YAMLNode, path: String) -> ActorPattern? {
        let bytesMax = SPIFFEID.bytesMax
        guard let text = string(node, path: path, bytesMax: bytesMax) else { return nil }
        do throws(ActorPatternError) {
            let pattern = try ActorPattern(text)
            if case .spiffe(let id) = pattern {
                use(id.trustDomain, as: .own, path: path, at: node.position)
            }
            return pattern
        } catch {
            report(
                node.position,
                "\(path): \"\(Self.shown(text))\" is not a subject",
                error.description
            )
            return nil
        }
    }
}
