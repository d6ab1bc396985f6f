// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// From the start of an agent that has nothing but a join token to a workload's first identity.
enum FirstIdentity {
    private static let row = "first identity after the start of an agent"

    static let benchmark = Benchmark(
        name: "first-identity",
        rows: [RowDefinition(id: row, unit: "ms", goal: .atMost(2000))],
        readings: { settings in
            try await ServerHost(settings).run { server in
                try await server.apply(
                    ServerHost.entry(
                        "web",
                        path: "web",
                        node: "bench:node",
                        workload: "unix:uid:\(getuid())"
                    )
                )
                var readings: [Reading] = []
                for run in 0..<settings.runs {
                    let place = try await AgentHost.Place(
                        "agent-\(run)",
                        selectors: ["bench:node"],
                        at: server,
                        settings
                    )
                    let start = ContinuousClock.now
                    let agent = try place.start()
                    try await agent.listens()
                    let first = try await WorkloadClient(socket: agent.socket).first()
                    readings.append(
                        Reading(row: row, value: (first.time - start).milliseconds)
                    )
                    try await agent.child.end()
                }
                return readings
            }
        }
    )
}
