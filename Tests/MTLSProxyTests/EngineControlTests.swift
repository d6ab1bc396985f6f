// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPI
import ControlAPIProtos
import Crypto
import Foundation
import HTTPSemantics
import Logging
import MTLSProxy
import NodeSync
import Reactor
import Routing
import SPIFFE
import SwiftProtobuf
import Synchronization
import TestPKI
import TestPrograms
import Testing

/// What the agent says, brought into force on a real engine.
@Suite(.timeLimit(.minutes(1)))
struct EngineControlTests {
    /// A control over an engine of one worker, and what it tells of its listeners.
    final class Bench: Sendable {
        let root: TestAuthority
        let leaf: TestLeaf
        let address: Routing.SocketAddress
        let engine: ProxyEngine
        let control: EngineControl
        let listening = Mutex<[[ProxyListening]]>([])
        let log = LoggedLines()
        let epoch: Epoch

        init(_ provider: TLSProvider, clock: any NodeClock = SystemClock()) throws {
            root = try TestAuthority.root("example.org", now: Date())
            leaf = try root.leaf(World.backendID)
            address = try World.freeAddress()
            engine = try ProxyEngine(workers: 1, provider: provider, instance: 7)
            control = EngineControl(
                engine,
                decisions: DecisionMemory(),
                clock: clock,
                logger: log.logger
            )
            var generator = SystemRandomNumberGenerator()
            epoch = Epoch(using: &generator)
            control.tellListening { told in self.listening.withLock { $0.append(told) } }
        }

        deinit { engine.stop() }

        var told: [[ProxyListening]] { listening.withLock { $0 } }

        func trust(granted: [String], revokedBefore: Date? = nil) throws -> ProxyTrust {
            let revoked = revokedBefore.map { [(World.backendID, $0)] } ?? []
            return ProxyTrust(
                trustDomain: root.trustDomain,
                bundles: [root.trustDomain: root.bundle],
                revocations: try Dictionary(
                    uniqueKeysWithValues: revoked.map { (try SPIFFEID($0.0), $0.1) }
                ),
                granted: Set(try granted.map { try SPIFFEID($0) })
            )
        }

        /// With an endpoint there is an outbound listener and a Service, too.
        func configuration(
            policies: [[UInt8]] = [],
            notAfter: Date? = nil,
            endpoint: String? = nil
        ) throws
            -> ProxyConfiguration
        {
            let id = try SPIFFEID(World.backendID)
            let listener = InboundListener(
                name: "in",
                address: address,
                identity: id,
                trafficProtocol: .http,
                forward: .address(try World.freeAddress()),
                forwardUIDs: [getuid()],
                workloadPort: 80
            )
            let proxy = Proxy(
                namespace: "default",
                name: "p",
                nodeSelectors: [try Selector("role:web")],
                selectors: [try Selector("unix:uid:0")],
                identities: [id],
                inbound: [listener],
                outbound: endpoint == nil
                    ? []
                    : [
                        OutboundListener(
                            name: "out",
                            identity: id,
                            service: "peers",
                            port: "main",
                            listen: .unix("/tmp/never-opened.sock"),
                            allowedUIDs: [getuid()]
                        )
                    ]
            )
            let addresses = endpoint.flatMap { Routing.SocketAddress($0) }.map { [$0] }
            let services = addresses.map { addresses in
                [
                    Service(
                        namespace: "default",
                        name: "peers",
                        ports: [ServicePort(name: "main", number: 80, trafficProtocol: .http)],
                        identities: [id],
                        endpoints: addresses
                    )
                ]
            }
            let identity = ProxyIdentity(
                id: id,
                certificateChain: leaf.chain,
                privateKeyPKCS8: Array(leaf.key.derRepresentation),
                notBefore: Date() - 60,
                notAfter: notAfter ?? Date() + 3600
            )
            return ProxyConfiguration(
                revision: Revision(epoch: epoch, number: 1),
                sequence: 1,
                state: ProxyState(
                    proxy: proxy,
                    services: services ?? [],
                    policies: policies,
                    inboundPolicies: [Array(policies.indices)]
                ),
                identities: [id: identity]
            )
        }

        /// Whether something takes connections at the listener's address.
        func accepts() throws -> Bool {
            (try? Socket.listen(address.address, port: address.port)) == nil
        }
    }

    @Test(arguments: TLSProvider.allCases)
    func `nothing listens before trust, and a state that comes first is refused`(
        _ provider: TLSProvider
    ) async throws {
        let bench = try Bench(provider)
        let refusal = await bench.control.apply(try bench.configuration())
        #expect(refusal == "a state came before trust")
        #expect(bench.told.isEmpty)
        #expect(!(try bench.accepts()))
    }

    @Test(arguments: TLSProvider.allCases)
    func `a listener opens with its identity and closes when that is not granted any more`(
        _ provider: TLSProvider
    ) async throws {
        let bench = try Bench(provider)
        await bench.control.trust(try bench.trust(granted: [World.backendID]))
        #expect(await bench.control.apply(try bench.configuration()) == nil)
        #expect(bench.told.last?.map(\.listener) == ["in"])
        #expect(try bench.accepts())
        await bench.control.trust(try bench.trust(granted: []))
        #expect(bench.told.last?.isEmpty == true)
        #expect(!(try bench.accepts()))
        // Granted again, the identity that was kept is used again.
        await bench.control.trust(try bench.trust(granted: [World.backendID]))
        #expect(bench.told.last?.map(\.listener) == ["in"])
    }

    @Test(arguments: TLSProvider.allCases)
    func `a listener that lacks its certificate is told of, and again when it has one`(
        _ provider: TLSProvider
    ) async throws {
        let bench = try Bench(provider)
        func open() async -> [String: Double] {
            await bench.control.answer(.counters, limit: 0).counters.samples
                .filter { $0.key.hasPrefix("listener_open") }
        }
        await bench.control.trust(try bench.trust(granted: [World.backendID]))
        #expect(await bench.control.apply(try bench.configuration()) == nil)
        #expect(bench.log.lines == [])
        #expect(await open() == ["listener_open{in}": 1])
        for _ in 0..<2 { await bench.control.trust(try bench.trust(granted: [])) }
        let closed =
            "warning a listener is closed: no certificate for \(World.backendID) "
            + "listener=in reason=no entry grants it to this proxy"
        #expect(bench.log.lines == [closed])
        #expect(await open() == ["listener_open{in}": 0])
        for _ in 0..<2 {
            await bench.control.trust(try bench.trust(granted: [World.backendID]))
        }
        let opened =
            "notice a listener is open again: there is a certificate for \(World.backendID) "
            + "listener=in"
        #expect(bench.log.lines == [closed, opened])
        #expect(await open() == ["listener_open{in}": 1])
        // What is not served while the agent is silent is told of as that, and not as this.
        await bench.control.suspend(true)
        await bench.control.suspend(false)
        #expect(bench.log.lines.dropFirst(2).allSatisfy { $0.contains("the agent is") })
    }

    @Test(arguments: TLSProvider.allCases)
    func `nothing listens in the name of a certificate that was revoked`(
        _ provider: TLSProvider
    ) async throws {
        let bench = try Bench(provider)
        await bench.control.trust(
            try bench.trust(granted: [World.backendID], revokedBefore: Date() + 10)
        )
        #expect(await bench.control.apply(try bench.configuration()) == nil)
        #expect(bench.told.last?.isEmpty == true)
        #expect(!(try bench.accepts()))
    }

    @Test(arguments: TLSProvider.allCases)
    func `a certificate that has ended is presented no more`(
        _ provider: TLSProvider
    ) async throws {
        let bench = try Bench(provider)
        await bench.control.trust(try bench.trust(granted: [World.backendID]))
        let ended = try bench.configuration(notAfter: Date() - 1)
        #expect(await bench.control.apply(ended) == nil)
        #expect(bench.told.last?.isEmpty == true)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a policy that cannot be read refuses the state, and the last one stays`(
        _ provider: TLSProvider
    ) async throws {
        let bench = try Bench(provider)
        await bench.control.trust(try bench.trust(granted: [World.backendID]))
        #expect(await bench.control.apply(try bench.configuration()) == nil)
        let refusal = await bench.control.apply(try bench.configuration(policies: [[0xFF, 0x01]]))
        #expect(refusal?.hasPrefix("policy 0 cannot be read") == true, "\(refusal ?? "applied")")
        #expect(bench.told.count == 1)
        #expect(try bench.accepts())
    }

    @Test(arguments: TLSProvider.allCases)
    func `an agent that is silent for too long stops everything until it is heard`(
        _ provider: TLSProvider
    ) async throws {
        let bench = try Bench(provider)
        await bench.control.trust(try bench.trust(granted: [World.backendID]))
        #expect(await bench.control.apply(try bench.configuration()) == nil)
        await bench.control.suspend(true)
        #expect(!(try bench.accepts()))
        await bench.control.suspend(false)
        #expect(try bench.accepts())
        #expect(bench.told.last?.map(\.listener) == ["in"])
    }

    @Test(arguments: TLSProvider.allCases)
    func `connections are used again until what they stand on changes`(
        _ provider: TLSProvider
    ) throws {
        let bench = try Bench(provider)
        let trust = try bench.trust(granted: [World.backendID])
        var builder = SnapshotBuilder(provider: provider, recording: .denials)
        func generation(
            _ configuration: ProxyConfiguration,
            _ trust: ProxyTrust
        ) throws -> UInt64 {
            let snapshot = try builder.snapshot(of: configuration, under: trust, now: Date())
            return try #require(snapshot.outbound.first?.connectionGeneration)
        }
        let configuration = try bench.configuration(endpoint: "127.0.0.1:1")
        let first = try generation(configuration, trust)
        let revoking = try bench.trust(
            granted: [World.backendID],
            revokedBefore: Date() - 7200
        )
        #expect(try generation(configuration, revoking) == first)
        // The bundle of a trust domain that no server of the Service is of, and no stranger's either.
        let partner = try TestAuthority.root("partner.example", now: Date())
        let federating = ProxyTrust(
            trustDomain: trust.trustDomain,
            bundles: trust.bundles.merging([partner.trustDomain: partner.bundle]) { $1 },
            revocations: [:],
            granted: trust.granted,
            federations: [try SPIFFEID(World.backendID): [partner.trustDomain]]
        )
        #expect(try generation(configuration, federating) == first)
        // Another endpoint, a renewed certificate, another bundle.
        let moved = try generation(try bench.configuration(endpoint: "127.0.0.1:2"), trust)
        #expect(moved > first)
        let renewed = try generation(
            try bench.configuration(notAfter: Date() + 7200, endpoint: "127.0.0.1:2"),
            trust
        )
        #expect(renewed > moved)
        let other = try TestAuthority.root("example.org", now: Date())
        let believing = ProxyTrust(
            trustDomain: trust.trustDomain,
            bundles: [trust.trustDomain: other.bundle],
            revocations: [:],
            granted: trust.granted
        )
        let last = try bench.configuration(notAfter: Date() + 7200, endpoint: "127.0.0.1:2")
        #expect(try generation(last, believing) > renewed)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a decision that is not remembered is refused with a reason`(
        _ provider: TLSProvider
    ) async throws {
        let bench = try Bench(provider)
        let reply = await bench.control.answer(
            .decision(id: "aaaaaaaaaaaaaaaaaaaaaaaaaa"),
            limit: 1
        )
        #expect(reply.refusal.code == "decisionForgotten")
    }

    @Test func `an answer about connections has no more bytes than an agent takes`() throws {
        let row = Signet_Node_V1alpha1_ProxyConnection.with {
            $0.identity = "spiffe://example.org/" + String(repeating: "i", count: 2_000)
            $0.peer = "spiffe://example.org/" + String(repeating: "p", count: 2_000)
        }
        let rows = Array(repeating: row, count: 1_000)
        let long = Signet_Node_V1alpha1_ProxyConnections(rows, limit: 1_000)
        let bytes: [UInt8] = try long.serializedBytes()
        #expect(long.truncated)
        #expect(bytes.count <= Signet_Node_V1alpha1_ProxyConnections.bytesMax)
        #expect(long.connections.count > 100)
        let asked = Signet_Node_V1alpha1_ProxyConnections(rows.prefix(11), limit: 10)
        #expect(asked.truncated)
        #expect(asked.connections.count == 10)
        let all = Signet_Node_V1alpha1_ProxyConnections(rows.prefix(10), limit: 10)
        #expect(!all.truncated)
    }
}
