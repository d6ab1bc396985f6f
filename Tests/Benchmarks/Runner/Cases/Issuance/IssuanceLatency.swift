// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// How long one certificate takes while the server has 80 % of what it can take.
///
/// Calls are sent when they are due, whether or not answers are late, and their time counts from then.
/// The floor is the same call with nothing else under way.
enum IssuanceLatency {
    private static let median = "one SVID at 80 % load, p50"
    private static let tail = "one SVID at 80 % load, p99"
    private static let part = 0.8

    static let benchmark = Benchmark(
        name: "issuance-latency",
        rows: [median, tail].map {
            RowDefinition(id: $0, unit: "ms", peer: "one call at a time", goal: .none)
        },
        readings: { settings in
            try await ServerHost(settings).run { server in
                try await server.apply(
                    ServerHost.entry("web", path: "web", node: "bench:node", workload: "unix:uid:1")
                )
                let load = try await IssuanceService.Load(server, settings)
                let time = settings.size(Duration.seconds(5), quick: .milliseconds(300))
                var readings: [Reading] = []
                for _ in 0..<settings.runs {
                    readings += try await measure(load, for: time)
                }
                return readings
            }
        }
    )

    private static func measure(
        _ load: IssuanceService.Load,
        for time: Duration
    ) async throws -> [Reading] {
        let most = try await load.rate(batch: Array(load.requests.prefix(1)), time: time)
        let alone = try await load.times(every: .zero, for: time / 2)
        let rate = most * part
        let pause = Duration.seconds(1 / rate)
        let loaded = try await load.times(every: pause, for: time)
        let note =
            "\(Figure.text(rate)) calls per second of at most \(Figure.text(most)), "
            + "\(loaded.count) of them; longest \(Figure.text(loaded.max() ?? 0)) ms"
        return [(median, 0.5), (tail, 0.99)].map { row, part in
            Reading(
                row: row,
                value: Figure.percentile(part, of: loaded),
                peer: Figure.percentile(part, of: alone),
                note: note
            )
        }
    }
}
