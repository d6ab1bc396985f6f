// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// Which workloads of its namespace a policy holds for.
package enum AccessTarget: Hashable, Sendable {
    /// Workloads with one of these SPIFFE IDs.
    case identities([PrincipalPattern])
    /// Workloads whose registration entry has all of these labels.
    case labels([String: String])
    /// Workloads that stand behind one of these Services of their namespace.
    case services([String])
}

/// A workload, as far as it decides which policies hold for it; the server knows all of it.
package struct PolicedWorkload: Hashable, Sendable {
    package let identity: SPIFFEID
    /// The namespace of its registration entry.
    package let namespace: String
    /// The labels of its registration entry.
    package let labels: [String: String]
    /// The names of the Services of its namespace that list its identity.
    package let services: Set<String>

    package init(
        identity: SPIFFEID,
        namespace: String,
        labels: [String: String] = [:],
        services: Set<String> = []
    ) {
        self.identity = identity
        self.namespace = namespace
        self.labels = labels
        self.services = services
    }
}

extension AccessPolicy {
    /// The namespace whose policies hold in every namespace.
    package static let rootNamespace = AdminRole.rootNamespace

    /// Whether it holds for a workload; its mode does not matter.
    package func holds(for workload: PolicedWorkload) -> Bool {
        guard namespace == workload.namespace || namespace == Self.rootNamespace else {
            return false
        }
        return switch target {
        case nil: true
        case .identities(let patterns): patterns.contains { $0.matches(workload.identity) }
        case .labels(let wanted): wanted.allSatisfy { workload.labels[$0.key] == $0.value }
        case .services(let names): names.contains { workload.services.contains($0) }
        }
    }
}
