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
    /// The TCP service behind the backend's proxy, and that proxy's port for it.
    private let (streamService, streamInbound): (UInt16, UInt16)
    private let web: Program
    private let stream: Program?
    /// Whether the Service's endpoints are observed and not listed.
    private let isObserved: Bool
    /// Given to every proxy that is started.
    private let flags: [String]
    private let proxies = Mutex<[String: Program]>([:])

    /// Starts everything.
    ///
    /// - Parameters:
    ///   - ttl: How long SVIDs live.
    ///   - policy: The document that says who may read.
    ///   - isObserved: Whether the endpoints of the Service are observed and not listed.
    ///   - flags: Given to the proxies.
    ///   - hasStream: Whether there is a TCP service too, at `streamSocket`.
    ///   - peer: The backend, of the tests' peers; nil: the demo's.
    ///   - serverLines: Added to the server's configuration.
    ///   - prepare: Done before the server is started, which may change what it is started with.
    /// - Throws: `ProgramFailure` when the first request is not answered in time.
    init(
        ttl: String = "10m",
        policy: String = DataPath.readersAlone,
        isObserved: Bool = false,
        flags: [String] = [],
        hasStream: Bool = false,
        peer: String? = nil,
        serverLines: [String] = [],
        prepare: (Machine) async throws -> Void = { _ in }
    ) async throws {
        (self.isObserved, self.flags) = (isObserved, flags)
        machine = try Machine { $0.serverLines = serverLines }
        (inbound, loopback, application) = (
            try FreePort.take(), try FreePort.take(), try FreePort.take()
        )
        (streamService, streamInbound) = (try FreePort.take(), try FreePort.take())
        let script = peer.map { "\(Installation.peers)/\($0)" } ?? "\(Self.demo)/backend.py"
        let serve = ["\(Installation.peers)/stream.py", "serve", "\(streamService)"]
        web = try Self.start([script, "\(application)"], machine)
        stream = try hasStream ? Self.start(serve, machine) : nil
        try await web.waitFor("listening")
        try await stream?.waitFor("listening")
        try await prepare(machine)
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

    /// The frontend's listener for the TCP service.
    var streamSocket: String { "\(machine.path)/stream.sock" }

    /// What the backend has been asked, one line each: method, path, length, who asks.
    var asked: String { web.output }

    private static func start(_ words: [String], _ machine: Machine) throws -> Program {
        try Program(
            Installation.python(),
            words,
            environment: ["PYTHONUNBUFFERED": "1"],
            directory: machine.path
        )
    }

    /// Ends the backend as a crash does.
    func stopApplication() async throws { try await web.stop(.kill) }

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
        return entries.joined() + service + (stream == nil ? "" : streamDocuments)
            + proxy("frontend", outbound) + proxy("backend", inboundListener)
    }

    /// The TCP service, and who may connect to its port: policies hold for all of an identity.
    private var streamDocuments: String {
        """
        ---
        apiVersion: core.signet/v1alpha1
        kind: Service
        metadata: {name: stream}
        spec:
          ports: [{name: echo, number: 7, protocol: tcp}]
          identities: ["\(Self.ids)/backend"]
          endpoints: [{address: "127.0.0.1:\(streamInbound)"}]

        """ + streamPolicy("frontend")
    }

    /// The document that says who may connect to the TCP service.
    func streamPolicy(_ name: String) -> String {
        """
        ---
        apiVersion: core.signet/v1alpha1
        kind: AccessPolicy
        metadata: {name: streams}
        spec:
          target: {services: [stream]}
          action: ALLOW
          rules:
            - from: [{source: {principals: ["\(Self.ids)/\(name)"]}}]
              to: [{operation: {ports: [\(streamService)]}}]

        """
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
        let all = [
            ("socket", "frontend", "backend, port: http", "unix: \(socket)"),
            ("loopback", "frontend", "backend, port: http", "address: \"127.0.0.1:\(loopback)\""),
            ("reports", "reports", "backend, port: http", "unix: \(reportsSocket)"),
            ("stream", "frontend", "stream, port: echo", "unix: \(streamSocket)"),
        ]
        let listeners = all.prefix(stream == nil ? 3 : 4).map { name, identity, service, place in
            """
                - {name: \(name), identity: "\(Self.ids)/\(identity)", service: \(service),
                   \(place), allow: {uids: [\(FreePort.uid)]}}
            """
        }
        return "  identities: [\"\(Self.ids)/frontend\", \"\(Self.ids)/reports\"]\n  outbound:\n"
            + listeners.joined(separator: "\n")
    }

    /// Whose the application is comes from the entry of the identity.
    private var inboundListener: String {
        let all = [("http", inbound, application), ("tcp", streamInbound, streamService)]
        let listeners = all.prefix(stream == nil ? 1 : 2).map { kind, port, service in
            """
                - {name: \(kind), address: "127.0.0.1:\(port)", identity: "\(Self.ids)/backend",
                   protocol: \(kind), forward: {address: "127.0.0.1:\(service)"}}
            """
        }
        return "  identities: [\"\(Self.ids)/backend\"]\n  inbound:\n"
            + listeners.joined(separator: "\n")
    }

    // MARK: - Proxies

    /// Starts the process of a Proxy document; one that ran before is forgotten.
    ///
    /// - Parameters:
    ///   - name: `namespace/name`.
    ///   - flags: Given to it; nil: those of the others.
    /// - Returns: Its process.
    /// - Throws: `ProgramFailure` when it cannot be started.
    @discardableResult
    func startProxy(_ name: String, flags: [String]? = nil) throws -> Program {
        // An agent that is not root cannot look at a process that protects its memory.
        let debugging = FreePort.uid == 0 ? [] : ["--allow-debugging"]
        let proxy = try Program(
            Installation.binary("signet-proxy"),
            [
                "--agent-socket", "\(machine.path)/proxy.sock", "--proxy", name, "--workers", "1",
                "--telemetry-port", "0",
            ] + debugging + (flags ?? self.flags),
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
        try await stream?.stop()
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
        /// The same in seconds since boot.
        var lastSuccessBoot: Double
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
