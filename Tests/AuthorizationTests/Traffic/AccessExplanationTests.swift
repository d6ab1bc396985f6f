// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPSemantics
import SPIFFE
import Testing

@Suite struct AccessExplanationTests {
    private static func policies() throws -> [AccessPolicy] {
        let web = try PrincipalPattern("spiffe://td/web")
        let orders = try #require(PathPattern("/orders/*"))
        let source = AccessSource(principals: try #require(AccessField(anyOf: [web])))
        let read = AccessOperation(
            methods: try #require(AccessField(anyOf: ["GET"])),
            paths: try #require(AccessField(anyOf: [orders])),
            ports: try #require(AccessField(noneOf: [9]))
        )
        let write = AccessOperation(methods: try #require(AccessField(anyOf: ["POST"])))
        return [
            AccessPolicy(
                namespace: "n",
                name: "orders",
                action: .allow,
                rules: [
                    try #require(AccessRule(from: [source], to: [read])),
                    try #require(AccessRule(from: [source], to: [write])),
                ]
            ),
            AccessPolicy(
                namespace: "n",
                name: "a-shadow",
                action: .deny,
                mode: .shadow,
                rules: [try #require(AccessRule(to: [write]))]
            ),
            AccessPolicy(namespace: "n", name: "off", action: .deny, mode: .off, rules: []),
        ]
    }

    private func explain(
        _ peer: String?,
        _ method: String? = nil,
        _ path: String = "/orders/1",
        port: UInt16 = 80
    ) throws -> AccessExplanation {
        let request = AccessRequest(
            peer: try peer.map { try SPIFFEID($0) },
            in: PolicyGenerator.trustDomain,
            address: try #require(PolicyGenerator.addresses.first),
            port: port,
            http: method.flatMap { AccessRequest.HTTP(method: $0, path: path) }
        )
        return AccessExplanation(request, under: try Self.policies())
    }

    @Test func `an allowed request names its rule, and the DENY that came nearest in force`() throws
    {
        let explanation = try explain("spiffe://td/web", "GET")
        #expect(explanation.verdict.cause?.rule == 0)
        #expect(explanation.policies.map(\.policy) == ["a-shadow", "orders"])
        #expect(explanation.policies[1].rules[0].isMatch)
        // The only DENY decides beside.
        #expect(explanation.nearestMiss == nil)
        #expect(try !explain("spiffe://td/web", "POST").shadowVerdict.isAllowed)
    }

    @Test(
        arguments: [
            ("spiffe://td/web", "GET", "/order", 80, ["to[0].operation.paths differs"]),
            ("spiffe://td/api", "GET", "/orders/1", 80, ["from[0].source.principals differs"]),
            (nil, "GET", "/orders/1", 80, ["from[0].source.principals unknown"]),
            ("spiffe://td/web", "GET", "/orders/1", 9, ["to[0].operation.notPorts excluded"]),
            ("spiffe://td/web", nil, "", 80, ["to[0].operation.methods unknown"]),
            (
                "spiffe://td/api", "DELETE", "/orders/1", 80,
                ["from[0].source.principals differs", "to[0].operation.methods differs"]
            ),
        ] as [(String?, String?, String, UInt16, [String])]
    )
    func `a denied request names what kept the nearest ALLOW from it`(
        peer: String?,
        method: String?,
        path: String,
        port: UInt16,
        misses: [String]
    ) throws {
        let explanation = try explain(peer, method, path, port: port)
        #expect(!explanation.verdict.isAllowed)
        let nearest = try #require(explanation.nearestMiss)
        #expect(nearest.misses.map { "\($0.path) \($0.cause.rawValue)" } == misses)
        #expect(nearest.rule.policy == "orders")
    }

    @Test func `what a rule names of methods, paths and ports is told, and not whom`() throws {
        func named(
            _ peer: String,
            _ method: String,
            _ path: String
        ) throws -> [AccessExplanation.Named] {
            try explain(peer, method, path).policies[1].rules[0].misses.map(\.named)
        }
        #expect(try named("spiffe://td/web", "PUT", "/orders/1") == [.methods(["GET"])])
        let orders = try #require(PathPattern("/orders/*"))
        #expect(try named("spiffe://td/web", "GET", "/") == [.paths([orders])])
        #expect(try named("spiffe://td/api", "GET", "/orders/1") == [.untold])
    }

    @Test func `of one of Signet's own parts no rule is near`() throws {
        let explanation = try explain("spiffe://td/signet/agent/a", "GET")
        #expect(explanation.isPeerReserved && explanation.nearestMiss == nil)
    }

    @Test(arguments: [UInt64](1...10))
    func `a rule matches exactly when it decides alone`(seed: UInt64) throws {
        var generator = PolicyGenerator(seed: seed)
        generator.more = seed % 2 == 0 ? 50 : 0
        for policy in generator.policies(60) where policy.mode != .off {
            for _ in 0..<12 {
                let request = try generator.request().plain
                guard request.peer?.isReserved != true else { continue }
                let account = AccessExplanation(request, under: [policy]).policies[0]
                for rule in account.rules {
                    let alone = AccessPolicy(
                        namespace: "n",
                        name: "p",
                        action: policy.action,
                        rules: [policy.rules[rule.rule]]
                    )
                    let verdict = ReferenceEvaluator([alone]).verdict(on: request)
                    #expect(rule.isMatch == (verdict.cause != nil), "\(request) \(alone)")
                }
            }
        }
    }

    // MARK: - Less is remembered than was decided with

    private func header(_ value: String) throws -> AccessCondition {
        let pattern = try #require(HeaderPattern(value))
        return .header("x-role", try #require(AccessField(anyOf: [pattern])))
    }

    private func host(_ text: String) throws -> AccessOperation {
        let pattern = try #require(HostPattern(text))
        return AccessOperation(hosts: try #require(AccessField(anyOf: [pattern])))
    }

    private func asking() throws -> [AccessPolicy] {
        let admin = try #require(AccessRule(to: [host("admin.td")]))
        let role = try #require(AccessRule(when: [header("admin")]))
        let methods = try #require(AccessField(anyOf: ["PUT"]))
        let put = try #require(
            AccessRule(to: [AccessOperation(methods: methods)], when: [header("admin")])
        )
        return [
            AccessPolicy(namespace: "n", name: "a", action: .allow, rules: [role, put]),
            AccessPolicy(namespace: "n", name: "d", action: .deny, rules: [admin]),
            AccessPolicy(namespace: "n", name: "s", action: .allow, mode: .shadow, rules: [role]),
        ]
    }

    @Test func `what is not remembered is neither a match nor unknown, but of what decided`() throws
    {
        let partial = AccessRequest(
            peer: try SPIFFEID("spiffe://td/web"),
            in: PolicyGenerator.trustDomain,
            address: IPAddress(ipv4: 0xC000_0201),
            port: 80,
            http: AccessRequest.HTTP(method: "GET", path: "/"),
            isPartial: true
        )
        func told(_ verdict: AccessVerdict, _ shadow: AccessVerdict) throws -> [String] {
            try AccessExplanation(
                partial,
                under: asking(),
                verdict: verdict,
                shadowVerdict: shadow
            )
            .policies.flatMap { policy in
                policy.rules.map { rule in
                    let why = rule.firstMiss.map { "\($0.path) \($0.cause)" } ?? "matches"
                    return "\(policy.policy) \(why)"
                }
            }
        }
        let hosts = "d to[0].operation.hosts unremembered"
        let role = "when[request.headers[x-role]].values unremembered"
        let none = AccessVerdict.denyByDefault
        let put = "a to[0].operation.methods differs"
        #expect(try told(none, none) == [hosts, "a \(role)", put, "s \(role)"])
        let denied = AccessVerdict(
            isAllowed: false,
            cause: AccessVerdict.Cause(namespace: "n", policy: "d", rule: 0)
        )
        #expect(try told(denied, denied) == ["d matches", "a \(role)", put, "s \(role)"])
        let shadow = AccessVerdict(
            isAllowed: true,
            cause: AccessVerdict.Cause(namespace: "n", policy: "s", rule: 0)
        )
        #expect(try told(none, shadow) == [hosts, "a \(role)", put, "s matches"])
    }

    @Test func `of a connection the name of its handshake is what is not remembered`() throws {
        let name = try #require(HostPattern("a.td"))
        let sni = AccessCondition.serverName(try #require(AccessField(noneOf: [name])))
        let rules = [
            try #require(AccessRule(when: [sni])), try #require(AccessRule(to: [host("a.td")])),
        ]
        let partial = AccessRequest(
            peer: try SPIFFEID("spiffe://td/web"),
            in: PolicyGenerator.trustDomain,
            address: IPAddress(ipv4: 0xC000_0201),
            port: 80,
            isPartial: true
        )
        let explanation = AccessExplanation(
            partial,
            under: [AccessPolicy(namespace: "n", name: "a", action: .allow, rules: rules)],
            verdict: .denyByDefault,
            shadowVerdict: .denyByDefault
        )
        let told = explanation.policies[0].rules.map { $0.misses.map(\.cause) }
        // A connection has no host, whatever is remembered.
        #expect(told == [[.unremembered], [.unknown]])
    }
}
