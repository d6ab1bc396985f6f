// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// One rule of a role: verbs, on kinds, in namespaces, on SPIFFE IDs below prefixes.
///
/// A list that is absent (nil) does not narrow; a list that is empty allows nothing.
package struct AdminRule: Hashable, Sendable {
    /// The kind whose documents give identities away.
    package static let registrationKind = "RegistrationEntry"

    /// The kinds of document that a rule is about.
    package enum Kinds: Hashable, Sendable {
        /// Every kind, those of later versions too; only the built-in role has it.
        case every
        case only(Set<String>)
    }

    package let verbs: Set<AdminVerb>
    /// Without meaning for verbs that are not on documents.
    package let kinds: Kinds
    /// The namespaces that the rule is narrowed to; cluster-wide objects are in none of them.
    package let namespaces: Set<String>?
    /// The rule is narrowed to IDs that are one of these or lie below one, by whole path segment.
    package let spiffeIDPrefixes: Set<SPIFFEID>?

    package init(
        verbs: Set<AdminVerb>,
        kinds: Kinds,
        namespaces: Set<String>? = nil,
        spiffeIDPrefixes: Set<SPIFFEID>? = nil
    ) {
        self.verbs = verbs
        self.kinds = kinds
        self.namespaces = namespaces
        self.spiffeIDPrefixes = spiffeIDPrefixes
    }
}

/// A named list of rules; it allows nothing until a binding refers to it.
package struct AdminRole: Hashable, Sendable {
    /// The namespace whose bindings reach every namespace and everything cluster-wide.
    package static let rootNamespace = "signet-system"

    /// The role that may do everything, in the root namespace; no document can replace it.
    package static let builtInAdmin = AdminRole(
        reference: .builtInAdmin,
        rules: [AdminRule(verbs: Set(AdminVerb.allCases), kinds: .every)]
    )

    package let reference: AdminRoleReference
    package let rules: [AdminRule]

    package init(reference: AdminRoleReference, rules: [AdminRule]) {
        self.reference = reference
        self.rules = rules
    }
}

/// Which role is meant: its namespace and name, both always explicit so that no role can be
/// shadowed by one of the same name elsewhere.
package struct AdminRoleReference: Hashable, Sendable, CustomStringConvertible {
    package static let builtInAdmin = AdminRoleReference(
        namespace: AdminRole.rootNamespace,
        name: "admin"
    )

    package let namespace: String
    package let name: String

    package init(namespace: String, name: String) {
        self.namespace = namespace
        self.name = name
    }

    package var description: String { "\(namespace)/\(name)" }
}

/// Gives a role to subjects.
///
/// A binding in the root namespace gives the role everywhere. Any other binding gives it inside
/// its own namespace only, whatever the role's rules name; and as SPIFFE IDs know no namespaces, it
/// lets register workloads only by rules that name SPIFFE ID prefixes. A binding may refer to a role
/// of its own namespace or of the root namespace.
package struct AdminBinding: Hashable, Sendable {
    package let namespace: String
    package let name: String
    package let role: AdminRoleReference
    package let subjects: [ActorPattern]
    /// From here on the binding grants nothing.
    package let expires: Date?

    package init(
        namespace: String,
        name: String,
        role: AdminRoleReference,
        subjects: [ActorPattern],
        expires: Date? = nil
    ) {
        self.namespace = namespace
        self.name = name
        self.role = role
        self.subjects = subjects
        self.expires = expires
    }

    /// The binding that makes `subjects` admins of everything without any document, for example
    /// those named in the server's configuration.
    package static func builtInAdmins(_ subjects: [ActorPattern]) -> AdminBinding {
        AdminBinding(
            namespace: AdminRole.rootNamespace,
            name: "built-in",
            role: .builtInAdmin,
            subjects: subjects
        )
    }

    /// Whether the binding still grants something at `now`.
    package func isInForce(at now: Date) -> Bool { expires.map { now < $0 } ?? true }

    package var reference: String { "\(namespace)/\(name)" }
}
