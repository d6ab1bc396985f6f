// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics
internal import SPIFFE

/// Why a request is allowed or denied: the verdict, and for every rule that could have decided what
/// kept it from it.
///
/// It is made from plain values by the clauses of decisions 0008 and 0025, and written by whoever
/// shows it.
package struct AccessExplanation: Hashable, Sendable {
    /// A field of a rule, by the name it has in a document.
    package enum Field: String, CaseIterable, Hashable, Sendable {
        case principals
        case notPrincipals
        case ipBlocks
        case notIPBlocks
        case trustDomains
        case notTrustDomains
        case methods
        case notMethods
        case paths
        case notPaths
        case ports
        case notPorts
        case hosts
        case notHosts
        case grpc
        case notGRPC
        /// Of a condition.
        case values
        case notValues
    }

    /// Why a field is no match.
    package enum Cause: String, CaseIterable, Hashable, Sendable {
        /// None of the values is what was asked.
        case differs
        /// One of the values that may not be is what was asked.
        case excluded
        /// The peer is of another trust domain, and the rule admits nobody by name.
        case foreign
        /// The request has nothing of the kind, and that counts against access.
        case unknown
        /// What the request had is not remembered: it may have been a match.
        case unremembered
    }

    /// What a field of a rule names, where the request has something else.
    ///
    /// Nothing is told of principals, addresses and conditions: who may ask why a request was denied
    /// need not be one who may read whom else a policy admits.
    package enum Named: Hashable, Sendable {
        case methods([String])
        case paths([PathPattern])
        case ports([UInt16])
        case untold
    }

    /// One field that is no match.
    package struct Miss: Hashable, Sendable {
        package let field: Field
        package let cause: Cause
        /// The place of the source or operation in its rule, from 0.
        package let place: Int
        /// What the field names, if the request has something else.
        package var named = Named.untold
        /// Of a condition, what it is about.
        package var key: String?

        /// Where it stands: `from[0].source.principals`.
        package var path: String {
            switch field {
            case .principals, .notPrincipals, .ipBlocks, .notIPBlocks, .trustDomains,
                .notTrustDomains:
                "from[\(place)].source.\(field.rawValue)"
            case .methods, .notMethods, .paths, .notPaths, .ports, .notPorts, .hosts, .notHosts,
                .grpc, .notGRPC:
                "to[\(place)].operation.\(field.rawValue)"
            case .values, .notValues: "when[\(key ?? "\(place)")].\(field.rawValue)"
            }
        }
    }

    /// What one rule has to say.
    package struct RuleAccount: Hashable, Sendable {
        /// Its place in the policy, from 0.
        package let rule: Int
        /// The fields that are no match, of the source and the operation that come nearest, those that
        /// are not remembered last; empty if the rule matches.
        package let misses: [Miss]

        package var isMatch: Bool { misses.isEmpty }
        /// Whether it may have matched, by what is not remembered.
        package var isUnremembered: Bool { firstMiss?.cause == .unremembered }
        /// The clause that fails first; nil if the rule matches.
        package var firstMiss: Miss? { misses.first }
    }

    /// What one policy has to say.
    package struct PolicyAccount: Hashable, Sendable {
        package let namespace: String
        package let policy: String
        package let action: AccessPolicy.Action
        package let tier: AccessPolicy.Tier
        package let mode: AccessPolicy.Mode
        package let rules: [RuleAccount]
    }

    /// The rule that needs the fewest changes to turn the verdict.
    package struct NearMiss: Hashable, Sendable {
        package let rule: AccessVerdict.Cause
        package let misses: [Miss]
    }

    package let verdict: AccessVerdict
    /// The verdict there would be if what is in shadow were enforced.
    package let shadowVerdict: AccessVerdict
    /// Whether the peer is one of Signet's own parts, which no policy admits.
    package let isPeerReserved: Bool
    /// Every policy that is not off, in the order in which verdicts are looked for.
    package let policies: [PolicyAccount]
    /// Of an allowed request the DENY that came nearest, of a denied one the ALLOW.
    ///
    /// It is nil if there is none, or if the peer is reserved. Policies in shadow are left out.
    package let nearestMiss: NearMiss?

    /// Explains what the policies of one workload say of a request.
    package init(_ request: AccessRequest, under policies: [AccessPolicy]) {
        let reference = ReferenceEvaluator(policies)
        self.init(
            request,
            under: policies,
            verdict: reference.verdict(on: request),
            shadowVerdict: reference.shadowVerdict(on: request)
        )
    }

    /// Explains what was decided of a request, of which less may be known than then.
    ///
    /// - Parameters:
    ///   - request: What is remembered of it.
    ///   - policies: Those that it was decided with.
    ///   - verdict: What was decided; the rule that it names matched.
    ///   - shadowVerdict: What policies in shadow would have made of it; so did its rule.
    package init(
        _ request: AccessRequest,
        under policies: [AccessPolicy],
        verdict: AccessVerdict,
        shadowVerdict: AccessVerdict
    ) {
        (self.verdict, self.shadowVerdict) = (verdict, shadowVerdict)
        let isReserved = request.peer?.isReserved ?? false
        isPeerReserved = isReserved
        let accounts = policies.filter { $0.mode != .off }.map { policy in
            PolicyAccount(
                namespace: policy.namespace,
                policy: policy.name,
                action: policy.action,
                tier: policy.tier,
                mode: policy.mode,
                rules: policy.rules.enumerated().map { place, rule in
                    let cause = AccessVerdict.Cause(
                        namespace: policy.namespace,
                        policy: policy.name,
                        rule: place
                    )
                    let hasMatched = cause == verdict.cause || cause == shadowVerdict.cause
                    return RuleAccount(
                        rule: place,
                        misses: hasMatched ? [] : Self.misses(of: rule, policy.action, request)
                    )
                }
            )
        }
        self.policies = accounts.sorted {
            (Self.step($0), $0.namespace, $0.policy) < (Self.step($1), $1.namespace, $1.policy)
        }
        let other: AccessPolicy.Action = verdict.isAllowed ? .deny : .allow
        nearestMiss = isReserved ? nil : Self.nearest(other, among: self.policies)
    }

    private static func step(_ account: PolicyAccount) -> Int {
        switch (account.action, account.tier) {
        case (.deny, .guardrail): 0
        case (.deny, .normal): 1
        case (.allow, _): 2
        }
    }

    private static func nearest(
        _ action: AccessPolicy.Action,
        among policies: [PolicyAccount]
    ) -> NearMiss? {
        var best: NearMiss?
        for policy in policies where policy.action == action && policy.mode == .enforce {
            for rule in policy.rules where !rule.isMatch {
                if let best, best.misses.count <= rule.misses.count { continue }
                let cause = AccessVerdict.Cause(
                    namespace: policy.namespace,
                    policy: policy.policy,
                    rule: rule.rule
                )
                best = NearMiss(rule: cause, misses: rule.misses)
            }
        }
        return best
    }

    // MARK: - Fields

    private static func misses(
        of rule: AccessRule,
        _ action: AccessPolicy.Action,
        _ request: AccessRequest
    ) -> [Miss] {
        var sources = rule.from?.enumerated().map { place, source in
            misses(of: source, at: place, action, request)
        }
        if sources == nil, action == .allow, request.isStranger {
            let cause: Cause = request.isForeign ? .foreign : .unknown
            sources = [[Miss(field: .principals, cause: cause, place: 0)]]
        }
        let operations = rule.to?.enumerated().map { place, operation in
            misses(of: operation, at: place, action, request)
        }
        let conditions = rule.when.enumerated().compactMap { place, condition in
            miss(of: condition, at: place, action, request)
        }
        let all: [Miss] = fewest(sources) + fewest(operations) + conditions
        return all.filter { $0.cause != .unremembered } + all.filter { $0.cause == .unremembered }
    }

    private static func fewest(_ parts: [[Miss]]?) -> [Miss] {
        func distance(_ part: [Miss]) -> (Int, Int) {
            (part.count { $0.cause != .unremembered }, part.count)
        }
        return parts?.min { distance($0) < distance($1) } ?? []
    }

    private static func misses(
        of source: AccessSource,
        at place: Int,
        _ action: AccessPolicy.Action,
        _ request: AccessRequest
    ) -> [Miss] {
        let (blocks, address) = (source.addresses, request.address)
        let isNamed = request.peer == nil ? source.namesAddresses : source.names
        let isUnnamed = !isNamed && action == .allow && request.isStranger
        let trustDomain = request.peer?.trustDomain
        return [
            isUnnamed
                ? Miss(
                    field: .principals,
                    cause: request.isForeign ? .foreign : .unknown,
                    place: place
                )
                : miss(source.principals, request.peer, .principals, .notPrincipals, place, action)
                {
                    $0.matches($1)
                },
            miss(blocks, address, .ipBlocks, .notIPBlocks, place, action) { $0.contains($1) },
            miss(
                source.trustDomains,
                trustDomain,
                .trustDomains,
                .notTrustDomains,
                place,
                action,
                matches: ==
            ),
        ]
        .compactMap(\.self)
    }

    private static func misses(
        of operation: AccessOperation,
        at place: Int,
        _ action: AccessPolicy.Action,
        _ request: AccessRequest
    ) -> [Miss] {
        let method = request.http?.method
        let isCall = operation.paths.contains { $0.isCall }
        return [
            miss(
                operation.methods,
                method,
                .methods,
                .notMethods,
                place,
                action,
                named: Named.methods,
                excluding: { Self.names($0, $1, orHead: action == .allow) },
                matches: { Self.names($0, $1, orHead: action != .allow) }
            ),
            miss(
                operation.paths,
                request.http?.path,
                isCall ? .grpc : .paths,
                isCall ? .notGRPC : .notPaths,
                place,
                action,
                named: Named.paths
            ) { $0.matches($1) },
            miss(
                operation.ports,
                request.port,
                .ports,
                .notPorts,
                place,
                action,
                named: Named.ports,
                matches: ==
            ),
            request.isPartial && request.http != nil
                ? unremembered(operation.hosts, .hosts, .notHosts, place)
                : miss(operation.hosts, request.http?.knownHost, .hosts, .notHosts, place, action),
        ]
        .compactMap(\.self)
    }

    private static func unremembered<Pattern>(
        _ field: AccessField<Pattern>,
        _ wanted: Field,
        _ excluded: Field,
        _ place: Int
    ) -> Miss? {
        guard !field.isAbsent else { return nil }
        let name = field.anyOf == nil ? excluded : wanted
        return Miss(field: name, cause: .unremembered, place: place)
    }

    private static func names(_ pattern: String, _ method: String, orHead: Bool) -> Bool {
        pattern.utf8.elementsEqual(method.utf8) || orHead && pattern == "GET" && method == "HEAD"
    }

    private static func miss(
        of condition: AccessCondition,
        at place: Int,
        _ action: AccessPolicy.Action,
        _ request: AccessRequest
    ) -> Miss? {
        var found: Miss?
        switch condition {
        case .header(let name, let field):
            found =
                request.isPartial && request.http != nil
                ? unremembered(field, .values, .notValues, place)
                : miss(ofHeader: name, field, place, action, request)
        case .serverName(let field):
            found =
                request.isPartial && request.http == nil
                ? unremembered(field, .values, .notValues, place)
                : miss(field, request.serverName, .values, .notValues, place, action)
        }
        found?.key = condition.key
        return found
    }

    private static func miss(
        ofHeader name: String,
        _ field: AccessField<HeaderPattern>,
        _ place: Int,
        _ action: AccessPolicy.Action,
        _ request: AccessRequest
    ) -> Miss? {
        let lines = request.http?.fields?.filter { $0.name == name }
        if let lines, lines.isEmpty {
            if field.anyOf != nil { return Miss(field: .values, cause: .differs, place: place) }
            if field.noneOf?.contains(.any) == true { return nil }
        }
        let only = lines?.count == 1 ? lines?.first.map { Array($0.value.utf8) } : nil
        return miss(
            field,
            only?.isEmpty == true ? nil : only,
            .values,
            .notValues,
            place,
            action,
            excluding: { $0.matches($1, isAgainst: action == .allow) },
            matches: { $0.matches($1, isAgainst: action != .allow) }
        )
    }

    /// Of hosts, where it may depend on a port that the request has not written.
    private static func miss(
        _ field: AccessField<HostPattern>,
        _ host: RequestedHost?,
        _ wanted: Field,
        _ excluded: Field,
        _ place: Int,
        _ action: AccessPolicy.Action
    ) -> Miss? {
        miss(
            field,
            host,
            wanted,
            excluded,
            place,
            action,
            excluding: { $0.matches($1) ?? (action == .allow) },
            matches: { $0.matches($1) ?? (action != .allow) }
        )
    }

    /// - Returns: nil if the field matches.
    private static func miss<Pattern, Value>(
        _ field: AccessField<Pattern>,
        _ value: Value?,
        _ wanted: Field,
        _ excluded: Field,
        _ place: Int,
        _ action: AccessPolicy.Action,
        named: ([Pattern]) -> Named = { _ in .untold },
        excluding: ((Pattern, Value) -> Bool)? = nil,
        matches: (Pattern, Value) -> Bool
    ) -> Miss? {
        guard !field.isAbsent else { return nil }
        guard let value else {
            guard action == .allow else { return nil }
            let name = field.anyOf == nil ? excluded : wanted
            return Miss(field: name, cause: .unknown, place: place)
        }
        if let anyOf = field.anyOf, !anyOf.contains(where: { matches($0, value) }) {
            return Miss(field: wanted, cause: .differs, place: place, named: named(anyOf))
        }
        let isExcluded = field.noneOf?.contains {
            excluding?($0, value) ?? matches($0, value)
        }
        if isExcluded ?? false {
            return Miss(field: excluded, cause: .excluded, place: place)
        }
        return nil
    }
}
