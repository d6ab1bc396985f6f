// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import Foundation

/// What an agent weighs with 100 entries, and what each Workload API stream adds.
enum AgentMemory {
    private static let agent = "agent memory with 100 entries"
    private static let stream = "agent memory for a Workload API stream, 1,000 streams"

    static let benchmark = Benchmark(
        name: "agent-memory",
        rows: [
            RowDefinition(
                id: agent,
                unit: "KB",
                peer: "empty grpc-swift server",
                goal: .peerPlus(6 * 1024)
            ),
            RowDefinition(id: stream, unit: "KB", goal: .atMost(96)),
        ],
        readings: { settings in
            try await ServerHost(settings).run { server in
                let entries = settings.size(100, quick: 10)
                var text = ServerHost.entry(
                    "mine",
                    path: "mine",
                    node: "bench:node",
                    workload: "unix:uid:\(getuid())"
                )
                // Other users' entries: prefetched, and not sent to the streams measured.
                for number in 1..<entries {
                    text += "---\n"
                    text += ServerHost.entry(
                        "entry-\(number)",
                        path: "entry-\(number)",
                        node: "bench:node",
                        workload: "unix:uid:\(100_000 + number)"
                    )
                }
                try await server.apply(text)
                var readings: [Reading] = []
                for run in 0..<settings.runs {
                    readings += try await measure(run, server, settings, entries: entries)
                }
                return readings
            }
        }
    )

    private struct Weight {
        let resident: Double
        let anonymous: Double

        init(_ child: ChildProcess) throws {
            resident = try child.residentKilobytes()
            anonymous = try child.anonymousKilobytes()
        }
    }

    private static func measure(
        _ run: Int,
        _ server: ServerHost,
        _ settings: BenchmarkSettings,
        entries: Int
    ) async throws -> [Reading] {
        let empty = try await emptyServer(run, server, settings)
        let place = try await AgentHost.Place(
            "agent-\(run)",
            selectors: ["bench:node"],
            at: server,
            settings
        )
        let agent = try place.start()
        try await agent.listens()
        try await Waiting.until("an SVID of each entry", every: .milliseconds(50)) {
            let status = try? await agent.status()
            return status?.svids == UInt64(entries)
        }
        _ = try await WorkloadClient(socket: agent.socket).first()
        try await settle(settings)
        let alone = try Weight(agent.child)
        let count = settings.size(1000, quick: 20)
        let full = try await memory(of: agent, with: count, settings)
        try await agent.child.end()
        return [
            Reading(
                row: self.agent,
                value: alone.resident,
                peer: empty.resident,
                note: "without pages of files \(Figure.text(alone.anonymous)) KB, "
                    + "peer \(Figure.text(empty.anonymous)) KB"
            ),
            Reading(row: stream, value: (full - alone.resident) / Double(count)),
        ]
    }

    private static func emptyServer(
        _ run: Int,
        _ server: ServerHost,
        _ settings: BenchmarkSettings
    ) async throws -> Weight {
        let socket = "\(server.folder)/empty-\(run).sock"
        let child = try ChildProcess(settings.executable("signet-bench-peer"), [socket])
        try await Waiting.until("the empty server's socket") {
            FileManager.default.fileExists(atPath: socket)
        }
        try await settle(settings)
        let weight = try Weight(child)
        try await child.end()
        return weight
    }

    /// The agent's memory while so many workloads, each on its own connection, hold a stream that
    /// has brought them their identity.
    private static func memory(
        of agent: AgentHost,
        with count: Int,
        _ settings: BenchmarkSettings
    ) async throws -> Double {
        let (firsts, outlet) = AsyncStream.makeStream(of: Int.self)
        return try await withThrowingTaskGroup(of: Double?.self) { group in
            for index in 0..<count {
                group.addTask {
                    try await WorkloadClient(socket: agent.socket).run { _ in outlet.yield(index) }
                    return nil
                }
            }
            group.addTask {
                var served: Set<Int> = []
                for await index in firsts {
                    served.insert(index)
                    if served.count == count { break }
                }
                try await settle(settings)
                return try agent.child.residentKilobytes()
            }
            defer { group.cancelAll() }
            while let memory = try await group.next() {
                if let memory { return memory }
            }
            throw BenchmarkError("the streams have ended")
        }
    }

    /// What a start or a burst has left to do ends within that time.
    private static func settle(_ settings: BenchmarkSettings) async throws {
        try await Waiting.pause(settings.size(.seconds(3), quick: .milliseconds(200)))
    }
}
