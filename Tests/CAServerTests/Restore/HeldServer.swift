// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import GRPCPeer
import Logging
import SPIFFE
import SwiftProtobuf

/// A client of the admin socket of a server that is held, and the port that agents connect to
/// once it is not.
struct HeldServer {
    let core: ServerCore
    let admin: GRPCClient<Transport>
    let ports: AsyncStream<UInt16>

    var administration: Administration.Client<Transport> { .init(wrapping: admin) }
    var documents: Documents.Client<Transport> { .init(wrapping: admin) }
    var audit: Audit.Client<Transport> { .init(wrapping: admin) }

    func recover(
        rehearse: Bool = false,
        now: Bool = false
    ) async throws -> Signet_Admin_V1alpha1_RecoverResponse {
        try await administration.recover(.with { ($0.rehearse, $0.now) = (rehearse, now) })
    }

    func port() async -> UInt16? {
        for await port in ports { return port }
        return nil
    }

    static func configuration(_ directory: TestDirectory) throws -> ServerConfiguration {
        var configuration = ServerConfiguration(
            trustDomain: try TrustDomain("example.org"),
            dataDirectory: "\(directory.path)/data"
        )
        configuration.keyStorage = .plain
        configuration.listen = ServerAddress(host: "127.0.0.1", port: 0)
        configuration.adminSocket = "\(directory.path)/admin.sock"
        configuration.admins = [.localUser(uid: geteuid(), host: nil)]
        configuration.telemetryPort = 0
        return configuration
    }
}

/// Serves from a directory whose server is held, until `body` is done.
func withHeldServer(
    in directory: TestDirectory,
    _ change: (inout ServerConfiguration) -> Void = { _ in },
    _ body: (HeldServer) async throws -> Void
) async throws {
    var configuration = try HeldServer.configuration(directory)
    change(&configuration)
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let server = try Server(configuration, clock: ShiftedClock(), logger: logger)
    let (ports, announce) = AsyncStream.makeStream(of: UInt16.self)
    let transport = try PeerClientTransport.unixSocket(path: configuration.adminSocket)
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            defer { announce.finish() }
            try await server.run { announce.yield($0) }
        }
        try await withGRPCClient(transport: transport) { admin in
            let held = HeldServer(core: server.core, admin: admin, ports: ports)
            var options = CallOptions.defaults
            options.waitForReady = true
            options.timeout = .seconds(20)
            _ = try await held.administration.getHealth(.init(), options: options)
            try await body(held)
        }
        group.cancelAll()
        do { try await group.waitForAll() } catch is CancellationError {}
    }
}
