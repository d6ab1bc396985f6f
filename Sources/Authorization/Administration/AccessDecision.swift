// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// What an admin wants to do, to what.
package struct AdminRequest: Hashable, Sendable, CustomStringConvertible {
    package let actor: Actor
    package let verb: AdminVerb
    /// Empty for verbs that are not on documents.
    package let kind: String
    /// Empty for cluster-wide objects and for acts.
    package let namespace: String
    /// The ID that the object carries or the act concerns; the text of an entry, so it may be a
    /// template.
    package let spiffeID: String?

    package init(
        actor: Actor,
        verb: AdminVerb,
        kind: String = "",
        namespace: String = "",
        spiffeID: String? = nil
    ) {
        self.actor = actor
        self.verb = verb
        self.kind = kind
        self.namespace = namespace
        self.spiffeID = spiffeID
    }

    package var description: String {
        var text = "\(actor) \(verb)"
        if !kind.isEmpty { text += " \(kind)" }
        if !namespace.isEmpty { text += " in namespace \(namespace)" }
        if let spiffeID { text += " for \(spiffeID)" }
        return text
    }
}

/// Whether an admin may do something, with the reason.
package enum AccessDecision: Hashable, Sendable {
    case allowed(AccessGrant)
    case denied(AccessDenial)
}

/// Proof that a request was allowed, and by what; only `AdminAccess.allows` makes one.
package struct AccessGrant: Hashable, Sendable, CustomStringConvertible {
    package let request: AdminRequest
    /// The binding that gave the role, as `namespace/name`.
    package let binding: String
    package let role: AdminRoleReference
    /// Which rule of the role allowed it, counted from 0.
    package let rule: Int

    init(request: AdminRequest, binding: String, role: AdminRoleReference, rule: Int) {
        self.request = request
        self.binding = binding
        self.role = role
        self.rule = rule
    }

    package var description: String {
        "\(request): rule \(rule) of Role \(role), given by RoleBinding \(binding)"
    }
}

/// Why a request was not allowed; meant for the admin who asked and for the audit log.
package struct AccessDenial: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was missing.
    package enum Reason: Hashable, Sendable {
        /// Bindings name the actor, but all of them have expired.
        case bindingsExpired([String])
        /// No binding names the actor.
        case noBinding
        /// Bindings in force name the actor, but no rule of theirs reaches the request.
        case outsideRules([String])
    }

    package let request: AdminRequest
    package let reason: Reason

    package var description: String {
        let why =
            switch reason {
            case .bindingsExpired(let names):
                "every RoleBinding that names it has expired (\(Self.list(names)))"
            case .noBinding: "no RoleBinding names it"
            case .outsideRules(let names):
                "the roles it has do not allow this (RoleBindings \(Self.list(names)))"
            }
        return "not allowed: \(request): \(why)"
    }

    /// At most this many bindings are named, so that a message stays short.
    private static let namesMax = 5

    private static func list(_ names: [String]) -> String {
        let shown = names.prefix(namesMax).joined(separator: ", ")
        return names.count > namesMax ? "\(shown) and \(names.count - namesMax) more" : shown
    }
}

/// What an actor would give away without having it.
package struct AdminEscalation: Error, Hashable, Sendable, CustomStringConvertible {
    package let actor: Actor
    /// The role whose rule is not covered.
    package let role: AdminRoleReference
    /// Which rule, counted from 0.
    package let rule: Int
    package let verb: AdminVerb
    /// Empty for verbs that are not on documents.
    package let kind: String
    /// The binding through which the right would be reached, if one is concerned.
    package let binding: String?
    /// The end of the right that would be given; nil has no end.
    package let expires: Date?

    package var description: String {
        let what = kind.isEmpty ? "\(verb)" : "\(verb) \(kind)"
        let through = binding.map { " through RoleBinding \($0)" } ?? ""
        return "\(actor) would grant \(what) (rule \(rule) of Role \(role))\(through), which no "
            + "single rule that it holds covers in reach and in time"
    }
}
