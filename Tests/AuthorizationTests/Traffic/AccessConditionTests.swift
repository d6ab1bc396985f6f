// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPSemantics
import SPIFFE
import Testing

/// Decision 0025, clause by clause.
@Suite struct AccessConditionTests {
    /// What one rule makes of a request, as each action.
    struct Outcome: Equatable {
        /// Whether an ALLOW of it allows.
        let allows: Bool
        /// Whether a DENY of it denies.
        let denies: Bool
    }

    private func outcome(
        _ request: AccessRequest,
        from: [AccessSource]? = nil,
        to: AccessOperation? = nil,
        when: [AccessCondition] = []
    ) throws -> Outcome {
        let rule = try #require(AccessRule(from: from, to: to.map { [$0] }, when: when))
        func policy(_ action: AccessPolicy.Action) -> AccessPolicy {
            AccessPolicy(namespace: "n", name: "p", action: action, rules: [rule])
        }
        let deny = ReferenceEvaluator([policy(.deny)]).verdict(on: request).cause != nil
        return Outcome(
            allows: ReferenceEvaluator([policy(.allow)]).verdict(on: request).isAllowed,
            denies: deny
        )
    }

    private func request(
        _ path: String? = "/",
        host: String? = "api.example.org",
        headers: [(String, String)]? = [],
        peer: String? = "spiffe://example.org/web",
        serverName: String? = nil
    ) throws -> AccessRequest {
        let http = path.flatMap { path in
            AccessRequest.HTTP(
                method: "GET",
                path: path,
                host: host.flatMap { RequestedHost(authority: $0) },
                fields: headers?.map { AccessRequest.HTTP.Field(name: $0.0, value: $0.1) }
            )
        }
        try #require((http == nil) == (path == nil))
        return AccessRequest(
            peer: try peer.map { try SPIFFEID($0) },
            in: try TrustDomain("example.org"),
            address: IPAddress(ipv4: 0xC000_0201),
            port: 80,
            serverName: serverName.flatMap { RequestedHost(serverName: $0) },
            http: http
        )
    }

    static let both = Outcome(allows: true, denies: true)
    static let neither = Outcome(allows: false, denies: false)
    /// What is not known: no ALLOW and every DENY.
    static let against = Outcome(allows: false, denies: true)

    private func header(
        _ values: [String]?,
        not: [String]? = nil
    ) throws -> AccessCondition {
        func patterns(_ texts: [String]?) throws -> [HeaderPattern]? {
            try texts?.map { text in
                guard let pattern = HeaderPattern(text) else { throw Unreadable(text: text) }
                return pattern
            }
        }
        let (wanted, excluded) = (try patterns(values), try patterns(not))
        return .header("x-role", try #require(AccessField(anyOf: wanted, noneOf: excluded)))
    }

    private struct Unreadable: Error {
        let text: String
    }

    // MARK: - Headers

    @Test func `a header is compared whole, and its name without regard to case`() throws {
        let role = try header(["admin"])
        #expect(try outcome(request(headers: [("X-Role", "admin")]), when: [role]) == Self.both)
        #expect(try outcome(request(headers: [("x-role", "user")]), when: [role]) == Self.neither)
        #expect(try outcome(request(headers: [("x-roles", "admin")]), when: [role]) == Self.neither)
    }

    @Test(arguments: ["Admin", "user, admin", "admin;q=1", "x,\tADMIN ", "admin,"])
    func `what some servers read as the value counts against access only`(value: String) throws {
        let sent = try request(headers: [("x-role", value)])
        #expect(try outcome(sent, when: [try header(["admin"])]) == Self.against)
        // After `not` it is the other way around.
        #expect(try outcome(sent, when: [try header(nil, not: ["admin"])]) == Self.against)
    }

    @Test func `a header that comes twice or says nothing is not known`() throws {
        let several: [[(String, String)]] = [
            [("x-role", "admin"), ("x-role", "user")], [("x-role", "admin"), ("X-Role", "admin")],
            [("x-role", "")],
        ]
        let conditions = try [
            header(["admin"]), header(["other"]), header(["*"]), header(nil, not: ["admin"]),
            header(nil, not: ["*"]),
        ]
        for headers in several {
            for condition in conditions {
                #expect(try outcome(request(headers: headers), when: [condition]) == Self.against)
            }
        }
    }

    @Test func `who leaves a header out is not somebody with another value`() throws {
        let without = try request(headers: [])
        // A DENY of one value denies not everybody who has none.
        #expect(try outcome(without, when: [header(["admin"])]) == Self.neither)
        #expect(try outcome(without, when: [header(["*"])]) == Self.neither)
        #expect(try outcome(without, when: [header(["*"], not: ["guest"])]) == Self.neither)
        // "Anybody but guest" admits nobody unnamed, "everything but gold" denies them.
        #expect(try outcome(without, when: [header(nil, not: ["guest"])]) == Self.against)
        // That it is missing is known, and may be asked.
        #expect(try outcome(without, when: [header(nil, not: ["*"])]) == Self.both)
        let with = try request(headers: [("x-role", "a")])
        #expect(try outcome(with, when: [header(nil, not: ["*"])]) == Self.neither)
        #expect(try outcome(with, when: [header(["*"], not: ["guest"])]) == Self.both)
    }

    @Test func `what only HTTP has is not known of a connection, nor what was not remembered`()
        throws
    {
        let host = try #require(AccessField(anyOf: [try host("api.example.org")]))
        for sent in [try request(nil), try request(host: nil, headers: nil)] {
            #expect(try outcome(sent, when: [header(["admin"])]) == Self.against)
            #expect(try outcome(sent, when: [header(nil, not: ["*"])]) == Self.against)
            #expect(try outcome(sent, to: AccessOperation(hosts: host)) == Self.against)
        }
    }

    @Test(arguments: [
        ("x-tenant", AccessCondition.HeaderUse.value), ("content-type", .value),
        ("authorization", .presence), ("cookie", .presence), ("proxy-authorization", .presence),
        ("host", .none), ("connection", .none), ("x-forwarded-client-cert", .none),
        ("x-request-id", .none), ("x-forwarded-for", .none), ("traceparent", .none),
        ("forwarded", .none), ("x-b3-traceid", .none), ("x-original-url", .none),
        ("client-cert-chain", .none),
        ("X-Tenant", .malformed), ("x_tenant", .malformed), ("", .malformed),
        (":authority", .malformed),
    ])
    func `of a header is asked what the server sees too`(
        name: String,
        use: AccessCondition.HeaderUse
    ) {
        #expect(AccessCondition.use(ofHeader: name) == use)
    }

    @Test(arguments: [
        "", " a", "a ", "a*", "**", "\u{E9}", "a\tb", "a\u{7F}", "a,b", "a;b", "a%20b", "\"a\"",
        "a\\",
    ])
    func `a value of a header has no other form`(text: String) {
        #expect(HeaderPattern(text) == nil)
    }

    // MARK: - Hosts

    private func host(_ text: String) throws -> HostPattern {
        guard let pattern = HostPattern(text) else { throw Unreadable(text: text) }
        return pattern
    }

    @Test(arguments: [
        ("api.example.org", "api.example.org", both), ("api.example.org", "API.Example.ORG", both),
        ("api.example.org", "api.example.org:8080", both),
        ("api.example.org", "xapi.example.org", neither),
        ("api.example.org:8080", "api.example.org:8080", both),
        ("api.example.org:8080", "api.example.org:80", neither),
        // Which port it is that was not written, nobody knows.
        ("api.example.org:8080", "api.example.org", against),
        ("api.example.org:443", "api.example.org", against),
        ("api.example.org:443", "other.example.org", neither),
        ("*.example.org", "api.example.org:1", both), ("*.example.org", "a.b.example.org", both),
        ("*.example.org", "example.org", neither), ("*.example.org", "xexample.org", neither),
        ("*.example.org:80", "api.example.org", against),
        // An address names somebody, and nobody knows by which name.
        ("example.org", "127.0.0.1", against), ("example.org", "[::1]:80", against),
        ("example.org", "127.1", against), ("example.org", "0x7f000001", against),
        ("example.org", "a.0X1", against), ("example.org", "0xg", neither),
    ])
    func `a host is matched by name, with its port if one is asked for`(
        pattern: String,
        named: String,
        expected: Outcome
    ) throws {
        let wanted = AccessOperation(hosts: try #require(AccessField(anyOf: [try host(pattern)])))
        #expect(try outcome(request(host: named), to: wanted) == expected)
        let excluded = AccessOperation(
            hosts: try #require(AccessField(noneOf: [try host(pattern)]))
        )
        let opposite =
            expected == Self.against
            ? expected : Outcome(allows: !expected.allows, denies: !expected.denies)
        #expect(try outcome(request(host: named), to: excluded) == opposite)
    }

    @Test(arguments: [
        "", "*", "*.", ".example.org", "example.org.", "a..b", "API.example.org", "127.0.0.1",
        "[::1]", "127.1", "a.*.b", "*a.b", "a:0", "a:080", "a:", "user@a", "a/b", "*.1", "é.org",
        "a.org:65536", "*.*.org", "0x7f000001", "0x7f.0x1", "a.0x",
    ])
    func `a host has no other form`(text: String) {
        #expect(HostPattern(text) == nil)
    }

    @Test func `a client that asks for no name in the handshake goes around no DENY`() throws {
        let field = try #require(AccessField(anyOf: [try host("api.example.org")]))
        let (wanted, other) = (
            AccessCondition.serverName(field),
            AccessCondition.serverName(
                try #require(AccessField(noneOf: [try host("api.example.org")]))
            )
        )
        for name in [nil, "api.example.org.", "[::1]", "a b", "api.example.org:80", "10.0.0.1"] {
            #expect(try outcome(request(nil, serverName: name), when: [wanted]) == Self.against)
            #expect(try outcome(request(nil, serverName: name), when: [other]) == Self.against)
        }
        let named = try request(nil, serverName: "API.example.org")
        #expect(try outcome(named, when: [wanted]) == Self.both)
        #expect(try outcome(named, when: [other]) == Self.neither)
        // A request names its host itself, and another one perhaps.
        let http = try request(serverName: "api.example.org")
        #expect(try outcome(http, when: [wanted]) == Self.against)
    }

    @Test(arguments: [
        ("x-forwarded-host", "admin.example.org", false), ("x-host", "", false),
        ("X-Forwarded-Host", "API.example.org", true), ("x-original-host", "10.0.0.1", false),
        ("x-forwarded-host", "api.example.org:80", false), ("forwarded", "for=a;Host=b", false),
        ("x-http-host-override", "api.example.org, b", false), ("forwarded", "for=a", true),
        ("x-hosts", "admin.example.org", true),
    ])
    func `a host beside which a field names another one is not known`(
        name: String,
        value: String,
        isKnown: Bool
    ) throws {
        let to = AccessOperation(
            hosts: try #require(AccessField(anyOf: [try host("api.example.org")]))
        )
        let sent = try request(headers: [(name, value)])
        #expect(try outcome(sent, to: to) == (isKnown ? Self.both : Self.against))
    }

    @Test func `nobody is let in only where addresses are named alone`() throws {
        let all = try #require(IPBlock("0.0.0.0/0"))
        let block = try #require(AccessField(anyOf: [all]))
        let nobody = try request(peer: nil)
        #expect(try outcome(nobody) == Self.against)
        #expect(try outcome(nobody, from: [AccessSource(addresses: block)]) == Self.both)
        let named = AccessSource(
            addresses: block,
            trustDomains: try #require(AccessField(noneOf: [try TrustDomain("other.org")]))
        )
        #expect(try outcome(nobody, from: [named]) == Self.against)
    }

    // MARK: - Paths

    @Test(arguments: [
        ("/a/{*}", "/a/b", true), ("/a/{*}", "/a/", false), ("/a/{*}", "/a", false),
        ("/a/{*}", "/a/b/", false), ("/a/{*}", "/a/b/c", false), ("/a/{*}/", "/a/b/", true),
        ("/{*}/b", "/a/b", true), ("/{*}/b", "/b", false), ("/{*}/b", "/a/c/b", false),
        ("/a/{**}", "/a/", true), ("/a/{**}", "/a/b/c", true), ("/a/{**}", "/a", false),
        ("/a/{**}/c", "/a/b/c", true), ("/a/{**}/c", "/a/b/d/c", true),
        ("/a/{**}/c", "/a/c", false), ("/a/{**}/c", "/a/c/c", true),
        ("/a/{**}/c", "/a/b/c/d", false), ("/a/{**}/c", "/a/b/xc", false),
        ("/{*}/x/{**}", "/a/x/", true), ("/{*}/x/{**}", "/a/x", false),
        ("/{*}/{*}", "/a/b", true), ("/{**}", "/", true), ("/{*}", "/", false),
        ("/v1/{*}:x", "/v1/a", false), ("/a:b/{*}", "/a%3Ab/c", true),
        ("/{*}/%C3%A9", "/a%20b/%c3%a9", true), ("/{**}/a/b", "/a/b", false),
        ("/{**}/a/b", "/x/a/b", true), ("/a/{*}", "/A/b", false),
    ])
    func `a template is matched segment by segment`(
        pattern: String,
        path: String,
        matches: Bool
    ) throws {
        guard let template = PathPattern(pattern) else {
            // An operator is a whole segment.
            #expect(pattern == "/v1/{*}:x")
            return
        }
        let paths = AccessOperation(paths: try #require(AccessField(anyOf: [template])))
        #expect(try outcome(request(path), to: paths).allows == matches)
        #expect(try outcome(request(path), to: paths).denies == matches)
        let except = AccessOperation(paths: try #require(AccessField(noneOf: [template])))
        #expect(try outcome(request(path), to: except).allows != matches)
        // A connection has no path.
        #expect(try outcome(request(nil), to: except) == Self.against)
    }

    @Test(arguments: [
        "/a{*}", "/{*}b", "/{a}", "/{}", "{*}", "a/{*}", "/{**}/{*}", "/{**}/{**}", "/{*}/*",
        "/*/{*}", "//{*}", "/{*}//a", "/{*}/../a", "/{*}/a;b", "/{*}/a%2fb", "/{*}/%61", "/{***}",
        "/{*}?a", "*.css/{*}",
    ])
    func `a template has no other form`(text: String) {
        #expect(PathPattern(text) == nil)
    }

    @Test func `a template has a limit of segments`() {
        let most = PathTemplate.segmentsMax
        let text = String(repeating: "/a", count: most - 1) + "/{*}"
        #expect(PathPattern(text)?.description == text)
        #expect(PathPattern("/a" + text) == nil)
    }

    @Test(arguments: [
        ("shop.v1.Orders/Get", "/shop.v1.Orders/Get", true),
        ("shop.v1.Orders/Get", "/shop.v1.Orders/GetAll", false),
        ("shop.v1.Orders/Get", "/shop.v1.orders/Get", false),
        ("shop.v1.Orders/*", "/shop.v1.Orders/Get", true),
        ("shop.v1.Orders/*", "/shop.v1.Orders", false),
        ("shop.v1.Orders/*", "/shop.v1.Orders/", false),
        ("shop.v1.Orders/*", "/shop.v1.Orders/a/b", false),
        ("shop.v1.Orders/*", "/shop.v1.OrdersX/Get", false),
        ("Orders/Get", "/Orders/Get", true),
    ])
    func `a method of gRPC is its path`(call: String, path: String, matches: Bool) throws {
        let pattern = try #require(PathPattern(call: call))
        #expect(pattern.description == call)
        let calls = AccessOperation(paths: try #require(AccessField(anyOf: [pattern])))
        #expect(try outcome(request(path), to: calls).allows == matches)
    }

    @Test(arguments: [
        "", "/a/B", "a", "a/", "/", "*/*", "*/a", "a/b/c", "a./b", ".a/b", "1a/b", "a/b*", "a-b/c",
        "a/1", "a%41/b", "\u{E9}/b",
    ])
    func `a method of gRPC has no other form`(text: String) {
        #expect(PathPattern(call: text) == nil)
    }

    // MARK: - Trust domains

    @Test func `a trust domain names its peers`() throws {
        let (own, partner) = (try TrustDomain("example.org"), try TrustDomain("partner.example"))
        func source(_ wanted: [TrustDomain]?, not: [TrustDomain]? = nil) throws -> [AccessSource] {
            [AccessSource(trustDomains: try #require(AccessField(anyOf: wanted, noneOf: not)))]
        }
        let foreign = try request(peer: "spiffe://partner.example")
        #expect(try outcome(foreign, from: source([partner])) == Self.both)
        #expect(try outcome(foreign, from: source([own, partner])) == Self.both)
        #expect(try outcome(foreign, from: source([own])) == Self.neither)
        // Not to be of another one is no name.
        #expect(try outcome(foreign, from: source(nil, not: [own])) == Self.against)
        #expect(try outcome(request(), from: source(nil, not: [partner])) == Self.both)
        #expect(try outcome(request(peer: nil), from: source([own])) == Self.against)
        #expect(try outcome(request(peer: nil), from: source(nil, not: [own])) == Self.against)
        #expect(
            try !outcome(request(peer: "spiffe://example.org/signet/a"), from: source([own])).allows
        )
    }

    // MARK: - Explanations

    @Test func `a condition that is no match is named by its key`() throws {
        let rule = try #require(AccessRule(when: [try header(["admin"])]))
        let policy = AccessPolicy(namespace: "n", name: "p", action: .allow, rules: [rule])
        func misses(_ headers: [(String, String)]) throws -> [String] {
            let request = try request(headers: headers)
            let nearest = AccessExplanation(request, under: [policy]).nearestMiss
            return nearest?.misses.map { "\($0.path) \($0.cause.rawValue)" } ?? []
        }
        let path = "when[request.headers[x-role]].values"
        #expect(try misses([]) == ["\(path) differs"])
        #expect(try misses([("x-role", "user")]) == ["\(path) differs"])
        #expect(try misses([("x-role", ""), ("x-role", "a")]) == ["\(path) unknown"])
        #expect(try misses([("x-role", "admin")]).isEmpty)
    }
}
