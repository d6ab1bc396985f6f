// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import HTTPSemantics
internal import SPIFFE

/// A policy that has travelled: it has one encoding, and both evaluators take it for the same.
enum AccessPolicyProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let policy = try? AccessPolicy(decoding: input) else { return false }
        try expect(policy.encoded == input, "two encodings of one policy")
        guard CompiledPolicySet.refusal(of: [policy]) == nil else { return true }
        let set = try expectSuccess("a small policy compiles") { try CompiledPolicySet([policy]) }
        let reference = ReferenceEvaluator([policy])
        let trustDomain = try expectSuccess("a trust domain") { try TrustDomain("td") }
        for peer in peers {
            let access = set.access(
                of: peer,
                in: trustDomain,
                at: IPAddress(ipv4: 0xC000_0201),
                port: 80
            )
            for (method, path) in requests {
                var head = Array("\(method) \(path)".utf8)
                let name = ByteRange(0..<method.utf8.count)
                let target = ByteRange((method.utf8.count + 1)..<head.count)
                func add(_ text: String) -> ByteRange {
                    let start = head.count
                    head += text.utf8
                    return ByteRange(start..<head.count)
                }
                let named = add(host)
                let lines = fields.map { field in
                    HeaderField(name: add(field.name), value: add(field.value), known: .other)
                }
                let authority = try expectSuccess("a host") {
                    guard let authority = Authority(head.span, named) else { throw NoHost() }
                    return authority
                }
                let request = CanonicalRequest(
                    method: HTTPMethod(head.span, name),
                    methodName: name,
                    authority: authority,
                    path: target,
                    fields: lines
                )
                let decision = set.decide(access, request, in: head.span)
                let plain = AccessRequest(
                    peer: peer,
                    in: trustDomain,
                    address: IPAddress(ipv4: 0xC000_0201),
                    port: 80,
                    serverName: serverName,
                    http: AccessRequest.HTTP(
                        method: method,
                        path: path,
                        host: RequestedHost(authority: host),
                        fields: fields.map {
                            AccessRequest.HTTP.Field(name: $0.name, value: $0.value)
                        }
                    )
                )
                try expect(
                    set.verdict(of: decision.enforced) == reference.verdict(on: plain)
                        && set.verdict(of: decision.shadow) == reference.shadowVerdict(on: plain),
                    "\(plain): \(decision)"
                )
            }
        }
        return true
    }

    private static let peers: [SPIFFEID?] = [
        nil, try? SPIFFEID("spiffe://td/web"), try? SPIFFEID("spiffe://example.org/a/b"),
    ]
    private struct NoHost: Error {}

    private static let serverName = RequestedHost(serverName: "a.example.org")
    private static let host = "A.example.org:8080"
    private static let fields = [
        (name: "x-a", value: "a, B;c"), (name: "x-b", value: "a"), (name: "X-B", value: ""),
    ]
    private static let requests = [
        ("GET", "/"), ("HEAD", "/a/b.css"), ("OPTIONS", "*"), ("PROPFIND", "/a%3ab/%c3%a9/"),
        ("POST", "/a.B/c"),
    ]
}
