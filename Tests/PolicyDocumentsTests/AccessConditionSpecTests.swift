// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPSemantics
import PolicyDocuments
import Routing
import SPIFFE
import Testing

/// What decision 0025 adds to an `AccessPolicy`.
struct AccessConditionSpecTests {
    private static let sample = """
        apiVersion: core.signet/v1alpha1
        kind: AccessPolicy
        metadata: {name: p, namespace: shop}
        spec:
          action: ALLOW
          rules:
            - from:
                - source: {trustDomains: [partner.example]}
              to:
                - operation: {hosts: [api.example.org], paths: ["/a/{*}"]}
              when:
                - key: request.headers[x-tenant]
                  values: [a]

        """

    private static let tested =
        sample + """
              tests:
                - request:
                    principal: spiffe://partner.example/web
                    method: GET
                    path: /a/b
                    host: API.example.org:8080
                    headers: {x-tenant: a}
                  expect: ALLOW
                  rule: 0

            """

    private static func changed(
        _ name: String,
        _ line: String,
        _ other: String,
        _ message: String
    ) -> BadDocument {
        BadDocument(name, sample.replacing(line, with: other, maxReplacements: 1), message)
    }

    private static let operation = "{hosts: [api.example.org], paths: [\"/a/{*}\"]}"
    private static let o = "spec.rules[0].to[0].operation"
    private static let w = "spec.rules[0].when[0]"

    static let refused: [BadDocument] = [
        changed(
            "a host in capitals",
            operation,
            "{hosts: [API.example.org]}",
            "10:31: \(o).hosts[0]: \"API.example.org\" is not a host by name; write "
                + "api.example.org"
        ),
        changed(
            "an address as host",
            operation,
            "{hosts: [\"192.0.2.1\"]}",
            "10:31: \(o).hosts[0]: \"192.0.2.1\" is not a host by name; write a name such as "
                + "api.example.org, perhaps with a port, or *.example.org for every name that ends "
                + "so; no address"
        ),
        changed(
            "a host that is excluded",
            operation,
            "{hosts: [api.example.org], notHosts: [\"*.example.org\"]}",
            "10:30: \(o).hosts: notHosts excludes all of it, so that nothing matches; remove one "
                + "of the two"
        ),
        changed(
            "an operator within a segment",
            operation,
            "{paths: [\"/a/{*}b\"]}",
            "10:31: \(o).paths[0]: \"/a/{*}b\" is not a path that a request can have, nor a "
                + "pattern; write /a/b, /a/* (all that begins with /a/), *.css or */b (all that "
                + "ends so), *, or /a/{*}/b ({*} is one segment, and {**} at last one or more); "
                + "without query"
        ),
        changed(
            "a method of gRPC as path",
            operation,
            "{paths: [/a], grpc: [a.B/c]}",
            "10:22: \(o) has both paths and grpc, which are paths too: nothing may be left that is "
                + "both; write two operations"
        ),
        changed(
            "a service of gRPC without method",
            operation,
            "{grpc: [a.B]}",
            "10:30: \(o).grpc[0]: \"a.B\" is not a method of gRPC; write package.Service/Method, or "
                + "package.Service/* for all of a service"
        ),
        changed(
            "a key of Istio that is a source here",
            "request.headers[x-tenant]",
            "source.ip",
            "12:16: \(w).key: \"source.ip\" is unknown; write connection.sni or "
                + "request.headers[name]"
        ),
        changed(
            "the host as header",
            "x-tenant",
            "host",
            "12:16: \(w).key: the proxy writes, removes or refuses host itself, so that the "
                + "workload sees another one; write hosts in an operation"
        ),
        changed(
            "a header in capitals",
            "x-tenant",
            "X-Tenant",
            "12:16: \(w).key: \"X-Tenant\" is not the name of a header that a request can have; "
                + "write at most 64 small letters, digits and hyphens"
        ),
        changed(
            "a secret",
            "x-tenant",
            "authorization",
            "12:16: \(w): what authorization says is a secret, and a policy is read by many; write "
                + "only \"*\", which is that it is there"
        ),
        changed(
            "the beginning of a value",
            "[a]",
            "[a*]",
            "13:20: \(w).values[0]: \"a*\" is not a value of a header that is compared; write "
                + "visible ASCII with spaces inside only and none of * , ; % \" and \\, or \"*\" "
                + "alone: it is there"
        ),
        changed(
            "a name of the handshake with a port",
            "request.headers[x-tenant]\n          values: [a]",
            "connection.sni\n          values: [\"a.org:80\"]",
            "13:20: \(w).values[0]: \"a.org:80\" is not a host by name; write a name such as "
                + "api.example.org without port or *.example.org for every name that ends so; no "
                + "address"
        ),
        changed(
            "a time",
            "request.headers[x-tenant]\n          values: [a]",
            "request.time\n          values: [2027-01-01T00:00:00Z/2027-02-01T00:00:00Z]",
            "12:16: \(w).key: a policy cannot ask for the time yet; remove it; request.time comes "
                + "later (docs/decisions/0025)"
        ),
        changed(
            "an end",
            "          values: [a]\n",
            "          values: [a]\n      expires: 2027-02-01T00:00:00Z\n",
            "14:16: spec.rules[0].expires: a rule that ends by itself cannot be written yet; remove "
                + "it; expires comes later (docs/decisions/0025)"
        ),
        BadDocument(
            "an AUDIT",
            """
            apiVersion: core.signet/v1alpha1
            kind: AccessPolicy
            metadata: {name: p}
            spec: {action: AUDIT, rules: [{}]}
            """,
            "4:16: spec.action: a policy that only has requests written down cannot be written yet; "
                + "remove it; AUDIT comes later (docs/decisions/0025)"
        ),
    ]

    @Test(arguments: refused)
    func `what has no meaning is refused with place and remedy`(bad: BadDocument) {
        expectOnlyProblem(of: bad)
    }

    private func document(_ text: String) throws -> Document {
        try #require(try Document.parse(Array(text.utf8), file: "f.yaml").first)
    }

    private func problems(_ text: String) throws -> [String] {
        try document(text).problems(inTrustDomain: try TrustDomain("example.org")).map(\.what)
    }

    private func refusals(_ text: String) -> [String] {
        do {
            _ = try Document.parse(Array(text.utf8), file: "f.yaml")
            return []
        } catch {
            return ["\(error)"]
        }
    }

    @Test func `a policy says what its document says`() throws {
        let document = try document(Self.tested)
        guard case .accessPolicy(let spec) = document.spec else {
            Issue.record("another kind")
            return
        }
        let rule = try #require(spec.rules.first)
        #expect(rule.from?.first?.trustDomains.anyOf == [try TrustDomain("partner.example")])
        #expect(rule.to?.first?.hosts.anyOf == [try #require(HostPattern("api.example.org"))])
        #expect(rule.to?.first?.paths.anyOf == [try #require(PathPattern("/a/{*}"))])
        #expect(rule.when.map(\.key) == ["request.headers[x-tenant]"])
        let policy = spec.policy(metadata: document.metadata)
        #expect(try AccessPolicy(decoding: policy.encoded) == policy)
        #expect(document.warnings.isEmpty)
        #expect(try problems(Self.tested).isEmpty)
    }

    @Test(arguments: [
        (
            "{x-tenant: a}", "{x-tenant: [a, a]}",
            "rules[0].when[request.headers[x-tenant]].values asks for what the request does not have"
        ),
        (
            "API.example.org:8080", "api.example.org.evil.org",
            "rules[0].to[0].operation.hosts does not match"
        ),
        (
            "partner.example/web", "other.example/web",
            "rules[0].from[0].source.trustDomains does not match"
        ),
    ])
    func `a test tells which of them fails`(text: String, other: String, why: String) throws {
        let failing = Self.tested.replacing(text, with: other, maxReplacements: 1)
        let problems = try problems(failing)
        #expect(
            problems.count == 1 && problems.allSatisfy { $0.contains("(\(why))") },
            "\(problems)"
        )
    }

    @Test func `a test says what its rules ask for, or that it is not known`() throws {
        let line = "        host: API.example.org:8080\n"
        let text = Self.tested.replacing(line, with: "")
        #expect(refusals(text).contains { $0.contains("request.host is missing") })
        let unknown = Self.tested.replacing(line, with: "        host: unknown\n")
        #expect(refusals(unknown).isEmpty)
        #expect(try problems(unknown).count == 1)
    }

    @Test func `a key stands in a rule once`() {
        let text = Self.sample.replacing(
            "          values: [a]\n",
            with: "          values: [a]\n"
                + "        - {key: \"request.headers[x-tenant]\", notValues: [b]}\n"
        )
        #expect(refusals(text).contains { $0.contains("more than one condition with the key") })
    }

    @Test func `an ALLOW by hosts alone warns, and a DENY of single values of a header`() throws {
        let open = Self.sample.replacing(
            "    - from:\n        - source: {trustDomains: [partner.example]}\n      to:",
            with: "    - to:"
        )
        let warnings = try document(open).warnings.map(\.what)
        #expect(warnings.count == 1 && warnings[0].contains("and nobody who may ask"))
        let deny = """
            apiVersion: core.signet/v1alpha1
            kind: AccessPolicy
            metadata: {name: p}
            spec:
              action: DENY
              rules: [{when: [{key: "request.headers[x-debug]", values: ["1"]}]}]
            """
        let told = try document(deny).warnings.map(\.what)
        #expect(told.count == 1 && told[0].contains("a DENY of single values of a header"))
        let all = deny.replacing("values: [\"1\"]", with: "notValues: [\"*\"]")
        #expect(try document(all).warnings.isEmpty)
    }

    @Test func `headers and hosts where nothing but TCP is served are told with their place`()
        throws
    {
        let listener = KnownListener(
            workload: PolicedWorkload(
                identity: try SPIFFEID("spiffe://example.org/api"),
                namespace: "shop"
            ),
            port: 80,
            trafficProtocol: .tcp
        )
        let told = try document(Self.sample).problems(atListeners: [listener]).map(\.what)
        #expect(told.count == 2)
        #expect(told.contains { $0.hasPrefix("spec.rules[0]: headers never match") })
        #expect(told.contains { $0.hasPrefix("spec.rules[0].to[0].operation: methods and paths") })
    }
}
