// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// What a proxy weighs that has nothing to do.
enum ProxyMemory {
    private static let http = ProxyComparison(
        "memory for an idle mutual TLS connection, HTTP/1.1",
        unit: "KB",
        envoy: .atMost(16)
    )
    private static let tcp = ProxyComparison(
        "memory for an idle mutual TLS connection, TCP with its connection behind",
        unit: "KB",
        envoy: .atMost(16)
    )
    private static let idle = ProxyComparison("memory of the idle server's side", unit: "KB")

    static let idleConnections = Benchmark(
        name: "proxy-idle",
        rows: http.rows + tcp.rows,
        readings: { settings in
            try await readings(http, .http, settings) + readings(tcp, .tcp, settings)
        }
    )

    static let process = Benchmark(
        name: "proxy-memory",
        rows: idle.rows,
        readings: { settings in
            try await ProxyRounds.readings(
                [idle],
                ProxySetup(traffic: .http, level: .full),
                settings
            ) { chain, stand in
                // What a first request needs is there.
                _ = try await stand.load.probe(port: chain.clientPort)
                let resident = try chain.server.residentKilobytes()
                let anonymous = try chain.server.anonymousKilobytes()
                return ProxySample(
                    values: [idle.title: resident],
                    parts: [
                        ("heap and stacks", anonymous), ("pages of files", resident - anonymous),
                    ]
                )
            }
        }
    )

    private static func readings(
        _ comparison: ProxyComparison,
        _ traffic: ProxySetup.Traffic,
        _ settings: BenchmarkSettings
    ) async throws -> [Reading] {
        let count = settings.size(1000, quick: 50)
        return try await ProxyRounds.readings(
            [comparison],
            ProxySetup(traffic: traffic),
            settings
        ) { chain, stand in
            // What the first connections allocate for all later ones is not theirs.
            _ = try await stand.load(
                into: chain,
                ["--mode", "new", "--connections", "8", "--warm-up", "0", "--seconds", "0.5"]
            )
            let before = try chain.server.proportionalKilobytes()
            let after = try await memory(holding: count, chain, stand)
            return ProxySample(values: [comparison.title: (after - before) / Double(count)])
        }
    }

    /// Memory of the server's side while so many connections are open, each of which has carried
    /// one request.
    private static func memory(
        holding count: Int,
        _ chain: ProxyChain,
        _ stand: ProxyStand
    ) async throws -> Double {
        let command = stand.load.command(
            [
                "load", "--port", "\(chain.serverPort)", "--mode", "hold", "--connections",
                "\(count)", "--seconds", "60",
            ] + stand.credentials(.client).arguments
        )
        let load = try ChildProcess(command.executable, command.arguments)
        do {
            _ = try await load.line(with: "holding \(count)")
            let memory = try chain.server.proportionalKilobytes()
            try await load.end()
            return memory
        } catch {
            try? await load.end(by: SIGKILL)
            throw error
        }
    }
}
