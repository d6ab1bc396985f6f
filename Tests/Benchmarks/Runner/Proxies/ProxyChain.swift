// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// What all products of one case share: certificates, the server behind, and free ports.
struct ProxyStand: Sendable {
    let folder: String
    let certificates: ProxyCertificates
    let load: LoadProgram
    let backend: ChildProcess
    let backendPort: Int
    let settings: BenchmarkSettings

    /// Sets everything up, runs `body`, and leaves nothing behind.
    static func run<Value: Sendable>(
        _ settings: BenchmarkSettings,
        _ body: @Sendable (ProxyStand) async throws -> Value
    ) async throws -> Value {
        let folder = NSTemporaryDirectory() + "signet-bench-\(UInt32.random(in: 0...UInt32.max))"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let certificates = try await ProxyCertificates(in: folder)
        let load = LoadProgram(executable: settings.executable("signet-bench-load"))
        let command = load.command(["backend"])
        let backend = try ChildProcess(command.executable, command.arguments)
        do {
            let port = try await LoadProgram.port(of: backend)
            let value = try await body(
                ProxyStand(
                    folder: folder,
                    certificates: certificates,
                    load: load,
                    backend: backend,
                    backendPort: port,
                    settings: settings
                )
            )
            try await backend.end()
            return value
        } catch {
            try? await backend.end()
            throw error
        }
    }

    func credentials(_ identity: ProxyIdentity?, isOldTLS: Bool = false) -> LoadProgram.Credentials
    {
        LoadProgram.Credentials(
            certificates: certificates,
            identity: identity,
            isOldTLS: isOldTLS
        )
    }
}

/// Both proxies of one product, running, the client's side in front of the server's.
struct ProxyChain: Sendable {
    let client: ChildProcess
    let server: ChildProcess
    /// Where plain requests go in.
    let clientPort: Int
    /// Where mutual TLS goes in.
    let serverPort: Int
    /// Where the tap between the two writes what it has read.
    let tapOutput: String
    /// Whole once both have ended.
    let accessLogs: [String]

    /// Starts both, runs `body`, and ends both.
    ///
    /// - Parameters:
    ///   - product: What both are.
    ///   - setup: What they are to do.
    ///   - stand: What is around them.
    ///   - serverIdentity: What the server's side shows.
    ///   - isTapped: Whether a tap stands between them, which reads what the server chooses.
    ///   - wrapper: A program that runs the server's side, with its arguments.
    ///   - body: What is done with them.
    ///   - ended: What is done when both have ended and their files are still there.
    /// - Returns: What `body` returns.
    /// - Throws: `BenchmarkError`, with what the proxies have said.
    static func run<Value: Sendable>(
        _ product: any ProxyProduct,
        _ setup: ProxySetup,
        _ stand: ProxyStand,
        serverIdentity: ProxyIdentity = .server,
        isTapped: Bool = false,
        wrapper: [String] = [],
        _ body: @Sendable (ProxyChain) async throws -> Value,
        ended: @Sendable (ProxyChain, Value) async throws -> Void = { _, _ in }
    ) async throws -> Value {
        let ports = try await stand.load.freePorts(3)
        let folder = "\(stand.folder)/\(product.name)-\(ports[0])"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var running: [ChildProcess] = []
        func start(
            _ side: ProxyPlace.Side,
            _ forward: Int,
            _ identity: ProxyIdentity,
            _ wrapper: [String] = []
        ) async throws -> ChildProcess {
            let place = ProxyPlace(
                side: side,
                listen: side == .client ? ports[0] : ports[1],
                forward: forward,
                identity: identity,
                folder: folder,
                certificates: stand.certificates
            )
            let command = try product.command(place, setup)
            let whole = wrapper + [command.executable] + command.arguments
            let pinned = stand.load.pinned(to: .proxies, whole[0], Array(whole.dropFirst()))
            let child = try ChildProcess(
                pinned.executable,
                pinned.arguments,
                output: command.output
            )
            running.append(child)
            do {
                try await stand.load.awaitPort(place.listen)
            } catch {
                throw BenchmarkError("\(product.name), \(side): \(error)\n\(child.output)")
            }
            return child
        }
        do {
            let server = try await start(.server, stand.backendPort, serverIdentity, wrapper)
            let tapOutput = "\(folder)/tap.json"
            if isTapped {
                let tap = try Self.tap(stand, listen: ports[2], port: ports[1], output: tapOutput)
                running.append(tap)
                _ = try await tap.line(with: "tap port=")
            }
            let client = try await start(.client, isTapped ? ports[2] : ports[1], .client)
            let chain = ProxyChain(
                client: client,
                server: server,
                clientPort: ports[0],
                serverPort: ports[1],
                tapOutput: tapOutput,
                accessLogs: ["client", "server"].map { "\(folder)/\($0)-access.log" }
            )
            let value = try await body(chain)
            for child in running.reversed() { try await child.end() }
            try await ended(chain, value)
            return value
        } catch {
            throw await failure(error, of: running)
        }
    }

    /// Ends what runs, and says what it has said.
    private static func failure(
        _ error: any Error,
        of running: [ChildProcess]
    ) async -> BenchmarkError {
        let said = running.map(\.output).filter { !$0.isEmpty }.joined(separator: "\n")
        for child in running { try? await child.end(by: SIGKILL) }
        return BenchmarkError("\(error)\(said.isEmpty ? "" : "\n\(said)")")
    }

    /// Starts what reads the handshakes on their way.
    private static func tap(
        _ stand: ProxyStand,
        listen: Int,
        port: Int,
        output: String
    ) throws -> ChildProcess {
        try ChildProcess(
            stand.load.executable,
            ["tap", "--listen", "\(listen)", "--port", "\(port)"],
            output: output
        )
    }

    /// Whether each side has written a line for each request.
    ///
    /// A log that drops what is too much costs less than one that does not.
    func checkLogs(hold requests: Double) async throws {
        for log in accessLogs {
            let output = try await Tool.output("/usr/bin/wc", ["-l", log])
            let count = String(decoding: output, as: UTF8.self).split(separator: " ").first
            let lines = count.flatMap { Double($0) } ?? 0
            guard lines >= requests else {
                throw BenchmarkError("\(Int(lines)) lines logged of \(Int(requests)) requests")
            }
        }
    }

    /// What the server's side chose, once the tap has seen it.
    func choice() async throws -> LoadProgram.Choice {
        var found = Data()
        try await Waiting.until("a ServerHello", within: .seconds(10)) {
            found = try Data(contentsOf: URL(filePath: tapOutput))
            return found.contains(UInt8(ascii: "\n"))
        }
        let line = found.prefix { $0 != UInt8(ascii: "\n") }
        return try LoadProgram.decode(LoadProgram.Choice.self, line)
    }
}

extension ChildProcess {
    /// Its part of the memory, in KiB: pages shared with others count by their share.
    func proportionalKilobytes() throws -> Double {
        let text = try String(contentsOfFile: "/proc/\(pid)/smaps_rollup", encoding: .utf8)
        let fields = text.split(separator: "\n").first { $0.hasPrefix("Pss:") }?
            .split(separator: " ")
        guard let fields, fields.count > 1, let number = Double(fields[1]) else {
            throw BenchmarkError("no PSS of process \(pid)")
        }
        return number
    }
}
