// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import Clocks
import Datastore
import Foundation
import Issuance
import Logging
import NodeAgent
import SPIFFE
import TestPrograms
import TestSeeds

/// A power cut after an event of a record, and what it leaves.
struct PowerCut: CustomStringConvertible {
    /// The events before it.
    let eventCount: Int
    /// Where in the record that is.
    let position: Int
    let survival: Survival

    var description: String { "after event \(eventCount), \(survival)" }
}

/// The power cuts of a record that are looked at.
struct PowerCuts {
    /// Whether every cut is looked at, as `make full` does.
    static var isExhaustive: Bool {
        ProcessInfo.processInfo.environment["SIGNET_POWER_CUTS"] == "all"
    }

    private let events: [RecordedEvent]
    private let chosen: [PowerCut]
    /// How many cuts there are.
    let possible: Int

    /// Chooses cuts.
    ///
    /// - Parameters:
    ///   - events: A whole record.
    ///   - sample: How many to take beside those that lose all that can be lost; nil takes every
    ///     cut.
    ///   - takesWorst: Whether to take all of those, or to sample them with the others.
    ///   - seed: What decides which to take, and what they leave.
    /// - Throws: `ProgramFailure` for a record that makes no sense.
    init(
        of events: [RecordedEvent],
        sample: Int?,
        always takesWorst: Bool = true,
        seed: UInt64
    ) throws {
        self.events = events
        var (worst, others): ([PowerCut], [PowerCut]) = ([], [])
        var disk = RecordedDisk()
        for (index, event) in events.enumerated() {
            try disk.apply(event.act)
            let cut = { PowerCut(eventCount: index + 1, position: event.position, survival: $0) }
            let isLastBeforeSync = index + 1 == events.count || events[index + 1].isSync
            // Between two syncs only the promises become more.
            if isLastBeforeSync { worst.append(cut(.none)) }
            if disk.isClean { continue }
            others.append(cut(.all))
            let salt = seed &+ UInt64(index)
            others += [cut(.some(seed: salt)), cut(.some(seed: ~salt))]
            if disk.canTear { others.append(cut(.torn(seed: salt))) }
        }
        possible = worst.count + others.count
        if !takesWorst {
            others += worst
            worst = []
        }
        if let sample {
            var generator = SeededGenerator(seed: seed)
            others = Array(others.shuffled(using: &generator).prefix(sample))
        }
        chosen = (worst + others).sorted { $0.eventCount < $1.eventCount }
    }

    var count: Int { chosen.count }

    /// Calls `body` with each chosen cut and the files it leaves, in order.
    func forEach(_ body: (PowerCut, [String: Data?]) async throws -> Void) async throws {
        var disk = RecordedDisk()
        var applied = 0
        for cut in chosen {
            while applied < cut.eventCount {
                try disk.apply(events[applied].act)
                applied += 1
            }
            try await body(cut, disk.afterCut(cut.survival))
        }
    }
}

/// A directory in memory, where what a power cut leaves is looked at.
final class CutDirectory {
    private static let memory = "/dev/shm"

    let path: String

    init() {
        let isThere = FileManager.default.isWritableFile(atPath: Self.memory)
        let parent = isThere ? Self.memory : FileManager.default.temporaryDirectory.path
        path = "\(parent)/sgt-cut-\(UInt32.random(in: 0 ... .max))"
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Puts the files there, and nothing else.
    func fill(with files: [String: Data?]) throws { try Self.fill(path, with: files) }

    /// Puts the files into a directory, and nothing else.
    static func fill(_ path: String, with files: [String: Data?]) throws {
        if FileManager.default.fileExists(atPath: path) {
            try FileManager.default.removeItem(atPath: path)
        }
        let mode: [FileAttributeKey: Any] = [.posixPermissions: 0o700]
        try FileManager.default.createDirectory(
            atPath: path,
            withIntermediateDirectories: true,
            attributes: mode
        )
        for (name, content) in files.sorted(by: { $0.key < $1.key }) {
            let file = "\(path)/\(name)"
            guard let content else {
                try FileManager.default.createDirectory(
                    atPath: file,
                    withIntermediateDirectories: false,
                    attributes: mode
                )
                continue
            }
            try content.write(to: URL(fileURLWithPath: file))
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
        }
    }
}

// MARK: - The server

/// What must be true of a server's data after a power cut.
struct ServerAfterCut {
    let promises: [Promise<ReadTransaction>]
    let checkpoints: [ShownCheckpoint]
    let directory = CutDirectory()

    init(_ recorded: RecordedMachine) {
        promises = recorded.serverPromises
        checkpoints = recorded.checkpoints
    }

    /// Starts the server's own code on the files; what is wrong with them, in words.
    func problems(_ files: [String: Data?], at position: Int) async throws -> [String] {
        try directory.fill(with: files)
        var configuration = ServerConfiguration(
            trustDomain: try TrustDomain("example.org"),
            dataDirectory: directory.path
        )
        configuration.keyStorage = .plain
        let core: ServerCore
        let server: Server
        do {
            server = try Server(
                configuration,
                clock: SystemClock(),
                logger: Logger(label: "cut") { _ in SwiftLogNoOpLogHandler() }
            )
            core = server.core
        } catch {
            return ["it does not start: \(error)"]
        }
        defer { try? core.datastore.close() }
        do {
            var problems = try broken(core.datastore, at: position)
            problems += try keyless(core) + unfinishedKeys()
            return try await problems + badLog(core, at: position)
        } catch {
            return ["it does not run: \(error)"]
        }
    }

    private func broken(_ datastore: ServerStore, at position: Int) throws -> [String] {
        try datastore.readNow { transaction in
            try promises.filter { $0.holds(at: position) }.compactMap { promise in
                try promise.isKept(transaction) ? nil : "lost: \(promise.what)"
            }
        }
    }

    /// Authorities that are to sign and whose keys are not there.
    private func keyless(_ core: ServerCore) throws -> [String] {
        try core.datastore.readNow { try $0.authorities() }
            .filter { $0.state != Authority.State.old.rawValue }
            .compactMap { authority in
                let signer = try core.keys.signer(authorityID: authority.id)
                return signer == nil ? "no key of authority \(authority.id)" : nil
            }
    }

    /// Parts of keys that nobody would ever destroy.
    private func unfinishedKeys() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(directory.path)/keys")
            .filter { $0.hasSuffix(".new") }.map { "left behind: \($0)" }
    }

    /// Publishes what is not yet published, and checks the whole log.
    private func badLog(_ core: ServerCore, at position: Int) async throws -> [String] {
        while try await core.audit.publish() {}
        try await core.audit.remember()
        guard let newest = core.audit.checkpoint else {
            return checkpoints.contains { $0.position <= position } ? ["the log is empty"] : []
        }
        let log = core.audit.directory
        let verdict = AuditVerifier(key: core.audit.key) { try AuditPublisher.read($0, in: log) }
            .verify(files: []) { _, _ in }
        guard case .intact = verdict else { return ["the log: \(verdict)"] }
        return try checkpoints.filter { $0.position <= position }.compactMap { shown in
            var tree = TiledTree(size: newest.checkpoint.size) {
                try AuditPublisher.read($0, in: log)
            }
            let proof = try tree.proveConsistency(from: shown.size)
            let isContinued =
                proof?.joins(oldRoot: shown.root, newRoot: newest.checkpoint.root) ?? false
            return isContinued ? nil : "the log does not go on from \(shown.size) records"
        }
    }
}

// MARK: - The agent

/// What an agent finds of itself.
struct AgentState: Sendable {
    let stored: StoredAgent?
    let key: NodeKey?
}

/// What must be true of an agent's data after a power cut.
struct AgentAfterCut {
    let promises: [Promise<AgentState>]
    let directory = CutDirectory()

    init(_ recorded: RecordedMachine, _ events: [RecordedEvent]) throws {
        // Its creation is the first trace of an answer: by then the token is spent.
        let answered = events.first { event in
            if case .create(let path, _) = event.act { return path.hasPrefix("identity") }
            return false
        }
        guard let answered else { throw ProgramFailure("the agent kept no identity") }
        let key = Promise<AgentState>(what: "the key that was attested", from: answered.position) {
            $0.key != nil
        }
        promises = recorded.agentPromises + [key]
    }

    func problems(_ files: [String: Data?], at position: Int, now: Date) async throws -> [String] {
        try directory.fill(with: files)
        do {
            let state = try await state(now: now)
            return try promises.filter { $0.holds(at: position) }.compactMap { promise in
                try promise.isKept(state) ? nil : "lost: \(promise.what)"
            }
        } catch {
            return ["it does not start: \(error)"]
        }
    }

    private func state(now: Date) async throws -> AgentState {
        let files = try AgentDirectory(directory.path)
        let stored = try await StoredAgent.read(from: files, now: now)
        // Before its identity is written the agent has the key that it joins with.
        let key = try stored?.key ?? JoiningKey.read(from: files)?.key
        return AgentState(stored: stored, key: key)
    }
}
