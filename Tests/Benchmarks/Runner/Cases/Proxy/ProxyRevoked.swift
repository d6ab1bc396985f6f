// SPDX-License-Identifier: Apache-2.0

/// What revoked certificates and identities cost a new connection of somebody else.
///
/// Processor time is told and instructions are judged: two in a hundred lie below what the time
/// differs from run to run, and the same connections have the same instructions.
enum ProxyRevoked {
    /// The first is the most that an agent tells its proxies of (`RevocationSet.forProxiesMax`); the
    /// second no proxy ever has.
    private static let sizes = [20_000, 100_000]
    private static let noneName = "nothing revoked"
    private static let goal = RowDefinition.Goal.ratioAtMost(1.02)

    private struct Case: Sendable {
        let size: Int

        private var text: String { "\(size / 1000),000 revoked items" }
        var name: String { text }
        var comparison: ProxyComparison {
            ProxyComparison(
                "new mutual TLS connection with \(text)",
                unit: "us/connection",
                [(noneName, .none)]
            )
        }
        var counted: String { "proxy: instructions for a new connection with \(text)" }
        var rows: [RowDefinition] {
            comparison.rows + [
                RowDefinition(id: counted, unit: "per connection", peer: noneName, goal: goal)
            ]
        }
    }

    private static let cases = sizes.map { Case(size: $0) }

    static let benchmark = Benchmark(
        name: "proxy-revoked",
        rows: cases.flatMap(\.rows),
        readings: { settings in
            try await ProxyStand.run(settings) { stand in
                var readings: [Reading] = []
                for item in cases { readings += await timed(item, stand) }
                do {
                    readings += try await counted(stand)
                } catch {
                    // What was timed stays.
                    readings += cases.map {
                        Reading(row: $0.counted, value: nil, why: "\(error)")
                    }
                }
                return readings
            }
        }
    )

    private static func setup(_ revoked: Int, _ settings: BenchmarkSettings) -> ProxySetup {
        var setup = ProxySetup(traffic: .tcp)
        setup.revoked = settings.size(revoked, quick: revoked / 100)
        return setup
    }

    // MARK: - Processor time

    private static func timed(_ item: Case, _ stand: ProxyStand) async -> [Reading] {
        let settings = stand.settings
        guard let product = settings.proxyProducts.first else { return [] }
        let variants = [(item.name, item.size), (noneName, 0)].map { name, revoked in
            ProxyVariant(name: name, product: product, setup: setup(revoked, settings))
        }
        var rounds = ProxyRounds([item.comparison], settings)
        for variant in variants { await rounds.check(variant, variant.setup, stand) }
        for round in 0..<settings.runs {
            for variant in round.isMultiple(of: 2) ? variants : variants.reversed() {
                await rounds.measure(variant, in: round) {
                    try await measure(variant, item, stand)
                }
            }
        }
        return rounds.readings(own: item.name)
    }

    private static func measure(
        _ variant: ProxyVariant,
        _ item: Case,
        _ stand: ProxyStand
    ) async throws -> ProxySample {
        try await ProxyChain.run(variant.product, variant.setup, stand) { chain in
            let result = try await stand.load(through: chain, ProxyRequests.newConnections)
            // Both sides look each peer up.
            return ProxyRequests.sample(item.comparison.title, result)
        }
    }

    // MARK: - Instructions

    /// One count of each: the same connections have the same instructions, but for a thousandth.
    private static func counted(_ stand: ProxyStand) async throws -> [Reading] {
        let product = try await Callgrind.proxy(stand)
        let floor = try await instructions(0, product, stand)
        var readings: [Reading] = []
        for item in cases {
            let own = try await instructions(item.size, product, stand)
            let added = Figure.text(own.count - floor.count)
            readings.append(
                Reading(
                    row: item.counted,
                    value: own.count,
                    peer: floor.count,
                    note:
                        "server's side, \(own.connections) connections more; \(added) more for each"
                )
            )
        }
        return readings
    }

    /// Two runs differ only in how many connections come, one after the other, with one request
    /// each: start, what is revoked, and end drop out.
    private static func instructions(
        _ revoked: Int,
        _ product: SignetProxy,
        _ stand: ProxyStand
    ) async throws -> (count: Double, connections: Int) {
        let setup = setup(revoked, stand.settings)
        let load = ["--mode", "new", "--connections", "1"]
        let few = stand.settings.size(300, quick: 20)
        let less = try await Callgrind.profile(few, load, product, setup, stand)
        let more = try await Callgrind.profile(few * 3, load, product, setup, stand)
        let added = few * 2
        return ((more.instructions - less.instructions) / Double(added), added)
    }
}
