// SPDX-License-Identifier: Apache-2.0

/// What identifies a document: API group, kind, namespace and name.
package struct DocumentKey: Hashable, Sendable, Comparable, Codable, CustomStringConvertible {
    /// The API group of Signet's own kinds; its current version is `v1alpha1`.
    package static let nativeGroup = "core.signet"

    package let group: String
    package let kind: String
    /// Empty for kinds that belong to the whole cluster, such as `Namespace`.
    package let namespace: String
    package let name: String

    package init(group: String, kind: String, namespace: String, name: String) {
        self.group = group
        self.kind = kind
        self.namespace = namespace
        self.name = name
    }

    package var description: String {
        namespace.isEmpty ? "\(kind) \(name)" : "\(kind) \(namespace)/\(name)"
    }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.group, lhs.kind, lhs.namespace, lhs.name)
            < (rhs.group, rhs.kind, rhs.namespace, rhs.name)
    }
}
