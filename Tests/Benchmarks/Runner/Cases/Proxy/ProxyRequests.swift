// SPDX-License-Identifier: Apache-2.0

/// Benchmarks of the forwarding proxy beside others, in the order of the table.
enum ProxyBenchmarks {
    static let all: [Benchmark] = [
        ProxyRequests.bare, ProxyRequests.full, ProxyRequests.denied, ProxyRequests.tunnel,
        ProxyRequests.handshakeHybrid, ProxyRequests.handshake, ProxyBulk.benchmark,
        ProxyLatency.benchmark, ProxyRules.benchmark, ProxyRevoked.benchmark,
        ProxyTrustChange.benchmark,
        ProxyMemory.idleConnections, ProxyMemory.process, ProxyCounts.benchmark,
    ]
}

/// Processor time of both proxies of a chain for one request, as many requests as they take.
enum ProxyRequests {
    static let unit = "us/request"

    static let bare = benchmark(
        "proxy-http",
        ProxyComparison(
            "HTTP/1.1 keep-alive, bare",
            unit: unit,
            envoy: .ratioAtMost(0.38),
            haproxy: .ratioAtMost(0.88)
        ),
        ProxySetup(traffic: .http)
    )

    static let full = benchmark(
        "proxy-http-full",
        ProxyComparison(
            "HTTP/1.1 keep-alive with access log, policy and metrics",
            unit: unit,
            envoy: .ratioAtMost(0.45)
        ),
        ProxySetup(traffic: .http, level: .full)
    )

    static let denied = benchmark(
        "proxy-denied",
        ProxyComparison("HTTP/1.1 requests that the policy denies", unit: unit),
        ProxySetup(traffic: .http, level: .full),
        load: ["--path", ProxyCheck.deniedPath, "--expect", "403"]
    )

    static let tunnel = benchmark(
        "proxy-tcp",
        ProxyComparison(
            "TCP, requests on open connections",
            unit: unit,
            envoy: .ratioAtMost(0.75),
            haproxy: .ratioAtMost(0.75)
        ),
        ProxySetup(traffic: .tcp)
    )

    static let handshakeHybrid = benchmark(
        "proxy-handshake-hybrid",
        ProxyComparison(
            "new mutual TLS connection, X25519MLKEM768",
            unit: "us/connection",
            envoy: .ratioAtMost(0.95)
        ),
        ProxySetup(traffic: .tcp, keyExchange: .hybrid),
        load: newConnections
    )

    static let handshake = benchmark(
        "proxy-handshake",
        ProxyComparison(
            "new mutual TLS connection, X25519",
            unit: "us/connection",
            envoy: .ratioAtMost(0.85)
        ),
        ProxySetup(traffic: .tcp),
        load: newConnections
    )

    static let newConnections = ["--mode", "new", "--connections", "8"]

    private static func benchmark(
        _ name: String,
        _ comparison: ProxyComparison,
        _ setup: ProxySetup,
        load arguments: [String] = []
    ) -> Benchmark {
        Benchmark(
            name: name,
            rows: comparison.rows,
            readings: { settings in
                try await ProxyRounds.readings([comparison], setup, settings) { chain, stand in
                    let result = try await stand.load(through: chain, arguments)
                    return sample(comparison.title, result)
                }
            }
        )
    }

    /// Processor time for each request, in microseconds.
    static func sample(_ title: String, _ result: LoadProgram.Result) -> ProxySample {
        let times = result.watchedNanoseconds.prefix(2).map { $0 / 1000 / result.done }
        return ProxySample(
            values: [title: times.reduce(0, +)],
            parts: [
                ("client's side", times[0]), ("server's side", times[1]),
                ("requests per second", result.done / result.seconds),
                ("% in the kernel", result.kernelPercent),
            ],
            others: result.othersPercent,
            requests: result.done
        )
    }
}

extension ProxyStand {
    /// A run through both proxies; the client's side is watched first, then the server's.
    func load(
        through chain: ProxyChain,
        _ arguments: [String] = []
    ) async throws -> LoadProgram.Result {
        try await load.load(
            ["--port", "\(chain.clientPort)"] + duration + arguments,
            watching: [chain.client, chain.server, backend]
        )
    }

    /// A run of mutual TLS on the server's side alone.
    func load(
        into chain: ProxyChain,
        _ arguments: [String] = []
    ) async throws -> LoadProgram.Result {
        try await load.load(
            ["--port", "\(chain.serverPort)"] + duration + credentials(.client).arguments
                + arguments,
            watching: [chain.server, backend]
        )
    }

    private var duration: [String] {
        [
            "--warm-up", settings.size("1", quick: "0.1"),
            "--seconds", settings.size("3", quick: "1"),
        ]
    }
}
