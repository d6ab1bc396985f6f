// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// Who gets which identity: a workload that shows all of `workloadSelectors` on a node that shows
/// all of `nodeSelectors` gets the ID that `spiffeID` names.
package struct RegistrationEntry: Hashable, Sendable, Codable, Identifiable {
    /// Most federated trust domains; their bundles all go to the workload.
    package static let federatesWithMax = 64

    /// The document's uid; never used again after deletion.
    package let id: String
    package let namespace: String
    package let name: String
    /// The revision number of the change that last wrote this entry.
    package let revision: UInt64
    /// When the document was first created; decides between equal hints (oldest wins).
    package let createdAt: Date
    /// The ID, possibly a template; checked by `IDTemplate` where it is used.
    package let spiffeID: String
    /// Bounds of the template's workload variables, by variable name.
    package let variableBounds: [String: VariableBound]
    /// What the node must show, all of it: never empty, sorted, without duplicates.
    package let nodeSelectors: [Selector]
    /// What the workload must show, all of it: never empty, sorted, without duplicates.
    package let workloadSelectors: [Selector]
    /// Lifetime of the X.509-SVID in seconds; nil takes the server's default.
    package let x509SVIDTTLSeconds: Int?
    /// Lifetime of JWT-SVIDs in seconds; nil takes the server's default.
    package let jwtSVIDTTLSeconds: Int?
    package let dnsNames: [String]
    /// Names of other trust domains, at most `federatesWithMax`.
    package let federatesWith: [String]
    /// Sent to the workload to tell several identities apart (Workload API section 4.4).
    package let hint: String
    /// Set by admins; what policies mean by the workload's labels.
    package let labels: [String: String]
    /// From here on the entry grants nothing.
    package let expires: Date?
    /// Whether the workload is a server, whose authorities are certified by what certifies those here
    /// (docs/decisions/0020-authorities-under-another.md, "Nested"); never with a template.
    package let isDownstream: Bool

    package init(
        id: String,
        namespace: String,
        name: String,
        revision: UInt64,
        createdAt: Date,
        spiffeID: String,
        variableBounds: [String: VariableBound] = [:],
        nodeSelectors: [Selector],
        workloadSelectors: [Selector],
        x509SVIDTTLSeconds: Int? = nil,
        jwtSVIDTTLSeconds: Int? = nil,
        dnsNames: [String] = [],
        federatesWith: [String] = [],
        hint: String = "",
        labels: [String: String] = [:],
        expires: Date? = nil,
        isDownstream: Bool = false
    ) {
        self.id = id
        self.namespace = namespace
        self.name = name
        self.revision = revision
        self.createdAt = createdAt
        self.spiffeID = spiffeID
        self.variableBounds = variableBounds
        self.nodeSelectors = Array(Set(nodeSelectors)).sorted()
        self.workloadSelectors = Array(Set(workloadSelectors)).sorted()
        self.x509SVIDTTLSeconds = x509SVIDTTLSeconds
        self.jwtSVIDTTLSeconds = jwtSVIDTTLSeconds
        self.dnsNames = dnsNames
        self.federatesWith = federatesWith
        self.hint = hint
        self.labels = labels
        self.expires = expires
        self.isDownstream = isDownstream
    }

    /// Decodes an entry under the rules of the other initializer, so that selectors are sorted and
    /// single whoever encoded them.
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            id: try fields.decode(String.self, forKey: .id),
            namespace: try fields.decode(String.self, forKey: .namespace),
            name: try fields.decode(String.self, forKey: .name),
            revision: try fields.decode(UInt64.self, forKey: .revision),
            createdAt: try fields.decode(Date.self, forKey: .createdAt),
            spiffeID: try fields.decode(String.self, forKey: .spiffeID),
            variableBounds: try fields.decode(
                [String: VariableBound].self,
                forKey: .variableBounds
            ),
            nodeSelectors: try fields.decode([Selector].self, forKey: .nodeSelectors),
            workloadSelectors: try fields.decode([Selector].self, forKey: .workloadSelectors),
            x509SVIDTTLSeconds: try fields.decodeIfPresent(Int.self, forKey: .x509SVIDTTLSeconds),
            jwtSVIDTTLSeconds: try fields.decodeIfPresent(Int.self, forKey: .jwtSVIDTTLSeconds),
            dnsNames: try fields.decode([String].self, forKey: .dnsNames),
            federatesWith: try fields.decode([String].self, forKey: .federatesWith),
            hint: try fields.decode(String.self, forKey: .hint),
            labels: try fields.decode([String: String].self, forKey: .labels),
            expires: try fields.decodeIfPresent(Date.self, forKey: .expires),
            // What a release before has encoded lacks it.
            isDownstream: try fields.decodeIfPresent(Bool.self, forKey: .isDownstream) ?? false
        )
    }

    /// Whether a node that shows `selectors` is in the entry's scope.
    package func matches(node selectors: Set<Selector>) -> Bool {
        !nodeSelectors.isEmpty && nodeSelectors.allSatisfy(selectors.contains)
    }

    /// Whether a workload that shows `selectors` is meant by the entry.
    package func matches(workload selectors: Set<Selector>) -> Bool {
        !workloadSelectors.isEmpty && workloadSelectors.allSatisfy(selectors.contains)
    }
}

/// What an agent-asserted template variable may become.
package enum VariableBound: Hashable, Sendable, Codable {
    /// Any one valid segment: the admin said `agentAsserted: true`.
    case agentAsserted
    /// A segment that starts with the prefix.
    case prefix(String)
    /// One of the listed segments.
    case values([String])
}
