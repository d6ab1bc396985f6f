// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPIProtos
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCPeer
import Logging
import NodeAgent
import NodeSync
import SPIFFE
import Synchronization
import Telemetry
import Testing

/// An agent on a real Unix socket whose logic a test fills by hand, in place of a server.
struct ServingAgent: Sendable {
    typealias Client = GRPCClient<HTTP2ClientTransport.Posix>

    static let header: Metadata = ["workload.spiffe.io": "true"]

    let world: AgentWorld
    let core: AgentCore
    let socket: String
    /// Where proxies attach.
    let proxySocket: String

    /// Runs `body` while the agent serves.
    static func run(
        places: WorkloadPlaces = WorkloadPlaces(),
        proxyPlaces: WorkloadPlaces = WorkloadPlaces(),
        proxyAccess: ProxySocket.Access = ProxySocket.Access(group: "no-such-group-here"),
        logger: Logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
        _ body: @escaping @Sendable (ServingAgent) async throws -> Void
    ) async throws {
        let directory = "/tmp/signet-serving-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: directory,
            withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o755]
        )
        defer { try? FileManager.default.removeItem(atPath: directory) }
        // Certificates are verified by nobody here but have to be valid by the real clock.
        let world = try AgentWorld(now: Date(timeIntervalSince1970: Date().timeIntervalSince1970))
        let core = try AgentCore(
            try world.stored(),
            directory: AgentDirectory(directory + "/data"),
            clock: SystemClock(),
            logger: logger,
            metrics: MetricRegistry(of: .agent),
            health: Health(ready: AgentCore.readyConditions)
        )
        let agent = ServingAgent(
            world: world,
            core: core,
            socket: directory + "/workload.sock",
            proxySocket: directory + "/proxy.sock"
        )
        let server = WorkloadSocket(
            core: core,
            attestor: UnixWorkloadAttestor(clock: SystemClock()),
            path: agent.socket,
            mode: 0o666,
            places: places
        )
        let proxies = ProxySocket(
            core: core,
            attestor: UnixWorkloadAttestor(clock: SystemClock()),
            path: agent.proxySocket,
            access: proxyAccess,
            places: proxyPlaces
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            let (ready, announce) = AsyncStream.makeStream(of: Void.self)
            group.addTask { await core.run() }
            group.addTask { try await server.run { announce.yield() } }
            group.addTask { try await proxies.run { announce.yield() } }
            group.addTask {
                var served = ready.makeAsyncIterator()
                for _ in 0..<2 { _ = await served.next() }
                try await body(agent)
            }
            // The server ends only by failing.
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    /// Tells the logic something and returns what it said.
    @discardableResult
    func tell(
        _ event:
            @Sendable (
                inout AgentLogic, ClockReading, inout SystemRandomness
            ) -> [AgentLogic.Action]
    ) -> [AgentLogic.Action] {
        let said = Mutex<[AgentLogic.Action]>([])
        core.transition { logic, now, generator in
            let actions = event(&logic, now, &generator)
            said.withLock { $0 = actions }
            return actions
        }
        return said.withLock { $0 }
    }

    /// Brings entries into force.
    func receive(
        _ entries: [RegistrationEntry],
        bundles: [TrustBundle] = []
    ) throws
        -> [AgentLogic.Action]
    {
        tell { $0.started(now: $1, using: &$2) }
        tell { $0.connected(now: $1, using: &$2) }
        let welcome = tell {
            $0.welcomed(
                trustDomain: "example.org",
                serverTime: $1.wall,
                nodeSelectors: [],
                now: $1,
                using: &$2
            )
        }
        return try welcome + receive(world.snapshot(1, entries, bundles: bundles))
    }

    func receive(_ messages: [SyncMessage]) -> [AgentLogic.Action] {
        messages.flatMap { message in tell { $0.received(message, now: $1, using: &$2) } }
    }

    /// Signs every batch among the actions.
    func sign(_ actions: [AgentLogic.Action]) throws {
        for case .sign(let batch) in actions {
            var results: [IdentityKey: SigningResult] = [:]
            for item in batch.items {
                results[item.key] = .issued(try world.issued(item.key, at: core.clock.wallTime))
            }
            let answers = results
            tell { $0.signed(batch.id, answers, now: $1, using: &$2) }
        }
    }

    /// Brings entries into force and has them signed.
    func serve(_ entries: [RegistrationEntry], bundles: [TrustBundle] = []) throws {
        try sign(receive(entries, bundles: bundles))
    }

    /// An entry that means this very process.
    func own(
        _ name: String,
        hint: String = "",
        federatesWith: [String] = [],
        age: Double = 0
    ) throws -> RegistrationEntry {
        try world.entry(
            name,
            workload: ["unix:uid:\(getuid())"],
            hint: hint,
            federatesWith: federatesWith,
            age: age
        )
    }

    func withClient<Result: Sendable>(
        socket: String? = nil,
        _ body: (Client) async throws -> Result
    ) async throws -> Result {
        try await withGRPCClient(
            transport: PeerClientTransport.unixSocket(path: socket ?? self.socket)
        ) { try await body($0) }
    }

    /// Opens FetchX509SVID and gives each message to `body`, until that returns false.
    func fetch(
        socket: String? = nil,
        metadata: Metadata = Self.header,
        _ body: @escaping @Sendable (X509SVIDResponse) async throws -> Bool
    ) async throws {
        try await withClient(socket: socket) { client in
            try await SpiffeWorkloadAPI.Client(wrapping: client).fetchX509SVID(
                .init(),
                metadata: metadata
            ) { response in
                for try await message in response.messages {
                    guard try await body(message) else { return }
                }
            }
        }
    }

    /// The first message of FetchX509SVID.
    func first() async throws -> X509SVIDResponse {
        let found = Mutex<X509SVIDResponse?>(nil)
        try await fetch { message in
            found.withLock { $0 = message }
            return false
        }
        return try #require(found.withLock { $0 })
    }

    /// The status with which FetchX509SVID ends.
    func failure(
        socket: String? = nil,
        metadata: Metadata = Self.header
    ) async -> RPCError.Code? {
        do {
            try await fetch(socket: socket, metadata: metadata) { _ in false }
            return nil
        } catch let error as RPCError {
            return error.code
        } catch {
            return .unknown
        }
    }
}
