// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// A server is killed and started again; every agent has missed a change.
enum ServerRestart {
    private static let row = "first Delta after a server restart, p99, 2,000 agents"

    static let benchmark = Benchmark(
        name: "server-restart",
        rows: [RowDefinition(id: row, unit: "ms", goal: .atMost(10_000))],
        readings: { settings in
            try await ServerHost(settings).run { server in
                let enrolment = try await Enrolment(server)
                let nodes = try await enrolment.nodes(
                    "node",
                    count: settings.size(2000, quick: 10),
                    selectors: ["bench:fleet"]
                )
                try await change(0, server)
                let fleet = Fleet(enrolment, nodes)
                return try await fleet.run { log in
                    var readings: [Reading] = []
                    for run in 1...settings.runs {
                        readings.append(try await restart(run, server, fleet))
                    }
                    return readings
                }
            }
        }
    )

    private static func change(_ number: Int, _ server: ServerHost) async throws {
        try await server.apply(
            ServerHost.entry(
                "all",
                path: "all-\(number)",
                node: "bench:fleet",
                workload: "unix:uid:1"
            )
        )
    }

    /// From the kill to the first thing that each agent is told.
    private static func restart(
        _ run: Int,
        _ server: ServerHost,
        _ fleet: Fleet
    ) async throws -> Reading {
        let log = fleet.log
        log.expectChange()
        try await change(run, server)
        try await Waiting.until("the change at every agent") {
            log.arrivals.count == fleet.nodes.count
        }
        let start = ContinuousClock.now
        try await server.stop(by: SIGKILL)
        try await Waiting.until("the end of every connection", every: .milliseconds(5)) {
            log.connectedCount == 0
        }
        log.expectAnything()
        let ready = try await server.start()
        try await fleet.connected()
        let times = log.arrivals.map { ($0 - start).milliseconds }
        guard times.count == fleet.nodes.count else { throw BenchmarkError("agents are missing") }
        guard let end = fleet.nodes.map(\.notAfter).min(), end > Date() else {
            throw BenchmarkError("an SVID has expired")
        }
        return Reading(
            row: row,
            value: Figure.percentile(0.99, of: times) ?? 0,
            note: "counted from the kill; the new process was ready after "
                + "\(Figure.text(ready.milliseconds)) ms; no SVID expired: the one that ends first "
                + "had \(Figure.text(end.timeIntervalSinceNow / 60)) minutes left"
        )
    }
}
