// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import NodeSync
import Routing
import SPIFFE
import SwiftProtobuf
import Testing

/// The payloads of the data path: what is written is read back, and nothing else is.
struct ProxyStateWireTests {
    typealias Message = Signet_Node_V1alpha1_ProxyState

    static func state() throws -> ProxyState {
        let web = try SPIFFEID("spiffe://example.org/ns/shop/web")
        let api = try SPIFFEID("spiffe://example.org/ns/shop/api")
        func address(_ text: String) throws -> SocketAddress {
            try #require(SocketAddress(text))
        }
        return ProxyState(
            proxy: Proxy(
                namespace: "shop",
                name: "front",
                nodeSelectors: [try Selector("role:web")],
                selectors: [try Selector("unix:user:proxy"), try Selector("unix:uid:7")],
                identities: [web, api],
                inbound: [
                    InboundListener(
                        name: "http",
                        address: try address("[2001:db8::1]:8443"),
                        identity: web,
                        trafficProtocol: .http,
                        forward: .address(try address("127.0.0.1:8080")),
                        forwardUIDs: [33],
                        workloadPort: 8080
                    ),
                    InboundListener(
                        name: "raw",
                        address: try address("192.0.2.1:9443"),
                        identity: api,
                        trafficProtocol: .tcp,
                        forward: .unix("/srv/api.sock"),
                        forwardUIDs: [33, 34],
                        workloadPort: 5432
                    ),
                ],
                outbound: [
                    OutboundListener(
                        name: "to-db",
                        identity: web,
                        service: "db",
                        port: "sql",
                        listen: .unix("/srv/db.sock"),
                        allowedUIDs: [33]
                    ),
                    OutboundListener(
                        name: "to-db-tcp",
                        identity: web,
                        service: "db",
                        port: "sql",
                        listen: .address(try address("[::1]:5432")),
                        allowedUIDs: [0, 33]
                    ),
                ]
            ),
            services: [
                Service(
                    namespace: "shop",
                    name: "db",
                    ports: [ServicePort(name: "sql", number: 5432, trafficProtocol: .tcp)],
                    identities: [try SPIFFEID("spiffe://example.org/db")],
                    endpoints: [try address("192.0.2.7:5432"), try address("192.0.2.8:5432")],
                    isObserved: true
                )
            ],
            policies: [[1, 2, 3], [], [4]],
            inboundPolicies: [[0, 2], []]
        )
    }

    @Test func `a state is read back as it was written`() throws {
        let state = try Self.state()
        #expect(try ProxyState(parsing: state.message) == state)
        let resource = try ResourcePayload.proxy(state).resource
        #expect(resource.key == ResourceKey(.proxy, "shop/front"))
        #expect(try ResourcePayload(resource.key, resource.payload) == .proxy(state))
        let other = ResourceKey(.proxy, "shop/back")
        #expect(throws: WireError.field("proxy shop/back", "it holds another proxy")) {
            try ResourcePayload(other, resource.payload)
        }
    }

    /// Each case breaks one rule; the error names the field.
    static let broken: [(field: String, change: @Sendable (inout Message) -> Void)] = [
        ("proxy.namespace", { $0.namespace = "" }),
        ("proxy.namespace", { $0.namespace = "a/b" }),
        ("proxy.name", { $0.name = "Front" }),
        ("proxy.name", { $0.name = String(repeating: "a", count: 254) }),
        ("proxy.node_selectors", { $0.nodeSelectors = [] }),
        ("proxy.selectors", { $0.selectors = [] }),
        ("proxy.selectors", { $0.selectors = ["uid"] }),
        ("proxy.selectors", { $0.selectors = ["unix:uid:7", "unix:uid:7"] }),
        ("proxy.identities", { $0.identities = [] }),
        ("proxy.identities", { $0.identities += ["spiffe://example.org/ns/shop/web"] }),
        ("proxy.identities", { $0.identities += ["spiffe://other.org/web"] }),
        ("proxy.identities", { $0.identities += ["spiffe://example.org/signet/agent/x"] }),
        ("proxy.identities", { $0.identities += ["spiffe://example.org"] }),
        ("proxy.identities", { $0.identities += (0..<32).map { "spiffe://example.org/\($0)" } }),
        ("proxy.inbound.name", { $0.inbound[1].name = "http" }),
        ("proxy.inbound.address", { $0.inbound[1].address = $0.inbound[0].address }),
        ("proxy.inbound.address", { $0.inbound[1].address = "host:1" }),
        ("proxy.inbound.identity", { $0.inbound[0].identity = "spiffe://example.org/db" }),
        ("proxy.inbound.protocol", { $0.inbound[0].protocol = .unspecified }),
        ("proxy.inbound.protocol", { $0.inbound[0].protocol = .UNRECOGNIZED(9) }),
        ("proxy.inbound.forward", { $0.inbound[0].forward = nil }),
        ("proxy.inbound.forward_address", { $0.inbound[0].forwardAddress = "192.0.2.1:8080" }),
        ("proxy.inbound.forward_unix", { $0.inbound[1].forwardUnix = "api.sock" }),
        ("proxy.inbound.forward_unix", { $0.inbound[1].forwardUnix = "/srv/../api.sock" }),
        (
            "proxy.inbound.forward_unix",
            { $0.inbound[1].forwardUnix = "/" + String(repeating: "a", count: 107) }
        ),
        ("proxy.inbound.forward_uids", { $0.inbound[0].forwardUids = [] }),
        ("proxy.inbound.forward_uids", { $0.inbound[0].forwardUids = [1, 1] }),
        ("proxy.inbound.workload_port", { $0.inbound[0].workloadPort = 8081 }),
        ("proxy.inbound.workload_port", { $0.inbound[1].workloadPort = 0 }),
        ("proxy.inbound.workload_port", { $0.inbound[1].workloadPort = 65_536 }),
        ("proxy.inbound.policies", { $0.inbound[0].policies = [3] }),
        ("proxy.inbound.policies", { $0.inbound[0].policies = [1, 1] }),
        ("proxy.inbound.policies", { $0.inbound[0].policies = [2, 0] }),
        ("proxy.outbound.name", { $0.outbound[1].name = "to-db" }),
        ("proxy.outbound.identity", { $0.outbound[0].identity = "spiffe://example.org/db" }),
        ("proxy.outbound.service", { $0.outbound[0].service = "other" }),
        ("proxy.outbound.service", { $0.services = [] }),
        ("proxy.outbound.port", { $0.outbound[0].port = "http" }),
        ("proxy.outbound.listen", { $0.outbound[0].listen = nil }),
        ("proxy.outbound.listen", { $0.outbound[1].listen = $0.outbound[0].listen }),
        ("proxy.outbound.address", { $0.outbound[1].address = "0.0.0.0:5432" }),
        ("proxy.outbound.allow_uids", { $0.outbound[0].allowUids = [] }),
        ("proxy.services", { $0.services += $0.services }),
        ("proxy.services.ports.name", { $0.services[0].ports = [] }),
        ("proxy.services.ports.number", { $0.services[0].ports[0].number = 0 }),
        ("proxy.services.identities", { $0.services[0].identities = [] }),
        ("proxy.services.endpoints", { $0.services[0].endpoints += ["192.0.2.7:5432"] }),
        ("proxy.services.endpoints", { $0.services[0].endpoints += ["db.example.org:5432"] }),
        (
            "proxy.policies",
            { $0.policies[0] = Data(repeating: 0, count: ProxyState.policiesBytesMax + 1) }
        ),
        (
            "proxy.policies",
            { $0.policies = Array(repeating: Data(), count: ProxyState.policiesMax + 1) }
        ),
    ]

    @Test(arguments: broken.indices)
    func `what breaks a rule is refused whole, and the field is named`(_ index: Int) throws {
        var message = try Self.state().message
        Self.broken[index].change(&message)
        let error = #expect(throws: WireError.self) { try ProxyState(parsing: message) }
        let text = try #require(error).description
        #expect(text.hasPrefix(Self.broken[index].field), "\(text)")
    }

    /// Field 999, a number, in each message of the state.
    @Test func `fields that are not known are refused wherever they are`() throws {
        func unknown<Part: SwiftProtobuf.Message>(_ part: Part) throws -> Part {
            try Part(serializedBytes: try part.serializedBytes() as [UInt8] + [0xB8, 0x3E, 0x01])
        }
        let state = try Self.state().message
        let changes: [(inout Message) throws -> Void] = [
            { $0 = try unknown($0) }, { $0.inbound[0] = try unknown($0.inbound[0]) },
            { $0.outbound[0] = try unknown($0.outbound[0]) },
            { $0.services[0] = try unknown($0.services[0]) },
            { $0.services[0].ports[0] = try unknown($0.services[0].ports[0]) },
        ]
        for change in changes {
            var message = state
            try change(&message)
            let error = #expect(throws: WireError.self) { try ProxyState(parsing: message) }
            #expect(error?.description.contains("does not know") == true)
        }
    }

    @Test func `how authorities are distrusted is read back, a key ID of any length is not`() throws
    {
        let revocations: [Revocation] = [
            .authority(keyID: [1, 2]), .taintedAuthority(keyID: [3]),
            .leaf(
                authorityKeyID: [1],
                serial: [1, 0, 2],
                notAfter: Date(timeIntervalSince1970: 1_800_000_000)
            ),
        ]
        for revocation in revocations {
            let payload = ResourcePayload.revocation(name: "n", revocation)
            let resource = try payload.resource
            #expect(try ResourcePayload(resource.key, resource.payload) == payload)
        }
        for serial: [UInt8] in [[], [0, 1], Array(repeating: 1, count: 21)] {
            let leaf = Signet_Node_V1alpha1_Revocation.with {
                $0.leaf.authorityKeyID = Data([1])
                $0.leaf.serial = Data(serial)
                $0.leaf.notAfterUnixSeconds = 1
            }
            #expect(throws: WireError.self) { try Revocation(parsing: leaf) }
        }
        for count in [0, 65] {
            let keyID = Data(repeating: 1, count: count)
            for message: Signet_Node_V1alpha1_Revocation in [
                .with { $0.authority.keyID = keyID }, .with { $0.taintedAuthority.keyID = keyID },
                .with {
                    $0.leaf.authorityKeyID = keyID
                    $0.leaf.serial = Data([1])
                    $0.leaf.notAfterUnixSeconds = 1
                },
                .with {
                    $0.leaf.authorityKeyID = Data([1])
                    $0.leaf.serial = Data([1])
                },
            ] {
                #expect(throws: WireError.self) { try Revocation(parsing: message) }
            }
        }
    }

    @Test func `a time that no certificate can name is refused, not carried on`() throws {
        for seconds in [Int64.min, -1, 0, 253_402_300_800, .max] {
            for message: Signet_Node_V1alpha1_Revocation in [
                .with {
                    $0.leaf.authorityKeyID = Data([1])
                    $0.leaf.serial = Data([1])
                    $0.leaf.notAfterUnixSeconds = seconds
                },
                .with {
                    $0.identity.spiffeID = "spiffe://example.org/web"
                    $0.identity.issuedBeforeUnixSeconds = seconds
                },
            ] {
                #expect(throws: WireError.self) { try Revocation(parsing: message) }
            }
        }
        let last = try Revocation(
            parsing: .with {
                $0.leaf.authorityKeyID = Data([1])
                $0.leaf.serial = Data([1])
                $0.leaf.notAfterUnixSeconds = 253_402_300_799
            }
        )
        #expect(try last.message.leaf.notAfterUnixSeconds == 253_402_300_799)
    }

    @Test func `a revocation of an identity is read back, any other target is refused`() throws {
        let revocation = Revocation.identity(
            try SPIFFEID("spiffe://example.org/web"),
            issuedBefore: Date(timeIntervalSince1970: 1_800_000_000)
        )
        let payload = ResourcePayload.revocation(name: "n", revocation)
        let resource = try payload.resource
        #expect(resource.key == ResourceKey(.revocation, "n"))
        #expect(try ResourcePayload(resource.key, resource.payload) == payload)
        // A target that only a later version knows, and none at all.
        for bytes: [UInt8] in [[0x2A, 0x00], []] {
            #expect(throws: WireError.self) { try ResourcePayload(resource.key, bytes) }
        }
        let never = Signet_Node_V1alpha1_Revocation.with {
            $0.identity.spiffeID = "spiffe://example.org/web"
        }
        #expect(throws: WireError.missing("revocation.identity.issued_before_unix_seconds")) {
            try Revocation(parsing: never)
        }
        #expect(throws: WireError.self) { try Revocation.node(AgentName("n")).message }
    }

    @Test func `revocations and bundles come into force before entries, and those before proxies`()
    {
        let keys = [
            ResourceKey(.document, "a"), ResourceKey(.proxy, "a/b"), ResourceKey(.entry, "a"),
            ResourceKey(.revocationList, "a"), ResourceKey(.bundle, "a"),
            ResourceKey(.revocation, "a"),
        ]
        #expect(
            keys.sorted().map(\.type)
                == [.revocation, .bundle, .revocationList, .entry, .proxy, .document]
        )
    }

    @Test func `a time that no number of milliseconds says is the nearest that one does`() {
        #expect(Date(unixMilliseconds: .max).unixMilliseconds == .max)
        #expect(Date(unixMilliseconds: .min).unixMilliseconds == .min)
        #expect(Date(timeIntervalSince1970: .infinity).unixMilliseconds == .max)
        #expect(Date(unixMilliseconds: 1_800_000_000_123).unixMilliseconds == 1_800_000_000_123)
    }

    @Test func `a report of proxies is read back, within its limits`() throws {
        let epoch = try Epoch(bytes: [UInt8](repeating: 7, count: 16))
        let proxy = AttachedProxy(
            proxy: "shop/front",
            instance: [1, 2, 3, 4, 5],
            version: "0.1.0",
            capabilities: ["a", "b"],
            applied: Revision(epoch: epoch, number: 3),
            refused: Revision(epoch: epoch, number: 4),
            refusedReason: "no",
            listening: [
                ProxyListening(
                    listener: "http",
                    identity: try SPIFFEID("spiffe://example.org/web"),
                    address: try #require(.init("192.0.2.1:443"))
                )
            ],
            pid: 42,
            attachedAt: Date(unixMilliseconds: 1_800_000_000_123),
            isAttached: true
        )
        typealias Report = Signet_Node_V1alpha1_ProxyReport
        let report = Report.with { $0.proxies = [proxy.message] }
        #expect(try AttachedProxy.report(parsing: report) == [proxy])
        let changes: [(inout Signet_Node_V1alpha1_AttachedProxy) -> Void] = [
            { $0.proxy = "front" }, { $0.instance = Data([1]) },
            { $0.version = String(repeating: "v", count: 65) },
            { $0.capabilities = Array(repeating: "c", count: 65) },
            { $0.listening += $0.listening }, { $0.listening[0].address = "x" },
            { $0.applied.epoch = Data() }, { $0.attachedAtUnixMilliseconds = .max },
            { $0.attachedAtUnixMilliseconds = -1 },
        ]
        for change in changes {
            var message = proxy.message
            change(&message)
            #expect(throws: WireError.self) { try AttachedProxy(parsing: message) }
        }
        let many = Report.with {
            $0.proxies = Array(repeating: proxy.message, count: AttachedProxy.reportedMax + 1)
        }
        #expect(throws: WireError.self) { try AttachedProxy.report(parsing: many) }
    }
}
