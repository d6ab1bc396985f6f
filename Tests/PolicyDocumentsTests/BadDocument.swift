// SPDX-License-Identifier: Apache-2.0

import Testing

/// A text that is refused, with the whole message for its only problem.
struct BadDocument: Sendable, CustomTestStringConvertible {
    let name: String
    let text: String
    /// `line:column: what; remedy`.
    let message: String

    init(_ name: String, _ text: String, _ message: String) {
        self.name = name
        self.text = text
        self.message = message
    }

    var testDescription: String { name }

    /// An entry of which one line is replaced.
    static func entry(
        _ name: String,
        _ line: String,
        with other: String,
        _ message: String
    ) -> BadDocument {
        BadDocument(name, sampleEntry.replacing(line, with: other, maxReplacements: 1), message)
    }

    /// A rule in a role of a namespace.
    static func rule(
        _ name: String,
        in namespace: String = "signet-system",
        _ rule: String,
        _ message: String
    ) -> BadDocument {
        BadDocument(
            name,
            """
            apiVersion: core.signet/v1alpha1
            kind: Role
            metadata: {name: r, namespace: \(namespace)}
            spec:
              rules:
                - \(rule)
            """,
            message
        )
    }

    /// A binding of which the spec is given.
    static func binding(
        _ name: String,
        in namespace: String = "signet-system",
        _ role: String,
        _ subject: String,
        _ message: String
    ) -> BadDocument {
        BadDocument(
            name,
            """
            apiVersion: core.signet/v1alpha1
            kind: RoleBinding
            metadata: {name: b, namespace: \(namespace)}
            spec:
              role: \(role)
              subjects:
                - \(subject)
            """,
            message
        )
    }

    static let sampleEntry = """
        apiVersion: core.signet/v1alpha1
        kind: RegistrationEntry
        metadata:
          name: web
          namespace: payments
        spec:
          spiffeID: spiffe://example.org/web
          nodeSelectors:
            - role:web
          workloadSelectors:
            - unix:uid:1000
          x509SVIDTTL: 1h
          hint: x

        """
}
