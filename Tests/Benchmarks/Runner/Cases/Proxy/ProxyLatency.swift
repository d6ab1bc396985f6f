// SPDX-License-Identifier: Apache-2.0

/// 3,000 requests a second, sent when they are due and not when the last answer has come: a proxy
/// that stops for a moment delays everything that became due meanwhile, and all of it counts.
enum ProxyLatency {
    private static let p99 = ProxyComparison(
        "p99 at 3,000 requests per second",
        unit: "us",
        haproxy: .ratioAtMost(1.15)
    )
    private static let p50 = ProxyComparison("p50 at 3,000 requests per second", unit: "us")
    private static let cost = ProxyComparison(
        "HTTP/1.1 at 3,000 requests per second",
        unit: ProxyRequests.unit
    )

    static let benchmark = Benchmark(
        name: "proxy-latency",
        rows: p99.rows + p50.rows + cost.rows,
        readings: { settings in
            try await ProxyRounds.readings(
                [p99, p50, cost],
                ProxySetup(traffic: .http),
                settings
            ) { chain, stand in
                let result = try await stand.load(
                    through: chain,
                    ["--mode", "rate", "--rate", "3000"]
                )
                let sample = ProxyRequests.sample(cost.title, result)
                return ProxySample(
                    values: sample.values.merging([
                        p99.title: result.p99Microseconds, p50.title: result.p50Microseconds,
                    ]) { first, _ in first },
                    others: sample.others
                )
            }
        }
    )
}
