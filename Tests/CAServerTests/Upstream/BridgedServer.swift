// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPIProtos
import Datastore
import Foundation
import GRPCPeer
import Logging
import SPIFFE
import Telemetry
import TestBridge
import TestPKI
import Testing

/// An upstream in this process, the place of its socket, and servers below it.
struct BridgedServer: Sendable {
    let bridge: UpstreamBridge
    let directory: TestDirectory
    let clock = ShiftedClock()

    init() throws {
        bridge = try UpstreamBridge("example.org", now: Date())
        directory = try TestDirectory()
    }

    var socket: String { "\(directory.path)/up.sock" }

    func configure(_ configuration: inout ServerConfiguration) {
        configuration.upstream = .service
        configuration.serviceSocket = socket
    }

    /// Runs `body` while the upstream answers.
    func bridging<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        try await bridge.serving(at: socket, body)
    }

    /// Runs `body` with a server, whether or not the upstream is there.
    func serving<Value: Sendable>(
        _ change: (inout ServerConfiguration) -> Void = { _ in },
        _ body: (TestServer) async throws -> Value
    ) async throws -> Value {
        try await withServer(
            in: directory,
            clock: clock,
            {
                configure(&$0)
                change(&$0)
            },
            body
        )
    }

    /// A server that a test starts itself, as it may wait.
    func server() throws -> Server {
        var configuration = ServerConfiguration(
            trustDomain: try TrustDomain("example.org"),
            dataDirectory: "\(directory.path)/data"
        )
        configuration.keyStorage = .plain
        configuration.listen = ServerAddress(host: "127.0.0.1", port: 0)
        configuration.adminSocket = "\(directory.path)/admin.sock"
        configuration.telemetryPort = 0
        configure(&configuration)
        return try Server(configuration, clock: clock, logger: Logger(label: "test"))
    }

    /// Waits until `condition` holds, and lets ten seconds pass each second: what has failed is tried
    /// again then, and what is under way has time.
    func eventuallyRetried(_ what: Comment, _ condition: () async throws -> Bool) async throws {
        var attempts = 0
        try await eventually(what) {
            if try await condition() { return true }
            attempts += 1
            if attempts % 100 == 0 { clock.pass(.seconds(10)) }
            return false
        }
    }
}

/// The computed ID of an authority's key.
func keyID(of authority: TestAuthority) throws -> KeyIdentifier {
    try LeafCertificate(der: authority.der).keyIdentifier
}

extension TestServer {
    /// The value of a counter with these labels; 0 if there is none.
    func count(_ name: String, _ labels: String) -> Int {
        let start = "\(name){\(labels)} "
        let line = core.metrics.exposition().split(separator: "\n").first { $0.hasPrefix(start) }
        return line.flatMap { Double($0.dropFirst(start.count)) }.map { Int($0) } ?? 0
    }

    /// How often the upstream said what is above.
    func trusts(_ outcome: String) -> Int {
        count("signet_server_upstream_trust_total", "kind=\"service\",outcome=\"\(outcome)\"")
    }

    /// The state of an authority, or of what is above.
    func state(of id: String) async throws -> String? {
        let response = try await administration.listAuthorities(.init())
        return (response.authorities + response.above).first { $0.id == id }?.state
    }

    /// Why the upstream is not well; nil if it is.
    var upstreamProblem: String? {
        core.health.report(.ready).conditions.first { $0.name == "upstream" }?.problem
    }
}
