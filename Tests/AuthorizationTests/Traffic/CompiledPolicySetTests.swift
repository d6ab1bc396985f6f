// SPDX-License-Identifier: Apache-2.0

import Authorization
import HTTPCodec
import HTTPSemantics
import SPIFFE
import Testing

/// The compiled set decides as the reference evaluator does, and names the same rule.
@Suite struct CompiledPolicySetTests {
    /// Compares both verdicts, and that the reason is the step of the rule that is named.
    private func expectSame(
        _ set: CompiledPolicySet,
        _ reference: ReferenceEvaluator,
        _ request: GeneratedRequest
    ) throws -> Decision {
        let decision = request.decision(of: set)
        let plain = try request.plain
        let (enforced, shadow) = (
            reference.verdict(on: plain), reference.shadowVerdict(on: plain)
        )
        if set.verdict(of: decision.enforced) != enforced {
            Issue.record("\(request): \(decision), not \(enforced): \(set.policies)")
        }
        if set.verdict(of: decision.shadow) != shadow {
            Issue.record("\(request): shadow \(decision), not \(shadow): \(set.policies)")
        }
        for outcome in [decision.enforced, decision.shadow] {
            expectTrueReason(outcome, in: set, for: request)
        }
        return decision
    }

    private func expectTrueReason(
        _ outcome: Decision.Outcome,
        in set: CompiledPolicySet,
        for request: GeneratedRequest
    ) {
        // No #expect for what holds in each of some hundred thousand cases: it costs more than all
        // the rest.
        guard outcome.hasRule else {
            let isReserved = request.peer?.isReserved ?? false
            if outcome.reason != (isReserved ? .reservedPeer : .noMatch) {
                Issue.record("\(request): \(outcome)")
            }
            return
        }
        let policy = set.policies[Int(outcome.policy)]
        let reason: Decision.Reason =
            switch (policy.action, policy.tier) {
            case (.allow, _): .allowed
            case (.deny, .guardrail): .guardrail
            case (.deny, .normal): .denied
            }
        if outcome.reason != reason || outcome.isAllowed != (policy.action == .allow) {
            Issue.record("\(request): \(outcome), not \(reason)")
        }
    }

    @Test(arguments: [UInt64](1...40))
    func `both evaluators say the same`(seed: UInt64) throws {
        var generator = PolicyGenerator(seed: seed)
        var reasons: [Decision.Reason: Int] = [:]
        var differences = 0
        for _ in 0..<100 {
            let policies = generator.policies(Int.random(in: 0...6, using: &generator.random))
            let (set, reference) = (
                try CompiledPolicySet(policies), ReferenceEvaluator(policies)
            )
            for _ in 0..<50 {
                let decision = try expectSame(set, reference, generator.request())
                reasons[decision.enforced.reason, default: 0] += 1
                if decision.shadow != decision.enforced { differences += 1 }
            }
        }
        // A generator that meets one side only would compare nothing.
        for reason in Decision.Reason.allCases where reason != .otherSet {
            #expect(reasons[reason, default: 0] > 50, "\(reason): \(reasons)")
        }
        #expect(differences > 200)
    }

    @Test(arguments: [UInt64](101...140))
    func `both say the same of hosts, templates, headers and names`(seed: UInt64) throws {
        var generator = PolicyGenerator(seed: seed)
        var (allowed, differing) = (0, 0)
        for number in 0..<100 {
            generator.more = [15, 40, 80][number % 3]
            let policies = generator.policies(Int.random(in: 1...8, using: &generator.random))
            let (set, reference) = (
                try CompiledPolicySet(policies), ReferenceEvaluator(policies)
            )
            for _ in 0..<50 {
                let decision = try expectSame(set, reference, generator.request())
                if decision.isAllowed { allowed += 1 }
                if decision.shadow != decision.enforced { differing += 1 }
            }
        }
        #expect(allowed > 100 && differing > 100)
    }

    @Test(arguments: [UInt64](141...144))
    func `both say the same of them with more rules than one block has`(seed: UInt64) throws {
        var generator = PolicyGenerator(seed: seed)
        generator.more = 60
        for _ in 0..<3 {
            let policies = generator.policies(700)
                .filter { !$0.rules.contains { $0.to == nil && $0.from == nil } }
            let (set, reference) = (
                try CompiledPolicySet(policies), ReferenceEvaluator(policies)
            )
            for _ in 0..<60 { _ = try expectSame(set, reference, generator.request()) }
        }
    }

    @Test func `both say the same of templates and paths longer than all of them`() throws {
        let most = PathTemplate.segmentsMax
        func many(_ count: Int) -> String { String(repeating: "/a", count: count) }
        let texts = [
            "/a/{**}", "/{**}/b", "/{*}/{**}/a/b", many(most - 1) + "/{*}",
            "/{**}" + many(most - 1), many(most - 1) + "/{**}", "/{*}/a/{*}/{**}/a/",
            "/{**}/a", "/{**}/b/a",
        ]
        let policies = try texts.enumerated().flatMap { place, text in
            let paths = [try #require(PathPattern(text))]
            return try [true, false].map { isWanted in
                let field = AccessField(
                    anyOf: isWanted ? paths : nil,
                    noneOf: isWanted ? nil : paths
                )
                let operation = AccessOperation(paths: try #require(field))
                return AccessPolicy(
                    namespace: "n",
                    name: "p\(place)-\(isWanted)",
                    action: .allow,
                    rules: [try #require(AccessRule(to: [operation]))]
                )
            }
        }
        // Each alone, so that no other decides in its place.
        for policy in policies {
            let (set, reference) = (
                try CompiledPolicySet([policy]), ReferenceEvaluator([policy])
            )
            for depth in 1...(2 * most + 2) {
                for end in ["", "/", "/b", "/b/a", "/a/b"] {
                    let request = GeneratedRequest(
                        peer: nil,
                        address: IPAddress(ipv4: 0xC000_0201),
                        port: 80,
                        http: ("GET", many(depth) + end)
                    )
                    _ = try expectSame(set, reference, request)
                }
            }
        }
    }

    @Test func `a set tells which headers it asks for, and whether for the handshake`() throws {
        let any = try #require(AccessField(anyOf: [HeaderPattern.any]))
        let name = try #require(AccessField(anyOf: PolicyGenerator.serverNamePatterns))
        func set(_ conditions: [AccessCondition]) throws -> CompiledPolicySet {
            let rule = try #require(AccessRule(when: conditions))
            return try CompiledPolicySet([
                AccessPolicy(namespace: "n", name: "p", action: .allow, rules: [rule])
            ])
        }
        #expect(try set([.header("x-a", any)]).headerNames == ["x-a"])
        #expect(try !set([.header("x-a", any)]).asksServerName)
        #expect(try set([.serverName(name)]).asksServerName)
    }

    @Test(arguments: [UInt64](61...64))
    func `both admit peers of another trust domain by name alone`(seed: UInt64) throws {
        var generator = PolicyGenerator(seed: seed)
        let foreign = PolicyGenerator.peers.compactMap(\.self)
            .filter { $0.trustDomain != PolicyGenerator.trustDomain }
        var allowed = 0
        for _ in 0..<200 {
            let policies = generator.policies(3)
            let (set, reference) = (
                try CompiledPolicySet(policies), ReferenceEvaluator(policies)
            )
            for peer in foreign {
                let other = generator.request()
                let request = GeneratedRequest(
                    peer: peer,
                    address: other.address,
                    port: other.port,
                    http: other.http
                )
                let decision = try expectSame(set, reference, request)
                guard decision.isAllowed else { continue }
                allowed += 1
                let rule = policies.first {
                    $0.name == set.verdict(of: decision.enforced).cause?.policy
                }?
                .rules[Int(decision.enforced.rule)]
                let isNamed = rule?.from?.contains { source in
                    source.principals.anyOf?.contains { $0.matches(peer) } ?? false
                }
                #expect(isNamed == true, "\(request) by \(policies)")
            }
        }
        #expect(allowed > 10)
    }

    @Test(arguments: [UInt64](41...48))
    func `both say the same with more rules than one block has`(seed: UInt64) throws {
        var generator = PolicyGenerator(seed: seed)
        for _ in 0..<3 {
            let count = Int.random(in: 300...900, using: &generator.random)
            // Few enforced allowances, so that rules far behind decide as well.
            let policies = generator.policies(count)
                .filter { _ in generator.happens(40) }
                .filter { !$0.rules.contains { $0.to == nil && $0.from == nil } }
            let (set, reference) = (
                try CompiledPolicySet(policies), ReferenceEvaluator(policies)
            )
            for _ in 0..<60 { _ = try expectSame(set, reference, generator.request()) }
        }
    }

    @Test(arguments: [UInt64](49...52))
    func `both say the same of policies that nest deeper than the index has room for`(
        seed: UInt64
    ) throws {
        var generator = PolicyGenerator(seed: seed)
        for _ in 0..<20 {
            let policies = try (1...40).shuffled(using: &generator.random).map { depth in
                let start = "/" + String(repeating: "a/", count: depth % 20)
                let pattern = try #require(
                    PathPattern(depth < 20 ? start + "*" : "*" + start.dropLast() + "/a")
                )
                let isExcluded = generator.happens(40)
                let paths = AccessField(
                    anyOf: isExcluded ? nil : [pattern],
                    noneOf: isExcluded ? [pattern] : nil
                )
                let operation = AccessOperation(paths: try #require(paths))
                return AccessPolicy(
                    namespace: "n",
                    name: "p\(depth)",
                    action: generator.happens(50) ? .allow : .deny,
                    mode: generator.happens(60) ? .enforce : .shadow,
                    rules: [try #require(AccessRule(to: [operation]))]
                )
            }
            let (set, reference) = (
                try CompiledPolicySet(policies), ReferenceEvaluator(policies)
            )
            for depth in 1...30 {
                let path = String(repeating: "/a", count: depth) + (depth % 3 == 0 ? "/" : "")
                let request = GeneratedRequest(
                    peer: nil,
                    address: generator.pick(PolicyGenerator.addresses),
                    port: 80,
                    http: (generator.pick(PolicyGenerator.methods), path)
                )
                _ = try expectSame(set, reference, request)
            }
        }
    }

    @Test(arguments: [UInt64](53...60))
    func `both say the same of a request as it arrives`(seed: UInt64) throws {
        var generator = PolicyGenerator(seed: seed)
        var codec = RequestHead()
        var (accepted, refused) = (0, 0)
        let marks = ["/", "a", "b", ".css", "%3a", "%C3", "%A9", "%2f", "%", ";", ".", "..", "\\"]
        for _ in 0..<40 {
            let policies = generator.policies(4)
            let (set, reference) = (
                try CompiledPolicySet(policies), ReferenceEvaluator(policies)
            )
            for _ in 0..<60 {
                let request = generator.request()
                guard let http = request.http else { continue }
                let path =
                    generator.happens(70)
                    ? http.path : "/" + (0...5).map { _ in generator.pick(marks) }.joined()
                let target = http.path == "*" ? "*" : path
                let query = target != "*" && generator.happens(30) ? "?/a/../%2f" : ""
                let empty = generator.happens(20) ? "\r\n" : ""
                let text = "\(empty)\(http.method) \(target)\(query) HTTP/1.1\r\nHost: h\r\n\r\n"
                let bytes = Array(text.utf8)
                let plain = AccessRequest.HTTP(method: http.method, path: target)
                var end = HeadEnd()
                guard case .head = codec.read(bytes.span, end: &end) else {
                    refused += 1
                    #expect(plain == nil, "\(text)")
                    continue
                }
                accepted += 1
                let access = set.access(
                    of: request.peer,
                    in: PolicyGenerator.trustDomain,
                    at: request.address,
                    port: request.port
                )
                let decision = set.decide(access, codec.request, in: bytes.span)
                let known = try #require(plain, "\(text)")
                let verdict = reference.verdict(
                    on: AccessRequest(
                        peer: request.peer,
                        in: PolicyGenerator.trustDomain,
                        address: request.address,
                        port: request.port,
                        http: known
                    )
                )
                #expect(set.verdict(of: decision.enforced) == verdict, "\(text)")
            }
        }
        #expect(accepted > 500 && refused > 100)
    }

    @Test func `the peer of one set is nobody in another`() throws {
        let rule = try #require(AccessRule())
        let open = [AccessPolicy(namespace: "n", name: "p", action: .allow, rules: [rule])]
        let other = [AccessPolicy(namespace: "n", name: "q", action: .allow, rules: [rule])]
        let address = try #require(IPAddress("192.0.2.1"))
        let access = try CompiledPolicySet(open).access(
            of: try SPIFFEID("spiffe://td/web"),
            in: PolicyGenerator.trustDomain,
            at: address,
            port: 80
        )
        #expect(try CompiledPolicySet(open).decide(access).isAllowed)
        let decision = try CompiledPolicySet(other).decide(access)
        #expect(!decision.isAllowed && decision.enforced.reason == .otherSet)
        let head = Array("GET /".utf8)
        let request = CanonicalRequest(
            method: .get,
            methodName: ByteRange(0..<3),
            path: ByteRange(4..<5)
        )
        let late = try CompiledPolicySet(other).decide(access, request, in: head.span)
        #expect(!late.isAllowed)
    }

    @Test func `more to compare than a decision may cost is refused, of each namespace alone`()
        throws
    {
        let templates = (0..<256).compactMap { PathPattern("/{*}/a\($0)") }
        let paths = try #require(AccessField(noneOf: templates))
        let rule = try #require(AccessRule(to: [AccessOperation(paths: paths)]))
        func policy(
            _ namespace: String,
            _ count: Int,
            _ mode: AccessPolicy.Mode = .enforce
        )
            -> AccessPolicy
        {
            AccessPolicy(
                namespace: namespace,
                name: "p",
                action: .allow,
                mode: mode,
                rules: Array(repeating: rule, count: count)
            )
        }
        let root = policy("signet-system", 3)
        #expect(CompiledPolicySet.refusal(of: [root, policy("n", 3)]) == nil)
        #expect(CompiledPolicySet.refusal(of: [root, policy("n", 4, .off)]) == nil)
        let more = [root, policy("n", 4, .shadow)]
        #expect(CompiledPolicySet.refusal(of: more) == .lateCostMax(namespace: "n"))
        #expect(throws: CompiledPolicySet.CompileError.lateCostMax(namespace: "n")) {
            try CompiledPolicySet(more)
        }
    }

    @Test func `more clauses than a workload may have are refused`() throws {
        let operation = AccessOperation(ports: try #require(AccessField(anyOf: [80])))
        let rule = try #require(
            AccessRule(to: Array(repeating: operation, count: CompiledPolicySet.clausesMax / 4))
        )
        func policies(_ count: Int) -> [AccessPolicy] {
            (0..<count).map {
                AccessPolicy(namespace: "n", name: "p\($0)", action: .allow, rules: [rule])
            }
        }
        #expect(throws: CompiledPolicySet.CompileError.clausesMax) {
            try CompiledPolicySet(policies(5))
        }
    }

    @Test func `a decision is a few plain bytes`() {
        #expect(MemoryLayout<Decision>.size <= 32)
        #expect(Decision.Reason.allCases.map(\.word).contains("otherSet"))
    }
}
