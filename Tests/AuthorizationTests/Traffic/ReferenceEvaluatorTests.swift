// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPSemantics
import SPIFFE
import Testing

/// Decision 0008, clause by clause.
@Suite struct ReferenceEvaluatorTests {
    private func policy(
        _ name: String,
        _ action: AccessPolicy.Action,
        tier: AccessPolicy.Tier = .normal,
        mode: AccessPolicy.Mode = .enforce,
        from: [AccessSource]? = nil,
        to: [AccessOperation]? = nil
    ) throws -> AccessPolicy {
        AccessPolicy(
            namespace: "default",
            name: name,
            action: action,
            tier: tier,
            mode: mode,
            rules: [try #require(AccessRule(from: from, to: to))]
        )
    }

    private func source(
        _ principals: [String]? = nil,
        not: [String]? = nil,
        blocks: [String]? = nil
    ) throws -> AccessSource {
        let (wanted, excluded) = (
            try principals?.map { try PrincipalPattern($0) },
            try not?.map { try PrincipalPattern($0) }
        )
        let within = blocks?.compactMap { IPBlock($0) }
        try #require(within?.count == blocks?.count)
        return AccessSource(
            principals: try #require(AccessField(anyOf: wanted, noneOf: excluded)),
            addresses: try #require(AccessField(anyOf: within))
        )
    }

    private func paths(_ paths: [String]? = nil, not: [String]? = nil) throws -> AccessOperation {
        let (wanted, excluded) = (
            paths?.compactMap { PathPattern($0) }, not?.compactMap { PathPattern($0) }
        )
        try #require(wanted?.count == paths?.count && excluded?.count == not?.count)
        return AccessOperation(paths: try #require(AccessField(anyOf: wanted, noneOf: excluded)))
    }

    private func request(
        _ peer: String? = "spiffe://example.org/web",
        _ path: String? = "/a",
        method: String = "GET",
        address: String = "192.0.2.1",
        port: UInt16 = 80
    ) throws -> AccessRequest {
        let http = path.map { AccessRequest.HTTP(method: method, path: $0) }
        return AccessRequest(
            peer: try peer.map { try SPIFFEID($0) },
            in: try TrustDomain("example.org"),
            address: try #require(IPAddress(address)),
            port: port,
            http: http == nil ? nil : try #require(http ?? nil)
        )
    }

    private func isAllowed(_ policies: [AccessPolicy], _ request: AccessRequest) -> Bool {
        ReferenceEvaluator(policies).verdict(on: request).isAllowed
    }

    @Test func `without a policy, and with one without rules, all is denied`() throws {
        #expect(ReferenceEvaluator([]).verdict(on: try request()) == .denyByDefault)
        let empty = AccessPolicy(namespace: "a", name: "b", action: .allow, rules: [])
        #expect(ReferenceEvaluator([empty]).verdict(on: try request()) == .denyByDefault)
        #expect(isAllowed([try policy("all", .allow)], try request()))
    }

    @Test func `a denial of any tier goes before every allowance`() throws {
        let allow = try policy("a", .allow)
        for tier in AccessPolicy.Tier.allCases {
            let verdict = ReferenceEvaluator([allow, try policy("b", .deny, tier: tier)])
                .verdict(on: try request())
            #expect(!verdict.isAllowed)
            #expect(verdict.cause?.policy == "b")
        }
        // A guardrail comes first, and an allowance of that tier is none.
        let both = [try policy("a", .deny), try policy("b", .deny, tier: .guardrail)]
        #expect(ReferenceEvaluator(both).verdict(on: try request()).cause?.policy == "b")
        #expect(!isAllowed([try policy("a", .allow, tier: .guardrail)], try request()))
    }

    @Test(arguments: [
        ("spiffe://example.org/web", "spiffe://example.org/web", true),
        ("spiffe://example.org/web", "spiffe://other.org/web", false),
        ("spiffe://example.org/web", "spiffe://example.org/web/a", false),
        ("spiffe://example.org/web/*", "spiffe://example.org/web/a/b", true),
        ("spiffe://example.org/web/*", "spiffe://example.org/web", false),
        ("spiffe://example.org/web/*", "spiffe://example.org/website", false),
        ("spiffe://example.org/web/*", "spiffe://other.org/web/a", false),
        ("spiffe://example.org/*", "spiffe://example.org/a", true),
        ("spiffe://example.org/*", "spiffe://example.org", false),
        ("spiffe://example.org/*", "spiffe://example.org/signet/agent/a", false),
    ])
    func `a principal is matched whole, with its trust domain`(
        pattern: String,
        peer: String,
        matches: Bool
    ) throws {
        let allowed = isAllowed(
            [try policy("a", .allow, from: [try source([pattern])])],
            try request(peer)
        )
        #expect(allowed == matches)
    }

    @Test func `Signet's own parts are no peers, whatever is allowed`() throws {
        #expect(
            !isAllowed(
                [try policy("a", .allow)],
                try request("spiffe://example.org/signet/server/x")
            )
        )
    }

    @Test func `who is unknown is admitted by no principal and by no exception from one`() throws {
        let web = "spiffe://example.org/web"
        let stranger = try request(nil)
        #expect(!isAllowed([try policy("a", .allow, from: [try source([web])])], stranger))
        #expect(!isAllowed([try policy("a", .allow, from: [try source(not: [web])])], stranger))
        // Everybody is everybody of the own trust domain; only who names addresses means anybody.
        #expect(!isAllowed([try policy("z", .allow)], stranger))
        let all = try policy("z", .allow, from: [try source(blocks: ["0.0.0.0/0"])])
        #expect(isAllowed([all], stranger))
        for denied in [try source([web]), try source(not: [web])] {
            #expect(!isAllowed([all, try policy("a", .deny, from: [denied])], stranger))
        }
    }

    /// What a rule without `principals`, or with exceptions alone, says is said of the own trust
    /// domain (docs/decisions/0021-federation.md).
    @Test func `an ALLOW admits a peer of another trust domain only by name`() throws {
        let (own, foreign) = (
            try request("spiffe://example.org/web"), try request("spiffe://partner.org/web")
        )
        let everybody: [[AccessSource]?] = [
            nil, [AccessSource()], [try source(not: ["spiffe://partner.org/admin"])],
            [try source(blocks: ["0.0.0.0/0"])],
        ]
        for from in everybody {
            let allow = [try policy("a", .allow, from: from)]
            #expect(isAllowed(allow, own))
            #expect(!isAllowed(allow, foreign))
            #expect(isAllowed(allow, try request(nil)) == (from?[0].addresses.anyOf != nil))
            // Everybody is everybody where it counts against access.
            let deny = ReferenceEvaluator([try policy("d", .deny, from: from)])
            #expect(deny.verdict(on: foreign).cause?.policy == "d")
        }
        for named in ["spiffe://partner.org/web", "spiffe://partner.org/*"] {
            #expect(isAllowed([try policy("a", .allow, from: [try source([named])])], foreign))
            let mixed = [AccessSource(), try source([named])]
            #expect(isAllowed([try policy("a", .allow, from: mixed)], foreign))
            let excluded = try source([named], not: ["spiffe://partner.org/web"])
            #expect(!isAllowed([try policy("a", .allow, from: [excluded])], foreign))
        }
        #expect(
            !isAllowed(
                [try policy("a", .allow, from: [try source(["spiffe://example.org/*"])])],
                foreign
            )
        )
        // Of a shadow policy the verdict beside is told by the same rule.
        let shadow = ReferenceEvaluator([try policy("a", .allow, mode: .shadow)])
        #expect(
            !shadow.shadowVerdict(on: foreign).isAllowed && shadow.shadowVerdict(on: own).isAllowed
        )
    }

    @Test func `a connection without requests is admitted by no path and denied by every one`()
        throws
    {
        let connection = try request("spiffe://example.org/web", nil)
        for operation in [try paths(["/a"]), try paths(not: ["/a"])] {
            #expect(!isAllowed([try policy("a", .allow, to: [operation])], connection))
            let deny = try policy("b", .deny, to: [operation])
            #expect(!isAllowed([try policy("a", .allow), deny], connection))
        }
        // What is known to be somebody else is not denied for what is not known.
        let other = try policy(
            "b",
            .deny,
            from: [try source(["spiffe://example.org/other"])],
            to: [try paths(["/a"])]
        )
        #expect(isAllowed([try policy("a", .allow), other], connection))
    }

    @Test(arguments: [
        ("/a", "/a", true), ("/a", "/a/", false), ("/a/*", "/a/b/c", true), ("/a/*", "/a/", true),
        ("/a/*", "/a", false), ("/a/*", "/ab", false), ("/v1/x:delete", "/v1/x%3adelete", true),
        ("/%c3%a9/*", "/%C3%A9/b", true), ("*.css", "/x/y.css", true),
        ("*.css", "/x.css/y", false), ("*/x", "/a/x", true), ("*/x", "/ax", false),
        ("*", "/", true),
        ("/A", "/a", false),
    ])
    func `a path is matched as it is written`(pattern: String, path: String, matches: Bool) throws {
        let allow = try policy("a", .allow, to: [try paths([pattern])])
        #expect(isAllowed([allow], try request("spiffe://example.org/web", path)) == matches)
        let except = try policy("a", .allow, to: [try paths(not: [pattern])])
        #expect(isAllowed([except], try request("spiffe://example.org/web", path)) != matches)
    }

    @Test(arguments: [
        "/a*", "a", "/a/*/b", "**", "/*x", "", "x*", "*status", "*.", "*/", "*\u{FE0F}",
        "*\u{301}-x", "/\u{E9}",
        "/a/../b", "//a", "/a;x", "/a%2fb", "/a/./*", "*.a;b", "/a?b",
    ])
    func `a path pattern has no other form`(text: String) {
        #expect(PathPattern(text) == nil)
    }

    @Test func `an empty list is neither everything nor nothing`() {
        #expect(AccessRule(from: []) == nil && AccessRule(to: []) == nil)
        #expect(AccessField<String>(anyOf: []) == nil && AccessField<String>(noneOf: []) == nil)
        #expect(throws: SPIFFEIDError.self) { try PrincipalPattern("spiffe://td/a\u{600}/*") }
    }

    @Test func `fields are joined by and, values by or, sources and operations by or`() throws {
        let get = AccessOperation(
            methods: try #require(AccessField(anyOf: ["GET", "HEAD"])),
            ports: try #require(AccessField(anyOf: [80, 443], noneOf: [443]))
        )
        let other = AccessOperation(methods: try #require(AccessField(anyOf: ["POST"])))
        let one = try policy(
            "a",
            .allow,
            from: [try source(["spiffe://example.org/web"], blocks: ["192.0.2.0/24"])],
            to: [get, other]
        )
        let web = "spiffe://example.org/web"
        #expect(isAllowed([one], try request(web)))
        #expect(isAllowed([one], try request(web, method: "HEAD")))
        #expect(isAllowed([one], try request(web, method: "POST", port: 99)))
        #expect(!isAllowed([one], try request(web, method: "PUT")))
        #expect(!isAllowed([one], try request(web, port: 443)))
        #expect(!isAllowed([one], try request(web, address: "198.51.100.1")))
        #expect(isAllowed([one], try request(web, address: "::ffff:192.0.2.77")))
        #expect(!isAllowed([one], try request("spiffe://example.org/other")))
    }

    @Test func `GET is HEAD too where that counts against access`() throws {
        let (only, except) = (
            AccessOperation(methods: try #require(AccessField(anyOf: ["GET"]))),
            AccessOperation(methods: try #require(AccessField(noneOf: ["GET"])))
        )
        let head = try request(method: "HEAD")
        #expect(!isAllowed([try policy("a", .allow, to: [only])], head))
        #expect(!isAllowed([try policy("a", .allow, to: [except])], head))
        let all = try policy("a", .allow)
        #expect(!isAllowed([all, try policy("b", .deny, to: [only])], head))
        #expect(!isAllowed([all, try policy("b", .deny, to: [except])], head))
        #expect(isAllowed([all, try policy("b", .deny, to: [only])], try request(method: "PUT")))
    }

    @Test func `what is in shadow decides only beside`() throws {
        let shadowed = [try policy("a", .allow), try policy("b", .deny, mode: .shadow)]
        let evaluator = ReferenceEvaluator(shadowed)
        #expect(evaluator.verdict(on: try request()).isAllowed)
        #expect(evaluator.shadowVerdict(on: try request()).cause?.policy == "b")
        let off = ReferenceEvaluator([try policy("a", .allow), try policy("b", .deny, mode: .off)])
        #expect(off.shadowVerdict(on: try request()).isAllowed)
    }

    @Test func `the first rule by name is the cause`() throws {
        let rules = [
            try #require(AccessRule(to: [try paths(["/b"])])),
            try #require(AccessRule(to: [try paths(["/a"])])),
            try #require(AccessRule()),
        ]
        let policies = ["z", "b"].map {
            AccessPolicy(namespace: "n", name: $0, action: .allow, rules: rules)
        }
        let cause = ReferenceEvaluator(policies).verdict(on: try request()).cause
        #expect(cause == AccessVerdict.Cause(namespace: "n", policy: "b", rule: 1))
    }
}
