// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Datastore
internal import PolicyDocuments
internal import SPIFFE

/// By what the subjects of a RoleBinding get their identities, and which nodes get them.
///
/// An entry that was there before its ID became an admin is no escalation of whoever wrote it, so
/// that only who binds can see it; and the nodes that are there, and tokens for others, are seen only
/// when the entry is written (docs/decisions/0023-approvals.md).
extension DocumentAct {
    /// Most subjects of one order that are looked for.
    static let reviewedSubjectsMax = 256
    /// Most entries, templates, Proxies, nodes and tokens, each, that are read for one order while
    /// nobody else can write.
    static let giverRowsMax = 5_000
    /// Most templates and nodes, each with each that it is compared with, of one order: some 100 ms.
    static let giverLooksMax = 100_000
    /// Most that a warning names.
    static let giversNamedMax = 10

    /// A document that gives an identity, or a template of it.
    private struct Giver {
        let key: DocumentKey
        /// Nil for Proxies.
        let spiffeID: String?
    }

    /// Tells, as far as the caller may see them, of the entries and Proxies that give the subjects of
    /// bindings that change, and of the nodes that get an admin's identity by what is written.
    mutating func warnOfGivers(_ documents: [Document]) throws {
        let keys = Set(outcomes.filter { $0.action != .unchanged }.map(\.key))
        let changed = documents.filter { keys.contains($0.key) }
        let bound = Self.bound(by: changed)
        var looks = Self.giverLooksMax
        try warnOfGivers(of: Array(bound.prefix(Self.reviewedSubjectsMax)), &looks)
        if bound.count > Self.reviewedSubjectsMax {
            warnings.append(
                "of \(Self.reviewedSubjectsMax) subjects it was looked for what gives them, not of "
                    + "the others"
            )
        }
        try warnOfAdmitted(changed, bound.map(\.id.description), &looks)
    }

    /// The SPIFFE IDs that bindings name, with the binding.
    private static func bound(by documents: [Document]) -> [(key: DocumentKey, id: SPIFFEID)] {
        documents.flatMap { document -> [(key: DocumentKey, id: SPIFFEID)] in
            guard case .roleBinding(let spec) = document.spec else { return [] }
            return spec.subjects.compactMap { subject in
                guard case .spiffe(let id) = subject else { return nil }
                return (document.key, id)
            }
        }
    }

    private mutating func warnOfGivers(
        of bound: [(key: DocumentKey, id: SPIFFEID)],
        _ looks: inout Int
    ) throws {
        guard !bound.isEmpty else { return }
        let (givers, isCut) = try givers(of: Set(bound.map(\.id)), &looks)
        for (key, id) in bound {
            let seen = (givers[id] ?? []).filter {
                standing.may(
                    .get,
                    kind: $0.key.kind,
                    namespace: $0.key.namespace,
                    spiffeID: $0.spiffeID
                )
            }
            guard !seen.isEmpty else { continue }
            let named = try seen.prefix(Self.giversNamedMax).map { giver in
                let writer = try transaction.writer(of: giver.key) ?? "nobody"
                return "\(giver.key) (last written by \(writer))"
            }
            warnings.append("\(key): \(id) is given by \(Self.list(named, of: seen.count))")
        }
        // Many that mean nobody must not hide one.
        guard isCut else { return }
        warnings.append(
            "more documents than were looked at may give subjects of these bindings; signet entry list "
                + "shows them all"
        )
    }

    private static func list(_ named: [String], of count: Int) -> String {
        let more = count - named.count
        return named.joined(separator: ", ") + (more > 0 ? " and \(more) more" : "")
    }

    /// The documents that give identities or their keys; all is read once, and compared here.
    private func givers(
        of ids: Set<SPIFFEID>,
        _ looks: inout Int
    ) throws -> (found: [SPIFFEID: [Giver]], isCut: Bool) {
        let most = Self.giverRowsMax
        let names = Dictionary(uniqueKeysWithValues: ids.map { ($0.description, $0) })
        let texts = names.keys.sorted()
        let entries = try transaction.entries(givingAny: texts, limit: most)
        let proxies = try transaction.proxies(presentingAny: texts, limit: most)
        let templates = try transaction.templates(limit: most)
        var isCut = max(entries.count, proxies.count, templates.count) == most
        var found: [SPIFFEID: [Giver]] = [:]
        for entry in entries {
            guard let id = names[entry.spiffeID] else { continue }
            found[id, default: []].append(Self.giver(.registrationEntry, entry))
        }
        for template in templates {
            guard looks >= ids.count else {
                isCut = true
                break
            }
            looks -= ids.count
            guard let parsed = try? IDTemplate(parsing: template.spiffeID) else { continue }
            for id in ids where parsed.mayBecome(id) {
                found[id, default: []].append(Self.giver(.registrationEntry, template))
            }
        }
        for proxy in proxies {
            guard let id = names[proxy.spiffeID] else { continue }
            found[id, default: []].append(Self.giver(.proxy, proxy))
        }
        return (found, isCut)
    }

    private static func giver(_ kind: DocumentKind, _ giver: IdentityGiver) -> Giver {
        Giver(
            key: DocumentKey(
                group: DocumentKey.nativeGroup,
                kind: kind.rawValue,
                namespace: giver.namespace,
                name: giver.name
            ),
            spiffeID: kind == .proxy ? nil : giver.spiffeID
        )
    }

    /// Tells of the nodes, and of those that unused tokens admit, which get an admin's identity by
    /// what is written: nobody asked for approval when they were let in.
    private mutating func warnOfAdmitted(
        _ changed: [Document],
        _ bound: [String],
        _ looks: inout Int
    ) throws {
        let giving = changed.filter { $0.nodeSelectors != nil }
        guard !giving.isEmpty, standing.may(.nodeList) else { return }
        let subjects = AdminSubjects(
            standing.access,
            waiting: try transaction.proposedSubjects().union(bound)
        )
        let scopes = giving.filter { $0.gives(anyOf: subjects) }.map { document in
            (key: document.key, selectors: (document.nodeSelectors ?? []).map(\.description))
        }
        guard !scopes.isEmpty else { return }
        let nodes = try transaction.nodeScopes(limit: Self.giverRowsMax)
        let tokens = try tokenScopes()
        var isCut = max(nodes.count, tokens.count) == Self.giverRowsMax
        for (key, selectors) in scopes {
            guard looks >= nodes.count + tokens.count else {
                isCut = true
                break
            }
            looks -= nodes.count + tokens.count
            func names(_ scopes: [NodeScope]) -> [String] {
                scopes.filter { selectors.allSatisfy($0.selectors.contains) }.map(\.name)
            }
            let found = names(nodes) + names(tokens).map { "\($0) (by an unused token)" }
            guard !found.isEmpty else { continue }
            let named = Array(found.prefix(Self.giversNamedMax))
            warnings.append(
                "\(key): gives an admin's identity to \(Self.list(named, of: found.count))"
            )
        }
        guard isCut else { return }
        warnings.append(
            "more nodes and tokens than were looked at may get an admin's identity by these documents"
        )
    }

    private func tokenScopes() throws -> [NodeScope] {
        try transaction.tokenScopes(validAt: standing.now, limit: Self.giverRowsMax).map { scope in
            let own = try logic.ownSelectors(ofNode: scope.name).map(\.description)
            return NodeScope(name: scope.name, selectors: scope.selectors.union(own))
        }
    }
}

extension Document {
    /// What a node shows that gets identities or keys by the document; nil for other kinds.
    fileprivate var nodeSelectors: [Selector]? {
        switch spec {
        case .registrationEntry(let spec): spec.nodeSelectors
        case .proxy(let spec): spec.nodeSelectors
        case .accessPolicy, .delegationPolicy, .federatedTrustDomain, .namespace, .role,
            .roleBinding, .service:
            nil
        }
    }
}
