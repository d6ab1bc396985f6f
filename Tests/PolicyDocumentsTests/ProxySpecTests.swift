// SPDX-License-Identifier: Apache-2.0

import Authorization
import PolicyDocuments
import Routing
import SPIFFE
import Testing

struct ProxySpecTests {
    static let proxy = """
        apiVersion: core.signet/v1alpha1
        kind: Proxy
        metadata: {name: p, namespace: shop}
        spec:
          mode: sidecar
          nodeSelectors: [role:web]
          selectors: [unix:user:proxy, unix:path:/usr/bin/signet-proxy]
          identities: [spiffe://example.org/web, spiffe://example.org/api]
          inbound:
            - name: in
              address: 0.0.0.0:8443
              identity: spiffe://example.org/web
              protocol: http
              forward: {address: 127.0.0.1:8080, uids: [1000]}
          outbound:
            - name: out
              identity: spiffe://example.org/api
              service: pay
              port: http
              unix: /run/web/pay.sock
              allow: {uids: [1000, 0]}

        """
    static let service = """
        apiVersion: core.signet/v1alpha1
        kind: Service
        metadata: {name: pay, namespace: shop}
        spec:
          ports: [{name: http, number: 80, protocol: http}]
          identities: [spiffe://example.org/pay]
          endpoints: [{address: "192.0.2.1:8443"}]

        """

    private static func changed(
        _ sample: String,
        _ name: String,
        _ line: String,
        _ other: String,
        _ message: String
    ) -> BadDocument {
        BadDocument(name, sample.replacing(line, with: other, maxReplacements: 1), message)
    }

    static let refused: [BadDocument] = [
        changed(
            proxy,
            "a mode that does not exist yet",
            "sidecar",
            "node",
            "5:9: spec.mode: \"node\" is unknown; write one of sidecar"
        ),
        changed(
            proxy,
            "no selectors",
            "  selectors: [unix:user:proxy, unix:path:/usr/bin/signet-proxy]\n",
            "",
            "5:3: spec.selectors is missing; add it"
        ),
        changed(
            proxy,
            "an identity of Signet's own",
            "spiffe://example.org/api]",
            "spiffe://example.org/signet/x]",
            "8:42: spec.identities[1]: what lies below /signet/ is Signet's own and carries no "
                + "traffic; remove it"
        ),
        changed(
            proxy,
            "an identity that it has not",
            "identity: spiffe://example.org/web",
            "identity: spiffe://example.org/other",
            "12:17: spec.inbound[0].identity: it is not in identities; add it there"
        ),
        changed(
            proxy,
            "a name as address",
            "0.0.0.0:8443",
            "web:8443",
            "11:16: spec.inbound[0].address: \"web:8443\" is not an IP address with a port; write "
                + "192.0.2.1:443 or \"[2001:db8::1]:443\"; names are not resolved"
        ),
        changed(
            proxy,
            "traffic that leaves the machine in the clear",
            "127.0.0.1:8080",
            "192.0.2.1:8080",
            "14:16: spec.inbound[0].forward: 192.0.2.1:8080 is not a loopback address, so that it "
                + "would leave the machine in the clear; write 127.0.0.1 or [::1], or a Unix socket"
        ),
        changed(
            proxy,
            "a circle",
            "127.0.0.1:8080",
            "127.0.0.1:8443",
            "14:16: spec.inbound[0].forward: this Proxy listens at 127.0.0.1:8443 itself; write "
                + "the application's address"
        ),
        changed(
            proxy,
            "a circle over a socket",
            "{address: 127.0.0.1:8080, uids: [1000]}",
            "{unix: /run/web/pay.sock}\n      workloadPort: 80",
            "14:16: spec.inbound[0].forward: this Proxy listens at /run/web/pay.sock itself; write "
                + "the application's socket"
        ),
        changed(
            proxy,
            "a socket without port for policies",
            "{address: 127.0.0.1:8080, uids: [1000]}",
            "{unix: /run/app.sock}",
            "10:7: spec.inbound[0].workloadPort is missing; add the port that policies see, since "
                + "a Unix socket has none"
        ),
        changed(
            proxy,
            "a port for policies beside another",
            "uids: [1000]}",
            "uids: [1000]}\n      workloadPort: 80",
            "15:21: spec.inbound[0].workloadPort: policies see the port of forward.address; remove "
                + "it"
        ),
        changed(
            proxy,
            "two places to forward to",
            "{address: 127.0.0.1:8080, uids: [1000]}",
            "{address: 127.0.0.1:8080, unix: /run/a}",
            "14:16: spec.inbound[0].forward needs one of address and unix; write where the "
                + "application listens"
        ),
        changed(
            proxy,
            "a Signet socket",
            "/run/web/pay.sock",
            "/run/signet/agent/workload.sock",
            "20:13: spec.outbound[0].unix: /run/signet is for Signet's own sockets; write another "
                + "path"
        ),
        changed(
            proxy,
            "a path upwards",
            "/run/web/pay.sock",
            "/run/web/../signet/a",
            "20:13: spec.outbound[0].unix: it has an empty part, . or ..; write another path"
        ),
        changed(
            proxy,
            "a listener for everybody",
            "      allow: {uids: [1000, 0]}\n",
            "",
            "16:7: spec.outbound[0].allow is missing; add it"
        ),
        changed(
            proxy,
            "nobody's number",
            "[1000, 0]",
            "[4294967295]",
            "21:22: spec.outbound[0].allow.uids[0]: 4294967295 is not a user; write the number of "
                + "a user, as id -u does"
        ),
        changed(
            proxy,
            "an outbound listener for the network",
            "unix: /run/web/pay.sock",
            "address: 0.0.0.0:99",
            "20:16: spec.outbound[0].address: 0.0.0.0:99 is not a loopback address, so that others "
                + "could use it; write 127.0.0.1 or [::1], or a Unix socket"
        ),
        changed(
            proxy,
            "one port twice",
            "unix: /run/web/pay.sock",
            "address: 127.0.0.1:8443",
            "20:16: spec.outbound[0].address: another listener has 0.0.0.0:8443; write another"
        ),
        changed(
            proxy,
            "one name twice",
            "name: out",
            "name: in",
            "16:13: spec.outbound[0].name: another listener has the name; rename one"
        ),
        changed(
            service,
            "observed endpoints",
            "endpoints: [{address: \"192.0.2.1:8443\"}]",
            "endpoints: [{address: \"192.0.2.1:8443\"}]\n  observed: false",
            "8:13: spec.observed is \"false\", not true; write true"
        ),
        changed(
            service,
            "another protocol",
            "protocol: http",
            "protocol: grpc",
            "5:46: spec.ports[0].protocol: \"grpc\" is unknown; write one of http, tcp"
        ),
        changed(
            service,
            "a port twice",
            "protocol: http}",
            "protocol: http}, {name: b, number: 80, protocol: tcp}",
            "5:10: spec.ports: two have one number; change one of them"
        ),
        changed(
            service,
            "no identity",
            "[spiffe://example.org/pay]",
            "[]",
            "6:15: spec.identities is an empty list; add a value or remove the key"
        ),
    ]

    @Test(arguments: refused)
    func `a wrong Proxy or Service is refused with place and remedy`(bad: BadDocument) {
        expectOnlyProblem(of: bad)
    }

    private func document(_ text: String) throws -> Document {
        try #require(try Document.parse(Array(text.utf8), file: "f.yaml").first)
    }

    @Test func `a Proxy says what its document says`() throws {
        let document = try document(Self.proxy)
        guard case .proxy(let spec) = document.spec else { throw DocumentIsOther() }
        let proxy = spec.proxy(metadata: document.metadata)
        #expect(proxy.reference == "shop/p" && proxy.flaws.isEmpty)
        #expect(proxy.inbound[0].workloadPort == 8080 && proxy.inbound[0].forwardUIDs == [1000])
        #expect(proxy.outbound[0].listen == .unix("/run/web/pay.sock"))
        #expect(proxy.outbound[0].allowedUIDs == [1000, 0])
        #expect(document.warnings.isEmpty)
        #expect(spec.servicePorts.map(\.service) == ["pay"])
    }

    private struct DocumentIsOther: Error {}

    @Test func `a Service says what its document says`() throws {
        let document = try document(Self.service)
        guard case .service(let spec) = document.spec else { throw DocumentIsOther() }
        let service = spec.service(metadata: document.metadata)
        #expect(service.port(named: "http")?.number == 80)
        #expect(service.endpoints.map(\.description) == ["192.0.2.1:8443"])
    }

    @Test func `a Proxy that whoever shares a user could be is warned of`() throws {
        let text = Self.proxy.replacing(", unix:path:/usr/bin/signet-proxy", with: "")
        let warnings = try document(text).warnings
        #expect(warnings.count == 1 && warnings[0].what.contains("only users or groups"))
    }

    @Test func `who writes a Proxy asks for the registration of each of its identities`() throws {
        let actor = Actor.localUser(uid: 1, host: "host")
        let requests = try document(Self.proxy).registrations(by: actor)
        #expect(
            requests.map(\.spiffeID) == ["spiffe://example.org/web", "spiffe://example.org/api"]
        )
        #expect(
            requests.allSatisfy {
                $0.kind == "RegistrationEntry" && $0.verb == .apply && $0.namespace == "shop"
            }
        )
        #expect(try document(Self.service).registrations(by: actor).isEmpty)
    }

    @Test func `identities of another trust domain are not ours to present`() throws {
        let problems = try document(Self.proxy).problems(inTrustDomain: try TrustDomain("td"))
        // Two identities, and the two listeners that name them.
        #expect(problems.count == 4)
        let other = try document(Self.service).problems(inTrustDomain: try TrustDomain("td"))
        #expect(other.isEmpty)
    }
}
