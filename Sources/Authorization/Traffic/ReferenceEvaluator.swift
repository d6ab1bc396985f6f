// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics
internal import SPIFFE

/// What policies mean, clause by clause as decision 0008 says it.
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
        func first(
            _ action: AccessPolicy.Action,
            _ tier: AccessPolicy.Tier
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
        if let cause = first(.deny, .guardrail) {
            return AccessVerdict(isAllowed: false, cause: cause)
        }
        if let cause = first(.deny, .normal) {
            return AccessVerdict(isAllowed: false, cause: cause)
        }
        if let cause = first(.allow, .normal) {
            return AccessVerdict(isAllowed: true, cause: cause)
        }
        return .denyByDefault
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
        ])
    }

    /// Whoever writes "everybody" means the own trust domain (docs/decisions/0021-federation.md).
    static func mustBeNamed(_ action: AccessPolicy.Action, _ request: AccessRequest) -> Bool {
        action == .allow && request.isForeign
    }

    static func source(
        _ source: AccessSource,
        _ action: AccessPolicy.Action,
        _ request: AccessRequest
    ) -> Truth {
        if source.principals.anyOf == nil, mustBeNamed(action, request) { return .no }
        return all([
            field(source.principals, request.peer) { $0.matches($1) },
            field(source.addresses, request.address) { $0.contains($1) },
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
                { method($0, $1, isStrict: action == .deny) },
                excluding: { method($0, $1, isStrict: action == .allow) }
            ),
            field(operation.paths, request.http?.path) { $0.matches($1) },
            field(operation.ports, request.port) { $0 == $1 },
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
