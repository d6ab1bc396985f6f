// SPDX-License-Identifier: Apache-2.0

package import Authorization
package import ControlAPI
package import FoundationEssentials
package import SPIFFE

/// What one caller may do, read in the transaction in which it does it: a right taken away before
/// the act is committed, or while somebody watches, is gone.
package struct AdminStanding: Sendable {
    package let actor: Actor
    package let access: AdminAccess
    /// When the caller asked, by the wall clock.
    package let now: Date

    package init(actor: Actor, access: AdminAccess, now: Date) {
        self.actor = actor
        self.access = access
        self.now = now
    }

    /// Requires that the caller may do exactly this.
    ///
    /// - Throws: `APIError` (`permissionDenied`) with the reason.
    @discardableResult
    package func require(
        _ verb: AdminVerb,
        kind: String = "",
        namespace: String = "",
        spiffeID: String? = nil
    ) throws(APIError) -> AccessGrant {
        let request = AdminRequest(
            actor: actor,
            verb: verb,
            kind: kind,
            namespace: namespace,
            spiffeID: spiffeID
        )
        switch access.allows(request, now: now) {
        case .allowed(let grant): return grant
        case .denied(let denial): throw Self.refusal(denial)
        }
    }

    /// Requires that the caller may do `verb` to anything at all of a kind in a namespace: without,
    /// nothing is read, parsed or queued.
    ///
    /// - Parameters:
    ///   - verb: What for; nil: for anything.
    ///   - kind: nil: of any kind.
    ///   - namespace: nil: in any namespace.
    /// - Throws: `APIError` (`permissionDenied`) with the reason.
    package func requireAny(
        _ verb: AdminVerb?,
        kind: String? = nil,
        namespace: String? = nil
    ) throws(APIError) {
        let denial = access.lacksAll(actor, verb, kind: kind, namespace: namespace, now: now)
        if let denial { throw Self.refusal(denial) }
    }

    /// Whether the caller may do exactly this.
    package func may(
        _ verb: AdminVerb,
        kind: String = "",
        namespace: String = "",
        spiffeID: String? = nil
    ) -> Bool {
        (try? require(verb, kind: kind, namespace: namespace, spiffeID: spiffeID)) != nil
    }

    /// Whether the caller may see this entry in a list.
    package func mayList(_ entry: RegistrationEntry) -> Bool {
        may(
            .list,
            kind: AdminRule.registrationKind,
            namespace: entry.namespace,
            spiffeID: entry.spiffeID
        )
    }

    /// Whether registering a workload as `spiffeID` would give rights away that the caller lacks.
    package func escalation(registering spiffeID: String) -> AdminEscalation? {
        access.escalation(by: actor, registering: spiffeID, now: now)
    }

    private static func refusal(_ denial: AccessDenial) -> APIError {
        APIError(.permissionDenied, "adminDenied", denial.description)
    }
}
