// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPSemantics
import SPIFFE
import Testing

/// The form in which policies travel.
@Suite struct AccessPolicyEncodingTests {
    private static let sample = [
        "01", "0100000001", "6e", "0200000001", "70", "0300000005", "414c4c4f57", "0400000006",
        "6e6f726d616c", "0500000007", "656e666f726365",
    ].joined()

    private func policy(_ rules: [AccessRule] = []) -> AccessPolicy {
        AccessPolicy(namespace: "n", name: "p", action: .allow, rules: rules)
    }

    private func hex(_ bytes: [UInt8]) -> String {
        bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    @Test func `a policy has these bytes`() throws {
        #expect(hex(policy().encoded) == Self.sample)
        let below = try #require(PathPattern("/a/*"))
        let operation = AccessOperation(
            methods: try #require(AccessField(anyOf: ["GET"])),
            paths: try #require(AccessField(noneOf: [below])),
            ports: try #require(AccessField(anyOf: [80]))
        )
        let rule = try #require(AccessRule(to: [operation]))
        let record =
            "0100000003" + "474554" + "0400000004" + "2f612f2a" + "0500000008" + "0000000000000050"
        #expect(hex(policy([rule]).encoded) == Self.sample + "0700000023" + "020000001e" + record)
    }

    @Test(arguments: [UInt64](1...8))
    func `every policy comes back, and no other bytes mean it`(seed: UInt64) throws {
        var generator = PolicyGenerator(seed: seed)
        generator.more = seed % 2 == 0 ? 40 : 0
        for policy in generator.policies(60)
        where policy.action == .deny || policy.tier == .normal {
            let bytes = policy.encoded
            #expect(try AccessPolicy(decoding: bytes) == policy)
            for _ in 0..<20 {
                var other = bytes
                let place = Int.random(in: 0..<other.count, using: &generator.random)
                switch Int.random(in: 0..<3, using: &generator.random) {
                case 0: other[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator.random)
                case 1: other.remove(at: place)
                default: other.insert(other[place], at: place)
                }
                guard other != bytes, let read = try? AccessPolicy(decoding: other) else {
                    continue
                }
                #expect(read.encoded == other)
            }
        }
    }

    @Test(arguments: [
        "/%2A", "/%2a", "/files/%2A", "/files/%2a", "/a%2Ab", "/%2A/*", "*/%2A", "*.%2A", "/%2A/b",
    ])
    func `an asterisk that is meant as itself has no spelling`(text: String) {
        // It would travel as the pattern that admits everything below.
        #expect(PathPattern(text) == nil)
    }

    @Test(arguments: [UInt64](1...8))
    func `every path that a policy may have is read again as it was`(seed: UInt64) {
        var generator = PolicyGenerator(seed: seed)
        let pieces = [
            "/", "/", "a", "b", ".", "*", "%2A", "%2a", "%2F", "%41", "%7B", "%20", "%25", "{", "}",
            ";", "%C3%A9", "?", "#", "~", "+", "",
        ]
        var readCount = 0
        for _ in 0..<4000 {
            let text = (0..<Int.random(in: 1...7, using: &generator.random))
                .map { _ in pieces[Int.random(in: 0..<pieces.count, using: &generator.random)] }
                .joined()
            guard let pattern = PathPattern("/" + text) ?? PathPattern(text) else { continue }
            readCount += 1
            #expect(PathPattern(pattern.description) == pattern, "\(text)")
        }
        #expect(readCount > 100)
    }

    @Test func `a policy is written in the lowest version that has words for it`() throws {
        func version(_ rule: AccessRule?) throws -> UInt8? {
            policy([try #require(rule)]).encoded.first
        }
        #expect(try version(AccessRule()) == 1)
        let name = try #require(HostPattern("a.td"))
        let host = try #require(AccessField(anyOf: [name]))
        #expect(try version(AccessRule(when: [.serverName(host)])) == 2)
        #expect(try version(AccessRule(to: [AccessOperation(hosts: host)])) == 2)
        for pattern in PolicyGenerator.templates + PolicyGenerator.calls {
            let paths = try #require(AccessField(noneOf: [pattern]))
            #expect(try version(AccessRule(to: [AccessOperation(paths: paths)])) == 2)
        }
        let domains = try #require(AccessField(noneOf: PolicyGenerator.trustDomains))
        #expect(try version(AccessRule(from: [AccessSource(trustDomains: domains)])) == 2)
        #expect(AccessPolicy.capability(for: [1]) == "access-policy/1")
        #expect(AccessPolicy.capability(for: [2]) == "access-policy/2")
        #expect(AccessPolicy.capabilities == ["access-policy/1", "access-policy/2"])
    }

    @Test(arguments: [
        ("request.headers[x]", ["a", "*"], true), ("request.headers[X]", ["a"], false),
        ("request.headers[host]", ["a"], false), ("request.headers[cookie]", ["*"], true),
        ("request.headers[cookie]", ["a"], false), ("request.headers[x]", ["a*"], false),
        ("request.headers[x]", [], false), ("request.headers[]", ["*"], false),
        ("connection.sni", ["a.td"], true), ("connection.sni", ["a.td:80"], false),
        ("connection.sni", ["A.td"], false), ("request.time", ["1/2"], false),
        ("request.headers[x]", ["a,b"], false), ("request.headers[x-forwarded-for]", ["*"], false),
        ("source.ip", ["a"], false),
    ])
    func `a condition travels in one spelling`(
        key: String,
        values: [String],
        isRead: Bool
    ) throws {
        var writer = TaggedWriter(version: 2)
        for (tag, text) in [(1, "n"), (2, "p"), (3, "DENY"), (4, "normal"), (5, "off")] {
            writer.text(UInt8(tag), text)
        }
        writer.record(7) { writer in
            writer.record(3) { writer in
                writer.text(1, key)
                writer.texts(2, values)
            }
        }
        let bytes = writer.bytes
        if isRead {
            #expect(try AccessPolicy(decoding: bytes).encoded == bytes)
        } else {
            #expect(throws: TaggedFieldError.self) { try AccessPolicy(decoding: bytes) }
        }
    }

    /// A release has said what version 2 is: whatever is added has a version of its own.
    @Test func `the words of version 2 are closed`() throws {
        #expect(AccessPolicy.Action.allCases.map(\.rawValue) == ["ALLOW", "DENY"])
        #expect(AccessPolicy.Tier.allCases.map(\.rawValue) == ["guardrail", "normal"])
        #expect(AccessPolicy.Mode.allCases.map(\.rawValue) == ["enforce", "shadow", "off"])
        #expect(AccessCondition.presenceOnly == ["authorization", "cookie", "proxy-authorization"])
        #expect(
            AccessCondition.unaskable == [
                "b3", "baggage", "connection", "content-length", "expect", "forwarded", "host",
                "http2-settings", "keep-alive", "proxy-authenticate", "proxy-connection", "te",
                "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade", "via",
                "x-host", "x-method-override", "x-real-ip", "x-rewrite-url",
            ]
        )
        #expect(
            AccessCondition.unaskableStarts == [
                "client-cert", "l5d-", "ssl-client-", "x-amzn-mtls-", "x-arr-clientcert", "x-b3-",
                "x-client-cert", "x-envoy-", "x-forwarded-", "x-http-", "x-original-",
                "x-request-", "x-signet-", "x-ssl-client-",
            ]
        )
        #expect(AccessCondition.conditionsMax == 16 && AccessCondition.headerNameBytesMax == 64)
        #expect(HeaderPattern.bytesMax == 256 && PathTemplate.segmentsMax == 32)
        #expect(AccessPolicy.rulesMax == 128 && AccessPolicy.partsMax == 64)
        #expect(AccessPolicy.valuesMax == 256)
    }

    @Test func `of version 2 every tag, key and form of value has these bytes`() throws {
        var writer = TaggedWriter(version: 2)
        for (tag, text) in [(1, "n"), (2, "p"), (3, "ALLOW"), (4, "normal"), (5, "enforce")] {
            writer.text(UInt8(tag), text)
        }
        writer.record(7) { writer in
            writer.record(1) { writer in
                writer.texts(1, ["spiffe://td/a"])
                writer.texts(2, ["spiffe://td/b/*"])
                writer.texts(3, ["192.0.2.0/24"])
                writer.texts(4, ["::1/128"])
                writer.texts(5, ["partner.example"])
                writer.texts(6, ["td"])
            }
            writer.record(2) { writer in
                writer.texts(1, ["GET"])
                writer.texts(2, ["PUT"])
                writer.texts(3, ["/a/{*}", "/b/{**}", "/c/*", "*.css", "/d"])
                writer.texts(4, ["/{*}/{**}/e"])
                writer.number(5, UInt16(80))
                writer.number(6, UInt16(81))
                writer.texts(7, ["api.td", "*.api.td", "api.td:8080"])
                writer.texts(8, ["b.api.td"])
            }
            writer.record(2) { writer in
                writer.texts(3, ["a.B/C"])
                writer.texts(4, ["a.D/*"])
            }
            writer.record(3) { writer in
                writer.text(1, "request.headers[x-a]")
                writer.texts(2, ["a b", "*"])
                writer.texts(3, ["c"])
            }
            writer.record(3) { writer in
                writer.text(1, "connection.sni")
                writer.texts(2, ["*.td"])
                writer.texts(3, ["a.td"])
            }
        }
        let policy = try everything()
        #expect(policy.encoded == writer.bytes)
        #expect(try AccessPolicy(decoding: writer.bytes) == policy)
    }

    private func field<Value: Hashable & Sendable>(
        _ wanted: [Value?],
        not excluded: [Value?]
    ) throws -> AccessField<Value> {
        let (anyOf, noneOf) = (wanted.compactMap(\.self), excluded.compactMap(\.self))
        #expect(anyOf.count == wanted.count && noneOf.count == excluded.count)
        return try #require(AccessField(anyOf: anyOf, noneOf: noneOf))
    }

    private func everything() throws -> AccessPolicy {
        let source = AccessSource(
            principals: try field(
                [PrincipalPattern("spiffe://td/a")],
                not: [PrincipalPattern("spiffe://td/b/*")]
            ),
            addresses: try field([IPBlock("192.0.2.0/24")], not: [IPBlock("::1")]),
            trustDomains: try field([TrustDomain("partner.example")], not: [TrustDomain("td")])
        )
        let paths = ["/a/{*}", "/b/{**}", "/c/*", "*.css", "/d"]
        let operation = AccessOperation(
            methods: try field(["GET"], not: ["PUT"]),
            paths: try field(
                paths.map { PathPattern($0) },
                not: [PathPattern("/{*}/{**}/e")]
            ),
            ports: try field([80], not: [81]),
            hosts: try field(
                ["api.td", "*.api.td", "api.td:8080"].map { HostPattern($0) },
                not: [HostPattern("b.api.td")]
            )
        )
        let calls = AccessOperation(
            paths: try field([PathPattern(call: "a.B/C")], not: [PathPattern(call: "a.D/*")])
        )
        let when: [AccessCondition] = [
            .header(
                "x-a",
                try field(["a b", "*"].map { HeaderPattern($0) }, not: [HeaderPattern("c")])
            ),
            .serverName(try field([HostPattern("*.td")], not: [HostPattern("a.td")])),
        ]
        return policy([
            try #require(AccessRule(from: [source], to: [operation, calls], when: when))
        ])
    }

    @Test func `what version 2 has no words for is refused`() {
        func refusal(
            action: String = "ALLOW",
            _ more: (inout TaggedWriter) -> Void = { _ in }
        ) -> TaggedFieldError? {
            var writer = TaggedWriter(version: 2)
            for (tag, text) in [(1, "n"), (2, "p"), (3, action), (4, "normal"), (5, "enforce")] {
                writer.text(UInt8(tag), text)
            }
            more(&writer)
            do throws(TaggedFieldError) {
                _ = try AccessPolicy(decoding: writer.bytes)
                return nil
            } catch {
                return error
            }
        }
        #expect(refusal(action: "AUDIT") == .value(3) && refusal(action: "CUSTOM") == .value(3))
        #expect(refusal { $0.text(8, "x") } == .unknown(8))
        #expect(refusal { $0.record(7) { $0.text(4, "x") } } == .unknown(4))
        #expect(refusal { $0.record(7) { $0.record(1) { $0.text(7, "x") } } } == .unknown(7))
        #expect(refusal { $0.record(7) { $0.record(2) { $0.text(9, "x") } } } == .unknown(9))
        let condition = refusal {
            $0.record(7) {
                $0.record(3) {
                    $0.text(1, "connection.sni")
                    $0.text(2, "td")
                    $0.text(4, "x")
                }
            }
        }
        #expect(condition == .unknown(4))
        for key in ["request.time", "request.auth.claims[a]", "source.node"] {
            let other = refusal { $0.record(7) { $0.record(3) { $0.text(1, key) } } }
            #expect(other == .value(1), "\(key)")
        }
    }

    @Test func `targets come back`() throws {
        let targets: [AccessTarget] = [
            .identities([
                try PrincipalPattern("spiffe://td/a"), try PrincipalPattern("spiffe://td/*"),
            ]),
            .labels(["b": "1", "a": "2"]), .services(["web", "api"]),
        ]
        for target in targets {
            let policy = AccessPolicy(
                namespace: "n",
                name: "p",
                action: .deny,
                tier: .guardrail,
                mode: .shadow,
                target: target,
                rules: []
            )
            #expect(try AccessPolicy(decoding: policy.encoded) == policy)
        }
    }

    @Test func `what this version does not know is refused`() throws {
        let bytes = policy().encoded
        #expect(throws: TaggedFieldError.version) {
            try AccessPolicy(decoding: [3] + bytes.dropFirst())
        }
        // Of the second version is only what the first has no words for.
        #expect(throws: TaggedFieldError.whole) {
            try AccessPolicy(decoding: [2] + bytes.dropFirst())
        }
        #expect(throws: TaggedFieldError.version) { try AccessPolicy(decoding: []) }
        #expect(throws: TaggedFieldError.unknown(9)) {
            try AccessPolicy(decoding: bytes + [9, 0, 0, 0, 0])
        }
        #expect(throws: TaggedFieldError.truncated) {
            try AccessPolicy(decoding: bytes + [7, 0, 0, 0, 1])
        }
        #expect(throws: TaggedFieldError.missing(1)) { try AccessPolicy(decoding: [1]) }
        // Twice the name, and a condition of tomorrow inside an operation.
        #expect(throws: TaggedFieldError.unknown(2)) {
            try AccessPolicy(decoding: Array(bytes.prefix(13)) + Array(bytes.dropFirst(7)))
        }
        let operation: [UInt8] = [7, 0, 0, 0, 10, 2, 0, 0, 0, 5, 9, 0, 0, 0, 0]
        #expect(throws: TaggedFieldError.unknown(9)) {
            try AccessPolicy(decoding: bytes + operation)
        }
        let guardrail = AccessPolicy(
            namespace: "n",
            name: "p",
            action: .allow,
            tier: .guardrail,
            rules: []
        )
        #expect(throws: TaggedFieldError.whole) { try AccessPolicy(decoding: guardrail.encoded) }
    }

    @Test(arguments: [
        ("get", "/a"), ("", "/a"), ("GET", "/a%3ab"), ("GET", "/a/../b"), ("GET", "/a*"),
        ("G\u{E9}T", "/a"),
    ])
    func `a value in another spelling is refused`(method: String, path: String) throws {
        var writer = TaggedWriter(version: 1)
        for (tag, text) in [(1, "n"), (2, "p"), (3, "ALLOW"), (4, "normal"), (5, "off")] {
            writer.text(UInt8(tag), text)
        }
        writer.record(7) { writer in
            writer.record(2) { writer in
                writer.text(1, method)
                writer.text(3, path)
            }
        }
        #expect(throws: TaggedFieldError.self) { try AccessPolicy(decoding: writer.bytes) }
    }

    @Test func `a policy holds for what its target names in its namespace`() throws {
        let web = PolicedWorkload(
            identity: try SPIFFEID("spiffe://td/web/a"),
            namespace: "shop",
            labels: ["app": "web", "tier": "front"],
            services: ["web"]
        )
        func holds(_ target: AccessTarget?, in namespace: String = "shop") -> Bool {
            AccessPolicy(
                namespace: namespace,
                name: "p",
                action: .allow,
                target: target,
                rules: []
            ).holds(for: web)
        }
        #expect(holds(nil) && holds(nil, in: "signet-system") && !holds(nil, in: "other"))
        #expect(holds(.identities([try PrincipalPattern("spiffe://td/web/*")])))
        #expect(!holds(.identities([try PrincipalPattern("spiffe://td/web")])))
        #expect(holds(.labels(["app": "web"])) && !holds(.labels(["app": "web", "x": "y"])))
        #expect(!holds(.labels(["app": "we"])))
        #expect(holds(.services(["api", "web"])) && !holds(.services(["api"])))
        #expect(!holds(.services(["web"]), in: "other"))
    }

    @Test func `a pattern covers what no request can tell from it`() throws {
        let paths = PolicyGenerator.patterns + PolicyGenerator.templates + PolicyGenerator.calls
        var generator = PolicyGenerator(seed: 7)
        for _ in 0..<4000 {
            let request = generator.request()
            guard let plain = try request.plain.http?.path else { continue }
            let (one, two) = (generator.pick(paths), generator.pick(paths))
            if one.covers(two), two.matches(plain) { #expect(one.matches(plain)) }
            let (wide, narrow) = (
                generator.pick(PolicyGenerator.principals),
                generator.pick(PolicyGenerator.principals)
            )
            if let peer = request.peer, wide.covers(narrow), narrow.matches(peer) {
                #expect(wide.matches(peer))
            }
            let (block, inner) = (
                generator.pick(PolicyGenerator.blocks), generator.pick(PolicyGenerator.blocks)
            )
            let hosts = PolicyGenerator.hostPatterns
            let (wider, narrower) = (generator.pick(hosts), generator.pick(hosts))
            if let host = RequestedHost(authority: generator.pick(PolicyGenerator.hosts)),
                wider.covers(narrower), narrower.matches(host) == true
            {
                #expect(wider.matches(host) == true)
            }
            if block.covers(inner), inner.contains(request.address) {
                #expect(block.contains(request.address))
            }
        }
        for pattern in paths { #expect(pattern.covers(pattern) && PathPattern.any.covers(pattern)) }
        for block in PolicyGenerator.blocks { #expect(block.covers(block)) }
        for principal in PolicyGenerator.principals { #expect(principal.covers(principal)) }
    }

    @Test(arguments: [
        ("192.0.2.0/24", "192.0.2.0/24"), ("10.0.0.1", "10.0.0.1/32"), ("::/0", "::/0"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"), ("2001:db8::/32", "2001:db8::/32"),
        ("::1", "::1/128"), ("1:0:0:2:0:0:0:3", "1:0:0:2::3/128"),
        ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7/128"),
        ("1:0:0:2:3:0:0:4", "1::2:3:0:0:4/128"), ("0.0.0.0/0", "0.0.0.0/0"),
        ("fe80::/10", "fe80::/10"),
    ])
    func `a block of addresses has one text`(text: String, shown: String) throws {
        let block = try #require(IPBlock(text))
        #expect(block.description == shown)
        #expect(IPBlock(shown) == block)
    }
}
