// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Datastore
import Foundation
import NodeAgent
import NodeSync
import SPIFFE
import Synchronization
import TestPrograms

/// Something that a program has confirmed, and from where to where in its record that must hold.
struct Promise<State>: Sendable {
    let what: String
    let from: Int
    var until = Int.max
    let isKept: @Sendable (State) throws -> Bool

    func holds(at position: Int) -> Bool { from <= position && position < until }
}

/// A checkpoint of the audit log that somebody has been shown.
struct ShownCheckpoint: Sendable {
    let position: Int
    let size: UInt64
    let root: MerkleHash
}

/// A server and an agent that are recorded while they do everything that they confirm to anybody.
final class RecordedMachine: Sendable {
    /// Half of an authority's life is an hour: the next one is made soon after it.
    static let lifetimes = [
        "authorityTTL: 2h", "agentSVIDTTL: 20m", "workloadSVIDTTL: 10m",
    ]
    private static let halfLife = 3660
    /// Longer than a published authority waits at least.
    private static let hold = 40

    private struct Kept {
        var server: [Promise<ReadTransaction>] = []
        var tokens: Set<String> = []
        /// Where among them the one about the tokens is.
        var tokenPromise: Int?
        var agent: [Promise<AgentState>] = []
        var checkpoints: [ShownCheckpoint] = []
    }

    /// How far ahead the clock is in the end, in seconds.
    var clockAhead: Int { Self.halfLife + Self.hold }

    let machine: Machine
    let server: Recorder
    let agent: Recorder
    private let kept = Mutex(Kept())

    init() async throws {
        machine = try Machine { $0.serverLines = Self.lifetimes }
        server = try await Recorder(of: machine.dataDirectory, for: machine)
        agent = try await Recorder(of: machine.agentDirectory, for: machine)
        machine.change { [server, agent] in
            $0.serverEnvironment = server.recordEnvironment
            $0.agentEnvironment = agent.recordEnvironment
            $0.commandEnvironment = server.clockEnvironment
        }
    }

    var serverPromises: [Promise<ReadTransaction>] { kept.withLock { $0.server } }
    var agentPromises: [Promise<AgentState>] { kept.withLock { $0.agent } }
    var checkpoints: [ShownCheckpoint] { kept.withLock { $0.checkpoints } }

    // MARK: - Promises

    /// The server has just confirmed it.
    private func promised(
        _ what: String,
        _ isKept: @escaping @Sendable (ReadTransaction) throws -> Bool
    ) throws {
        let promise = Promise(what: what, from: try server.position, isKept: isKept)
        kept.withLock { $0.server.append(promise) }
    }

    /// It may be otherwise from now on.
    private func withdraw(_ what: String) throws {
        let position = try server.position
        kept.withLock { kept in
            for index in kept.server.indices where kept.server[index].what == what {
                kept.server[index].until = position
            }
        }
    }

    private func agentPromised(
        _ what: String,
        _ isKept: @escaping @Sendable (AgentState) throws -> Bool
    ) throws {
        let promise = Promise(what: what, from: try agent.position, isKept: isKept)
        kept.withLock { $0.agent.append(promise) }
    }

    // MARK: - Acts

    /// Does everything once.
    func run() async throws {
        try await machine.startServer()
        try await promiseIdentity()
        try await apply("web")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for name in ["one", "two", "three"] { group.addTask { try await self.apply(name) } }
            try await group.waitForAll()
        }
        try await makeToken("spare")
        try await attest()
        try await fetch()
        try await delete("two")
        try await showCheckpoint()
        try await rotate()
        try await fetch()
        // After the kill the log is recovered, and what is recovered is recorded as well.
        try await machine.server.stop(.kill)
        try await machine.startServer()
        try await apply("four")
        try await ban()
        try await showCheckpoint()
        try await machine.stop()
    }

    /// Fills the first tile of the log, whose partial forms are removed then.
    func fillTile() async throws {
        try await machine.startServer()
        try await promiseIdentity()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<4 {
                group.addTask {
                    for index in 0..<64 { try await self.makeToken("spare-\(writer)-\(index)") }
                }
            }
            try await group.waitForAll()
        }
        try await showCheckpoint()
        try await machine.stop()
    }

    private struct Health: Decodable {
        var connectedAgents: Int
        var revision: UInt64
        var serverID: String
    }

    private struct HealthAnswer: Decodable {
        var server: Health?
    }

    private func health() async throws -> Health {
        // Right after its start the server says that it is not ready, which is an answer too.
        let result = try await machine.signet(["health", "-o", "json"])
        let answer = try JSONDecoder().decode(HealthAnswer.self, from: Data(result.output.utf8))
        guard let server = answer.server else { throw ProgramFailure(result.report) }
        return server
    }

    /// What the command line says of it.
    private func answer<Value: Decodable>(_ arguments: [String]) async throws -> Value {
        let result = try await machine.signet(arguments + ["-o", "json"])
        guard result.isSuccess else { throw ProgramFailure("\(arguments): \(result.report)") }
        return try JSONDecoder().decode(Value.self, from: Data(result.output.utf8))
    }

    private func promiseIdentity() async throws {
        let id = try await health().serverID
        try promised("the server's identity") { try $0.identity()?.serverID == id }
        try await promiseAuthorities()
    }

    private func document(_ name: String) -> DocumentKey {
        DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: "RegistrationEntry",
            namespace: "default",
            name: name
        )
    }

    private func apply(_ name: String) async throws {
        let uid = FreePort.uid
        try await machine.apply(Machine.entry(name, workload: "unix:uid:\(uid)"), waits: false)
        let key = document(name)
        try promised("document \(name)") { try $0.document(key) != nil }
        let revision = try await health().revision
        try promised("revision \(revision)") { try $0.revision().number >= revision }
    }

    private func delete(_ name: String) async throws {
        try withdraw("document \(name)")
        let deleted = try await machine.signet(["delete", "RegistrationEntry", name])
        guard deleted.isSuccess else { throw ProgramFailure(deleted.report) }
        let key = document(name)
        try promised("no document \(name)") { try $0.document(key) == nil }
    }

    private func makeToken(_ name: String) async throws {
        let made = try await machine.signet(["token", "create", "--name", name])
        guard made.isSuccess else { throw ProgramFailure(made.report) }
        // One promise about all of them, for they are many.
        try kept.withLock { kept in
            let position = try server.position
            kept.tokens.insert(name)
            let names = kept.tokens
            if let last = kept.tokenPromise { kept.server[last].until = position }
            kept.tokenPromise = kept.server.count
            kept.server.append(
                Promise(what: "unused tokens", from: position) { transaction in
                    let unused = try transaction.joinTokens(limit: 500).filter { $0.usedAt == nil }
                    return names.isSubset(of: unused.map(\.name))
                }
            )
        }
    }

    private func attest() async throws {
        try await machine.startAgent()
        try promised("a used token") { transaction in
            try transaction.joinTokens(limit: 500).contains {
                $0.name == "machine" && $0.usedAt != nil
            }
        }
        try promised("an attested node") { try $0.node(named: "machine") != nil }
        try agentPromised("the agent's identity") { $0.stored != nil }
        try await applyAndWait("later")
    }

    private func applyAndWait(_ name: String) async throws {
        try await machine.register(name)
        try await promiseRevisionOfAgent()
    }

    /// The agent has acknowledged everything up to here.
    private func promiseRevisionOfAgent() async throws {
        let revision = try await health().revision
        try agentPromised("revision \(revision)") {
            ($0.stored?.sync?.revision.number ?? 0) >= revision
        }
    }

    private struct Identity: Decodable {
        var serial: String
        var spiffeID: String
    }

    private func fetch() async throws {
        let identities: [Identity] = try await answer(["svid", "fetch"])
        guard !identities.isEmpty else { throw ProgramFailure("no SVID") }
        for identity in identities {
            let serial = stride(from: 0, to: identity.serial.count, by: 2).compactMap { offset in
                UInt8(identity.serial.dropFirst(offset).prefix(2), radix: 16)
            }
            try promised("the intent of \(identity.serial)") {
                try $0.intent(serial: serial) != nil
            }
            var filter = AuditLeafFilter()
            filter.serial = identity.serial
            let wanted = filter
            try promised("the record of \(identity.serial)") {
                try $0.queryLeaves(wanted, limit: 1).count == 1
            }
        }
    }

    private func ban() async throws {
        let banned = try await machine.signet(["agent", "ban", "machine", "--reason", "test"])
        guard banned.isSuccess else { throw ProgramFailure(banned.report) }
        try promised("a banned node") { try $0.node(named: "machine")?.ban != nil }
    }

    private struct Verified: Decodable {
        var records: UInt64
        var root: String
    }

    private func showCheckpoint() async throws {
        let verified: Verified = try await answer(["audit", "verify"])
        guard let root = Data(base64Encoded: verified.root).flatMap({ MerkleHash($0) }) else {
            throw ProgramFailure("no root: \(verified)")
        }
        let shown = ShownCheckpoint(
            position: try server.position,
            size: verified.records,
            root: root
        )
        kept.withLock { $0.checkpoints.append(shown) }
    }

    // MARK: - Rotation

    private struct Authorities: Decodable {
        struct Authority: Decodable {
            var id: String
            var state: String
        }
        var authorities: [Authority]

        func ids(_ state: String) -> [String] {
            authorities.filter { $0.state == state }.map(\.id)
        }
    }

    @discardableResult
    private func promiseAuthorities() async throws -> Authorities {
        let shown: Authorities = try await answer(["authority", "show"])
        for authority in shown.authorities {
            let (id, state) = (authority.id, authority.state)
            try promised("authority \(id)") { try $0.authority(id: id) != nil }
            if state != "active" { continue }
            try promised("authority \(id) signs, or did") {
                let state = try $0.authority(id: id)?.state
                return state == "active" || state == "old"
            }
        }
        return shown
    }

    private func rotate() async throws {
        let before = try await promiseAuthorities().ids("active")
        try await machine.agent.stop(.kill)
        try await machine.server.stop()
        try server.setClock(ahead: Self.halfLife)
        try await machine.startServer()
        try await machine.startAgent()
        try await eventually("the next authority, and the agent") {
            let shown: Authorities = try await answer(["authority", "show"])
            let agents = try await health().connectedAgents
            return !shown.ids("prepared").isEmpty && agents == 1
        }
        try await promiseAuthorities()
        // Until the agent has it, and for 30 s, it only waits.
        try server.setClock(ahead: clockAhead)
        try await eventually("the next authority to sign") {
            let shown: Authorities = try await answer(["authority", "show"])
            return shown.ids("active") != before
        }
        let new = try await promiseAuthorities().ids("active")
        try agentPromised("the new authority") { state in
            state.stored?.identity.bundle.x509Authorities.count == 2
        }
        guard new != before else { throw ProgramFailure("the authority is still \(new)") }
    }
}
