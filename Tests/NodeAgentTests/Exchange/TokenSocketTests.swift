// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import Clocks
import ControlAPIProtos
import Foundation
import GRPCCore
import GRPCPeer
import Logging
import NodeAgent
import PublicEndpoint
import SPIFFE
import SwiftProtobuf
import Telemetry
import TestPrograms
import Testing

/// Exchanges from a workload's socket to a server and back (docs/decisions/0024-token-exchange.md).
@Suite(.timeLimit(.minutes(2)))
struct TokenSocketTests {
    private static let a = "spiffe://example.org/a"
    private static let b = "spiffe://example.org/b"
    private static let c = "spiffe://example.org/c"
    private static let type = "urn:ietf:params:oauth:token-type:"
    private static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// A server that exchanges, and an agent on whose machine this process is a, b and c.
    private struct Stage: Sendable {
        let socket: String
        let tokenSocket: String
        let metrics: MetricRegistry
        let admin: ServingAgent.Client

        func apply(_ text: String) async throws {
            let documents = Signet_Admin_V1alpha1_Documents.Client(wrapping: admin)
            _ = try await documents.apply(
                .with { $0.files = [.with { ($0.name, $0.content) = ("t.yaml", text) }] }
            )
        }

        /// A JWT-SVID as the Workload API gives it; nil while there is none.
        func token(of id: String, for audience: String) async throws -> String? {
            try await withGRPCClient(
                transport: PeerClientTransport.unixSocket(path: socket)
            ) { client in
                try await SpiffeWorkloadAPI.Client(wrapping: client).fetchJWTSVID(
                    .with { ($0.audience, $0.spiffeID) = ([audience], id) },
                    metadata: ServingAgent.header
                ).svids.first?.svid
            }
        }

        func exchange(
            _ token: String,
            for audience: String,
            type: String = "jwt",
            _ more: [(name: String, value: String)] = []
        ) async throws -> String {
            try await tokenAnswer(
                [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                    ("subject_token", token), ("subject_token_type", TokenSocketTests.type + type),
                    ("audience", audience),
                ] + more,
                to: "/token",
                at: tokenSocket
            )
        }

        func introspect(_ token: String, _ audience: String) async throws -> String {
            try await tokenAnswer(
                [("token", token), ("audience", audience)],
                to: "/introspect",
                at: tokenSocket
            )
        }
    }

    private static func entry(_ name: String) -> String {
        """
        apiVersion: core.signet/v1alpha1
        kind: RegistrationEntry
        metadata: {name: \(name)}
        spec:
          spiffeID: spiffe://example.org/\(name)
          nodeSelectors: ["role:web"]
          workloadSelectors: ["unix:uid:\(getuid())"]
        ---

        """
    }

    private static let policy = """
        apiVersion: core.signet/v1alpha1
        kind: DelegationPolicy
        metadata: {name: p}
        spec: {subjects: [\(a)], actors: [\(b), \(c)], audiences: [\(c), ledger]}

        """

    private func staged(
        exchanges: Bool = true,
        _ body: @escaping @Sendable (Stage) async throws -> Void
    ) async throws {
        let directory = "/tmp/signet-exchange-\(UInt32.random(in: 0 ... .max))"
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
        settings.publicURL = try PublicURL(parsing: "https://id.example.org")
        settings.exchangesTokens = exchanges
        let server = try Server(settings, clock: SystemClock(), logger: Self.quiet)
        try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            let (ports, announce) = AsyncStream.makeStream(of: UInt16.self)
            group.addTask { try await server.run { announce.yield($0) } }
            var listening = ports.makeAsyncIterator()
            let port = try #require(await listening.next())
            let transport = try PeerClientTransport.unixSocket(path: settings.adminSocket)
            try await withGRPCClient(transport: transport) { admin in
                let agent = try await join(directory, port, admin)
                let (ready, started) = AsyncStream.makeStream(of: Void.self)
                group.addTask { try await agent.run { _ in started.yield() } }
                var running = ready.makeAsyncIterator()
                _ = await running.next()
                let stage = Stage(
                    socket: directory + "/workload.sock",
                    tokenSocket: directory + "/token.sock",
                    metrics: agent.metrics,
                    admin: admin
                )
                try await stage.apply(
                    Self.entry("a") + Self.entry("b") + Self.entry("c") + Self.policy
                )
                try await body(stage)
            }
        }
    }

    private func join(
        _ directory: String,
        _ port: UInt16,
        _ admin: ServingAgent.Client
    ) async throws -> Agent {
        var options = CallOptions.defaults
        options.waitForReady = true
        let token = try await Signet_Admin_V1alpha1_Administration.Client(wrapping: admin)
            .createToken(
                .with {
                    ($0.agentName, $0.nodeSelectors) = ("web-1", ["role:web"])
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
        return try Agent(configuration, clock: SystemClock(), logger: Self.quiet)
    }

    private func eventually<Value>(_ find: () async throws -> Value?) async throws -> Value {
        let clock = SystemClock()
        for _ in 0..<3000 {
            if let value = try? await find() { return value }
            try await clock.sleep(untilBoot: clock.bootTime + .milliseconds(10))
        }
        throw CancellationError()
    }

    private static func members(_ answer: String) throws -> [String: JSONValue] {
        let end = try #require(answer.firstRange(of: "\r\n\r\n"))
        let value = try JSONValue(
            parsing: Array(answer[end.upperBound...].utf8),
            bytesMax: 64 * 1024
        )
        guard case .object(let members) = value else { throw CancellationError() }
        return members
    }

    @Test func `a token is exchanged, introspected, and worth nothing once its subject is revoked`()
        async throws
    {
        try await staged { stage in
            let shown = try await eventually { try await stage.token(of: Self.a, for: Self.b) }
            let answer = try await stage.exchange(shown, for: "ledger", [("client_id", Self.b)])
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"), "\(answer)")
            #expect(answer.contains("\r\ncache-control: no-store\r\n"))
            let members = try Self.members(answer)
            #expect(members["issued_token_type"] == .string(Self.type + "access_token"))
            #expect(members["token_type"] == .string("Bearer"))
            let token = try #require(members["access_token"]?.text)

            let active = try Self.members(try await stage.introspect(token, "ledger"))
            #expect(active["active"] == .boolean(true))
            #expect(active["sub"] == .string("delegated:example.org/a"))
            #expect(active["act"] == .object(["sub": .string(Self.b)]))
            #expect(active["iss"] == .string("https://id.example.org/delegated"))
            // Not for this audience, and no token "A, through B".
            for (other, audience) in [(token, "payroll"), (shown, Self.b)] {
                let inactive = try Self.members(try await stage.introspect(other, audience))
                #expect(inactive == ["active": .boolean(false)], "\(audience)")
            }
            _ = try await Signet_Admin_V1alpha1_Administration.Client(wrapping: stage.admin)
                .revokeIdentity(
                    .with { ($0.spiffeID, $0.reason, $0.forSeconds) = (Self.a, "stolen", 60) }
                )
            let gone = try await eventually { () -> [String: JSONValue]? in
                let members = try Self.members(try await stage.introspect(token, "ledger"))
                return members["active"] == .boolean(false) ? members : nil
            }
            #expect(gone == ["active": .boolean(false)])
            let late = try await stage.exchange(shown, for: "ledger")
            #expect(try Self.members(late)["error"] == .string("invalid_request"), "\(late)")
        }
    }

    @Test func `who was shown an exchanged token exchanges it in turn`() async throws {
        try await staged { stage in
            let shown = try await eventually { try await stage.token(of: Self.a, for: Self.b) }
            let first = try Self.members(try await stage.exchange(shown, for: Self.c))
            let passed = try #require(first["access_token"]?.text)
            let second = try Self.members(
                try await stage.exchange(passed, for: "ledger", type: "access_token")
            )
            let token = try #require(second["access_token"]?.text)
            let active = try Self.members(try await stage.introspect(token, "ledger"))
            #expect(active["sub"] == .string("delegated:example.org/a"))
            #expect(
                active["act"]
                    == .object([
                        "act": .object(["sub": .string(Self.b)]), "sub": .string(Self.c),
                    ])
            )
            let back = try await stage.exchange(passed, for: Self.b, type: "access_token")
            #expect(try Self.members(back)["error"] == .string("invalid_target"), "\(back)")
        }
    }

    @Test func `what is refused is told in the words of the RFCs`() async throws {
        try await staged { stage in
            let shown = try await eventually { try await stage.token(of: Self.a, for: Self.b) }
            let target = try Self.members(try await stage.exchange(shown, for: "payroll"))
            #expect(target["error"] == .string("invalid_target"))
            let hop = "delegationNotPermitted: no DelegationPolicy permits \(Self.b) for \(Self.a)"
            #expect(target["error_description"]?.text?.hasPrefix(hop) == true, "\(target)")

            let elsewhere = try #require(try await stage.token(of: Self.a, for: "b"))
            let own = try #require(try await stage.token(of: Self.b, for: Self.b))
            for token in [elsewhere, own, "a.b.c"] {
                let refused = try Self.members(try await stage.exchange(token, for: "ledger"))
                #expect(refused["error"] == .string("invalid_request"), "\(refused)")
            }
            // Nobody is twice in a chain.
            let repeated = try Self.members(try await stage.exchange(own, for: "ledger"))
            let reason = repeated["error_description"]?.text
            #expect(reason?.hasPrefix("chainRefused: ") == true, "\(repeated)")
            let client = try await stage.exchange(shown, for: "ledger", [("client_id", Self.a)])
            #expect(try Self.members(client)["error"] == .string("invalid_client"))
            let scope = try await stage.exchange(shown, for: "ledger", [("scope", "x")])
            #expect(scope.hasPrefix("HTTP/1.1 400 ") && !scope.contains(shown))
            let unmarked = try await UnixClient.answer(
                to: "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
                at: stage.tokenSocket
            )
            #expect(unmarked.contains("Signet-Workload"), "\(unmarked)")
            let shownMetrics = stage.metrics.exposition()
            #expect(
                shownMetrics.contains(
                    "signet_agent_token_requests_total{request=\"token\",result=\"invalid_target\"} 1"
                )
            )
        }
    }

    @Test func `while his own revocation lasts the actor hears when it ends`() async throws {
        try await staged { stage in
            let shown = try await eventually { try await stage.token(of: Self.a, for: Self.b) }
            _ = try await Signet_Admin_V1alpha1_Administration.Client(wrapping: stage.admin)
                .revokeIdentity(
                    .with { ($0.spiffeID, $0.reason, $0.forSeconds) = (Self.b, "stolen", 600) }
                )
            let answer = try await stage.exchange(shown, for: "ledger")
            #expect(answer.hasPrefix("HTTP/1.1 503 ") && answer.contains("identityRevoked: "))
            let field = "retry-after: "
            let wait = answer.split(separator: "\r\n").first { $0.hasPrefix(field) }
                .flatMap { Int($0.dropFirst(field.count)) }
            #expect((500...602).contains(wait ?? 0), "\(answer)")
        }
    }

    @Test func `a server that exchanges nothing is told as unsupported_grant_type`() async throws {
        try await staged(exchanges: false) { stage in
            let shown = try await eventually { try await stage.token(of: Self.a, for: Self.b) }
            let answer = try await stage.exchange(shown, for: "ledger")
            #expect(try Self.members(answer)["error"] == .string("unsupported_grant_type"))
            #expect(answer.contains("exchangeOff"))
        }
    }
}
