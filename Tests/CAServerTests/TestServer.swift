// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import Dispatch
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCPeer
import Issuance
import Logging
import SPIFFE
import SwiftProtobuf
import Testing

/// A directory of its own, which goes with the value.
///
/// The path is short, as sockets are bound in it.
final class TestDirectory: Sendable {
    let path: String

    init() throws {
        let name = "sgt-\(UInt32.random(in: 0...UInt32.max))"
        let url = FileManager.default.temporaryDirectory.appendingPathComponent(name)
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
        path = url.path
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }
}

typealias Documents = Signet_Admin_V1alpha1_Documents
typealias Administration = Signet_Admin_V1alpha1_Administration
typealias Audit = Signet_Admin_V1alpha1_Audit
typealias Node = Signet_Node_V1alpha1_Node
typealias Attestation = Signet_Node_V1alpha1_NodeAttestation
typealias Transport = HTTP2ClientTransport.Posix

/// A server that is serving, and a connection to its admin socket.
struct TestServer: Sendable {
    let core: ServerCore
    let address: ServerAddress
    let admin: GRPCClient<Transport>

    var documents: Documents.Client<Transport> { .init(wrapping: admin) }
    var administration: Administration.Client<Transport> { .init(wrapping: admin) }
    var audit: Audit.Client<Transport> { .init(wrapping: admin) }

    /// The name of this process among the actors of the server.
    static var actor: String { "uid:\(geteuid())@localhost" }

    /// Judges the server as agents do, with the bundle it has at the moment.
    var verifyServer: @Sendable ([[UInt8]]) async throws -> VerifiedPeer {
        let core = core
        return { chain in
            let bundle = try core.trust.bundle
            let verifier = PeerVerifier(bundles: [bundle.trustDomain: bundle])
            let peer = try await verifier.verify(chain: chain, now: core.clock.wallTime)
            guard peer.id.path == "/signet/server/\(core.logic.serverID)" else {
                throw PeerVerificationError.noPath
            }
            return peer
        }
    }

    /// Calls without a client certificate.
    func anonymously<Value: Sendable>(
        _ body: (GRPCClient<Transport>) async throws -> Value
    ) async throws -> Value {
        try await withGRPCClient(
            transport: try PeerClientTransport.anonymousTLS(
                to: address,
                server: .required(verifyServer)
            )
        ) { try await body($0) }
    }

    /// Calls with the certificate.
    func authenticated<Value: Sendable>(
        as identity: TLSIdentity,
        _ body: (GRPCClient<Transport>) async throws -> Value
    ) async throws -> Value {
        try await withGRPCClient(
            transport: try PeerClientTransport.mutualTLS(
                to: address,
                identity: { identity },
                verifyServer: verifyServer
            )
        ) { try await body($0) }
    }

    /// The names of the conditions that are not met.
    func unmetConditions() async throws -> [String] {
        try await administration.getHealth(.init()).conditions.filter { !$0.ok }.map(\.name)
    }

    /// Why the conditions that are unmet are so.
    func complaints() async throws -> [String] {
        try await administration.getHealth(.init()).conditions.filter { !$0.ok }
            .map { "\($0.name): \($0.reason)" }
    }
}

/// Serves from `directory` while `body` runs.
func withServer<Value: Sendable>(
    in directory: TestDirectory,
    clock: any NodeClock = SystemClock(),
    rebuildsAuditLog: Bool = false,
    _ change: (inout ServerConfiguration) -> Void = { _ in },
    _ body: (TestServer) async throws -> Value
) async throws -> Value {
    var configuration = ServerConfiguration(
        trustDomain: try TrustDomain("example.org"),
        dataDirectory: "\(directory.path)/data"
    )
    configuration.keyStorage = .plain
    configuration.listen = ServerAddress(host: "127.0.0.1", port: 0)
    configuration.advertise = ["127.0.0.1:8081"]
    configuration.adminSocket = "\(directory.path)/admin.sock"
    configuration.admins = [.localUser(uid: geteuid(), host: nil)]
    configuration.telemetryPort = 0
    configuration.attestationBurst = 1000
    change(&configuration)
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let server = try Server(
        configuration,
        clock: clock,
        logger: logger,
        rebuildsAuditLog: rebuildsAuditLog
    )
    let socket = configuration.adminSocket
    let (ports, announce) = AsyncStream.makeStream(of: UInt16.self)
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            defer { announce.finish() }
            try await server.run { announce.yield($0) }
        }
        var port: UInt16?
        for await announced in ports {
            port = announced
            break
        }
        guard let port else {
            try await group.waitForAll()
            throw CancellationError()
        }
        let transport = try PeerClientTransport.unixSocket(path: socket)
        let value = try await withGRPCClient(transport: transport) { admin in
            let running = TestServer(
                core: server.core,
                address: ServerAddress(host: "127.0.0.1", port: port),
                admin: admin
            )
            var options = CallOptions.defaults
            options.waitForReady = true
            options.timeout = .seconds(20)
            _ = try await running.administration.getHealth(.init(), options: options)
            return try await body(running)
        }
        group.cancelAll()
        do { try await group.waitForAll() } catch is CancellationError {}
        return value
    }
}

/// Serves from a new directory while `body` runs.
func withServer<Value: Sendable>(
    clock: any NodeClock = SystemClock(),
    _ change: (inout ServerConfiguration) -> Void = { _ in },
    _ body: (TestServer) async throws -> Value
) async throws -> Value {
    try await withServer(in: try TestDirectory(), clock: clock, change, body)
}

/// How a call was refused; nil when it succeeded.
func refusal(_ call: () async throws -> some Sendable) async -> APIError? {
    do {
        _ = try await call()
        return nil
    } catch let error as APIError {
        return error
    } catch let error as RPCError {
        return APIError(error)
    } catch {
        return APIError(.fault, "\(type(of: error))", "\(error)")
    }
}

/// Waits until `condition` holds; looks again at most `attempts` times, 10 ms apart.
func eventually(
    _ what: Comment,
    attempts: Int = 1500,
    sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: () async throws -> Bool
) async throws {
    for _ in 0..<attempts {
        if try await condition() { return }
        let clock = SystemClock()
        try await clock.sleep(untilBoot: clock.bootTime + .milliseconds(10))
    }
    Issue.record(what, sourceLocation: sourceLocation)
    throw CancellationError()
}

/// The writes that wait behind one that a test holds up.
struct HeldWrites: Sendable {
    fileprivate let server: TestServer
    fileprivate let gate: DispatchSemaphore

    /// Waits until so many writes are queued.
    func queued(_ count: Int) async throws {
        try await eventually("\(count) writes are queued") {
            server.core.datastore.queuedWrites >= count
        }
    }

    /// Lets them all go, in the order in which they came.
    func release() { gate.signal() }
}

extension TestServer {
    /// Holds up the datastore's writer, so that a test decides what is committed before what.
    ///
    /// `body` must release it, and is given up after a while if it does not.
    func holdingWrites(_ body: (HeldWrites) async throws -> Void) async throws {
        let held = HeldWrites(server: self, gate: DispatchSemaphore(value: 0))
        let (begun, announce) = AsyncStream.makeStream(of: Void.self)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await core.datastore.write { _ in
                    announce.finish()
                    _ = held.gate.wait(timeout: .now() + 30)
                }
            }
            for await _ in begun {}
            defer { held.release() }
            try await body(held)
        }
    }
}

/// Bytes as the server writes them.
func hexadecimal(_ bytes: [UInt8]) -> String {
    bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}
