// SPDX-License-Identifier: Apache-2.0

/// Bodies of 64 MB through both proxies.
enum ProxyBulk {
    private static let comparison = ProxyComparison(
        "HTTP/1.1 bodies of 64 MB",
        unit: "ms/GB",
        envoy: .ratioAtMost(0.75)
    )

    static let benchmark = Benchmark(
        name: "proxy-bulk",
        rows: comparison.rows,
        readings: { settings in
            try await ProxyRounds.readings(
                [comparison],
                ProxySetup(traffic: .http),
                settings
            ) { chain, stand in
                // Long enough that some bodies end within it.
                let time = ["--warm-up", settings.size("1", quick: "0.1"), "--seconds", "3"]
                let result = try await stand.load(
                    through: chain,
                    ["--path", "/b/\(64 << 20)", "--connections", "2"] + time
                )
                let gigabytes = result.bytes / 1e9
                let times = result.watchedNanoseconds.prefix(2).map { $0 / 1e6 / gigabytes }
                return ProxySample(
                    values: [comparison.title: times.reduce(0, +)],
                    parts: [
                        ("client's side", times[0]), ("server's side", times[1]),
                        ("% in the kernel", result.kernelPercent),
                    ],
                    others: result.othersPercent
                )
            }
        }
    )
}
