// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics
internal import SPIFFE

/// What policies mean, clause by clause as decisions 0008 and 0025 say it.
///
/// It is the specification of the compiled form and what explanations are made with. It looks at
/// every policy each time and is not for the path of a request.
package struct ReferenceEvaluator: Sendable {
    private let policies: [AccessPolicy]

    /// The policies that hold for one workload.
    package init(_ policies: [AccessPolicy]) {
        self.policies = policies.sorted { ($0.namespace, $0.name) < ($1.namespace, $1.name) }
    }

    /// The verdict that is enforced.
    package func verdict(on request: AccessRequest) -> AccessVerdict {
        verdict(on: request) { $0.mode == .enforce }
    }

    /// The verdict there would be if what is in shadow were enforced.
    package func shadowVerdict(on request: AccessRequest) -> AccessVerdict {
        verdict(on: request) { $0.mode != .off }
    }

    private func verdict(
        on request: AccessRequest,
        _ counts: (AccessPolicy) -> Bool
    ) -> AccessVerdict {
        // Signet's own parts are no peers of traffic.
        if let peer = request.peer, peer.isReserved { return .denyByDefault }
        if let cause = first(.deny, .guardrail, request, counts) {
            return AccessVerdict(isAllowed: false, cause: cause)
        }
        if let cause = first(.deny, .normal, request, counts) {
            return AccessVerdict(isAllowed: false, cause: cause)
        }
        if let cause = first(.allow, .normal, request, counts) {
            return AccessVerdict(isAllowed: true, cause: cause)
        }
        return .denyByDefault
    }

    private func first(
        _ action: AccessPolicy.Action,
        _ tier: AccessPolicy.Tier,
        _ request: AccessRequest,
        _ counts: (AccessPolicy) -> Bool
    ) -> AccessVerdict.Cause? {
        for policy in policies
        where counts(policy) && policy.action == action && policy.tier == tier {
            for (place, rule) in policy.rules.enumerated()
            where Self.applies(action, Truth.rule(rule, action, request)) {
                return AccessVerdict.Cause(
                    namespace: policy.namespace,
                    policy: policy.name,
                    rule: place
                )
            }
        }
        return nil
    }

    /// What is not known counts against access.
    private static func applies(_ action: AccessPolicy.Action, _ truth: Truth) -> Bool {
        switch action {
        case .allow: truth == .yes
        case .deny: truth != .no
        }
    }
}

/// Whether something matches, when something may be missing that it asks about.
private enum Truth: Hashable {
    case no
    case unknown
    case yes

    static func rule(
        _ rule: AccessRule,
        _ action: AccessPolicy.Action,
        _ request: AccessRequest
    ) -> Truth {
        all([
            rule.from.map { any($0.map { source($0, action, request) }) }
                ?? (mustBeNamed(action, request) ? .no : .yes),
            rule.to.map { any($0.map { operation($0, action, request) }) } ?? .yes,
            all(rule.when.map { condition($0, action, request) }),
        ])
    }

    static func condition(
        _ condition: AccessCondition,
        _ action: AccessPolicy.Action,
        _ request: AccessRequest
    ) -> Truth {
        switch condition {
        case .header(let name, let field): header(name, field, action, request)
        case .serverName(let field): host(field, request.serverName)
        }
    }

    /// A header that comes more than once, or says nothing, has several readings; one that is not
    /// there is known not to be.
    static func header(
        _ name: String,
        _ field: AccessField<HeaderPattern>,
        _ action: AccessPolicy.Action,
        _ request: AccessRequest
    ) -> Truth {
        guard let fields = request.http?.fields else { return .unknown }
        let lines = fields.filter { $0.name == name }
        guard let value = lines.first.map({ Array($0.value.utf8) }) else {
            if field.anyOf != nil { return .no }
            return field.noneOf?.contains(.any) ?? false ? .yes : .unknown
        }
        guard lines.count == 1, !value.isEmpty else { return .unknown }
        return self.field(
            field,
            value,
            { $0.matches($1, isAgainst: action != .allow) },
            excluding: { $0.matches($1, isAgainst: action == .allow) }
        )
    }

    /// A port that is not written is not known.
    static func host(_ field: AccessField<HostPattern>, _ host: RequestedHost?) -> Truth {
        guard !field.isAbsent else { return .yes }
        guard let host else { return .unknown }
        func among(_ patterns: [HostPattern]) -> Truth {
            any(patterns.map { $0.matches(host).map { $0 ? .yes : .no } ?? .unknown })
        }
        return all([
            field.anyOf.map(among) ?? .yes,
            field.noneOf.map { not(among($0)) } ?? .yes,
        ])
    }

    static func not(_ truth: Truth) -> Truth {
        switch truth {
        case .no: .yes
        case .unknown: .unknown
        case .yes: .no
        }
    }

    /// Whoever writes "everybody" means the own trust domain (docs/decisions/0021-federation.md).
    static func mustBeNamed(_ action: AccessPolicy.Action, _ request: AccessRequest) -> Bool {
        action == .allow && request.isStranger
    }

    static func source(
        _ source: AccessSource,
        _ action: AccessPolicy.Action,
        _ request: AccessRequest
    ) -> Truth {
        let isNamed = request.peer == nil ? source.namesAddresses : source.names
        if !isNamed, mustBeNamed(action, request) { return .no }
        return all([
            field(source.principals, request.peer) { $0.matches($1) },
            field(source.addresses, request.address) { $0.contains($1) },
            field(source.trustDomains, request.peer?.trustDomain) { $0 == $1 },
        ])
    }

    static func operation(
        _ operation: AccessOperation,
        _ action: AccessPolicy.Action,
        _ request: AccessRequest
    ) -> Truth {
        all([
            field(
                operation.methods,
                request.http?.method,
                { method($0, $1, isStrict: action != .allow) },
                excluding: { method($0, $1, isStrict: action == .allow) }
            ),
            field(operation.paths, request.http?.path) { $0.matches($1) },
            field(operation.ports, request.port) { $0 == $1 },
            host(operation.hosts, request.http?.knownHost),
        ])
    }

    /// Where it counts against access, GET is HEAD too: servers answer that by the same code.
    static func method(_ pattern: String, _ method: String, isStrict: Bool) -> Bool {
        pattern.utf8.elementsEqual(method.utf8)
            || isStrict && pattern == "GET" && method == "HEAD"
    }

    static func field<Pattern, Value>(
        _ field: AccessField<Pattern>,
        _ value: Value?,
        _ matches: (Pattern, Value) -> Bool
    ) -> Truth {
        self.field(field, value, matches, excluding: matches)
    }

    static func field<Pattern, Value>(
        _ field: AccessField<Pattern>,
        _ value: Value?,
        _ matches: (Pattern, Value) -> Bool,
        excluding: (Pattern, Value) -> Bool
    ) -> Truth {
        guard !field.isAbsent else { return .yes }
        guard let value else { return .unknown }
        let isWanted = field.anyOf?.contains { matches($0, value) } ?? true
        let isExcluded = field.noneOf?.contains { excluding($0, value) } ?? false
        return isWanted && !isExcluded ? .yes : .no
    }

    static func all(_ parts: [Truth]) -> Truth {
        parts.contains(.no) ? .no : parts.contains(.unknown) ? .unknown : .yes
    }

    static func any(_ parts: [Truth]) -> Truth {
        parts.contains(.yes) ? .yes : parts.contains(.unknown) ? .unknown : .no
    }
}
