// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import HTTPSemantics
internal import SPIFFE

/// One decision about an allowed request, with few rules and with many that cannot match.
struct PolicyDecision {
    private static let few = "policy decision, 10 rules"
    private static let many = "policy decision, 10,000 rules"
    private static let connection = "peer looked up in 10,000 rules"

    static let benchmark = Benchmark(
        name: "policy-decision",
        rows: [
            RowDefinition(id: few, unit: "ns", goal: .none),
            // A proxied request costs some 12 us, of which 5 % are 600 ns.
            RowDefinition(id: many, unit: "ns", peer: few, goal: .peerPlus(600)),
            RowDefinition(id: connection, unit: "ns", goal: .none),
        ],
        readings: { settings in
            let (small, large) = (try PolicyDecision(rules: 10), try PolicyDecision(rules: 10_000))
            let count = settings.size(200_000, quick: 200)
            _ = try (small.decisions(count), large.decisions(count))
            return try (0..<settings.runs).flatMap { _ in
                let (ours, peer) = (try large.decisions(count), try small.decisions(count))
                let lookup = try large.lookups(settings.size(500, quick: 5))
                return [
                    Reading(row: few, value: peer),
                    Reading(row: many, value: ours, peer: peer),
                    Reading(row: connection, value: lookup),
                ]
            }
        }
    )

    private let set: CompiledPolicySet
    private let peer: SPIFFEID
    private let address = IPAddress(ipv4: 0xC000_0201)
    private let head = Array("GET /orders/17/lines HTTP/1.1\r\nHost: orders\r\n\r\n".utf8)

    /// One rule of three names another peer, one the same peer and other paths, one everybody and a
    /// method and path that are not asked for; the last rule allows.
    init(rules count: Int) throws {
        peer = try SPIFFEID("spiffe://bench.example.org/shop/web")
        let web = AccessSource(principals: try Self.field([PrincipalPattern.exact(peer)]))
        func paths(_ text: String) throws -> AccessField<PathPattern> {
            guard let pattern = PathPattern(text) else { throw BenchmarkError("no path: \(text)") }
            return try Self.field([pattern])
        }
        var policies: [AccessPolicy] = []
        for number in 1..<count {
            let rule: AccessRule?
            switch number % 3 {
            case 0:
                let id = try PrincipalPattern("spiffe://bench.example.org/app-\(number)")
                rule = AccessRule(
                    from: [AccessSource(principals: try Self.field([id]))],
                    to: [AccessOperation(paths: try paths("/orders/*"))]
                )
            case 1:
                let path = try paths("/app-\(number)/*")
                rule = AccessRule(from: [web], to: [AccessOperation(paths: path)])
            default:
                let operation = AccessOperation(
                    methods: try Self.field(["DELETE"]),
                    paths: try paths("/orders/\(number)")
                )
                rule = AccessRule(to: [operation])
            }
            policies.append(try Self.policy("p\(number)", rule))
        }
        let read = AccessOperation(
            methods: try Self.field(["GET"]),
            paths: try paths("/orders/*")
        )
        policies.append(try Self.policy("z", AccessRule(from: [web], to: [read])))
        set = try CompiledPolicySet(policies)
    }

    private static func field<Value>(_ values: [Value]) throws -> AccessField<Value> {
        guard let field = AccessField(anyOf: values) else { throw BenchmarkError("no values") }
        return field
    }

    private static func policy(_ name: String, _ rule: AccessRule?) throws -> AccessPolicy {
        guard let rule else { throw BenchmarkError("an empty rule") }
        return AccessPolicy(namespace: "shop", name: name, action: .allow, rules: [rule])
    }

    /// - Returns: Nanoseconds of one decision.
    private func decisions(_ count: Int) throws -> Double {
        let access = set.access(of: peer, in: peer.trustDomain, at: address, port: 80)
        let request = CanonicalRequest(
            method: .get,
            methodName: ByteRange(0..<3),
            path: ByteRange(4..<20)
        )
        var allowed = 0
        let clock = ContinuousClock()
        let time = clock.measure {
            for _ in 0..<count where set.decide(access, request, in: head.span).isAllowed {
                allowed += 1
            }
        }
        guard allowed == count else { throw BenchmarkError("\(count - allowed) were denied") }
        return time / .nanoseconds(1) / Double(count)
    }

    /// - Returns: Nanoseconds of one look-up of a peer.
    private func lookups(_ count: Int) throws -> Double {
        var allowed = 0
        let clock = ContinuousClock()
        let time = clock.measure {
            for _ in 0..<count {
                let access = set.access(of: peer, in: peer.trustDomain, at: address, port: 80)
                if !set.decide(access).isAllowed { allowed += 1 }
            }
        }
        // No rule is about connections, so each is denied.
        guard allowed == count else { throw BenchmarkError("a connection was allowed") }
        return time / .nanoseconds(1) / Double(count)
    }
}
