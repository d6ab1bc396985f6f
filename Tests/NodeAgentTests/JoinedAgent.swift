// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import GRPCPeer
import Issuance
import Logging
import NodeAgent
import NodeSync
import SPIFFE
import SwiftProtobuf
import Synchronization
import Telemetry
import Testing

/// The machine's clocks, of which a test steps one.
final class SteppedClock: NodeClock {
    private let system = SystemClock()
    private let shift = Mutex<TimeInterval>(0)

    func step(by seconds: TimeInterval) { shift.withLock { $0 += seconds } }

    var wallTime: Date { system.wallTime.addingTimeInterval(shift.withLock { $0 }) }

    var bootTime: Duration { system.bootTime }

    func sleep(untilBoot deadline: Duration) async throws {
        try await system.sleep(untilBoot: deadline)
    }
}

/// A server, and an agent that has joined it and has a clock of its own.
struct JoinedAgent: Sendable {
    private static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    let server: ServerCore
    let agent: Agent
    let clock: SteppedClock
    let socket: String
    let admin: ServingAgent.Client

    /// Waits for what comes by itself.
    static func eventually(
        _ what: Comment,
        _ condition: () async throws -> Bool
    ) async throws {
        let clock = SystemClock()
        for _ in 0..<4000 {
            if try await condition() { return }
            try await clock.sleep(untilBoot: clock.bootTime + .milliseconds(10))
        }
        Issue.record(what)
        throw CancellationError()
    }

    /// Runs `body` while both run.
    static func run(
        lifetimes: SVIDLifetimes,
        _ body: @escaping @Sendable (Self) async throws -> Void
    ) async throws {
        let directory = "/tmp/signet-joined-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: directory,
            withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o755]
        )
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var settings = ServerConfiguration(
            trustDomain: try TrustDomain("example.org"),
            dataDirectory: directory + "/server"
        )
        settings.keyStorage = .plain
        settings.listen = ServerAddress(host: "127.0.0.1", port: 0)
        settings.adminSocket = directory + "/admin.sock"
        settings.admins = [.localUser(uid: geteuid(), host: nil)]
        settings.telemetryPort = 0
        settings.lifetimes = lifetimes
        let server = try Server(settings, clock: SystemClock(), logger: quiet)
        try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            let (ports, announce) = AsyncStream.makeStream(of: UInt16.self)
            group.addTask { try await server.run { announce.yield($0) } }
            var found: UInt16?
            for await port in ports {
                found = port
                break
            }
            guard let port = found else { throw CancellationError() }
            let transport = try PeerClientTransport.unixSocket(path: settings.adminSocket)
            try await withGRPCClient(transport: transport) { admin in
                let clock = SteppedClock()
                let agent = try await join(directory, port, admin, clock)
                group.addTask { try await agent.run() }
                try await body(
                    Self(
                        server: server.core,
                        agent: agent,
                        clock: clock,
                        socket: directory + "/workload.sock",
                        admin: admin
                    )
                )
            }
        }
    }

    private static func join(
        _ directory: String,
        _ port: UInt16,
        _ admin: ServingAgent.Client,
        _ clock: SteppedClock
    ) async throws -> Agent {
        let administration = Signet_Admin_V1alpha1_Administration.Client(wrapping: admin)
        var options = CallOptions.defaults
        options.waitForReady = true
        options.timeout = .seconds(20)
        let token = try await administration.createToken(
            .with {
                $0.agentName = "web-1"
                $0.nodeSelectors = ["role:web"]
                $0.serverAddresses = ["127.0.0.1:\(port)"]
            },
            options: options
        )
        var configuration = AgentConfiguration()
        configuration.dataDirectory = directory + "/agent"
        configuration.joinToken = token.token
        configuration.socket = directory + "/workload.sock"
        configuration.tokenSocket = directory + "/token.sock"
        configuration.telemetryPort = 0
        // What an earlier run could not send.
        let spool = DecisionSpool(
            directory: directory + "/agent/decisions",
            clock: clock,
            logger: quiet,
            metrics: MetricRegistry(of: .agent)
        )
        spool.offer(DecisionSamples.judged(DecisionSamples.denials(0..<2)))
        await spool.write()
        return try Agent(configuration, clock: clock, logger: quiet)
    }

    /// Registers the processes of this user.
    func register(_ name: String) async throws {
        let documents = Signet_Admin_V1alpha1_Documents.Client(wrapping: admin)
        _ = try await documents.apply(
            .with {
                $0.files = [
                    .with {
                        $0.name = "test.yaml"
                        $0.content = """
                            apiVersion: core.signet/v1alpha1
                            kind: RegistrationEntry
                            metadata: {name: \(name)}
                            spec:
                              spiffeID: spiffe://example.org/\(name)
                              nodeSelectors: ["role:web"]
                              workloadSelectors: ["unix:uid:\(getuid())"]

                            """
                    }
                ]
            }
        )
    }

    /// The identities that a new stream shows first.
    func fetch() async throws -> [String] {
        try await withGRPCClient(
            transport: PeerClientTransport.unixSocket(path: socket)
        ) { client in
            try await SpiffeWorkloadAPI.Client(wrapping: client).fetchX509SVID(
                .init(),
                metadata: ServingAgent.header
            ) { response in
                for try await message in response.messages {
                    return message.svids.map(\.spiffeID)
                }
                return []
            }
        }
    }
}
