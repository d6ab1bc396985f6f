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
        for policy in generator.policies(60) where policy.action == .deny || policy.tier == .normal
        {
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
        let operation: [UInt8] = [7, 0, 0, 0, 10, 2, 0, 0, 0, 5, 7, 0, 0, 0, 0]
        #expect(throws: TaggedFieldError.unknown(7)) {
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
        let paths = PolicyGenerator.patterns
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
