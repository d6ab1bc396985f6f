// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
package import GRPCPeer
internal import SPIFFE

/// Which server, and how it is reached; shared by every command that administers.
struct ServerOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The server on the network, asked as the identity that the agent here gives. "
                + "Else SIGNET_SERVER.",
            valueName: "host:port"
        )
    )
    var server: String?
    @Option(
        name: .customLong("server-socket"),
        help: ArgumentHelp(
            "The server's admin socket. Else SIGNET_SERVER_SOCKET, .signet/, /run/signet/.",
            valueName: "path"
        ),
        completion: .file()
    )
    var socket: String?
    @Option(
        help: ArgumentHelp(
            "With --server: the identity to show, if this process has several. "
                + "Else SIGNET_IDENTITY, else the first.",
            valueName: "spiffe-id"
        ),
        transform: TypedSPIFFEID.read
    )
    var identity: TypedSPIFFEID?
    @OptionGroup var agent: AgentOptions

    func validate() throws {
        guard server == nil || socket == nil else {
            throw ValidationError("--server and --server-socket exclude each other")
        }
        if let server { try check(server) }
    }

    private func check(_ address: String) throws {
        do throws(CommandFailure) {
            _ = try ServerTarget.address(address, "--server")
        } catch {
            throw ValidationError(error.message + ". " + (error.remedy ?? ""))
        }
    }

    /// What the options and the environment mean.
    var target: ServerTarget {
        get throws(CommandFailure) {
            try ServerTarget(
                server: server,
                socket: socket,
                environment: ProcessInfo.processInfo.environment
            ) { FileManager.default.fileExists(atPath: $0) }
        }
    }

    private var identityID: String? {
        get throws(CommandFailure) {
            if let identity { return identity.text }
            let text = ProcessInfo.processInfo.environment["SIGNET_IDENTITY"] ?? ""
            guard !text.isEmpty else { return nil }
            do throws(SPIFFEIDError) {
                return try TypedSPIFFEID(reading: text).text
            } catch {
                throw CommandFailure(
                    "SIGNET_IDENTITY is \"\(text)\", which is no SPIFFE ID: \(error)",
                    remedy: "Write it as spiffe://example.org/people/alice.",
                    status: .usage
                )
            }
        }
    }

    /// Runs `body` with a client of the server; its refusals become `CommandFailure`.
    func withClient<Result: Sendable>(
        _ body: @Sendable @escaping (GRPCClient<HTTP2ClientTransport.Posix>) async throws -> Result
    ) async throws -> Result {
        switch try target {
        case .socket(let path): return try await SocketPath.withClient(path, peer: .server, body)
        case .network(let address):
            return try await NetworkServer(
                address: address,
                stream: WorkloadStream(path: try agent.path),
                identity: IdentityChoice(spiffeID: try identityID)
            )
            .withClient(body)
        }
    }
}

/// How a server is reached.
package enum ServerTarget: Hashable, Sendable {
    case network(ServerAddress)
    case socket(String)

    /// Where sockets are looked for when nobody says where.
    static let socketCandidates = [".signet/server/admin.sock", "/run/signet/server/admin.sock"]

    /// Chooses: what was typed, then the environment, then the usual places.
    ///
    /// - Parameters:
    ///   - server: `--server`.
    ///   - socket: `--server-socket`.
    ///   - environment: SIGNET_SERVER and SIGNET_SERVER_SOCKET; an empty variable is none.
    ///   - exists: Whether there is a file at a path.
    /// - Throws: `CommandFailure` naming the address that is none, or both variables when it is not
    ///   clear which one is meant.
    package init(
        server: String?,
        socket: String?,
        environment: [String: String],
        exists: (String) -> Bool
    ) throws(CommandFailure) {
        func variable(_ name: String) -> String? {
            environment[name].flatMap { $0.isEmpty ? nil : $0 }
        }
        if let server {
            self = .network(try Self.address(server, "--server"))
            return
        }
        if let socket {
            self = .socket(try SocketPath.typed(socket))
            return
        }
        switch (variable("SIGNET_SERVER"), variable("SIGNET_SERVER_SOCKET")) {
        case (_?, _?):
            throw CommandFailure(
                "both SIGNET_SERVER and SIGNET_SERVER_SOCKET are set",
                remedy: "Unset the one that is not meant, or say --server or --server-socket.",
                status: .usage
            )
        case (let server?, nil): self = .network(try Self.address(server, "SIGNET_SERVER"))
        case (nil, let socket?): self = .socket(try SocketPath.typed(socket))
        case (nil, nil): self = .socket(SocketPath.first(Self.socketCandidates, where: exists))
        }
    }

    /// Reads `host:port`.
    static func address(_ text: String, _ origin: String) throws(CommandFailure) -> ServerAddress {
        do throws(ServerAddressError) {
            let address = try ServerAddress(parsing: text)
            if address.port != 0 { return address }
        } catch {}
        throw CommandFailure(
            "\(origin) is \"\(text)\", which is not host:port",
            remedy: "Write it as ca.example.org:8081 or [2001:db8::1]:8081.",
            status: .usage
        )
    }
}

/// Which agent; shared by every command that needs an identity or asks about one.
struct AgentOptions: ParsableArguments {
    /// Where sockets are looked for when nobody says where.
    static let socketCandidates = [
        ".signet/agent/workload.sock", "/run/signet/agent/workload.sock",
    ]

    @Option(
        name: .customLong("agent-socket"),
        help: ArgumentHelp(
            "The agent's socket. Else SPIFFE_ENDPOINT_SOCKET, .signet/, /run/signet/.",
            valueName: "path"
        ),
        completion: .file()
    )
    var socket: String?

    var path: String {
        get throws(CommandFailure) {
            if let socket { return try SocketPath.typed(socket) }
            let endpoint = ProcessInfo.processInfo.environment["SPIFFE_ENDPOINT_SOCKET"] ?? ""
            if !endpoint.isEmpty { return try SocketPath.parse(endpoint: endpoint) }
            return SocketPath.first(Self.socketCandidates) {
                FileManager.default.fileExists(atPath: $0)
            }
        }
    }

    /// Runs `body` with a client of the agent; its refusals become `CommandFailure`.
    func withClient<Result: Sendable>(
        _ body: @Sendable @escaping (GRPCClient<HTTP2ClientTransport.Posix>) async throws -> Result
    ) async throws -> Result {
        try await SocketPath.withClient(path, peer: .agent, body)
    }
}
