// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCPeer
internal import Glibc

/// Whom a command talks to.
enum PeerName: String {
    case agent
    case server

    /// Where sockets are looked for when nobody says where.
    var socketCandidates: [String] {
        switch self {
        case .agent: AgentOptions.socketCandidates
        case .server: ServerTarget.socketCandidates
        }
    }

    /// The environment variable that says where the socket is.
    var socketVariable: String {
        switch self {
        case .agent: "SPIFFE_ENDPOINT_SOCKET"
        case .server: "SIGNET_SERVER_SOCKET"
        }
    }
}

/// Unix sockets that commands talk to.
package enum SocketPath {
    /// The first of the paths that exists, else the last.
    static func first(_ candidates: [String], where exists: (String) -> Bool) -> String {
        candidates.first(where: exists) ?? candidates[candidates.endIndex - 1]
    }

    /// A path as typed after an option: a path, or an endpoint of the Workload API.
    package static func typed(_ text: String) throws(CommandFailure) -> String {
        if text.hasPrefix("unix:") { return try parse(endpoint: text) }
        guard !text.isEmpty else {
            throw CommandFailure(
                "the path of the socket is empty",
                remedy: "Write a path, such as /run/signet/agent/workload.sock.",
                status: .usage
            )
        }
        return text
    }

    /// Reads `unix:///absolute/path` (Workload Endpoint section 4): a scheme, no authority, an
    /// absolute path.
    ///
    /// - Parameter endpoint: The value of SPIFFE_ENDPOINT_SOCKET.
    /// - Returns: The path.
    /// - Throws: `CommandFailure` saying how to write it.
    package static func parse(endpoint: String) throws(CommandFailure) -> String {
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
                "\"\(endpoint)\" names no Unix socket (SPIFFE_ENDPOINT_SOCKET)",
                remedy: "Write it as unix:///run/signet/agent/workload.sock.",
                status: .usage
            )
        }
        return path
    }

    /// Runs `body` with a client of whoever listens at `path`.
    ///
    /// - Throws: `CommandFailure` when nobody does, or for what they answered.
    static func withClient<Result: Sendable>(
        _ path: String,
        peer: PeerName,
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

    /// The agent's socket is open to all by default, so that a directory is the likelier cause.
    private static func forbiddenRemedy(_ peer: PeerName) -> String {
        switch peer {
        case .agent:
            "Its mode or a directory above it is closed to this user: open that, use sudo, or the "
                + "user that the agent runs as."
        case .server: "Use sudo, or the user that the server runs as."
        }
    }

    /// Every place that was looked at, or could have been, and where no socket is.
    private static func places(_ path: String, _ peer: PeerName) -> String {
        let candidates = peer.socketCandidates
        // A path that somebody named is the only one that was looked at.
        guard path == candidates.last else { return path }
        return candidates.filter { $0 == path || !FileManager.default.fileExists(atPath: $0) }
            .joined(separator: " or ")
    }

    /// Says at once what a client could only say after some time.
    static func checkListener(_ path: String, peer: PeerName) throws(CommandFailure) {
        let option = "--\(peer)-socket"
        switch SystemCalls.probe(socket: path) {
        case 0: return
        case ENOENT:
            throw CommandFailure(
                "there is no \(peer) socket at \(places(path, peer))",
                remedy: peer == .server
                    ? "Start one with `signet dev`, or say where it is: \(option), --server."
                    : "Start one with `signet dev`, or say where it is: \(option).",
                status: .unreachable
            )
        case EACCES, EPERM:
            throw CommandFailure(
                "this user may not use the \(peer) socket at \(path)",
                remedy: forbiddenRemedy(peer)
            )
        case ENAMETOOLONG:
            throw CommandFailure(
                "\(path) has more than \(SystemCalls.socketPathBytesMax) bytes, too long for a socket",
                remedy: "Name it by a shorter path, for example through a symbolic link.",
                status: .usage
            )
        case _ where SystemCalls.isOccupied(path):
            throw CommandFailure(
                "\(path) is there, and is no socket",
                remedy: "Name the \(peer)'s socket: \(option) or \(peer.socketVariable).",
                status: .usage
            )
        case let number:
            let reason = SystemCalls.text(ofErrno: number)
            throw CommandFailure(
                "nobody answers at the \(peer) socket \(path) (\(reason))",
                remedy: "Is the \(peer) running? Its log says why not.",
                status: .unreachable
            )
        }
    }
}
