// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCPeer
internal import SwiftProtobuf
internal import Synchronization

/// A signet-server with data of its own in a temporary folder; no limit of its stands in the way.
final class ServerHost: Sendable {
    typealias Administration =
        Signet_Admin_V1alpha1_Administration.Client<HTTP2ClientTransport.Posix>
    typealias Documents = Signet_Admin_V1alpha1_Documents.Client<HTTP2ClientTransport.Posix>

    static let trustDomain = "bench.example.org"

    private struct State {
        var child: ChildProcess?
        /// 0 until the first start has found a free one.
        var port: UInt16 = 0
    }

    let folder: String
    private let executable: String
    /// Where keys are kept and what they are, as lines of the configuration.
    private let keys: @Sendable (_ folder: String) throws -> String
    private let state = Mutex(State())

    init(
        _ settings: BenchmarkSettings,
        keys: @escaping @Sendable (_ folder: String) throws -> String = { _ in
            "keyStorage: plain"
        }
    ) throws {
        self.keys = keys
        executable = settings.executable("signet-server")
        folder = NSTemporaryDirectory() + "signet-bench-\(UInt32.random(in: 0...UInt32.max))"
        try FileManager.default.createDirectory(
            atPath: folder,
            withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700]
        )
    }

    var databasePath: String { "\(folder)/data/server.sqlite" }
    var adminSocket: String { "\(folder)/admin.sock" }

    /// Where agents connect; the addresses of both families are the same machine.
    func address(isIPv6: Bool = false) -> ServerAddress {
        ServerAddress(host: isIPv6 ? "::1" : "127.0.0.1", port: state.withLock { $0.port })
    }

    /// Starts the server and waits until agents can connect.
    ///
    /// - Returns: How long that took.
    @discardableResult
    func start() async throws -> Duration {
        let port = state.withLock { $0.port }
        let configuration = """
            trustDomain: \(Self.trustDomain)
            dataDirectory: \(folder)/data
            listen: "[::]:\(port)"
            adminSocket: \(adminSocket)
            \(try keys(folder))
            admins: ["uid:\(getuid())"]
            telemetryPort: 0
            signingPerSecond: 1000000
            signingBurst: 1000000
            attestationsPerSecond: 1000000
            attestationBurst: 1000000

            """
        try Data(configuration.utf8).write(to: URL(filePath: "\(folder)/server.yaml"))
        let child = try ChildProcess(executable, ["--config", "\(folder)/server.yaml"])
        state.withLock { $0.child = child }
        let line = try await child.line(with: " ready ", "port=")
        let time = child.age
        guard let text = line.split(separator: "port=").last, let bound = UInt16(text) else {
            throw BenchmarkError("no port in \(line)")
        }
        state.withLock { $0.port = bound }
        return time
    }

    func child() throws -> ChildProcess {
        guard let child = state.withLock({ $0.child }) else {
            throw BenchmarkError("the server does not run")
        }
        return child
    }

    func stop(by signal: Int32 = SIGTERM) async throws {
        try await state.withLock { $0.child }?.end(by: signal)
        state.withLock { $0.child = nil }
    }

    /// Starts, runs `body`, and leaves nothing behind.
    func run<Result: Sendable>(
        _ body: @Sendable (ServerHost) async throws -> Result
    ) async throws -> Result {
        do {
            try await start()
            let result = try await body(self)
            try await remove()
            return result
        } catch {
            let output = (try? child().output) ?? ""
            try? await remove()
            throw BenchmarkError("\(error)\n\(output)")
        }
    }

    func remove() async throws {
        // The folder goes too when there is no time to wait for the server's end.
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try await stop(by: SIGKILL)
    }

    // MARK: - Administration

    /// Runs `body` with a client of the admin socket.
    func withAdmin<Result: Sendable>(
        _ body: @Sendable (GRPCClient<HTTP2ClientTransport.Posix>) async throws -> Result
    ) async throws -> Result {
        try await withGRPCClient(transport: PeerClientTransport.unixSocket(path: adminSocket)) {
            try await body($0)
        }
    }

    /// Applies one text of documents.
    ///
    /// - Returns: The revision reached.
    @discardableResult
    func apply(_ text: String, _ documents: Documents) async throws -> UInt64 {
        let response = try await documents.apply(
            .with {
                $0.files = [
                    .with {
                        $0.name = "bench"
                        $0.content = text
                    }
                ]
            }
        )
        return response.revision.number
    }

    @discardableResult
    func apply(_ text: String) async throws -> UInt64 {
        try await withAdmin { try await apply(text, Documents(wrapping: $0)) }
    }

    /// The text of a registration entry in the default namespace.
    static func entry(
        _ name: String,
        path: String,
        node: String,
        workload: String
    ) -> String {
        """
        apiVersion: core.signet/v1alpha1
        kind: RegistrationEntry
        metadata: {name: \(name)}
        spec:
          spiffeID: spiffe://\(trustDomain)/\(path)
          nodeSelectors: ["\(node)"]
          workloadSelectors: ["\(workload)"]

        """
    }
}
