// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// What is left of a server's and an agent's data when the power goes, at any moment.
///
/// The real programs run under a recorder of their writes and syncs. For each prefix of the record
/// the disk is built as it could be after it, and looked at by the programs' own code.
@Suite(.serialized, .timeLimit(.minutes(20)))
struct DurabilityTests {
    /// Cuts of the server looked at beside those that lose all that can be lost, unless all are
    /// wanted.
    private static let sample = 400
    /// The same while a tile is filled, which is looked at only if all are wanted.
    private static let tileSample = 2000
    /// Cuts after which the real program is started.
    private static let starts = 3

    @Test func `no power cut takes what was confirmed, and a disk that lies is noticed`()
        async throws
    {
        let recorded = try await RecordedMachine()
        try await recorded.run()
        let seed = UInt64.random(in: 0 ... .max)
        let (server, agent) = try (recorded.server.events(), recorded.agent.events())
        try requireComplete(server, recorded.machine.dataDirectory)
        try requireComplete(agent, recorded.machine.agentDirectory)
        let sample = PowerCuts.isExhaustive ? nil : Self.sample
        let cuts = try PowerCuts(of: server, sample: sample, seed: seed)
        try await cutServer(recorded, cuts, seed: seed)
        try await cutAgent(recorded, agent, seed: seed)
        try await startAfterCuts(server, clockAhead: recorded.clockAhead, seed: seed)
        for file in ["server.sqlite-wal", "keys/authority-", "keys/", "audit/tile/"] {
            let checked = ServerAfterCut(recorded)
            try await requireLieFound(server, about: file) {
                try await checked.problems($1, at: $0.position)
            }
        }
        for file in ["key.", "identity.", "sync.", "/"] {
            let checked = try AgentAfterCut(recorded, agent)
            try await requireLieFound(agent, about: file) {
                try await checked.problems($1, at: $0.position, now: Date())
            }
        }
    }

    @Test(.enabled(if: PowerCuts.isExhaustive))
    func `no power cut takes what was confirmed while a tile of the log becomes full`()
        async throws
    {
        let recorded = try await RecordedMachine()
        try await recorded.fillTile()
        let seed = UInt64.random(in: 0 ... .max)
        let events = try recorded.server.events()
        try requireComplete(events, recorded.machine.dataDirectory)
        let cuts = try PowerCuts(of: events, sample: Self.tileSample, always: false, seed: seed)
        try await cutServer(recorded, cuts, seed: seed)
    }

    /// The recorder has missed nothing: what it leaves is what is there.
    private func requireComplete(_ events: [RecordedEvent], _ directory: String) throws {
        var disk = RecordedDisk()
        for event in events { try disk.apply(event.act) }
        let files = disk.afterCut(.all).filter { !$0.key.hasSuffix("-shm") }
        let found = try FileManager.default.subpathsOfDirectory(atPath: directory)
            .filter { !$0.hasSuffix("-shm") }
        #expect(Set(files.keys) == Set(found))
        for case (let path, let content?) in files {
            let isSame = FileManager.default.contents(atPath: "\(directory)/\(path)") == content
            #expect(isSame, "\(path)")
        }
    }

    private func cutServer(
        _ recorded: RecordedMachine,
        _ cuts: PowerCuts,
        seed: UInt64
    ) async throws {
        let server = ServerAfterCut(recorded)
        var found = Findings()
        try await cuts.forEach { cut, files in
            if found.isEnough { return }
            found.add(try await server.problems(files, at: cut.position), cut)
        }
        #expect(found.isEmpty, "\(found), seed \(seed)")
        print("power cuts of the server: \(cuts.count) of \(cuts.possible), seed \(seed)")
    }

    private func cutAgent(
        _ recorded: RecordedMachine,
        _ events: [RecordedEvent],
        seed: UInt64
    ) async throws {
        let cuts = try PowerCuts(of: events, sample: nil, seed: seed)
        let agent = try AgentAfterCut(recorded, events)
        var found = Findings()
        try await cuts.forEach { cut, files in
            if found.isEnough { return }
            found.add(try await agent.problems(files, at: cut.position, now: Date()), cut)
        }
        #expect(found.isEmpty, "\(found), seed \(seed)")
        print("power cuts of the agent: \(cuts.count) of \(cuts.possible), seed \(seed)")
    }

    /// The real server goes on after some of the cuts.
    private func startAfterCuts(
        _ events: [RecordedEvent],
        clockAhead: Int,
        seed: UInt64
    ) async throws {
        let cuts = try PowerCuts(of: events, sample: Self.starts, always: false, seed: seed)
        try await cuts.forEach { cut, files in
            let machine = try Machine { $0.serverLines = RecordedMachine.lifetimes }
            let recorder = try await Recorder(of: machine.dataDirectory, for: machine)
            // Nothing is signed with a clock behind the last signature.
            try recorder.setClock(ahead: clockAhead)
            machine.change { $0.serverEnvironment = recorder.clockEnvironment }
            try CutDirectory.fill(machine.dataDirectory, with: files)
            try await machine.startServer()
            try await machine.register("new", waits: false)
            let verified = try await machine.signet(["audit", "verify"])
            #expect(verified.isSuccess, "\(cut), seed \(seed): \(verified.report)")
            try await machine.stop()
        }
    }

    /// On a disk that only says it has synced a file or directory, something is found.
    private func requireLieFound(
        _ events: [RecordedEvent],
        about name: String,
        problems: (PowerCut, [String: Data?]) async throws -> [String]
    ) async throws {
        let lied = try events.pretendingToSync { $0.contains(name) }
        try #require(lied.count < events.count, "nothing of \(name) is synced")
        var found: [String] = []
        try await PowerCuts(of: lied, sample: 0, seed: 0).forEach { cut, files in
            if found.isEmpty { found = try await problems(cut, files) }
        }
        #expect(!found.isEmpty, "\(name)")
    }
}

/// The first cuts after which something was wrong, and what.
private struct Findings: CustomStringConvertible {
    private var lines: [String] = []

    var isEmpty: Bool { lines.isEmpty }
    var isEnough: Bool { lines.count >= 5 }
    var description: String { lines.joined(separator: "\n") }

    mutating func add(_ problems: [String], _ cut: PowerCut) {
        if !problems.isEmpty { lines.append("\(cut): \(problems)") }
    }
}
