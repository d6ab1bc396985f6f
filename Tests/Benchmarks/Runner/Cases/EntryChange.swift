// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import Foundation
internal import GRPCCore

/// From `apply` of a changed entry to whom it concerns, with a thousand agents connected.
enum EntryChange {
    private static let workload = "entry change to workload, p99, 1,000 agents"
    private static let everybody = "entry change to all of 1,000 agents, p99"

    static let benchmark = Benchmark(
        name: "entry-change",
        rows: [
            RowDefinition(id: workload, unit: "ms", goal: .atMost(100)),
            RowDefinition(id: everybody, unit: "ms", goal: .none),
        ],
        readings: { settings in
            try await ServerHost(settings).run { server in
                let enrolment = try await Enrolment(server)
                let nodes = try await enrolment.nodes(
                    "node",
                    count: settings.size(999, quick: 9),
                    selectors: ["bench:fleet"]
                )
                let place = try await AgentHost.Place(
                    "real",
                    selectors: ["bench:fleet", "bench:real"],
                    at: server,
                    settings
                )
                let fleet = Fleet(enrolment, nodes)
                return try await fleet.run { log in
                    let agent = try place.start()
                    try await agent.listens()
                    let readings = try await server.withAdmin { client in
                        try await Trial(
                            server: server,
                            documents: ServerHost.Documents(wrapping: client),
                            settings: settings,
                            log: log,
                            fleetSize: nodes.count
                        ).readings(agent)
                    }
                    try await agent.child.end()
                    return readings
                }
            }
        }
    )

    private struct Trial: Sendable {
        let server: ServerHost
        let documents: ServerHost.Documents
        let settings: BenchmarkSettings
        let log: FleetLog
        let fleetSize: Int

        func readings(_ agent: AgentHost) async throws -> [Reading] {
            let (updates, outlet) = AsyncStream.makeStream(of: WorkloadClient.Update.self)
            return try await withThrowingTaskGroup(of: [Reading].self) { group in
                group.addTask {
                    try await WorkloadClient(socket: agent.socket).run { outlet.yield($0) }
                    throw BenchmarkError("the workload's stream has ended")
                }
                group.addTask { try await readings(updates) }
                defer { group.cancelAll() }
                return try await group.next() ?? []
            }
        }

        private func readings(
            _ updates: AsyncStream<WorkloadClient.Update>
        ) async throws -> [Reading] {
            var iterator = updates.makeAsyncIterator()
            var readings: [Reading] = []
            var number = 0
            for run in 0..<settings.runs {
                var times: [Double] = []
                for _ in 0..<settings.size(200, quick: 5) {
                    let time = try await changeOne(number, &iterator)
                    // The first one is also the first identity of the agent.
                    if number > 0 { times.append(time) }
                    number += 1
                }
                let value = Figure.percentile(0.99, of: times) ?? 0
                readings.append(Reading(row: workload, value: value))
                readings.append(try await changeAll(run))
            }
            return readings
        }

        /// One entry of one node: until its workload holds the new identity.
        private func changeOne(
            _ number: Int,
            _ updates: inout AsyncStream<WorkloadClient.Update>.AsyncIterator
        ) async throws -> Double {
            let text = ServerHost.entry(
                "web",
                path: "web-\(number)",
                node: "bench:real",
                workload: "unix:uid:\(getuid())"
            )
            let start = ContinuousClock.now
            try await server.apply(text, documents)
            while let update = await updates.next(isolation: #isolation) {
                let id = "spiffe://\(ServerHost.trustDomain)/web-\(number)"
                if update.ids.contains(id) { return (update.time - start).milliseconds }
            }
            throw BenchmarkError("the workload's stream has ended")
        }

        /// An entry of every node: until each agent has it.
        private func changeAll(_ run: Int) async throws -> Reading {
            let text = ServerHost.entry(
                "all",
                path: "all-\(run)",
                node: "bench:fleet",
                workload: "unix:uid:1"
            )
            log.expectChange()
            let start = ContinuousClock.now
            try await server.apply(text, documents)
            try await Waiting.until("the change at every agent") {
                log.arrivals.count == fleetSize
            }
            let times = log.arrivals.map { ($0 - start).milliseconds }
            return Reading(row: everybody, value: Figure.percentile(0.99, of: times) ?? 0)
        }
    }
}
