// SPDX-License-Identifier: Apache-2.0

/// What 10,000 rules cost that do not concern the request.
enum ProxyRules {
    private static let comparison = ProxyComparison(
        "server's side with 10,000 rules",
        unit: ProxyRequests.unit,
        [(fewName, .ratioAtMost(1.05))]
    )
    private static let fewName = "8 rules"
    private static let manyName = "10,000 rules"

    static let benchmark = Benchmark(
        name: "proxy-rules",
        rows: comparison.rows,
        readings: { settings in
            guard let product = settings.proxyProducts.first else { return [] }
            let few = ProxySetup(traffic: .http, level: .full)
            var many = few
            many.rules = ProxyRule.policy(with: settings.size(9992, quick: 92))
            let variants = [
                ProxyVariant(name: manyName, product: product, setup: many),
                ProxyVariant(name: fewName, product: product, setup: few),
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
            let result = try await stand.load(through: chain)
            // Only the server's side has the policy.
            return ProxySample(
                values: [comparison.title: result.watchedNanoseconds[1] / 1000 / result.done],
                others: result.othersPercent
            )
        }
    }
}

/// The same product under another name.
struct ProxyVariant: ProxyProduct {
    let name: String
    let product: any ProxyProduct
    let setup: ProxySetup

    func obstacle(to setup: ProxySetup) -> String? { product.obstacle(to: setup) }

    func command(_ place: ProxyPlace, _ setup: ProxySetup) throws -> ProxyCommand {
        try product.command(place, setup)
    }
}
