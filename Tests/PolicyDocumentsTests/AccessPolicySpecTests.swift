// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPSemantics
import PolicyDocuments
import Routing
import SPIFFE
import Testing

struct AccessPolicySpecTests {
    static let sample = """
        apiVersion: core.signet/v1alpha1
        kind: AccessPolicy
        metadata: {name: p, namespace: shop}
        spec:
          action: ALLOW
          rules:
            - from:
                - source: {principals: [spiffe://example.org/web]}
              to:
                - operation: {methods: [GET], paths: [/a/*], ports: [80]}
          tests:
            - request: {principal: spiffe://example.org/web, port: 80, method: GET, path: /a/b}
              expect: ALLOW

        """

    static func changed(
        _ name: String,
        _ line: String,
        _ other: String,
        _ message: String
    ) -> BadDocument {
        BadDocument(name, sample.replacing(line, with: other, maxReplacements: 1), message)
    }

    private static let source = "{principals: [spiffe://example.org/web]}"
    private static let operation = "{methods: [GET], paths: [/a/*], ports: [80]}"
    private static let s = "spec.rules[0].from[0].source"
    private static let o = "spec.rules[0].to[0].operation"

    static let refused: [BadDocument] = [
        changed(
            "a small word",
            "ALLOW\n  rules",
            "allow\n  rules",
            "5:11: spec.action: \"allow\" is unknown; did you mean \"ALLOW\"?"
        ),
        changed(
            "a guardrail that allows",
            "  rules:",
            "  tier: guardrail\n  rules:",
            "6:9: spec.tier: a guardrail only denies; write action: DENY, or remove the tier"
        ),
        changed(
            "a mode of Istio",
            "  rules:",
            "  mode: audit\n  rules:",
            "6:9: spec.mode: \"audit\" is unknown; write one of enforce, off, shadow"
        ),
        BadDocument(
            "no rules",
            """
            apiVersion: core.signet/v1alpha1
            kind: AccessPolicy
            metadata: {name: p}
            spec: {action: ALLOW, rules: []}
            """,
            "4:30: spec.rules is an empty list; add a value or remove the key"
        ),
        changed(
            "a source without its word",
            "source: \(source)",
            "principals: [spiffe://example.org/web]",
            "8:11: spec.rules[0].from[0] has no source; write \"source:\" and the fields below it"
        ),
        changed(
            "an empty list",
            "[spiffe://example.org/web]}",
            "[]}",
            "8:32: \(s).principals is an empty list; add a value or remove the key"
        ),
        changed(
            "a source that says nothing",
            source,
            "{}",
            "8:19: \(s) says nothing, which could be meant as everything and as nothing; write a "
                + "field, or remove from to mean everything"
        ),
        changed(
            "a principal without scheme",
            "[spiffe://example.org/web]}",
            "[example.org/web]}",
            "8:33: \(s).principals[0]: \"example.org/web\" is not a SPIFFE ID; a SPIFFE ID starts "
                + "with \"spiffe://\" in lower case; write a whole ID, or one with /* for every ID "
                + "below it"
        ),
        changed(
            "a principal of Signet's own",
            "[spiffe://example.org/web]}",
            "[spiffe://example.org/signet/*]}",
            "8:33: \(s).principals[0]: what lies below /signet/ is Signet's own and no peer of "
                + "traffic; remove it"
        ),
        changed(
            "an address in a block",
            source,
            "{ipBlocks: [192.0.2.1/24]}",
            "8:31: \(s).ipBlocks[0]: \"192.0.2.1/24\" is not a block of addresses; write an "
                + "address, or one with a prefix length and no bits beyond it, for example "
                + "192.0.2.0/24"
        ),
        changed(
            "a misspelt field",
            source,
            "{notIpBlocks: [192.0.2.1]}",
            "8:20: unknown key \"notIpBlocks\" in \(s); did you mean \"notIPBlocks\"?"
        ),
        changed(
            "a small method",
            operation,
            "{methods: [get]}",
            "10:33: \(o).methods[0]: \"get\" is not a method that a request can have; write GET"
        ),
        changed(
            "CONNECT",
            operation,
            "{methods: [CONNECT]}",
            "10:33: \(o).methods[0]: CONNECT is refused before any policy is asked; remove it"
        ),
        changed(
            "a prefix within a word",
            operation,
            "{paths: [/adm*]}",
            "10:31: \(o).paths[0]: \"/adm*\" is not a path that a request can have, nor a pattern; "
                + "write /a/b, /a/* (all that begins with /a/), *.css or */b (all that ends so), *, "
                + "or /a/{*}/b ({*} is one segment, and {**} at last one or more); without query"
        ),
        changed(
            "a port as text",
            operation,
            "{ports: [\"80\"]}",
            "10:31: \(o).ports[0] is \"80\", not a whole number; write a whole number"
        ),
        changed(
            "a port beyond",
            operation,
            "{ports: [65536]}",
            "10:31: \(o).ports[0]: 65536 is not a port; write a port from 1 to 65535"
        ),
        changed(
            "everything excluded",
            operation,
            "{notPaths: [\"*\"]}",
            "10:22: \(o).notPaths excludes every path, so that nothing matches; name the paths, or "
                + "remove the operation"
        ),
        changed(
            "excluded by what is below",
            operation,
            "{paths: [/a/b, /a/*], notPaths: [/a/*]}",
            "10:30: \(o).paths: notPaths excludes all of it, so that nothing matches; remove one "
                + "of the two"
        ),
        changed(
            "HEAD excluded by GET",
            operation,
            "{methods: [HEAD], notMethods: [GET]}",
            "10:32: \(o).methods: notMethods excludes all of it, so that nothing matches; remove "
                + "one of the two"
        ),
        changed(
            "no conditions",
            "      to:",
            "      when: []\n      to:",
            "9:13: spec.rules[0].when is an empty list; add a value or remove the key"
        ),
        changed(
            "two targets",
            "  action",
            "  target: {services: [a], matchLabels: {a: b}}\n  action",
            "5:11: spec.target has 2 keys; write one of matchLabels, services, spiffeIDs; without "
                + "target the policy holds for every workload of its namespace"
        ),
        changed(
            "no target",
            "  action",
            "  target: {}\n  action",
            "5:11: spec.target names nothing; write one of matchLabels, services, spiffeIDs; "
                + "without target the policy holds for every workload of its namespace"
        ),
        changed(
            "an end",
            "shop}",
            "shop, expires: 2027-01-31T00:00:00Z}",
            "3:47: an AccessPolicy does not expire; only DelegationPolicy, RegistrationEntry and "
                + "RoleBinding do; remove metadata.expires"
        ),
    ]

    static let failingTests: [BadDocument] = [
        changed(
            "a test that fails at a path",
            "path: /a/b",
            "path: /b",
            "12:7: spec.tests[0] fails: expected ALLOW, but no rule matches: DENY "
                + "(rules[0].to[0].operation.paths does not match); change the rules, or what the "
                + "test expects"
        ),
        changed(
            "a test that fails without a peer",
            "principal: spiffe://example.org/web, ",
            "",
            "12:7: spec.tests[0] fails: expected ALLOW, but no rule matches: DENY "
                + "(rules[0].from[0].source.principals asks for what the request does not have); "
                + "change the rules, or what the test expects"
        ),
        changed(
            "a test with another outcome and a name",
            "expect: ALLOW",
            "expect: DENY\n      name: no reader",
            "12:7: spec.tests[0] (no reader) fails: expected DENY, but rules[0] says ALLOW; change "
                + "the rules, or what the test expects"
        ),
        changed(
            "a test of another rule",
            "expect: ALLOW",
            "expect: ALLOW\n      rule: none",
            "12:7: spec.tests[0] fails: expected ALLOW by no rule, but rules[0] says ALLOW; change "
                + "the rules, or what the test expects"
        ),
        BadDocument(
            "a test of a peer of another trust domain that nobody names",
            sample.replacing(
                "{principals: [spiffe://example.org/web]}",
                with: "{notPrincipals: [spiffe://partner.org/admin]}"
            )
            .replacing("spiffe://example.org/web", with: "spiffe://partner.org/web"),
            "12:7: spec.tests[0] fails: expected ALLOW, but no rule matches: DENY "
                + "(rules[0].from[0].source.principals is missing, and only by it is a peer of "
                + "another trust domain admitted); change the rules, or what the test expects"
        ),
    ]

    static let refusedTests: [BadDocument] = [
        changed(
            "a rule that is not there",
            "expect: ALLOW",
            "expect: ALLOW\n      rule: 1",
            "14:13: spec.tests[0].rule: there is no rules[1]; rules are counted from 0; write a "
                + "number below 1, or none"
        ),
        changed(
            "a test without a port that rules ask for",
            "port: 80, ",
            "",
            "12:16: spec.tests[0].request.port is missing; rules ask for it; add it"
        ),
        changed(
            "a path without method",
            "method: GET, ",
            "",
            "12:16: spec.tests[0].request has only one of method and path; write both, or neither "
                + "for a TCP connection"
        ),
        changed(
            "a path that no request has",
            "path: /a/b",
            "path: /a/../b",
            "12:83: spec.tests[0].request.path: \"/a/../b\" is refused before any policy is asked; "
                + "write a path that a request can have (docs/decisions/0007), without query"
        ),
        changed(
            "a DENY that allows",
            "action: ALLOW",
            "action: DENY",
            "13:15: spec.tests[0]: a DENY alone allows nothing; write expect: DENY with rule: none "
                + "for what it must leave alone"
        ),
        BadDocument(
            "a DENY that denies somehow",
            sample.replacing("ALLOW", with: "DENY"),
            "13:15: spec.tests[0] holds whatever the rules say, because a DENY alone denies "
                + "everything; add the rule that must decide, or rule: none for what it must leave "
                + "alone"
        ),
    ]

    @Test(arguments: refused + refusedTests)
    func `a wrong policy is refused with place and remedy`(bad: BadDocument) {
        expectOnlyProblem(of: bad)
    }

    /// Whether a peer is of another trust domain is known only where the own one is.
    @Test(arguments: failingTests)
    func `a failing test is told where the trust domain is known`(bad: BadDocument) throws {
        let document = try document(bad.text)
        let problems = document.problems(inTrustDomain: try TrustDomain("example.org"))
        #expect(problems.map(\.description) == ["f.yaml:\(bad.message)"])
    }

    @Test func `of a document whose tests all fail no more is told than of any other`() throws {
        let lines = (0..<100).map { number in
            "    - {request: {principal: spiffe://td/x\(number)}, expect: DENY}\n"
        }
        let text = """
            apiVersion: core.signet/v1alpha1
            kind: AccessPolicy
            metadata: {name: all}
            spec:
              action: ALLOW
              rules: [{}]
              tests:

            """ + lines.joined()
        let document = try document(text)
        let own = document.problems(inTrustDomain: try TrustDomain("td"))
        #expect(own.count == DocumentProblems.problemsMax)
        #expect(document.problems(inTrustDomain: try TrustDomain("other")).isEmpty)
    }

    private func document(_ text: String) throws -> Document {
        try #require(try Document.parse(Array(text.utf8), file: "f.yaml").first)
    }

    private func spec(_ text: String) throws -> AccessPolicySpec {
        guard case .accessPolicy(let spec) = try document(text).spec else {
            throw DocumentIsOther()
        }
        return spec
    }

    private struct DocumentIsOther: Error {}

    @Test func `a policy says what its document says`() throws {
        let text = Self.sample.replacing("  action", with: "  mode: off\n  action")
        let document = try document(text)
        let policy = try spec(text).policy(metadata: document.metadata)
        #expect(policy.namespace == "shop" && policy.name == "p" && policy.mode == .off)
        #expect(policy.action == .allow && policy.tier == .normal && policy.rules.count == 1)
        #expect(try AccessPolicy(decoding: policy.encoded) == policy)
        let operation = try #require(policy.rules[0].to?.first)
        #expect(operation.methods.anyOf == ["GET"] && operation.ports.anyOf == [80])
        #expect(operation.paths.anyOf == [.below(Array("/a/".utf8))])
    }

    @Test func `tests are run as if the policy were in force`() throws {
        for mode in ["shadow", "off"] {
            let text = Self.sample.replacing("  action", with: "  mode: \(mode)\n  action")
            #expect(try spec(text).tests.count == 1)
            let failing = text.replacing("path: /a/b", with: "path: /b")
            let trustDomain = try TrustDomain("example.org")
            #expect(try document(failing).problems(inTrustDomain: trustDomain).count == 1)
            #expect(try document(text).problems(inTrustDomain: trustDomain).isEmpty)
        }
    }

    @Test func `a rule without anything is for everything`() throws {
        let text = """
            apiVersion: core.signet/v1alpha1
            kind: AccessPolicy
            metadata: {name: all}
            spec:
              action: ALLOW
              rules: [{}]
              tests:
                - {request: {}, expect: ALLOW, rule: 0}
                - {request: {principal: spiffe://td/signet/x}, expect: DENY, rule: none}
            """
        #expect(try spec(text).rules == [try #require(AccessRule())])
    }

    @Test func `a DENY of single paths or methods warns, and one of all but some does not`() throws
    {
        let deny = Self.sample.replacing("ALLOW", with: "DENY", maxReplacements: 1)
            .replacing("expect: ALLOW", with: "expect: DENY\n      rule: 0")
        let warnings = try document(deny).warnings
        #expect(
            warnings.map(\.description) == [
                "f.yaml:10:22: spec.rules[0].to[0].operation: a DENY of single methods and paths "
                    + "is only as good as the list of spellings that the application knows; deny "
                    + "everything but what is meant (notPaths, notMethods), or write an ALLOW"
            ]
        )
        let all = deny.replacing(
            "{methods: [GET], paths: [/a/*], ports: [80]}",
            with: "{notPaths: [/b/*]}"
        )
        #expect(try document(all).warnings.isEmpty)
        #expect(try document(Self.sample).warnings.isEmpty)
    }

    @Test func `an ID of another trust domain is no target, but may ask`() throws {
        let text = Self.sample.replacing(
            "  action",
            with: "  target: {spiffeIDs: [spiffe://other.org/*]}\n  action"
        )
        let document = try document(text.replacing("example.org/web", with: "partner.org/web"))
        let problems = document.problems(inTrustDomain: try TrustDomain("example.org"))
        #expect(
            problems.map(\.description) == [
                "f.yaml:5:24: spec.target.spiffeIDs[0]: the trust domain is other.org, this "
                    + "server's is example.org; write spiffe://example.org/..."
            ]
        )
    }

    // MARK: - What it targets

    private func listener(_ port: UInt16, _ kind: TrafficProtocol) throws -> KnownListener {
        KnownListener(
            workload: PolicedWorkload(
                identity: try SPIFFEID("spiffe://example.org/api"),
                namespace: "shop"
            ),
            port: port,
            trafficProtocol: kind
        )
    }

    @Test func `a rule that can never apply to what it targets is told with its place`() throws {
        let document = try document(Self.sample)
        #expect(document.problems(atListeners: []).isEmpty)
        #expect(document.problems(atListeners: [try listener(80, .http)]).isEmpty)
        let mixed = [try listener(80, .tcp), try listener(81, .http)]
        #expect(
            document.problems(atListeners: mixed).map(\.description) == [
                "f.yaml:10:22: spec.rules[0].to[0].operation: methods and paths never match a port "
                    + "of protocol tcp, so the rule allows nothing; remove them, or write "
                    + "protocol: http at the listener"
            ]
        )
        #expect(
            document.problems(atListeners: [try listener(8080, .http)]).map(\.what) == [
                "spec.rules[0].to[0].operation: no workload that the policy holds for has such a "
                    + "port"
            ]
        )
        let other = PolicedWorkload(
            identity: try SPIFFEID("spiffe://example.org/api"),
            namespace: "other"
        )
        let elsewhere = KnownListener(workload: other, port: 80, trafficProtocol: .tcp)
        #expect(document.problems(atListeners: [elsewhere]).isEmpty)
        let both = [try listener(80, .tcp), try listener(80, .http)]
        #expect(document.problems(atListeners: both).isEmpty)
    }

    @Test func `a DENY that asks a TCP port for paths says that it denies all of it`() throws {
        let text = Self.sample.replacing("ALLOW", with: "DENY", maxReplacements: 1)
            .replacing("expect: ALLOW", with: "expect: DENY\n      rule: 0")
        let problems = try document(text).problems(atListeners: [try listener(80, .tcp)])
        #expect(problems.count == 1 && problems[0].what.contains("denies every connection"))
    }
}
