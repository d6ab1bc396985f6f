// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPSemantics
import SPIFFE
import TestSeeds

/// Policies and requests out of a few words, so that they meet often and at every boundary.
struct PolicyGenerator {
    /// The workload's; of the peers some are of another one.
    static let trustDomain: TrustDomain = {
        guard let name = try? TrustDomain("td") else { preconditionFailure() }
        return name
    }()
    static let peers: [SPIFFEID?] = [
        nil, "spiffe://td/web", "spiffe://td/web/a", "spiffe://td/web/a/b", "spiffe://td",
        "spiffe://td/website", "spiffe://other/web", "spiffe://other/web/a", "spiffe://td/signet/a",
        "spiffe://td/signet", "spiffe://td/signets/a",
    ].map { text in text.flatMap { try? SPIFFEID($0) } }
    static let principals = [
        "spiffe://td/web", "spiffe://td/web/a", "spiffe://td", "spiffe://other/web",
        "spiffe://td/web/*", "spiffe://td/web/a/*", "spiffe://td/*", "spiffe://other/*",
        "spiffe://td/signet/*", "spiffe://td/signet/a",
    ].compactMap { try? PrincipalPattern($0) }
    static let blocks = [
        "192.0.2.0/24", "192.0.2.1", "0.0.0.0/0", "::/0", "2001:db8::/32", "::1",
        "::ffff:192.0.2.0/120", "128.0.0.0/1",
    ].compactMap { IPBlock($0) }
    static let addresses = [
        "192.0.2.1", "192.0.2.200", "::ffff:192.0.2.1", "198.51.100.1", "10.0.0.1", "2001:db8::1",
        "::1", "::",
    ].compactMap { IPAddress($0) }
    static let methods = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "REPORT",
        "M-SEARCH", "GETS",
    ]
    static let ports: [UInt16] = [80, 443, 8080]
    static let segments = [
        "a", "a", "a", "b", "b", "c.css", "x.y.css", "a:b", "a%3ab", "a%3Ab", "%c3%a9", "%C3%A9",
        "%25", "a%20b", "css", "A",
    ]
    static let patterns = [
        "/", "/*", "/a", "/a/", "/a/*", "/a/a/*", "/a/a/a/*", "/b", "/a/b", "/a/b/*", "*.css",
        "*/a", "*/b", "*/a/b", "*.y.css", "/a:b", "/a%3Ab/*", "/%C3%A9", "/%c3%a9/*", "*/%C3%A9",
        "*", "*/a:b", "/A", "/%25", "/%25/*", "/a%20b", "*/a%20b",
    ].compactMap { PathPattern($0) }

    static let trustDomains = ["td", "other", "third"].compactMap { try? TrustDomain($0) }
    static let templates = [
        "/{*}", "/{**}", "/a/{*}", "/a/{**}", "/{*}/a", "/{**}/a", "/{*}/a/{*}", "/a/{*}/b",
        "/a/{**}/b", "/{*}/{*}/", "/{*}/{**}", "/{*}/{**}/a:b", "/%C3%A9/{*}", "/{**}/%C3%A9",
        "/a/{*}/", "/{**}/a/", "/{*}/a%20b/{**}",
    ].compactMap { PathPattern($0) }
    static let calls = ["a/a", "a/b", "a/*", "b.a/A", "a.b/*"].compactMap { PathPattern(call: $0) }
    static let hostPatterns = [
        "a.td", "b.a.td", "*.td", "*.a.td", "a.td:80", "*.td:8080", "a.td:8080", "td", "a_b.td",
    ].compactMap { HostPattern($0) }
    static let hosts = [
        "a.td", "A.td", "b.a.td", "c.b.A.TD", "td", "td:80", "a.td:80", "a.td:8080", "b.a.td:8080",
        "xtd", "x.atd:80", "127.0.0.1", "[::1]:80", "a_b.td", "1", "a.td.1", "0x7f000001",
        "127.0X1",
    ]
    static let serverNamePatterns = ["a.td", "b.a.td", "*.td", "*.a.td"]
        .compactMap { HostPattern($0) }
    static let serverNames = [
        nil, "a.td", "A.TD", "b.a.td", "td", "xtd", "a.td.", "a.td:80", "[::1]",
    ]
    static let headerNames = ["x-one", "x-two", "content-type"]
    static let headerPatterns = ["*", "a", "B", "a b", "ab"]
        .compactMap { HeaderPattern($0) }
    static let headerValues = [
        "", "a", "A", "b", "B", "a b", "a, b", "b;c", "x,a", " a", "\"a\"", "a,", ",b ;c", "A  b",
        "x, a\t;y", "ab", "%61", "a\\", "\u{E9}", String(repeating: ",", count: 40),
        String(repeating: "a", count: 1_100),
    ]

    /// How often, in percent, policies ask what decision 0025 adds; 0 for what decision 0008 knows.
    var more = 0

    var random: SeededGenerator

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
    }

    mutating func pick<Value>(_ values: [Value]) -> Value {
        values[Int.random(in: 0..<values.count, using: &random)]
    }

    mutating func happens(_ percent: Int) -> Bool {
        Int.random(in: 0..<100, using: &random) < percent
    }

    /// Whether something that decision 0025 adds happens; without that nothing is drawn.
    private mutating func adds(_ percent: Int) -> Bool { more > 0 && happens(percent) }

    // MARK: - Policies

    mutating func policies(_ count: Int) -> [AccessPolicy] {
        (0..<count).map { number in
            let action: AccessPolicy.Action = happens(60) ? .allow : .deny
            return AccessPolicy(
                namespace: pick(["a", "b", "signet-system"]),
                // Unique: a policy has one name.
                name: "\(pick(["p", "q", "r"]))\(number)",
                action: action,
                tier: action == .deny && happens(25) || happens(3) ? .guardrail : .normal,
                mode: happens(70) ? .enforce : happens(80) ? .shadow : .off,
                rules: (0..<Int.random(in: 0...3, using: &random)).map { _ in rule() }
            )
        }
    }

    mutating func rule() -> AccessRule {
        let from = happens(60) ? (0..<count()).map { _ in source() } : nil
        let to = happens(70) ? (0..<count()).map { _ in operation() } : nil
        guard let rule = AccessRule(from: from, to: to, when: conditions()) else {
            preconditionFailure()
        }
        return rule
    }

    private mutating func conditions() -> [AccessCondition] {
        var conditions: [AccessCondition] = []
        if adds(more / 2) {
            conditions.append(.header(pick(Self.headerNames), some(Self.headerPatterns)))
        }
        if adds(more / 3) { conditions.append(.serverName(some(Self.serverNamePatterns))) }
        return conditions
    }

    /// A field that asks for something.
    private mutating func some<Value: Hashable & Sendable>(
        _ values: [Value]
    ) -> AccessField<Value> {
        let wanted = happens(65) ? (0..<count()).map { _ in pick(values) } : nil
        let excluded = wanted == nil || happens(25) ? (0..<count()).map { _ in pick(values) } : nil
        return AccessField(anyOf: wanted, noneOf: excluded) ?? .absent
    }

    private mutating func count() -> Int { happens(70) ? 1 : happens(70) ? 2 : 3 }

    private mutating func source() -> AccessSource {
        AccessSource(
            principals: field(Self.principals, 75),
            addresses: field(Self.blocks, 30),
            trustDomains: adds(more / 2) ? some(Self.trustDomains) : .absent
        )
    }

    mutating func operation() -> AccessOperation {
        AccessOperation(
            methods: field(Self.methods, 45),
            paths: adds(more)
                ? some(happens(75) ? Self.templates + Self.patterns : Self.calls)
                : field(Self.patterns, 65),
            ports: field(Self.ports, 25),
            hosts: adds(more / 2) ? some(Self.hostPatterns) : .absent
        )
    }

    private mutating func field<Value: Hashable & Sendable>(
        _ values: [Value],
        _ percent: Int
    ) -> AccessField<Value> {
        guard happens(percent) else { return .absent }
        let wanted = happens(75) ? (0..<count()).map { _ in pick(values) } : nil
        let excluded = wanted == nil || happens(20) ? (0..<count()).map { _ in pick(values) } : nil
        return AccessField(anyOf: wanted, noneOf: excluded) ?? .absent
    }

    // MARK: - Requests

    mutating func path() -> String {
        let depth = happens(6) ? Int.random(in: 6...24, using: &random) : count() - 1 + count()
        let isUniform = happens(50)
        let first = pick(Self.segments)
        let segments = (0..<depth).map { _ in isUniform ? first : pick(Self.segments) }
        let end = happens(25) && depth > 0 ? "/" : ""
        return "/" + segments.joined(separator: "/") + end
    }

    mutating func request() -> GeneratedRequest {
        let peer = pick(Self.peers)
        let (address, port) = (pick(Self.addresses), pick(Self.ports))
        var request = GeneratedRequest(peer: peer, address: address, port: port, http: nil)
        if more > 0 { request.serverName = pick(Self.serverNames) }
        guard happens(88) else { return request }
        let method = pick(Self.methods)
        let path = method == "OPTIONS" && happens(40) ? "*" : self.path()
        request.http = (method, path)
        guard more > 0 else { return request }
        request.host = happens(95) ? pick(Self.hosts) : nil
        request.fields =
            happens(95)
            ? (0..<(count() - 1 + count())).map { _ in
                happens(8)
                    ? (
                        pick(["x-forwarded-host", "X-Host", "Forwarded"]),
                        pick(Self.hosts + ["host=a"])
                    )
                    : (pick(Self.headerNames + ["X-One", "x-ones"]), pick(Self.headerValues))
            } : nil
        return request
    }
}

/// A request as it is written.
struct GeneratedRequest {
    let peer: SPIFFEID?
    let address: IPAddress
    let port: UInt16
    var http: (method: String, path: String)?
    var serverName: String?
    /// nil if it is not known any more.
    var host: String?
    /// nil if they are not known any more.
    var fields: [(name: String, value: String)]?

    /// No generated path is refused.
    struct PathRefused: Error {
        let path: String
    }

    /// As the reference evaluator takes it.
    var plain: AccessRequest {
        get throws {
            var read: AccessRequest.HTTP?
            if let http {
                read = AccessRequest.HTTP(
                    method: http.method,
                    path: http.path,
                    host: host.flatMap { RequestedHost(authority: $0) },
                    fields: fields?.map { AccessRequest.HTTP.Field(name: $0.name, value: $0.value) }
                )
                if read == nil { throw PathRefused(path: http.path) }
            }
            return AccessRequest(
                peer: peer,
                in: PolicyGenerator.trustDomain,
                address: address,
                port: port,
                serverName: serverName.flatMap { RequestedHost(serverName: $0) },
                http: read
            )
        }
    }

    /// As the compiled set takes it.
    func decision(of set: CompiledPolicySet) -> Decision {
        let access = set.access(
            of: peer,
            in: PolicyGenerator.trustDomain,
            at: address,
            port: port,
            serverName: http == nil ? serverName.flatMap { RequestedHost(serverName: $0) } : nil
        )
        guard let http else { return set.decide(access) }
        // The path does not begin where the head does.
        var head = Array("\(http.method) \(http.path) HTTP/1.1 ".utf8)
        let (method, path) = (http.method.utf8.count, http.path.utf8.count)
        let name = ByteRange(0..<method)
        func add(_ text: String) -> ByteRange {
            let start = head.count
            head += text.utf8
            defer { head.append(Octet.space) }
            return ByteRange(start..<head.count)
        }
        let written = host.map(add)
        let authority = written.flatMap { Authority(head.span, $0) }
        let lines = (fields ?? []).map { field in
            let own = add(field.name)
            return HeaderField(
                name: own,
                value: add(field.value),
                known: KnownHeader(head.span, own)
            )
        }
        let request = CanonicalRequest(
            method: HTTPMethod(head.span, name),
            methodName: name,
            authority: authority ?? Authority(host: .empty, port: nil),
            path: ByteRange((method + 1)..<(method + 1 + path)),
            fields: lines
        )
        return set.decide(
            access,
            request,
            in: head.span,
            knowsFields: fields != nil
        )
    }
}
