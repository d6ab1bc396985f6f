// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization
import TestPrograms

/// Two services of one machine, each behind a proxy: the tests' clients, and a backend in Python.
///
/// All of Signet's parts are the real programs; they end with the value.
final class DataPath: Sendable {
    static let ids = "spiffe://example.org"
    static let frontend = "default/frontend"
    static let backend = "default/backend"
    /// Where the demo has its client and its web service, which serve here too.
    private static let demo = "\(Installation.repository.path)/deploy/demo"

    /// Two documents of the policy kind: only this may read.
    static let readersAlone = policy(["frontend"])
    static let readersAndReports = policy(["frontend", "reports"])

    let machine: Machine
    /// mTLS of the backend's proxy.
    let inbound: UInt16
    /// The frontend's listener that is no Unix socket.
    let loopback: UInt16
    /// Where the backend listens; what policies see.
    let application: UInt16
    private let web: Program
    /// Whether the Service's endpoints are observed and not listed.
    private let isObserved: Bool
    private let proxies = Mutex<[String: Program]>([:])

    /// Starts everything.
    ///
    /// - Parameters:
    ///   - ttl: How long SVIDs live.
    ///   - policy: The document that says who may read.
    ///   - isObserved: Whether the endpoints of the Service are observed and not listed.
    /// - Throws: `ProgramFailure` when the first request is not answered in time.
    init(
        ttl: String = "10m",
        policy: String = DataPath.readersAlone,
        isObserved: Bool = false
    ) async throws {
        self.isObserved = isObserved
        machine = try Machine()
        (inbound, loopback, application) = (
            try FreePort.take(), try FreePort.take(), try FreePort.take()
        )
        web = try Program(
            Installation.python(),
            ["\(Self.demo)/backend.py", "\(application)"],
            environment: ["PYTHONUNBUFFERED": "1"],
            directory: machine.path
        )
        try await web.waitFor("listening")
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.apply(documents(ttl: ttl) + policy)
        for proxy in [Self.backend, Self.frontend] { try startProxy(proxy) }
        try await waitUntilApplied()
        try await eventually("the first answer through both proxies") { [self] in
            try await ask().status == 200
        }
    }

    var socket: String { "\(machine.path)/frontend.sock" }
    /// Another identity of the frontend's proxy has its listener there.
    var reportsSocket: String { "\(machine.path)/reports.sock" }

    /// What the backend has been asked, one line each: method, path, length, who asks.
    var asked: String { web.output }

    // MARK: - Documents

    static func policy(_ readers: [String]) -> String {
        let principals = readers.map { "\"\(ids)/\($0)\"" }.joined(separator: ", ")
        return """
            ---
            apiVersion: core.signet/v1alpha1
            kind: AccessPolicy
            metadata: {name: readers}
            spec:
              target: {services: [backend]}
              action: ALLOW
              rules:
                - from: [{source: {principals: [\(principals)]}}]
                  to: [{operation: {methods: [GET, HEAD]}}]

            """
    }

    private func documents(ttl: String) -> String {
        let entries = ["frontend", "reports", "backend"].map {
            Machine.entry($0, workload: "unix:uid:\(FreePort.uid)", more: ["x509SVIDTTL: \(ttl)"])
        }
        return entries.joined() + service + proxy("frontend", outbound)
            + proxy("backend", inboundListener)
    }

    private func proxy(_ name: String, _ lines: String) -> String {
        """
        ---
        apiVersion: core.signet/v1alpha1
        kind: Proxy
        metadata: {name: \(name)}
        spec:
          mode: sidecar
          nodeSelectors: ["role:test"]
          selectors: ["unix:uid:\(FreePort.uid)"]
        \(lines)

        """
    }

    private var service: String {
        """
        ---
        apiVersion: core.signet/v1alpha1
        kind: Service
        metadata: {name: backend}
        spec:
          ports: [{name: http, number: 80, protocol: http}]
          identities: ["\(Self.ids)/backend"]
          \(isObserved ? "observed: true" : "endpoints: [{address: \"127.0.0.1:\(inbound)\"}]")

        """
    }

    private var outbound: String {
        let listeners = [
            ("socket", "frontend", "unix: \(socket)"),
            ("loopback", "frontend", "address: \"127.0.0.1:\(loopback)\""),
            ("reports", "reports", "unix: \(reportsSocket)"),
        ]
        .map { name, identity, place in
            """
                - {name: \(name), identity: "\(Self.ids)/\(identity)", service: backend, port: http,
                   \(place), allow: {uids: [\(FreePort.uid)]}}
            """
        }
        return "  identities: [\"\(Self.ids)/frontend\", \"\(Self.ids)/reports\"]\n  outbound:\n"
            + listeners.joined(separator: "\n")
    }

    /// Whose the application is comes from the entry of the identity.
    private var inboundListener: String {
        """
          identities: ["\(Self.ids)/backend"]
          inbound:
            - {name: http, address: "127.0.0.1:\(inbound)", identity: "\(Self.ids)/backend",
               protocol: http, forward: {address: "127.0.0.1:\(application)"}}
        """
    }

    // MARK: - Proxies

    /// Starts the process of a Proxy document; one that ran before is forgotten.
    @discardableResult
    func startProxy(_ name: String) throws -> Program {
        // An agent that is not root cannot look at a process that protects its memory.
        let debugging = FreePort.uid == 0 ? [] : ["--allow-debugging"]
        let proxy = try Program(
            Installation.binary("signet-proxy"),
            [
                "--agent-socket", "\(machine.path)/proxy.sock", "--proxy", name, "--workers", "1",
                "--telemetry-port", "0",
            ] + debugging,
            directory: machine.path
        )
        proxies.withLock { $0[name] = proxy }
        return proxy
    }

    func proxy(_ name: String) throws -> Program {
        guard let proxy = proxies.withLock({ $0[name] }) else {
            throw ProgramFailure("proxy \(name) was not started")
        }
        return proxy
    }

    private struct Listed: Decodable {
        var proxy: String
        var state: String
    }

    /// Waits until both proxies have applied their newest state.
    func waitUntilApplied() async throws {
        try await eventually("both proxies to apply their state") { [self] in
            for name in [Self.frontend, Self.backend] where try !proxy(name).isRunning {
                throw ProgramFailure("proxy \(name) ended: \(try proxy(name).errors)")
            }
            let listed = try await machine.signet(["proxy", "list", "-o", "json"])
            guard listed.isSuccess else { throw ProgramFailure("proxy list: \(listed.report)") }
            let proxies = try JSONDecoder().decode([Listed].self, from: Data(listed.output.utf8))
            // Processes that were killed stay listed beside their successors.
            let applied = Set(proxies.filter { $0.state == "applied" }.map(\.proxy))
            return applied == [Self.frontend, Self.backend]
        }
    }

    // MARK: - Clients

    /// What a client got.
    struct Answer {
        /// 0: none.
        var status: Int
        var body: String

        /// Of a request that was denied.
        var decision: String? {
            let words = body.split { $0.isWhitespace }.map { String($0) }
            return words.first { word in
                word.count == 26
                    && word.allSatisfy { $0.isASCII && ($0.isLowercase || $0.isNumber) }
            }
        }
    }

    /// Asks once, on a connection of its own.
    ///
    /// - Parameters:
    ///   - place: How curl is told where: a Unix socket, or `127.0.0.1:port`.
    ///   - path: What is asked for.
    ///   - user: Who asks, if it is somebody else; only root can.
    /// - Returns: What came back, if anything did.
    /// - Throws: `ProgramFailure` when curl is missing or does not end.
    func ask(
        at place: String? = nil,
        path: String = "/hello",
        as user: UInt32? = nil
    ) async throws -> Answer {
        let place = place ?? socket
        let isSocket = place.hasPrefix("/")
        let curl =
            ["-sS", "--max-time", "5", "-w", "\n%{http_code}"]
            + (isSocket ? ["--unix-socket", place] : [])
            + ["http://\(isSocket ? "backend" : place)\(path)"]
        let result =
            if let user {
                try await Installation.run(
                    Installation.tool("setpriv"),
                    ["--reuid=\(user)", "--regid=\(user)", "--clear-groups"]
                        + [Installation.tool("curl")] + curl,
                    directory: machine.path
                )
            } else {
                try await Installation.run(
                    Installation.tool("curl"),
                    curl,
                    directory: machine.path
                )
            }
        let lines = result.output.split(separator: "\n", omittingEmptySubsequences: false)
        return Answer(
            status: lines.last.flatMap { Int($0) } ?? 0,
            body: lines.dropLast().joined(separator: "\n")
        )
    }

    /// Starts a client that asks again and again, and waits for its first answer.
    func startLoad(_ arguments: [String]) async throws -> Load {
        let load = Load(
            try Program(
                Installation.python(),
                ["\(Self.demo)/load.py"] + arguments,
                environment: ["PYTHONUNBUFFERED": "1"],
                directory: machine.path
            )
        )
        try await load.program.waitFor("running")
        return load
    }

    /// Writes the files of an identity, as a workload that keeps its own key has them.
    ///
    /// - Returns: Their folder.
    func takeIdentity(_ name: String) async throws -> String {
        let folder = "\(machine.path)/files-\(UInt32.random(in: 0...UInt32.max))"
        let fetched = try await machine.signet(
            ["svid", "fetch", "--spiffe-id", "\(Self.ids)/\(name)", "--write-dir", folder]
        )
        guard fetched.isSuccess else { throw ProgramFailure("fetch: \(fetched.report)") }
        return folder
    }

    /// Stops everything and waits for the ends.
    func stop() async throws {
        for proxy in proxies.withLock({ Array($0.values) }) { try await proxy.stop() }
        try await web.stop()
        try await machine.stop()
    }
}

/// A client that counts (deploy/demo/load.py).
struct Load: Sendable {
    /// What it has counted.
    struct Count: Decodable {
        struct Failure: Decodable {
            var time: Double
            var reason: String
        }
        var requests: Int
        var failures: Int
        var firstFailure: Failure?
        var connections: Int
        /// Unix time.
        var lastSuccess: Double
    }

    let program: Program

    init(_ program: Program) {
        self.program = program
    }

    /// Ends it.
    func stop() async throws -> Count {
        try Self.count(try await program.stop())
    }

    /// Waits until it ends by itself.
    func ended() async throws -> Count {
        try Self.count(try await program.result())
    }

    private static func count(_ result: ProgramResult) throws -> Count {
        guard let line = result.output.split(separator: "\n").last, line.hasPrefix("{") else {
            throw ProgramFailure("load.py: \(result.report)")
        }
        return try JSONDecoder().decode(Count.self, from: Data(line.utf8))
    }
}
