// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// Who may do what as an admin: the roles and bindings of one revision, as one immutable value.
///
/// Everything not allowed by a rule is denied; there are no rules that deny. A binding to a role
/// that does not exist, or that lies in a foreign namespace, grants nothing.
package struct AdminAccess: Sendable {
    private struct Held {
        let binding: AdminBinding
        let role: AdminRole
    }

    private let roles: [AdminRoleReference: AdminRole]
    private let bindings: [AdminBinding]
    private let heldByPattern: [ActorPattern: [Held]]

    /// - Parameters:
    ///   - roles: all roles; the built-in one is added and cannot be replaced.
    ///   - bindings: all bindings, those made from the server's configuration too.
    package init(roles: [AdminRole], bindings: [AdminBinding]) {
        var table: [AdminRoleReference: AdminRole] = [:]
        for role in roles { table[role.reference] = role }
        table[.builtInAdmin] = .builtInAdmin
        var held: [ActorPattern: [Held]] = [:]
        for binding in bindings where binding.mayReferToItsRole {
            guard let role = table[binding.role] else { continue }
            for subject in Set(binding.subjects) {
                held[subject, default: []].append(Held(binding: binding, role: role))
            }
        }
        self.roles = table
        self.bindings = bindings
        self.heldByPattern = held
    }

    /// Decides one request at `now`.
    ///
    /// A change is asked for twice when it moves an object: for what it was and for what it
    /// becomes (an entry whose SPIFFE ID changes). A list is asked for each object in it.
    package func allows(_ request: AdminRequest, now: Date) -> AccessDecision {
        let all = held(by: request.actor)
        let inForce = all.filter { $0.binding.isInForce(at: now) }
        for held in inForce where held.binding.reaches(namespace: request.namespace) {
            for (index, rule) in held.role.rules.enumerated()
            where rule.allows(request, through: held.binding) {
                return .allowed(
                    AccessGrant(
                        request: request,
                        binding: held.binding.reference,
                        role: held.role.reference,
                        rule: index
                    )
                )
            }
        }
        return .denied(AccessDenial(request: request, reason: Self.reason(all, inForce)))
    }

    private static func reason(_ all: [Held], _ inForce: [Held]) -> AccessDenial.Reason {
        if all.isEmpty { return .noBinding }
        if inForce.isEmpty { return .bindingsExpired(all.map(\.binding.reference).sorted()) }
        return .outsideRules(inForce.map(\.binding.reference).sorted())
    }

    /// Whether the actor may do `verb` to anything at all of a kind in a namespace.
    ///
    /// It is asked before something is read, parsed or queued for a caller; `allows` decides about
    /// each object. SPIFFE ID prefixes do not narrow it.
    ///
    /// - Parameters:
    ///   - actor: Who asks.
    ///   - verb: What for; nil: for anything.
    ///   - kind: nil: of any kind.
    ///   - namespace: nil: in any namespace.
    ///   - now: The wall clock.
    /// - Returns: The denial, nil when there is such a right.
    package func lacksAll(
        _ actor: Actor,
        _ verb: AdminVerb?,
        kind: String? = nil,
        namespace: String? = nil,
        now: Date
    ) -> AccessDenial? {
        let all = held(by: actor)
        let inForce = all.filter { $0.binding.isInForce(at: now) }
        let mayAny = inForce.contains { held in
            (namespace.map { held.binding.reaches(namespace: $0) } ?? true)
                && held.role.rules.contains { rule in
                    (verb.map { rule.verbs.contains($0) } ?? !rule.verbs.isEmpty)
                        && (kind.map { rule.kinds.contains($0) } ?? true)
                        && (namespace.map { rule.namespaces?.contains($0) ?? true } ?? true)
                }
        }
        if mayAny { return nil }
        let request = AdminRequest(
            actor: actor,
            verb: verb ?? .get,
            kind: kind ?? "",
            namespace: namespace ?? ""
        )
        return AccessDenial(request: request, reason: Self.reason(all, inForce))
    }

    /// Whether writing `role` would give away what `actor` does not hold.
    ///
    /// A role may be bound at any time and for ever, so only rights without an end cover it.
    package func escalation(
        by actor: Actor,
        writing role: AdminRole,
        now: Date
    ) -> AdminEscalation? {
        escalation(by: actor, role: role, reach: role.reference.namespace, binding: nil, now: now)
    }

    /// Whether writing `binding` would give away what `actor` does not hold.
    ///
    /// `role` is the role that the binding will refer to once the whole change is applied; nil
    /// when there is none, which grants nothing.
    package func escalation(
        by actor: Actor,
        writing binding: AdminBinding,
        role: AdminRole?,
        now: Date
    ) -> AdminEscalation? {
        guard let role, binding.mayReferToItsRole, binding.isInForce(at: now) else { return nil }
        return escalation(
            by: actor,
            role: role,
            reach: binding.namespace,
            binding: binding,
            now: now
        )
    }

    /// Whether registering a workload as `spiffeID` would let it become an admin with rights that
    /// `actor` does not hold.
    ///
    /// `spiffeID` is the text of the entry; a template counts as every ID that it could become. To
    /// be asked for every entry that is written, also when only its selectors change.
    package func escalation(
        by actor: Actor,
        registering spiffeID: String,
        now: Date
    ) -> AdminEscalation? {
        for binding in bindings where Self.names(binding, spiffeID) {
            let found = escalation(
                by: actor,
                writing: binding,
                role: roles[binding.role],
                now: now
            )
            if let found { return found }
        }
        return nil
    }

    /// The SPIFFE IDs that are subjects of bindings, whatever these give and whether they are in
    /// force; made anew each time.
    package var subjectIDs: Set<String> {
        var ids: Set<String> = []
        for binding in bindings {
            for case .spiffe(let id) in binding.subjects { ids.insert(id.description) }
        }
        return ids
    }

    private static func names(_ binding: AdminBinding, _ spiffeID: String) -> Bool {
        binding.subjects.contains { subject in
            guard case .spiffe(let id) = subject else { return false }
            return template(spiffeID, mayBecome: id.description)
        }
    }

    /// How many persons bindings in force at `now` name: each SPIFFE ID is one, and all local users
    /// of servers are one together, because root is each of them.
    package func personCount(at now: Date) -> Int {
        var (ids, hasLocal) = (0, false)
        for (subject, held) in heldByPattern
        where held.contains(where: { $0.binding.isInForce(at: now) }) {
            switch subject {
            case .localUser: hasLocal = true
            case .spiffe: ids += 1
            }
        }
        return ids + (hasLocal ? 1 : 0)
    }

    private func held(by actor: Actor) -> [Held] {
        switch actor {
        case .localUser(let uid, let host):
            heldByPattern[.localUser(uid: uid, host: nil), default: []]
                + heldByPattern[.localUser(uid: uid, host: host), default: []]
        case .spiffe(let id): heldByPattern[.spiffe(id), default: []]
        case .person, .system: []
        }
    }

    private func escalation(
        by actor: Actor,
        role: AdminRole,
        reach: String,
        binding: AdminBinding?,
        now: Date
    ) -> AdminEscalation? {
        let held = held(by: actor).filter { $0.binding.isInForce(at: now) }
        let expires = binding?.expires
        for (index, rule) in role.rules.enumerated() {
            for (verb, kind) in rule.verbsAndKinds {
                let isCovered = held.contains { held in
                    held.binding.lasts(until: expires)
                        && held.binding.reaches(namespace: reach)
                        && held.role.rules.contains {
                            !$0.lacksPrefixes(for: verb, kind, held.binding)
                                && $0.covers(rule, verb: verb, kind: kind, inReachOf: reach)
                        }
                }
                if isCovered { continue }
                return AdminEscalation(
                    actor: actor,
                    role: role.reference,
                    rule: index,
                    verb: verb,
                    kind: kind ?? "",
                    binding: binding?.reference,
                    expires: expires
                )
            }
        }
        return nil
    }

    /// Whether a template could resolve to `id`: a variable stands for any text without `/`.
    package static func template(_ template: String, mayBecome id: String) -> Bool {
        // Most have another beginning, which is quicker to see.
        let beginning = template.utf8.prefix { $0 != UInt8(ascii: "{") }
        guard id.utf8.starts(with: beginning) else { return false }
        let slash = UInt8(ascii: "/")
        let left = template.utf8.split(separator: slash, omittingEmptySubsequences: false)
        let right = id.utf8.split(separator: slash, omittingEmptySubsequences: false)
        guard left.count == right.count else { return false }
        return zip(left, right).allSatisfy { pattern, segment in
            guard let open = pattern.firstIndex(of: UInt8(ascii: "{")),
                let close = pattern.lastIndex(of: UInt8(ascii: "}"))
            else { return pattern.elementsEqual(segment) }
            let tail = pattern[pattern.index(after: close)...]
            return segment.starts(with: pattern[..<open])
                && segment.reversed().starts(with: tail.reversed())
        }
    }
}

extension AdminBinding {
    /// Whether the role lies where a binding of this namespace may look for it.
    fileprivate var mayReferToItsRole: Bool {
        role.namespace == namespace || role.namespace == AdminRole.rootNamespace
    }

    /// Whether the binding reaches objects of `namespace`; only the root namespace reaches
    /// cluster-wide ones, whose namespace is empty.
    fileprivate func reaches(namespace other: String) -> Bool {
        isInRootNamespace || namespace == other
    }

    fileprivate var isInRootNamespace: Bool { namespace == AdminRole.rootNamespace }

    fileprivate func lasts(until other: Date?) -> Bool {
        guard let expires else { return true }
        guard let other else { return false }
        return other <= expires
    }
}

extension AdminRule {
    /// Whether the rule, given by `binding`, would let register any ID at all, which only the
    /// root namespace may give.
    fileprivate func lacksPrefixes(
        for verb: AdminVerb,
        _ kind: String?,
        _ binding: AdminBinding
    ) -> Bool {
        verb == .apply && kind == Self.registrationKind && spiffeIDPrefixes == nil
            && !binding.isInRootNamespace
    }

    fileprivate func allows(_ request: AdminRequest, through binding: AdminBinding) -> Bool {
        guard verbs.contains(request.verb),
            !lacksPrefixes(for: request.verb, request.kind, binding)
        else { return false }
        if request.verb.isOnDocuments {
            guard kinds.contains(request.kind) else { return false }
        }
        if let namespaces, !namespaces.contains(request.namespace) { return false }
        guard let spiffeIDPrefixes else { return true }
        guard let spiffeID = request.spiffeID else { return false }
        return spiffeIDPrefixes.contains { $0.isSegmentPrefix(of: spiffeID) }
    }

    /// What the rule grants, one by one; the kind is nil for acts and for every kind.
    fileprivate var verbsAndKinds: [(AdminVerb, String?)] {
        verbs.sorted { $0.rawValue < $1.rawValue }.flatMap { verb -> [(AdminVerb, String?)] in
            switch kinds {
            case .only(let names) where verb.isOnDocuments: names.sorted().map { (verb, $0) }
            case .every, .only: [(verb, nil)]
            }
        }
    }

    /// Whether this rule alone allows everything that `other` allows for one verb and kind, when
    /// `other` is given in a namespace (the root namespace reaches everywhere).
    fileprivate func covers(
        _ other: AdminRule,
        verb: AdminVerb,
        kind: String?,
        inReachOf reach: String
    ) -> Bool {
        guard verbs.contains(verb) else { return false }
        if verb.isOnDocuments {
            switch (kinds, kind) {
            case (.every, _): break
            case (.only, nil): return false
            case (.only(let names), let kind?): guard names.contains(kind) else { return false }
            }
        }
        if let namespaces {
            let needed = reach == AdminRole.rootNamespace ? other.namespaces : [reach]
            guard let needed, needed.isSubset(of: namespaces) else { return false }
        }
        guard let spiffeIDPrefixes else { return true }
        guard let needed = other.spiffeIDPrefixes else { return false }
        return needed.allSatisfy { prefix in
            spiffeIDPrefixes.contains { $0.isSegmentPrefix(of: prefix.description) }
        }
    }
}

extension AdminRule.Kinds {
    fileprivate func contains(_ kind: String) -> Bool {
        switch self {
        case .every: true
        case .only(let names): names.contains(kind)
        }
    }
}

extension SPIFFEID {
    /// Whether the ID is `text` or stands above it, by whole path segment.
    ///
    /// `text` may be a template: a variable never equals a segment of an ID, so only the literal
    /// segments before it can match.
    package func isSegmentPrefix(of text: String) -> Bool {
        let own = description.utf8
        guard text.utf8.starts(with: own) else { return false }
        let rest = text.utf8.dropFirst(own.count)
        return rest.isEmpty || rest.first == UInt8(ascii: "/")
    }
}
