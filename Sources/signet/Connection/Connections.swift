// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCPeer
internal import Glibc

/// Where the server's admin socket is.
struct ServerOptions: ParsableArguments {
    @Option(
        name: .customLong("server-socket"),
        help: "The server's admin socket. Else SIGNET_SERVER_SOCKET, .signet/, /run/signet/."
    )
    var socket: String?

    var path: String {
        socket ?? ProcessInfo.processInfo.environment["SIGNET_SERVER_SOCKET"]
            ?? SocketPath.first(".signet/server/admin.sock", "/run/signet/server/admin.sock")
    }

    /// Runs `body` with a client of the server; its refusals become `CommandFailure`.
    func withClient<Result: Sendable>(
        _ body: @Sendable @escaping (GRPCClient<HTTP2ClientTransport.Posix>) async throws -> Result
    ) async throws -> Result {
        try await SocketPath.withClient(path, peer: "server", body)
    }
}

/// Where the agent's socket is.
struct AgentOptions: ParsableArguments {
    @Option(
        name: .customLong("agent-socket"),
        help: "The agent's socket. Else SPIFFE_ENDPOINT_SOCKET, .signet/, /run/signet/."
    )
    var socket: String?

    var path: String {
        get throws {
            if let socket { return socket }
            if let endpoint = ProcessInfo.processInfo.environment["SPIFFE_ENDPOINT_SOCKET"] {
                return try SocketPath.parse(endpoint: endpoint)
            }
            return SocketPath.first(
                ".signet/agent/workload.sock",
                "/run/signet/agent/workload.sock"
            )
        }
    }

    /// Runs `body` with a client of the agent; its refusals become `CommandFailure`.
    func withClient<Result: Sendable>(
        _ body: @Sendable @escaping (GRPCClient<HTTP2ClientTransport.Posix>) async throws -> Result
    ) async throws -> Result {
        try await SocketPath.withClient(path, peer: "agent", body)
    }
}

/// Unix sockets that commands talk to.
package enum SocketPath {
    /// The first of the paths that exists, else the last.
    static func first(_ candidates: String...) -> String {
        candidates.first { FileManager.default.fileExists(atPath: $0) }
            ?? candidates[candidates.endIndex - 1]
    }

    /// Reads `unix:///absolute/path` (Workload Endpoint section 4): a scheme, no authority, an
    /// absolute path.
    ///
    /// - Parameter endpoint: The value of SPIFFE_ENDPOINT_SOCKET.
    /// - Returns: The path.
    /// - Throws: `CommandFailure` saying how to write it.
    package static func parse(endpoint: String) throws -> String {
        let path =
            if endpoint.hasPrefix("unix:///") {
                String(endpoint.dropFirst("unix://".count))
            } else if endpoint.hasPrefix("unix:/"), !endpoint.hasPrefix("unix://") {
                String(endpoint.dropFirst("unix:".count))
            } else {
                ""
            }
        guard !path.isEmpty, !path.contains("?"), !path.contains("#") else {
            throw CommandFailure(
                "SPIFFE_ENDPOINT_SOCKET is \"\(endpoint)\"",
                remedy: "Write it as unix:///run/signet/agent/workload.sock."
            )
        }
        return path
    }

    /// Runs `body` with a client of whoever listens at `path`.
    ///
    /// - Throws: `CommandFailure` when nobody does, or for what they answered.
    static func withClient<Result: Sendable>(
        _ path: String,
        peer: String,
        _ body: @Sendable @escaping (GRPCClient<HTTP2ClientTransport.Posix>) async throws -> Result
    ) async throws -> Result {
        try checkListener(path, peer: peer)
        do {
            return try await connect(path, body)
        } catch let error as RPCError {
            throw CommandFailure(error, at: path, peer: peer)
        }
    }

    /// Runs `body` with a client; what the other end answers is thrown as it came.
    static func connect<Result: Sendable>(
        _ path: String,
        _ body: @Sendable @escaping (GRPCClient<HTTP2ClientTransport.Posix>) async throws -> Result
    ) async throws -> Result {
        try await withGRPCClient(transport: PeerClientTransport.unixSocket(path: path)) {
            try await body($0)
        }
    }

    /// Says at once what a client could only say after some time.
    static func checkListener(_ path: String, peer: String) throws(CommandFailure) {
        switch SystemCalls.probe(socket: path) {
        case 0: return
        case ENOENT:
            throw CommandFailure(
                "there is no \(peer) socket at \(path)",
                remedy: "Start one with `signet dev`, or name the socket: see `signet --help`.",
                status: .unreachable
            )
        case EACCES, EPERM:
            throw CommandFailure(
                "this user may not use the \(peer) socket at \(path)",
                remedy: "Use sudo, or the user that the \(peer) runs as.",
                status: .unreachable
            )
        case let number:
            throw CommandFailure(
                "nobody answers at the \(peer) socket \(path) (\(SystemCalls.text(ofErrno: number)))",
                remedy: "Is the \(peer) running? Its log says why not.",
                status: .unreachable
            )
        }
    }
}
