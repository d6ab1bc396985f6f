// SPDX-License-Identifier: Apache-2.0

import Authorization
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
}
