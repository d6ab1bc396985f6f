// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Datastore
internal import PolicyDocuments
internal import SPIFFE

/// Which names of policies and entries mean nobody: most often they have a slip of the pen.
///
/// Nothing is refused for it, because what is named may come later. Who may not list something is
/// told nothing that depends on it.
struct NameReview {
    /// Most principals of one order that are looked for: each takes a few reads while nobody else
    /// can write.
    static let principalsMax = 256
    /// Most principals of one order for which another one is suggested: each takes some hundred
    /// rows.
    static let suggestionsMax = 16
    /// Most entries or Services of one beginning among which the one is looked for that was meant.
    static let nearMax = 256

    private let trustDomain: TrustDomain
    private let standing: AdminStanding
    private let transaction: Transaction
    /// What was found out of principals; nil: nothing is wrong.
    private var principals: [SPIFFEID: String?] = [:]
    private var suggestions = 0
    /// The trust domains that are federated with; nil until they are asked for.
    private var federated: Set<TrustDomain>?
    /// Names of Services, by namespace.
    private var services: [String: [String]] = [:]

    init(of trustDomain: TrustDomain, for standing: AdminStanding, in transaction: Transaction) {
        self.trustDomain = trustDomain
        self.standing = standing
        self.transaction = transaction
    }

    /// What to tell of a document, over what there is after the whole order.
    mutating func warnings(of document: Document) throws -> [String] {
        let problems: [String]
        switch document.spec {
        case .accessPolicy:
            guard let policy = document.accessPolicy?.policy, policy.mode != .off else {
                return []
            }
            problems = try self.problems(of: policy)
        case .delegationPolicy(let spec): problems = try self.problems(of: spec)
        case .registrationEntry(let spec): problems = try self.problems(of: spec)
        default: return []
        }
        return problems.map { "\(document.key): \($0)" }
    }

    private mutating func problems(of spec: RegistrationEntrySpec) throws -> [String] {
        try spec.federatesWith.filter { try isUnknown($0) }.map {
            "no FederatedTrustDomain names \($0), so the workload gets no bundle of it"
        }
    }

    private mutating func problems(of policy: AccessPolicy) throws -> [String] {
        let fields = policy.rules.flatMap { $0.from ?? [] }.map(\.principals)
        let named = Self.unique(fields.flatMap { $0.anyOf ?? [] })
        var warnings = try named.filter { try isUnknown($0.trustDomain) }.map {
            "principal \($0) is of another trust domain than this server's, \(trustDomain), and no "
                + "FederatedTrustDomain names it, so no peer is ever it"
        }
        let domains = Set(
            policy.rules.flatMap { $0.from ?? [] }.flatMap { $0.trustDomains.anyOf ?? [] }
        )
        warnings += try domains.sorted().filter { try isUnknown($0) }.map {
            "trust domain \($0) is another one than this server's, \(trustDomain), and no "
                + "FederatedTrustDomain names it, so no peer is ever of it"
        }
        var ids: [SPIFFEID] = []
        for case .exact(let id) in Self.unique(named + fields.flatMap { $0.noneOf ?? [] }) {
            ids.append(id)
        }
        warnings += try problems(of: ids)
        warnings += try missingServices(of: policy)
        return warnings
    }

    /// An audience that is an ID is whom a chain goes through.
    private mutating func problems(of spec: DelegationPolicySpec) throws -> [String] {
        let audiences = spec.audiences.compactMap { try? SPIFFEID($0) }
        var seen: Set<SPIFFEID> = []
        return try problems(
            of: (spec.subjects + spec.actors + audiences).filter { seen.insert($0).inserted }
        )
    }

    /// Whether a trust domain is neither the own one nor federated with; never to who may not know
    /// with whom that is.
    private mutating func isUnknown(_ other: TrustDomain) throws -> Bool {
        guard other != trustDomain,
            standing.may(.list, kind: DocumentKind.federatedTrustDomain.rawValue)
        else { return false }
        let known = try federated ?? transaction.federatedTrustDomains()
        federated = known
        return !known.contains(other)
    }

    private static func unique(_ patterns: [PrincipalPattern]) -> [PrincipalPattern] {
        var seen: Set<PrincipalPattern> = []
        return patterns.filter { seen.insert($0).inserted }
    }

    // MARK: - Principals

    /// What is wrong with IDs, of which those of other trust domains are passed over.
    private mutating func problems(of ids: [SPIFFEID]) throws -> [String] {
        var problems: [String] = []
        for id in ids where id.trustDomain == trustDomain {
            guard principals[id] != nil || principals.count < Self.principalsMax else { break }
            let problem = try principals[id] ?? problem(of: id)
            principals[id] = .some(problem)
            if let problem { problems.append(problem) }
        }
        return problems
    }

    /// Why nobody has an ID of the own trust domain; nil if somebody has, or may have.
    private mutating func problem(of id: SPIFFEID) throws -> String? {
        guard try !isGiven(id) else { return nil }
        var near: String?
        if suggestions < Self.suggestionsMax {
            suggestions += 1
            near = try given(near: id)
        }
        // Without any namespace or prefix: every entry there is.
        if standing.may(.list, kind: AdminRule.registrationKind, namespace: "") {
            return "no entry gives \(id)" + (near.map { "; did you mean \($0)?" } ?? "")
        }
        // An entry that may not be listed may give it; only what looks like a slip is told.
        return near.map { "no entry that you may list gives \(id); did you mean \($0)?" }
    }

    private func isGiven(_ id: SPIFFEID) throws -> Bool {
        let text = id.description
        let exact = try transaction.entries(spiffeIDPrefix: text, limit: Self.nearMax)
        if exact.contains(where: { $0.spiffeID == text && standing.mayList($0) }) { return true }
        let templates = try transaction.templates(beginningAs: id, limit: Self.nearMax)
        // Of more than were read there may be one.
        return templates.count == Self.nearMax
            || templates.contains { entry in
                guard standing.mayList(entry) else { return false }
                return (try? IDTemplate(parsing: entry.spiffeID))?.mayBecome(id) ?? false
            }
    }

    /// The ID of an entry that was probably meant.
    private func given(near id: SPIFFEID) throws -> String? {
        let text = id.description
        let root = "spiffe://\(id.trustDomain)/"
        guard let slash = text.lastIndex(of: "/"), text.utf8.count > root.utf8.count else {
            return nil
        }
        let parent = String(text[...slash])
        // The nearest ones first: of a large branch only a part is read.
        let first = String(text.prefix(parent.count + 1))
        for (base, beginning) in [(parent, first), (parent, parent), (root, root)] {
            let names = try transaction.entries(spiffeIDPrefix: beginning, limit: Self.nearMax)
                .filter { $0.spiffeID != text && standing.mayList($0) }
                .map { String($0.spiffeID.dropFirst(base.count)) }
                .filter { !$0.contains("{") }
            let word = String(text.dropFirst(base.count))
            if let near = Suggestion.nearest(to: word, among: names) { return base + near }
        }
        return nil
    }

    // MARK: - Services

    /// A policy of the root namespace means Services of every namespace, which are not looked for.
    private mutating func missingServices(of policy: AccessPolicy) throws -> [String] {
        let (kind, namespace) = (DataPathKind.service, policy.namespace)
        guard case .services(let names) = policy.target,
            namespace != AccessPolicy.rootNamespace,
            standing.may(.list, kind: kind, namespace: namespace)
        else { return [] }
        var warnings: [String] = []
        for name in names {
            let key = DocumentKey(
                group: DocumentKey.nativeGroup,
                kind: kind,
                namespace: namespace,
                name: name
            )
            guard try transaction.document(key) == nil else { continue }
            let near = Suggestion.nearest(to: name, among: try services(of: namespace))
            warnings.append(
                "there is no Service \(namespace)/\(name)"
                    + (near.map { "; did you mean \($0)?" } ?? "")
            )
        }
        return warnings
    }

    private mutating func services(of namespace: String) throws -> [String] {
        if let known = services[namespace] { return known }
        let filter = DocumentFilter(
            group: DocumentKey.nativeGroup,
            kind: DataPathKind.service,
            namespace: namespace
        )
        let names = try transaction.documents(filter, limit: Self.nearMax).map(\.key.name)
        services[namespace] = names
        return names
    }
}

extension PrincipalPattern {
    fileprivate var trustDomain: TrustDomain {
        switch self {
        case .below(let trustDomain, _): trustDomain
        case .exact(let id): id.trustDomain
        }
    }
}
