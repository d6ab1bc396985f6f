// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPI
import Foundation
import Logging
import NodeAgent
import NodeSync
import Telemetry
import Testing

/// The machine's clocks, running faster.
private struct FastClock: NodeClock {
    private let system = SystemClock()
    private let start = SystemClock().bootTime
    let factor: Int

    var wallTime: Date { system.wallTime }

    var bootTime: Duration { start + (system.bootTime - start) * factor }

    func sleep(untilBoot deadline: Duration) async throws {
        try await system.sleep(untilBoot: start + (deadline - start) / factor)
    }
}

/// How the running agent keeps its files.
@Suite(.timeLimit(.minutes(1))) struct AgentDiskTests {
    private func withCore(
        _ body: @Sendable (AgentCore, AgentWorld, _ directory: String) async throws -> Void,
        afterEnd: (_ directory: String) -> Void = { _ in }
    ) async throws {
        let path = "/tmp/signet-disk-\(UInt32.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let world = try AgentWorld(now: Date(timeIntervalSince1970: Date().timeIntervalSince1970))
        let core = try AgentCore(
            try world.stored(),
            directory: AgentDirectory(path),
            clock: FastClock(factor: 50),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            metrics: MetricRegistry(of: .agent),
            health: Health(ready: AgentCore.readyConditions)
        )
        core.transition { $0.started(now: $1, using: &$2) }
        core.transition { $0.connected(now: $1, using: &$2) }
        core.transition {
            $0.welcomed(
                trustDomain: "example.org",
                serverTime: $1.wall,
                nodeSelectors: [],
                now: $1,
                using: &$2
            )
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await core.run() }
            try await body(core, world, path)
            group.cancelAll()
        }
        afterEnd(path)
    }

    private func delta(_ world: AgentWorld, _ number: UInt64, _ entry: String) throws -> SyncMessage
    {
        let resource = try ResourcePayload.entry(
            world.entry(entry, workload: ["unix:uid:1"])
        ).resource
        let change = ResourceChange.upsert(resource.key, payload: resource.payload)
        return world.delta(number - 1, number, [change])
    }

    private func receive(_ core: AgentCore, _ messages: [SyncMessage]) {
        for message in messages {
            core.transition { $0.received(message, now: $1, using: &$2) }
        }
    }

    private func storedRevision(_ directory: String) -> UInt64? {
        guard let bytes = FileManager.default.contents(atPath: "\(directory)/sync"),
            let content = try? AgentFile.sync.decoded(Array(bytes), path: "sync")
        else { return nil }
        return PersistedSync(encoded: content)?.revision.number
    }

    private func eventually(_ what: Comment, _ condition: () -> Bool) async throws {
        let clock = SystemClock()
        for _ in 0..<3000 {
            if condition() { return }
            try await clock.sleep(untilBoot: clock.bootTime + .milliseconds(10))
        }
        Issue.record(what)
    }

    private func problem(_ core: AgentCore) -> String? {
        core.health.report(.ready).conditions.first { $0.name == "disk" }?.problem
    }

    @Test func `what the disk refuses is written when it takes it again, and health tells`()
        async throws
    {
        try await withCore { core, world, directory in
            receive(core, try world.snapshot(1, [world.entry("a", workload: ["unix:uid:1"])]))
            try await eventually("the first state is written") { storedRevision(directory) == 1 }
            #expect(problem(core) == nil)
            try FileManager.default.moveItem(atPath: directory, toPath: directory + ".away")
            receive(core, [try delta(world, 2, "b")])
            receive(core, [try delta(world, 3, "c")])
            try await eventually("health tells") { problem(core)?.contains(directory) == true }
            // What was received is in force all the same.
            #expect(core.ask { $0.cache.entryCount } == 3)
            try FileManager.default.moveItem(atPath: directory + ".away", toPath: directory)
            try await eventually("the newest is written") { storedRevision(directory) == 3 }
            try await eventually("health recovers") { problem(core) == nil }
        }
    }

    @Test func `what was decided before the end is written still`() async throws {
        try await withCore { core, world, _ in
            receive(core, try world.snapshot(1, [world.entry("a", workload: ["unix:uid:1"])]))
            for number in 2...20 as ClosedRange<UInt64> {
                receive(core, [try delta(world, number, "e\(number)")])
            }
        } afterEnd: { directory in
            #expect(storedRevision(directory) == 20)
        }
    }
}
