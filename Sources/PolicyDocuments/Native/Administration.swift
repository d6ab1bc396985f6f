// SPDX-License-Identifier: Apache-2.0

package import Authorization
package import SPIFFE

extension AdminAccess {
    /// The rights that the roles and bindings among `documents` give.
    ///
    /// `configured` are bindings that no document makes, such as the admins in the server's
    /// configuration.
    package init(documents: [Document], configured: [AdminBinding]) {
        var roles: [AdminRole] = []
        var bindings = configured
        for document in documents {
            switch document.spec {
            case .accessPolicy, .delegationPolicy, .federatedTrustDomain, .namespace, .proxy,
                .registrationEntry,
                .service:
                break
            case .role(let spec): roles.append(spec.role(metadata: document.metadata))
            case .roleBinding(let spec):
                bindings.append(spec.binding(metadata: document.metadata))
            }
        }
        self.init(roles: roles, bindings: bindings)
    }
}

extension Document {
    /// What `actor` asks for when it does something with this document.
    ///
    /// Who changes a document asks for what it was and for what it becomes.
    package func request(_ verb: AdminVerb, by actor: Actor) -> AdminRequest {
        let spiffeID: String? =
            switch spec {
            case .accessPolicy, .delegationPolicy, .federatedTrustDomain, .namespace, .proxy, .role,
                .roleBinding,
                .service:
                nil
            case .registrationEntry(let entry): entry.spiffeID
            }
        return AdminRequest(
            actor: actor,
            verb: verb,
            kind: kind.rawValue,
            namespace: metadata.namespace,
            spiffeID: spiffeID
        )
    }

    /// What `actor` must be allowed to register, beside the request itself, to write this document.
    ///
    /// Whoever writes a Proxy decides who gets the keys of its identities (docs/decisions/0009),
    /// and whoever writes a DelegationPolicy who speaks for its subjects (docs/decisions/0024).
    package func registrations(by actor: Actor) -> [AdminRequest] {
        let identities: [SPIFFEID] =
            switch spec {
            case .accessPolicy, .federatedTrustDomain, .namespace, .registrationEntry, .role,
                .roleBinding, .service:
                []
            case .delegationPolicy(let policy): policy.subjects
            case .proxy(let proxy): proxy.identities
            }
        return identities.map { id in
            AdminRequest(
                actor: actor,
                verb: .apply,
                kind: DocumentKind.registrationEntry.rawValue,
                namespace: metadata.namespace,
                spiffeID: id.description
            )
        }
    }
}
