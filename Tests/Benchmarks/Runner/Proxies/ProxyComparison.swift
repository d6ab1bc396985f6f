// SPDX-License-Identifier: Apache-2.0

/// One figure of the proxies, compared with one or more others: a row for each.
struct ProxyComparison: Sendable {
    let title: String
    let unit: String
    /// By the name of the peer, in the order of the table.
    let goals: [(peer: String, goal: RowDefinition.Goal)]

    init(_ title: String, unit: String, _ goals: [(String, RowDefinition.Goal)]) {
        self.title = "proxy: \(title)"
        self.unit = unit
        self.goals = goals
    }

    /// All against the two other products.
    init(
        _ title: String,
        unit: String,
        envoy: RowDefinition.Goal = .none,
        haproxy: RowDefinition.Goal = .none
    ) {
        self.init(title, unit: unit, [("Envoy", envoy), ("HAProxy", haproxy)])
    }

    func row(_ peer: String) -> String { "\(title), beside \(peer)" }

    /// Whether it is processor time, for one of something, and a target is set for it.
    fileprivate var isPromisedTime: Bool {
        unit.contains("/") && goals.contains { $0.goal.isPromise }
    }

    var rows: [RowDefinition] {
        goals.map { RowDefinition(id: row($0.peer), unit: unit, peer: $0.peer, goal: $0.goal) }
    }
}

/// What one product came to in one round.
struct ProxySample: Sendable {
    /// By the title of the comparison.
    let values: [String: Double]
    /// What a figure consists of, for the note.
    var parts: [(name: String, value: Double)] = []
    /// Of the whole machine, in percent, used by programs that are no part of the measurement.
    var others = 0.0
    /// How many requests were answered meanwhile.
    var requests = 0.0
}

/// Measures the products in turn, round by round, so that what changes on the machine meets all.
struct ProxyRounds: Sendable {
    /// Above that a reader is told.
    private static let othersPercent = 5.0

    let comparisons: [ProxyComparison]
    let settings: BenchmarkSettings
    private var samples: [String: [Int: ProxySample]] = [:]
    /// Why a product is not measured, or not to the end.
    private var obstacles: [String: String] = [:]
    /// Where our own proxies spend their time, taken after the rounds.
    private var profile: String?

    init(_ comparisons: [ProxyComparison], _ settings: BenchmarkSettings) {
        self.comparisons = comparisons
        self.settings = settings
    }

    /// Checks every product, measures those that pass, and compares.
    static func readings(
        _ comparisons: [ProxyComparison],
        _ setup: ProxySetup,
        _ settings: BenchmarkSettings,
        measure: @escaping @Sendable (ProxyChain, ProxyStand) async throws -> ProxySample
    ) async throws -> [Reading] {
        try await ProxyStand.run(settings) { stand in
            let products = settings.proxyProducts
            var rounds = ProxyRounds(comparisons, settings)
            for product in products {
                await rounds.check(product, setup, stand)
            }
            for round in 0..<settings.runs {
                for index in products.indices {
                    // Whoever comes first has the coldest machine: not always the same one.
                    let product = products[(index + round) % products.count]
                    await rounds.measure(product, in: round) {
                        try await ProxyChain.run(product, setup, stand) {
                            try await measure($0, stand)
                        } ended: { chain, sample in
                            if setup.level == .full {
                                try await chain.checkLogs(hold: sample.requests)
                            }
                        }
                    }
                }
            }
            if let own = products.first(where: { $0.name == SignetProxy.name }) {
                await rounds.takeProfile(of: own, setup, stand, measure)
            }
            return rounds.readings(own: SignetProxy.name)
        }
    }

    /// Measures once more, beside the rounds, because being watched costs time itself.
    private mutating func takeProfile(
        of product: any ProxyProduct,
        _ setup: ProxySetup,
        _ stand: ProxyStand,
        _ measure: @escaping @Sendable (ProxyChain, ProxyStand) async throws -> ProxySample
    ) async {
        guard comparisons.contains(where: \.isPromisedTime), obstacles[product.name] == nil else {
            return
        }
        do {
            profile = try await ProxyChain.run(product, setup, stand) { chain in
                try await ProcessorProfile.of([chain.client, chain.server], on: stand) {
                    _ = try await measure(chain, stand)
                }
            }
        } catch {
            profile = "none, \(error)"
        }
    }

    /// Excludes a product that cannot do it or does it wrong.
    mutating func check(
        _ product: any ProxyProduct,
        _ setup: ProxySetup,
        _ stand: ProxyStand
    ) async {
        do {
            if let obstacle = product.obstacle(to: setup) { throw BenchmarkError(obstacle) }
            try await ProxyCheck(product: product, setup: setup, stand: stand).run()
        } catch {
            exclude(product.name, "\(error)")
        }
    }

    mutating func measure(
        _ product: any ProxyProduct,
        in round: Int,
        _ body: () async throws -> ProxySample
    ) async {
        guard obstacles[product.name] == nil else { return }
        do {
            let sample = try await body()
            samples[product.name, default: [:]][round] = sample
            let values = sample.values.sorted { $0.key < $1.key }
                .map { "\($0.key) \(Figure.text($0.value))" }
            let parts = sample.parts.map { "\($0.name) \(Figure.text($0.value))" }
            Console.say(
                "   round \(round + 1), \(product.name): "
                    + (values + parts).joined(separator: ", ")
                    + ", others \(Figure.text(sample.others)) %"
            )
        } catch {
            exclude(product.name, "\(error)")
        }
    }

    private mutating func exclude(_ name: String, _ why: String) {
        obstacles[name] = why
        Console.say("   \(name): \(why)")
    }

    // MARK: - Comparing

    func readings(own: String) -> [Reading] {
        comparisons.flatMap { comparison in
            comparison.goals.flatMap { goal in
                readings(comparison, own: own, peer: goal.peer)
            }
        }
    }

    private func readings(
        _ comparison: ProxyComparison,
        own: String,
        peer: String
    ) -> [Reading] {
        let row = comparison.row(peer)
        let note = note(own: own, peer: peer)
        return (0..<settings.runs).compactMap { round in
            let value = samples[own]?[round]?.values[comparison.title]
            let peerValue = samples[peer]?[round]?.values[comparison.title]
            guard value != nil || peerValue != nil else { return nil }
            return Reading(
                row: row,
                value: value,
                peer: peerValue,
                note: note,
                profile: comparison.isPromisedTime ? profile : nil
            )
        } + [Reading(row: row, value: nil, note: note, why: obstacles[own])]
    }

    private func note(own: String, peer: String) -> String? {
        var sentences: [String] = []
        let names = samples[own]?.values.first?.parts.map(\.name) ?? []
        for name in names {
            let texts = [own, peer].compactMap { product in
                median(of: name, product).map { "\(product) \(Figure.text($0))" }
            }
            sentences.append("\(name): \(texts.joined(separator: ", "))")
        }
        if let why = obstacles[peer] { sentences.append("\(peer) was not measured: \(why)") }
        let others = [own, peer].flatMap { samples[$0]?.values.map(\.others) ?? [] }.max() ?? 0
        if others > Self.othersPercent {
            sentences.append(
                "taken on a busy machine, other programs used up to \(Figure.text(others)) % of it"
            )
        }
        return sentences.isEmpty ? nil : sentences.joined(separator: "; ")
    }

    private func median(of part: String, _ product: String) -> Double? {
        Figure.median(
            (samples[product] ?? [:]).values
                .compactMap { sample in sample.parts.first { $0.name == part }?.value }.sorted()
        )
    }
}
