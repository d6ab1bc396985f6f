// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// A node of real programs: an agent, a signet-proxy that lets callers in, and a server behind it.
struct ProxyNode: Sendable {
    private static let selector = "bench:real"
    private static let identity = "spiffe://\(ServerHost.trustDomain)/backend"

    private let load: LoadProgram
    /// Where callers connect.
    private let port: Int

    /// Starts all of it, runs `body`, and ends it.
    ///
    /// - Parameters:
    ///   - server: The agent's.
    ///   - selectors: What the node shows beside a selector of its own.
    ///   - settings: Which programs.
    ///   - body: What is done with it.
    /// - Returns: What `body` returns.
    /// - Throws: `BenchmarkError` with what the programs have said.
    static func run<Value: Sendable>(
        at server: ServerHost,
        selectors: [String],
        _ settings: BenchmarkSettings,
        _ body: @Sendable (ProxyNode) async throws -> Value
    ) async throws -> Value {
        let load = LoadProgram(executable: settings.executable("signet-bench-load"))
        var running: [ChildProcess] = []
        do {
            let backend = try ChildProcess(load.executable, ["backend"])
            running.append(backend)
            let ports = try await load.freePorts(1)
            let forward = try await LoadProgram.port(of: backend)
            try await server.apply(documents(listen: ports[0], forward: forward))
            let place = try await AgentHost.Place(
                "real",
                selectors: selectors + [selector],
                at: server,
                settings
            )
            let agent = try place.start()
            running.append(agent.child)
            try await agent.listens()
            let proxy = try ChildProcess(
                settings.executable("signet-proxy"),
                ["--agent-socket", "\(place.folder)/proxy.sock", "--telemetry-port", "0"]
            )
            running.append(proxy)
            try await load.awaitPort(ports[0])
            let value = try await body(ProxyNode(load: load, port: ports[0]))
            for child in running.reversed() { try await child.end() }
            return value
        } catch {
            let said = running.map(\.output).filter { !$0.isEmpty }
            for child in running.reversed() { try? await child.end(by: SIGKILL) }
            throw BenchmarkError((["\(error)"] + said).joined(separator: "\n"))
        }
    }

    /// Opens a connection for each of these callers, runs `body` while they are open, and ends
    /// those that still are.
    func watching<Value>(
        _ numbers: Range<Int>,
        of callers: Callers,
        _ body: (Watch) async throws -> Value
    ) async throws -> Value {
        let child = try ChildProcess(
            load.executable,
            [
                "watch", "--port", "\(port)", "--authorities", callers.authorities, "--folder",
                callers.folder, "--from", "\(numbers.lowerBound)", "--connections",
                "\(numbers.count)",
            ]
        )
        do {
            _ = try await child.line(with: "watching \(numbers.count)")
            let value = try await body(Watch(child: child))
            try await child.end()
            return value
        } catch {
            try? await child.end(by: SIGKILL)
            throw error
        }
    }

    /// The open connections of callers.
    struct Watch: Sendable {
        fileprivate let child: ChildProcess

        /// Waits until the proxy has ended the connection of one caller.
        ///
        /// - Returns: When the caller saw it, as boot time.
        func closing(of number: Int) async throws -> Duration {
            let line = try await child.line(with: "closed \(number) at ")
            guard let text = line.split(separator: " ").last, let time = Int64(text) else {
                throw BenchmarkError("no time in \(line)")
            }
            return .nanoseconds(time)
        }
    }

    /// Whether the proxy lets a caller in that connects now.
    func lets(in number: Int, of callers: Callers) async throws -> Bool {
        try await load.probe(port: port, callers.credentials(of: number)).status == 200
    }

    private static func documents(listen: Int, forward: Int) -> String {
        ServerHost.entry(
            "backend",
            path: "backend",
            node: selector,
            workload: "unix:uid:\(getuid())"
        ) + """
            ---
            apiVersion: core.signet/v1alpha1
            kind: Proxy
            metadata: {name: backend}
            spec:
              mode: sidecar
              nodeSelectors: ["\(selector)"]
              selectors: ["unix:uid:\(getuid())"]
              identities: ["\(identity)"]
              inbound:
                - {name: tcp, address: "127.0.0.1:\(listen)", identity: "\(identity)",
                   protocol: tcp, forward: {address: "127.0.0.1:\(forward)"}}
            ---
            apiVersion: core.signet/v1alpha1
            kind: AccessPolicy
            metadata: {name: callers}
            spec:
              target: {spiffeIDs: ["\(identity)"]}
              action: ALLOW
              rules:
                - from: [{source: {principals: ["\(Callers.prefix)/*"]}}]

            """
    }
}
