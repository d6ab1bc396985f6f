// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization
import TestPrograms

/// Two machines with a cable between them: network namespaces of this one.
///
/// On the first are the server, the agent, the frontend's proxy and a backend with its proxy; on the
/// second another backend with its proxy, and a TCP service. One agent serves both, as its sockets
/// are files. All of Signet's parts are the real programs; they end with the value.
final class TwoMachines: Sendable {
    /// Whether the kernel lets this user make namespaces.
    static var areAllowed: Bool {
        get async {
            let made = try? await Installation.run(
                Installation.tool("unshare"),
                flags + ["--net", "true"],
                directory: NSTemporaryDirectory()
            )
            return made?.isSuccess == true
        }
    }

    /// Whoever is not root makes a user namespace in which it is.
    private static let flags = FreePort.uid == 0 ? [] : ["--user", "--map-root-user"]
    private static let user = FreePort.uid == 0 ? [] : ["--user"]
    /// Namespaces last this long at most.
    private static let seconds = 300
    private static let addresses = ["10.77.0.1", "10.77.0.2"]
    private static let ids = "spiffe://example.org"
    /// Ports: each machine has all of them for itself.
    private static let (http, tcp, web, echo) = (8443, 9443, 8080, 9000)

    let machine: Machine
    /// The TCP service on the second machine.
    let service: Program
    private let keepers: [Program]
    private let programs: Mutex<[Program]>

    /// The frontend's listeners.
    var webSocket: String { "\(machine.path)/web.sock" }
    var streamSocket: String { "\(machine.path)/stream.sock" }

    /// Starts everything but the first machine's web service.
    ///
    /// - Throws: `ProgramFailure` when something is not there in time.
    init() async throws {
        let directory = try TestDirectory()
        let first = try await Self.keeper(["unshare"] + Self.flags + ["--net"], directory)
        let inside = Self.enter(first, Self.user)
        let second = try await Self.keeper(inside + ["unshare", "--net"], directory)
        keepers = [first, second]
        let starters = keepers.map {
            Self.enter($0, Self.user + ["--net"])
        }
        machine = try Machine {
            $0.starter = starters[0]
            $0.user = 0
        }
        let python = try Installation.python()
        let demo = "\(Installation.repository.path)/deploy/demo"
        try await Self.lay(keepers, machine.directory)
        service = try Self.start(
            starters[1] + [python, "\(Installation.peers)/stream.py", "serve", "\(Self.echo)"],
            machine.directory
        )
        programs = Mutex([service])
        try await service.waitFor("listening")
        for starter in starters {
            let backend = try Self.start(
                starter + [python, "\(demo)/backend.py", "\(Self.web)"],
                machine.directory
            )
            programs.withLock { $0.append(backend) }
            try await backend.waitFor("listening")
        }
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.apply(documents)
        for (name, starter) in [("near", 0), ("far", 1), ("frontend", 0)] {
            let proxy = try Self.start(starters[starter] + command(name), machine.directory)
            programs.withLock { $0.append(proxy) }
        }
        try await waitUntilApplied()
    }

    private struct Listed: Decodable {
        var proxy: String
        var state: String
    }

    private func waitUntilApplied() async throws {
        try await eventually("three proxies to apply their state") { [self] in
            let listed = try await machine.signet(["proxy", "list", "-o", "json"])
            guard listed.isSuccess else { throw ProgramFailure("proxy list: \(listed.report)") }
            let proxies = try JSONDecoder().decode([Listed].self, from: Data(listed.output.utf8))
            let applied = Set(proxies.filter { $0.state == "applied" }.map(\.proxy))
            return applied == ["default/near", "default/far", "default/frontend"]
        }
    }

    /// Cuts the machines off from each other: what one sends reaches nobody, and nothing tells it so.
    ///
    /// Before, it waits until each has confirmed what it was sent: what is not confirmed is sent again
    /// for a quarter of an hour, and as long nobody asks whether the other one is there.
    func unplug() async throws {
        for index in keepers.indices {
            try await eventually("everything is confirmed") { [self] in
                let words = ["ss", "--no-header", "--tcp", "--numeric", "state", "established"]
                let sockets = try await run(index, words).output.split(separator: "\n")
                return sockets.allSatisfy { $0.split(separator: " ").dropFirst().first == "0" }
            }
        }
        for (index, other) in Self.addresses.reversed().enumerated() {
            try await run(
                index,
                [
                    "ip", "neighbour", "replace", other, "lladdr", "02:00:00:00:00:fe", "dev",
                    "cable", "nud", "permanent",
                ]
            )
        }
    }

    func plug() async throws {
        for (index, other) in Self.addresses.reversed().enumerated() {
            try await run(index, ["ip", "neighbour", "delete", other, "dev", "cable"])
        }
    }

    /// Opens a stream to the TCP service, which stays open as long as both machines have it.
    func openStream() async throws -> Program {
        let stream = try Program(
            Installation.python(),
            ["\(Installation.peers)/stream.py", "hold", streamSocket],
            directory: machine.path
        )
        programs.withLock { $0.append(stream) }
        try await stream.waitFor("open")
        return stream
    }

    /// Asks the web service once.
    ///
    /// - Returns: The status, 0 without an answer.
    func ask() async throws -> Int {
        let result = try await Installation.run(
            Installation.tool("curl"),
            [
                "-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code}",
                "--unix-socket", webSocket, "http://backend/hello",
            ],
            directory: machine.path
        )
        return Int(result.output) ?? 0
    }

    /// Stops everything and waits for the ends.
    func stop() async throws {
        for program in programs.withLock({ $0.reversed() }) { try await program.stop() }
        try await machine.stop()
        for keeper in keepers { try await keeper.stop() }
    }

    // MARK: - Namespaces

    private static func start(_ words: [String], _ directory: TestDirectory) throws -> Program {
        let program = words[0].hasPrefix("/") ? words[0] : try Installation.tool(words[0])
        return try Program(
            program,
            Array(words.dropFirst()),
            environment: ["PYTHONUNBUFFERED": "1"],
            directory: directory.path
        )
    }

    /// A process that keeps a namespace: each program of `words` becomes the next, so the number of
    /// the process is that of the first.
    private static func keeper(
        _ words: [String],
        _ directory: TestDirectory
    ) async throws -> Program {
        let keeper = try start(
            words + ["sh", "-c", "echo made; exec sleep \(seconds)"],
            directory
        )
        try await keeper.waitFor("made")
        return keeper
    }

    private static func enter(_ keeper: Program, _ kinds: [String]) -> [String] {
        guard !kinds.isEmpty else { return [] }
        let credentials = kinds.contains("--user") ? ["--preserve-credentials"] : []
        let nsenter = (try? Installation.tool("nsenter")) ?? "nsenter"
        return [nsenter, "--target", "\(keeper.pid)"] + kinds + credentials + ["--"]
    }

    private static func lay(_ keepers: [Program], _ directory: TestDirectory) async throws {
        let ends = ["cable", "type", "veth", "peer", "cable", "netns", "\(keepers[1].pid)"]
        try await run(keepers[0], ["ip", "link", "add"] + ends, directory)
        for (keeper, address) in zip(keepers, addresses) {
            let words = ["ip", "address", "add", "\(address)/24", "dev", "cable"]
            try await run(keeper, words, directory)
            for link in ["lo", "cable"] {
                try await run(keeper, ["ip", "link", "set", link, "up"], directory)
            }
        }
    }

    @discardableResult
    private func run(_ index: Int, _ words: [String]) async throws -> ProgramResult {
        try await Self.run(keepers[index], words, machine.directory)
    }

    @discardableResult
    private static func run(
        _ keeper: Program,
        _ words: [String],
        _ directory: TestDirectory
    ) async throws -> ProgramResult {
        let inside = enter(keeper, user + ["--net"])
        let result = try await start(inside + words, directory).result()
        guard result.isSuccess else { throw ProgramFailure("\(words): \(result.report)") }
        return result
    }

    // MARK: - Documents

    private func command(_ name: String) throws -> [String] {
        // An agent that is not root cannot look at a process that protects its memory.
        let debugging = FreePort.uid == 0 ? [] : ["--allow-debugging"]
        return [
            try Installation.binary("signet-proxy"), "--agent-socket",
            "\(machine.path)/proxy.sock", "--proxy", "default/\(name)", "--workers", "1",
            "--telemetry-port", "0",
        ] + debugging
    }

    private var documents: String {
        let entries = ["frontend", "backend"].map { Machine.entry($0, workload: "unix:uid:0") }
        let near = proxy("near", "backend", inbound(Self.addresses[0]))
        let far = proxy("far", "backend", inbound(Self.addresses[1]))
        let frontend = proxy(
            "frontend",
            "frontend",
            ["outbound:", outbound("web", webSocket), outbound("stream", streamSocket)]
        )
        let policy = Self.document(
            "AccessPolicy",
            "callers",
            [
                "target: {services: [web, stream]}",
                "action: ALLOW",
                "rules: [{from: [{source: {principals: [\"\(Self.ids)/frontend\"]}}]}]",
            ]
        )
        return entries.joined() + near + far + frontend + policy
            + service("web", "http", Self.addresses.map { "\($0):\(Self.http)" })
            + service("stream", "tcp", ["\(Self.addresses[1]):\(Self.tcp)"])
    }

    private func service(_ name: String, _ kind: String, _ places: [String]) -> String {
        let endpoints = places.map { "{address: \"\($0)\"}" }.joined(separator: ", ")
        return Self.document(
            "Service",
            name,
            [
                "ports: [{name: \(name), number: 80, protocol: \(kind)}]",
                "identities: [\"\(Self.ids)/backend\"]",
                "endpoints: [\(endpoints)]",
            ]
        )
    }

    private func inbound(_ address: String) -> [String] {
        let listeners = [
            ("web", "http", Self.http, Self.web), ("stream", "tcp", Self.tcp, Self.echo),
        ]
        return ["inbound:"]
            + listeners.map { name, kind, port, application in
                "  - {name: \(name), protocol: \(kind), identity: \"\(Self.ids)/backend\", "
                    + "address: \"\(address):\(port)\", "
                    + "forward: {address: \"127.0.0.1:\(application)\"}}"
            }
    }

    private func outbound(_ name: String, _ socket: String) -> String {
        "  - {name: \(name), identity: \"\(Self.ids)/frontend\", service: \(name), "
            + "port: \(name), unix: \(socket), allow: {uids: [0]}}"
    }

    private func proxy(_ name: String, _ identity: String, _ listeners: [String]) -> String {
        Self.document(
            "Proxy",
            name,
            [
                "mode: sidecar", "nodeSelectors: [\"role:test\"]", "selectors: [\"unix:uid:0\"]",
                "identities: [\"\(Self.ids)/\(identity)\"]",
            ] + listeners
        )
    }

    private static func document(_ kind: String, _ name: String, _ spec: [String]) -> String {
        let head = [
            "---", "apiVersion: core.signet/v1alpha1", "kind: \(kind)",
            "metadata: {name: \(name)}", "spec:",
        ]
        return (head + spec.map { "  " + $0 }).joined(separator: "\n") + "\n"
    }
}
