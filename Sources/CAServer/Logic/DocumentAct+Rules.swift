// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
internal import Datastore
internal import Issuance
internal import PolicyDocuments
internal import SPIFFE

/// What an order must not do.
extension DocumentAct {
    func require(_ verb: AdminVerb, _ key: DocumentKey, spiffeID: String?) throws(APIError) {
        try standing.require(
            verb,
            kind: key.kind,
            namespace: key.namespace,
            spiffeID: spiffeID
        )
    }

    /// Requires a right to what is stored already.
    ///
    /// The refusal does not tell the stored SPIFFE ID, which the caller may not be allowed to see.
    func requireStored(_ verb: AdminVerb, _ key: DocumentKey, spiffeID: String?) throws(APIError) {
        guard standing.may(verb, kind: key.kind, namespace: key.namespace, spiffeID: spiffeID)
        else { throw refusalOfStored(verb, key) }
    }

    /// Refuses something because of what is stored, without telling what that is.
    func refusalOfStored(_ verb: AdminVerb, _ key: DocumentKey) -> APIError {
        APIError(
            .permissionDenied,
            "adminDenied",
            "not allowed: \(standing.actor) \(verb) \(key): no role that it has allows this "
                + "for the document as it is stored"
        )
    }

    /// Nothing is stored that could not be read back or sent to agents.
    func checkStorable(_ document: Document, _ content: [UInt8]) throws(APIError) {
        let place = "\(document.file):\(document.line)"
        guard content.count <= Self.storedBytesMax else {
            throw APIError(
                .invalidArgument,
                "documentTooLarge",
                "\(place): \(document.key) has \(content.count) bytes as it would be stored, "
                    + "more than the \(Self.storedBytesMax) allowed; split it up"
            )
        }
        guard Document.reading(content, of: document.key) != nil else {
            throw APIError(
                .invalidArgument,
                "documentUnreadable",
                "\(place): \(document.key) could not be read again once it is stored; shorten its "
                    + "values or split it into several documents"
            )
        }
    }

    func checkContent(_ document: Document) throws {
        let problems = document.problems(inTrustDomain: logic.trustDomain)
        guard problems.isEmpty else {
            throw APIError(
                .invalidArgument,
                "documentRefused",
                problems.map(\.description).joined(separator: "\n")
            )
        }
        let namespace = document.metadata.namespace
        if !namespace.isEmpty, try !exists(namespace: namespace) {
            throw APIError(
                .failedPrecondition,
                "namespaceUnknown",
                "\(document.file):\(document.line): there is no namespace \(namespace); "
                    + "apply a Namespace document first or with it"
            )
        }
        if case .registrationEntry(let spec) = document.spec, let ttl = spec.x509SVIDTTLSeconds,
            .seconds(ttl) > logic.lifetimes.workloadMax
        {
            throw APIError(
                .invalidArgument,
                "lifetimeTooLong",
                "\(document.file):\(document.line): x509SVIDTTL is longer than this server's "
                    + "limit of \(SVIDLifetimes.text(logic.lifetimes.workloadMax)); shorten it, or "
                    + "raise workloadSVIDTTLMax in the server's configuration"
            )
        }
        try checkProfile(document)
    }

    /// An entry for which nothing could be issued is not taken.
    private func checkProfile(_ document: Document) throws(APIError) {
        guard case .registrationEntry(let spec) = document.spec,
            let refusal = logic.profileRefusal(
                lifetimeSeconds: spec.x509SVIDTTLSeconds,
                dnsNames: spec.dnsNames
            )
        else { return }
        throw APIError(
            .invalidArgument,
            refusal.ruleName,
            "\(document.file):\(document.line): \(refusal)"
        )
    }

    /// There are only so many policies, or a hop would take long to look up.
    ///
    /// - Throws: `APIError`: `tooManyDelegationPolicies`.
    func checkDelegation(_ document: Document, over stored: StoredDocument?) throws {
        guard case .delegationPolicy = document.spec, stored == nil else { return }
        let most = DelegationPolicy.countMax
        guard try transaction.delegationPolicyCount() < most else {
            throw APIError(
                .exhausted,
                "tooManyDelegationPolicies",
                "\(document.file):\(document.line): there may be at most \(most) documents of kind "
                    + "\(document.kind.rawValue); one names up to \(DelegationPolicySpec.listMax) "
                    + "subjects, actors and audiences, or delete those that are over"
            )
        }
    }

    /// Says of policies that this server permits nothing by them.
    mutating func warnOfExchange(_ documents: [Document]) {
        guard !logic.exchangesTokens else { return }
        for document in documents {
            guard case .delegationPolicy = document.spec else { continue }
            warnings.append(
                "\(document.key): this server exchanges no tokens, so nobody acts by it yet; write "
                    + "tokenExchange: true in its server.yaml"
            )
        }
    }

    /// Nobody gives away what he does not hold; judged over the roles as they will be.
    func checkGrants(_ documents: [Document]) throws {
        guard !documents.isEmpty else { return }
        var roles: [AdminRoleReference: AdminRole] = [.builtInAdmin: .builtInAdmin]
        for document in try StoredAccess.readable(.role, in: transaction) {
            if case .role(let spec) = document.spec {
                let role = spec.role(metadata: document.metadata)
                roles[role.reference] = role
            }
        }
        for document in documents {
            let escalation: AdminEscalation?
            switch document.spec {
            case .accessPolicy, .federatedTrustDomain, .namespace, .service: escalation = nil
            case .delegationPolicy(let spec):
                // Its actors get tokens in the name of its subjects.
                escalation =
                    spec.subjects.lazy.compactMap {
                        standing.escalation(registering: $0.description)
                    }.first
            case .proxy(let spec):
                // Its selectors decide who gets the keys of its identities.
                escalation =
                    try identities(of: spec.proxy(metadata: document.metadata)).lazy.compactMap {
                        standing.escalation(registering: $0.description)
                    }.first
            case .registrationEntry(let spec):
                escalation = standing.escalation(registering: spec.spiffeID)
            case .role(let spec):
                escalation = standing.access.escalation(
                    by: standing.actor,
                    writing: spec.role(metadata: document.metadata),
                    now: standing.now
                )
            case .roleBinding(let spec):
                let binding = spec.binding(metadata: document.metadata)
                // A binding that waits for its role would be pre-planted: whoever writes the role
                // later would give it to somebody he never thought of.
                guard roles[binding.role] != nil else {
                    throw APIError(
                        .failedPrecondition,
                        "roleUnknown",
                        "\(document.file):\(document.line): role \(binding.role) does not exist; "
                            + "apply it first or with its binding"
                    )
                }
                escalation = standing.access.escalation(
                    by: standing.actor,
                    writing: binding,
                    role: roles[binding.role],
                    now: standing.now
                )
            }
            if let escalation {
                throw APIError(
                    .permissionDenied,
                    "grantExceedsOwn",
                    "\(document.file):\(document.line): \(escalation)"
                )
            }
        }
    }

    /// A role that is bound stays, for the same reason; and neither kind outgrows what is read.
    func checkRolesLeft() throws {
        let kinds = [DocumentKind.role, .roleBinding].map(\.rawValue)
        guard outcomes.contains(where: { kinds.contains($0.key.kind) }) else { return }
        _ = try StoredAccess.stored(.role, in: transaction)
        let deleted = Set(
            outcomes
                .filter { $0.action == .deleted && $0.key.kind == DocumentKind.role.rawValue }
                .map { AdminRoleReference(namespace: $0.key.namespace, name: $0.key.name) }
        )
        let bindings = try StoredAccess.stored(.roleBinding, in: transaction)
        guard !deleted.isEmpty else { return }
        for stored in bindings {
            // Which role a binding names that cannot be read is not known: it goes first.
            let document = try Document(stored: stored)
            guard case .roleBinding(let spec) = document.spec else { continue }
            let binding = spec.binding(metadata: document.metadata)
            guard !deleted.contains(binding.role) else {
                throw APIError(
                    .failedPrecondition,
                    "roleBound",
                    "role \(binding.role) is bound by \(binding.reference); delete that "
                        + "RoleBinding first or with it"
                )
            }
        }
    }

    private func exists(namespace: String) throws -> Bool {
        if [DocumentMetadata.defaultNamespace, AdminRole.rootNamespace].contains(namespace) {
            return true
        }
        let key = DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: DocumentKind.namespace.rawValue,
            namespace: "",
            name: namespace
        )
        return try transaction.document(key) != nil
    }

    /// A namespace is deleted when nothing lies in it, of whatever group and kind.
    func requireEmpty(namespace: String) throws {
        guard let left = try transaction.documentKey(inNamespace: namespace) else { return }
        // What lies there is told only to those who may see it.
        let isVisible = standing.may(.list, kind: left.kind, namespace: left.namespace)
        throw APIError(
            .failedPrecondition,
            "namespaceNotEmpty",
            "namespace \(namespace) still holds \(isVisible ? "\(left)" : "documents"); "
                + "delete its documents first"
        )
    }
}
