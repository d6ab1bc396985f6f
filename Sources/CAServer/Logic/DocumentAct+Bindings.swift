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
        let nodeSelectors: [String]
        /// Whether authorities may be certified by it.
        var isDownstream = false

        /// What it does for nodes.
        var effect: String {
            isDownstream
                ? "lets be anybody of the trust domain, by authorities that are certified,"
                : "gives an admin's identity to"
        }
    }

    /// By what somebody named by bindings gets his identity.
    private struct Given {
        let id: SPIFFEID
        /// As far as the caller may see them.
        let givers: [Giver]
    }

    /// Tells, as far as the caller may see them, of the entries and Proxies that give the subjects of
    /// bindings that change, and of the nodes that get an admin's identity by these or by what is
    /// written.
    mutating func warnOfGivers(_ documents: [Document]) throws {
        let keys = Set(outcomes.filter { $0.action != .unchanged }.map(\.key))
        let changed = documents.filter { keys.contains($0.key) }
        let bindings = Self.bindings(in: changed)
        let reviewed = bindings.keys.sorted().prefix(Self.reviewedSubjectsMax)
        var looks = Self.giverLooksMax
        let given = try warnOfGivers(of: Array(reviewed), namedBy: bindings, &looks)
        if bindings.count > reviewed.count {
            warnings.append(
                "of \(reviewed.count) subjects it was looked for what gives them, not of the others"
            )
        }
        try warnOfAdmitted(written(changed, besides: bindings), given, &looks)
    }

    /// The SPIFFE IDs that bindings name, each once, with the bindings.
    private static func bindings(in documents: [Document]) -> [SPIFFEID: [DocumentKey]] {
        var bindings: [SPIFFEID: [DocumentKey]] = [:]
        for document in documents {
            guard case .roleBinding(let spec) = document.spec else { continue }
            for subject in Set(spec.subjects) {
                guard case .spiffe(let id) = subject else { continue }
                bindings[id, default: []].append(document.key)
            }
        }
        return bindings
    }

    private mutating func warnOfGivers(
        of ids: [SPIFFEID],
        namedBy bindings: [SPIFFEID: [DocumentKey]],
        _ looks: inout Int
    ) throws -> [Given] {
        guard !ids.isEmpty else { return [] }
        let (givers, isCut) = try givers(of: Set(ids), &looks)
        var given: [Given] = []
        for id in ids {
            guard let all = givers[id] else { continue }
            let seen = all.filter {
                standing.may(
                    .get,
                    kind: $0.key.kind,
                    namespace: $0.key.namespace,
                    spiffeID: $0.spiffeID
                )
            }
            let named = try seen.prefix(Self.giversNamedMax).map { giver in
                let writer = try transaction.writer(of: giver.key) ?? "nobody"
                return "\(giver.key) (last written by \(writer))"
            }
            var parts = seen.isEmpty ? [] : [Self.list(named, of: seen.count)]
            // How many is told to everybody: who cannot see them has to ask somebody who can.
            if seen.count < all.count {
                parts.append("\(all.count - seen.count) that you may not get")
            }
            let keys = bindings[id] ?? []
            let binding = Self.list(keys.map(\.description), of: keys.count)
            warnings.append("\(binding): \(id) is given by \(parts.joined(separator: " and "))")
            if !seen.isEmpty { given.append(Given(id: id, givers: seen)) }
        }
        // Many that mean nobody must not hide one.
        if isCut {
            warnings.append(
                "more documents than were looked at may give subjects of these bindings; signet entry "
                    + "list shows them all"
            )
        }
        return given
    }

    /// The first of a list, and how many more there are.
    private static func list(_ all: [String], of count: Int) -> String {
        let named = all.prefix(giversNamedMax)
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
            spiffeID: kind == .proxy ? nil : giver.spiffeID,
            nodeSelectors: giver.nodeSelectors
        )
    }

    /// What is written and gives an admin's identity, or will once the bindings are in force, or lets
    /// authorities be certified.
    private func written(
        _ changed: [Document],
        besides bindings: [SPIFFEID: [DocumentKey]]
    ) throws -> [Giver] {
        let giving = changed.filter { $0.nodeSelectors != nil }
        guard !giving.isEmpty else { return [] }
        let subjects = AdminSubjects(
            standing.access,
            waiting: try transaction.proposedSubjects().union(bindings.keys.map(\.description))
        )
        return giving.filter { $0.isDownstream || $0.gives(anyOf: subjects) }.map { document in
            Giver(
                key: document.key,
                spiffeID: document.spiffeID,
                nodeSelectors: (document.nodeSelectors ?? []).map(\.description),
                isDownstream: document.isDownstream
            )
        }
    }

    /// Tells of the nodes, and of those that unused tokens admit, which get an admin's identity:
    /// nobody asked for approval when they were let in.
    private mutating func warnOfAdmitted(
        _ written: [Giver],
        _ given: [Given],
        _ looks: inout Int
    ) throws {
        guard !written.isEmpty || !given.isEmpty else { return }
        guard standing.may(.nodeList) else {
            warnings.append(
                "which nodes and unused tokens get these identities is not told, as it takes "
                    + "\(AdminVerb.nodeList)"
            )
            return
        }
        let nodes = try transaction.nodeScopes(limit: Self.giverRowsMax)
        let tokens = try tokenScopes()
        var isCut = max(nodes.count, tokens.count) == Self.giverRowsMax
        let reach = NodeReach(nodes: nodes, tokens: tokens)
        let lists: [(String, [[String]])] =
            written.map { ("\($0.key): \($0.effect)", [$0.nodeSelectors]) }
            + given.map { ("\($0.id) is given to", $0.givers.map(\.nodeSelectors)) }
        for (beginning, selectors) in lists {
            guard let found = reach.names(showingAny: selectors, &looks) else {
                isCut = true
                break
            }
            guard !found.isEmpty else { continue }
            warnings.append("\(beginning) \(Self.list(found, of: found.count))")
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
