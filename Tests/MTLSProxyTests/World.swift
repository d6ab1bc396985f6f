// SPDX-License-Identifier: Apache-2.0

import Authorization
import Clocks
import Crypto
import Dispatch
import Foundation
import Glibc
import HTTPSemantics
import MTLSProxy
import NodeSync
import Reactor
import Routing
import SPIFFE
import Synchronization
import TestPKI
import TestPrograms

/// Two proxies with an application behind the second: what nearly every test needs.
final class World {
    let provider: TLSProvider
    let root: TestAuthority
    /// What the client's proxy shows; another one counts from the next `applyClient` on.
    var web: TestLeaf
    /// What the application's proxy shows, from the next `applyServer` on.
    var backend: TestLeaf
    let inboundAddress: SocketAddress
    let outboundAddress: SocketAddress
    let application: SocketAddress
    let trafficProtocol: TrafficProtocol
    /// The proxy of the application.
    let server: ProxyEngine
    /// The proxy of the client.
    let client: ProxyEngine
    /// What remembers the policies of the application's proxy.
    let decisions = DecisionMemory()
    private let epoch: Epoch
    private(set) var generation: UInt64 = 0
    /// All snapshots of the client's proxy, as long as somebody else has them.
    private var clientSnapshots: [Held] = []
    private var connectionGeneration: UInt64 = 0

    static let webID = "spiffe://example.org/web"
    static let backendID = "spiffe://example.org/backend"

    init(
        _ provider: TLSProvider,
        _ trafficProtocol: TrafficProtocol,
        application: SocketAddress,
        workers: Int = 1,
        serverClock: any NodeClock = SystemClock()
    ) throws {
        self.provider = provider
        self.trafficProtocol = trafficProtocol
        self.application = application
        root = try TestAuthority.root("example.org", now: Date())
        web = try root.leaf(Self.webID)
        backend = try root.leaf(Self.backendID)
        inboundAddress = try Self.freeAddress()
        outboundAddress = try Self.freeAddress()
        server = try ProxyEngine(workers: workers, provider: provider) {
            serverClock.wallTime.timeIntervalSince1970
        }
        client = try ProxyEngine(workers: workers, provider: provider)
        epoch = try Epoch(bytes: [UInt8](repeating: 1, count: 16))
    }

    deinit {
        client.stop()
        server.stop()
    }

    /// An address at which nobody listens, and another one each time.
    static func freeAddress() throws -> SocketAddress {
        guard let address = SocketAddress("127.0.0.1:\(try FreePort.take())") else {
            throw NoAddress()
        }
        return address
    }

    func requirements(
        expected: Set<SPIFFEID>? = nil,
        revocations: PeerRevocations = .none
    ) -> PeerRequirements {
        PeerRequirements(
            authorities: TLSAuthorities(
                provider: provider,
                bundles: [root.trustDomain: root.bundle]
            ),
            in: root.trustDomain,
            revocations: revocations,
            expected: expected
        )
    }

    /// Lets `web` do what the policies say, and waits until every loop knows it.
    func applyServer(
        _ policies: [AccessPolicy],
        name: String = "in",
        revocations: PeerRevocations = .none,
        requires: PeerRequirements? = nil,
        forward: ForwardTarget? = nil,
        forwardUIDs: [UInt32] = [getuid()],
        recording: ProxyRecording = .all,
        limits: ProxyLimits = ProxyLimits()
    ) async throws {
        generation += 1
        let identity = TLSIdentity(
            chain: backend.chain,
            privateKeyPKCS8: Array(backend.key.derRepresentation)
        )
        let route = InboundRoute(
            listener: InboundListener(
                name: name,
                address: inboundAddress,
                identity: try SPIFFEID(Self.backendID),
                trafficProtocol: trafficProtocol,
                forward: forward ?? .address(application),
                forwardUIDs: forwardUIDs,
                workloadPort: 80
            ),
            context: try TLSContext(provider: provider, role: .server, identities: [identity]),
            requirements: requires ?? requirements(revocations: revocations),
            policies: try CompiledPolicySet(policies)
        )
        let snapshot = ProxySnapshot(
            generation: generation,
            revision: generation,
            inbound: [route],
            outbound: [],
            recording: recording,
            limits: limits
        )
        decisions.remember(snapshot, revision: Revision(epoch: epoch, number: generation))
        try await apply(server, snapshot)
    }

    /// Lets this user send to the Service, as `web`.
    func applyClient(
        expected: [String] = [World.backendID],
        allowedUIDs: [UInt32] = [getuid()],
        endpoints: [SocketAddress]? = nil,
        service: String = "backend",
        listen: OutboundAddress? = nil,
        keepsConnections: Bool = false,
        requires: PeerRequirements? = nil,
        limits: ProxyLimits = ProxyLimits()
    ) async throws {
        generation += 1
        if !keepsConnections { connectionGeneration = generation }
        let identity = TLSIdentity(
            chain: web.chain,
            privateKeyPKCS8: Array(web.key.derRepresentation)
        )
        let route = OutboundRoute(
            listener: OutboundListener(
                name: "out",
                identity: try SPIFFEID(Self.webID),
                service: service,
                port: "main",
                listen: listen ?? .address(outboundAddress),
                allowedUIDs: allowedUIDs
            ),
            trafficProtocol: trafficProtocol,
            context: try TLSContext(provider: provider, role: .client, identities: [identity]),
            requirements: try requires
                ?? requirements(expected: Set(expected.map { try SPIFFEID($0) })),
            serverName: "backend.default.signet.internal",
            endpoints: endpoints ?? [inboundAddress],
            connectionGeneration: connectionGeneration
        )
        let snapshot = ProxySnapshot(
            generation: generation,
            revision: generation,
            inbound: [],
            outbound: [route],
            recording: .all,
            limits: limits
        )
        clientSnapshots.append(Held(snapshot: snapshot))
        try await apply(client, snapshot)
    }

    private struct Held { weak var snapshot: ProxySnapshot? }

    /// How many snapshots of the client's proxy somebody has.
    var clientSnapshotCount: Int { clientSnapshots.count { $0.snapshot != nil } }

    private func apply(_ engine: ProxyEngine, _ snapshot: ProxySnapshot) async throws {
        try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
            do {
                try engine.apply(snapshot) { done.resume() }
            } catch {
                done.resume(throwing: error)
            }
        }
    }

    /// The first thing that a TLS client says.
    func clientHello() throws -> [UInt8] {
        let identity = TLSIdentity(
            chain: web.chain,
            privateKeyPKCS8: Array(web.key.derRepresentation)
        )
        let context = try TLSContext(provider: provider, role: .client, identities: [identity])
        guard var session = TLSSession(context, serverName: "a.example", now: 0) else {
            throw NoAddress()
        }
        var input = Buffer()
        var output = Buffer()
        _ = session.handshake(
            &input,
            output: &output,
            requirements: requirements(),
            now: Date()
        )
        return output.copy()
    }

    /// What `web` may do.
    static func allow(
        _ paths: [String]? = nil,
        _ principal: String = World.webID,
        action: AccessPolicy.Action = .allow,
        name: String = "p"
    ) throws -> AccessPolicy {
        let principals = AccessField(anyOf: [PrincipalPattern.exact(try SPIFFEID(principal))])
        let patterns = paths?.compactMap { PathPattern($0) }
        let operation = patterns.flatMap { patterns in
            AccessField(anyOf: patterns).map { [AccessOperation(paths: $0)] }
        }
        guard let principals,
            let rule = AccessRule(
                from: [AccessSource(principals: principals)],
                to: operation
            )
        else { throw NoAddress() }
        return AccessPolicy(namespace: "default", name: name, action: action, rules: [rule])
    }
}

extension ProxyEngine {
    func sum() async -> ProxyCounters {
        await withCheckedContinuation { done in counters { done.resume(returning: $0) } }
    }

    func list() async -> [ConnectionStatus] {
        await withCheckedContinuation { done in
            connections(limit: 100) { done.resume(returning: $0) }
        }
    }

    /// Holds its only loop in the turn in which that comes to it.
    func hold() async -> HeldLoop {
        let gate = DispatchSemaphore(value: 0)
        let turn = await withCheckedContinuation { done in
            counters { sum in
                done.resume(returning: sum.turns)
                gate.wait()
            }
        }
        return HeldLoop(turn: turn, gate: gate)
    }

    func drained() async {
        await withCheckedContinuation { done in drain { done.resume() } }
    }
}

/// A loop that does nothing before it is let go: what comes meanwhile waits for one turn.
final class HeldLoop {
    let turn: UInt64
    private let gate: DispatchSemaphore

    init(turn: UInt64, gate: DispatchSemaphore) {
        self.turn = turn
        self.gate = gate
    }

    /// Whatever becomes of a test, the loop goes on.
    deinit { gate.signal() }

    func letGo() { gate.signal() }
}
