// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization
import TestPrograms

/// One server that exchanges tokens, and an agent on each of three nodes; they end with the value.
///
/// The machine is one: a node is an agent with files and sockets of its own, and entries name it by
/// its agent.
final class ThreeNodes: Sendable {
    /// One agent.
    struct Node: Sendable {
        let name: String
        /// Its files and sockets.
        let path: String
        let agent: Program

        var endpoint: String { "unix://\(path)/workload.sock" }
        var tokenSocket: String { "\(path)/token.sock" }
    }

    /// What an HTTP server said.
    struct Answer: Sendable, CustomStringConvertible {
        let status: Int
        let body: String

        var description: String { "\(status) \(body)" }

        /// A body as JSON.
        func decoded<Value: Decodable>(_ type: Value.Type) throws -> Value {
            try JSONDecoder().decode(type, from: Data(body.utf8))
        }

        /// The token of an exchange.
        func token() throws -> String {
            struct Exchanged: Decodable {
                var access_token: String
            }
            guard status == 200 else { throw ProgramFailure("no token: \(self)") }
            return try decoded(Exchanged.self).access_token
        }
    }

    let machine: Machine
    let nodes: [Node]
    private let services = Mutex<[Program]>([])

    /// Starts the four programs.
    ///
    /// - Throws: `ProgramFailure` when one is not there in time.
    init() async throws {
        machine = try Machine {
            $0.serverLines = ["publicURL: https://id.example.org", "tokenExchange: true"]
        }
        let listen = "publicListen: unix:\(machine.path)/public.sock"
        machine.change { $0.serverLines.append(listen) }
        try await machine.startServer()
        var started: [Node] = []
        for name in ["node-a", "node-b", "node-c"] {
            started.append(try await Self.start(name, of: machine))
        }
        nodes = started
    }

    private static func start(_ name: String, of machine: Machine) async throws -> Node {
        let path = "\(machine.path)/\(name)"
        try FileManager.default.createDirectory(
            atPath: path,
            withIntermediateDirectories: false
        )
        let made = try await machine.signet(["token", "create", "--name", name])
        guard made.isSuccess else { throw ProgramFailure("no token: \(made.report)") }
        let file = "\(path)/token"
        let secret = made.output.trimmingCharacters(in: .whitespacesAndNewlines)
        try Data(secret.utf8).write(to: URL(fileURLWithPath: file))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
        let agent = try Program(
            Installation.binary("signet-agent"),
            [
                "--data-dir", "\(path)/agent", "--join-token-file", file,
                "--socket", "\(path)/workload.sock", "--token-socket", "\(path)/token.sock",
                "--telemetry-port", "0",
            ],
            directory: path
        )
        try await agent.waitFor(": ready")
        return Node(name: name, path: path, agent: agent)
    }

    /// Stops everything and waits for the ends.
    func stop() async throws {
        for program in services.withLock({ $0 }) { try await program.stop() }
        for node in nodes { try await node.agent.stop() }
        try await machine.stop()
    }

    // MARK: - Documents

    static func id(_ name: String) -> String { "spiffe://example.org/\(name)" }

    /// Gives this user's processes on a node an identity of that name.
    static func entry(_ name: String, on node: Node) -> String {
        """
        ---
        apiVersion: core.signet/v1alpha1
        kind: RegistrationEntry
        metadata: {name: \(name)}
        spec:
          spiffeID: \(id(name))
          nodeSelectors: ["agent:\(node.name)"]
          workloadSelectors: ["unix:uid:\(FreePort.uid)"]

        """
    }

    /// Lets `actors` act for a at `audiences`.
    static func policy(_ name: String, _ actors: [String], at audiences: [String]) -> String {
        """
        ---
        apiVersion: core.signet/v1alpha1
        kind: DelegationPolicy
        metadata: {name: \(name)}
        spec:
          subjects: ["\(id("a"))"]
          actors: [\(actors.map { "\"\(id($0))\"" }.joined(separator: ", "))]
          audiences: [\(audiences.map { "\"\($0)\"" }.joined(separator: ", "))]

        """
    }

    // MARK: - Tokens

    /// Runs the command line, which has to succeed.
    @discardableResult
    func signet(_ arguments: [String]) async throws -> ProgramResult {
        let result = try await machine.signet(arguments)
        guard result.isSuccess else { throw ProgramFailure("\(arguments): \(result.report)") }
        return result
    }

    /// What the Workload API of a's node says of a JWT-SVID of a.
    func fetch(for audience: String) async throws -> ProgramResult {
        try await machine.signet(
            ["jwt", "fetch", "--audience", audience, "--spiffe-id", Self.id("a"), "--raw"],
            environment: ["SPIFFE_ENDPOINT_SOCKET": nodes[0].endpoint]
        )
    }

    /// A JWT-SVID of a for somebody.
    func shown(to name: String) async throws -> String {
        let fetched = try await fetch(for: Self.id(name))
        guard fetched.isSuccess else { throw ProgramFailure("no JWT-SVID: \(fetched.report)") }
        return fetched.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Asks the agent of a node, as a workload there, for another token.
    func exchange(
        _ token: String,
        at node: Int,
        for audience: String,
        isExchanged: Bool = false
    ) async throws -> Answer {
        let kind = isExchanged ? "access_token" : "jwt"
        return try await post(
            "/token",
            [
                "grant_type=urn:ietf:params:oauth:grant-type:token-exchange",
                "subject_token_type=urn:ietf:params:oauth:token-type:\(kind)",
                "subject_token=\(token)", "audience=\(audience)",
            ],
            at: node
        )
    }

    /// Whether the agent of a node says that a token is good for an audience.
    func isActive(_ token: String, for audience: String, at node: Int) async throws -> Bool {
        struct Introspected: Decodable {
            var active: Bool
        }
        let answer = try await post(
            "/introspect",
            ["token=\(token)", "audience=\(audience)"],
            at: node
        )
        guard answer.status == 200 else { throw ProgramFailure("introspection: \(answer)") }
        return try answer.decoded(Introspected.self).active
    }

    private func post(_ path: String, _ form: [String], at node: Int) async throws -> Answer {
        try await curl(
            ["--header", "Signet-Workload: true", "http://agent\(path)"]
                + form.flatMap { ["--data-urlencode", $0] },
            nodes[node].tokenSocket
        )
    }

    private func curl(_ arguments: [String], _ socket: String) async throws -> Answer {
        let head = ["-sS", "--max-time", "40", "--write-out", "\n%{http_code}"]
        let result = try await Installation.run(
            Installation.tool("curl"),
            head + ["--unix-socket", socket] + arguments,
            directory: machine.path
        )
        let lines = result.output.split(separator: "\n")
        guard result.isSuccess, let status = lines.last.flatMap({ Int($0) }) else {
            throw ProgramFailure("curl: \(result.report)")
        }
        return Answer(status: status, body: lines.dropLast().joined(separator: "\n"))
    }

    // MARK: - Services

    /// Starts a service at a node that introspects what it is shown, for `audience` if that is one,
    /// and hands the call on with a token for the next one.
    ///
    /// - Returns: The socket at which it is called.
    func serve(
        _ name: String,
        at node: Int,
        as audience: String?,
        next: (audience: String, socket: String)? = nil
    ) async throws -> String {
        let socket = "\(nodes[node].path)/\(name).sock"
        let service = try machine.startPeer(
            "delegating.py",
            [socket, nodes[node].tokenSocket, audience ?? "-"]
                + (next.map { [$0.audience, $0.socket] } ?? [])
        )
        services.withLock { $0.append(service) }
        try await service.waitFor("listening")
        return socket
    }

    /// Calls a service with a token.
    func call(_ socket: String, with token: String) async throws -> Answer {
        try await curl(["--header", "Authorization: Bearer \(token)", "http://service/"], socket)
    }
}
