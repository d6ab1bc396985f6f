// SPDX-License-Identifier: Apache-2.0

/// What 100,000 revoked certificates and identities cost a new connection of somebody else.
enum ProxyRevoked {
    private static let comparison = ProxyComparison(
        "new mutual TLS connection with 100,000 revoked items",
        unit: "us/connection",
        [(noneName, .ratioAtMost(1.02))]
    )
    private static let noneName = "nothing revoked"
    private static let manyName = "100,000 revoked items"

    static let benchmark = Benchmark(
        name: "proxy-revoked",
        rows: comparison.rows,
        readings: { settings in
            guard let product = settings.proxyProducts.first else { return [] }
            let none = ProxySetup(traffic: .tcp)
            var many = none
            many.revoked = settings.size(100_000, quick: 1000)
            let variants = [
                ProxyVariant(name: manyName, product: product, setup: many),
                ProxyVariant(name: noneName, product: product, setup: none),
            ]
            return try await ProxyStand.run(settings) { stand in
                var rounds = ProxyRounds([comparison], settings)
                for variant in variants { await rounds.check(variant, variant.setup, stand) }
                for round in 0..<settings.runs {
                    for variant in round.isMultiple(of: 2) ? variants : variants.reversed() {
                        await rounds.measure(variant, in: round) {
                            try await measure(variant, stand)
                        }
                    }
                }
                return rounds.readings(own: manyName)
            }
        }
    )

    private static func measure(
        _ variant: ProxyVariant,
        _ stand: ProxyStand
    ) async throws -> ProxySample {
        try await ProxyChain.run(variant.product, variant.setup, stand) { chain in
            let result = try await stand.load(through: chain, ProxyRequests.newConnections)
            // Both sides look each peer up.
            return ProxyRequests.sample(comparison.title, result)
        }
    }
}
