// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import GRPCPeer

/// What agents cost that only stay connected.
enum IdleFleet {
    private static let processor = "CPU of a server with 5,000 idle agents"
    private static let memory = "server memory for an idle agent"

    static let benchmark = Benchmark(
        name: "idle-fleet",
        rows: [
            RowDefinition(id: processor, unit: "% of one core", goal: .atMost(2)),
            RowDefinition(id: memory, unit: "KB", goal: .none),
        ],
        readings: { settings in
            try await ServerHost(settings).run { server in
                let enrolment = try await Enrolment(server)
                try await server.apply(
                    ServerHost.entry(
                        "all",
                        path: "all",
                        node: "bench:fleet",
                        workload: "unix:uid:1"
                    )
                )
                let nodes = try await enrolment.nodes(
                    "node",
                    count: settings.size(5000, quick: 20),
                    selectors: ["bench:fleet"]
                )
                let before = try server.child().residentKilobytes()
                return try await Fleet(enrolment, nodes).run { log in
                    try await readings(server, settings, before: before, count: nodes.count)
                }
            }
        }
    )

    private static func readings(
        _ server: ServerHost,
        _ settings: BenchmarkSettings,
        before: Double,
        count: Int
    ) async throws -> [Reading] {
        let child = try server.child()
        // Handshakes leave work behind: the first checkpoint, the first watermarks.
        try await Waiting.pause(settings.size(.seconds(20), quick: .milliseconds(100)))
        var readings: [Reading] = []
        for _ in 0..<settings.runs {
            let start = ContinuousClock.now
            let used = try child.processorSeconds()
            // As long as the pause between two signs of life: each agent gives one.
            let pause = PeerClientTransport.keepaliveTime
            try await Waiting.pause(settings.size(pause, quick: .milliseconds(500)))
            let time = (ContinuousClock.now - start).seconds
            let part = (try child.processorSeconds() - used) / time
            readings.append(Reading(row: processor, value: part * 100))
            let kilobytes = (try child.residentKilobytes() - before) / Double(count)
            readings.append(Reading(row: memory, value: kilobytes))
        }
        return readings
    }
}
