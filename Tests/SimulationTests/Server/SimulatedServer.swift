// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import Datastore
import DurableFiles
import FoundationEssentials
import Issuance
import NodeSync
import SPIFFE

/// The server's machine: its disk and clock outlive every process on it.
final class SimulatedServer {
    /// How long the init system waits before it starts a server that ended by itself.
    static let restartDelay: Duration = .seconds(20)

    let scheduler: Scheduler
    let clock: SimulatedClock
    let ledger: Ledger
    let lifetimes: SVIDLifetimes
    let hold: Duration
    let sabotage: Sabotage?
    let trials: Trials
    /// Whose bundle endpoints it can reach.
    var partners: [SimulatedPartner] = []
    let directory: String
    private(set) var running: ServerProcess?
    /// Since when the process serves; nil while it does not.
    private(set) var servesSince: Duration?
    /// Why the last start failed.
    private(set) var startProblem: String?
    /// How probable a crash is at each commit.
    var crashProbability = 0.0
    private(set) var crashCount = 0
    private var connections: [Connection] = []
    /// Each process works on its own copy of the database file, as its predecessor left it.
    private var databaseNumber = 0

    init(
        _ scheduler: Scheduler,
        ledger: Ledger,
        lifetimes: SVIDLifetimes,
        hold: Duration,
        sabotage: Sabotage?,
        directory: String
    ) {
        self.scheduler = scheduler
        self.ledger = ledger
        self.lifetimes = lifetimes
        self.hold = hold
        self.sabotage = sabotage
        trials = Trials(seed: scheduler.seed)
        self.directory = directory
        clock = SimulatedClock(
            scheduler.time,
            bootedBefore: .seconds(Int64.random(in: 60...9_000_000, using: &scheduler.random))
        )
    }

    var databasePath: String { "\(directory)/server-\(databaseNumber).sqlite" }
    var keyDirectory: String { "\(directory)/keys" }
    var auditDirectory: String { "\(directory)/audit" }

    /// Starts the process; if it cannot start it is tried again later, as an init system does.
    func start() async throws {
        guard running == nil else { return }
        let process: ServerProcess
        do {
            process = try ServerProcess(self)
            running = process
            try await process.open()
            startProblem = nil
            servesSince = scheduler.now
            scheduler.note("server serves")
        } catch let violation as Violation {
            throw violation
        } catch {
            if running == nil, error is ServerGone { return }
            startProblem = "\(error)"
            scheduler.note(
                "server does not start: \((error as? APIError)?.reason ?? "\(type(of: error))")"
            )
            end()
            scheduler.after(Self.restartDelay, "server is started again") { [self] in
                try await start()
            }
        }
    }

    /// The process is gone between two instructions: what it had committed is all that is left.
    func crash() throws {
        guard let process = running else { return }
        crashCount += 1
        scheduler.note("server crashes")
        // The files as they are, with an open write-ahead log, become those of the next process.
        let left = databasePath
        databaseNumber += 1
        for suffix in ["", "-wal"] where FileManager.default.fileExists(atPath: left + suffix) {
            try FileManager.default.copyItem(
                atPath: left + suffix,
                toPath: databasePath + suffix
            )
        }
        process.loseCheckpoint()
        end()
        try process.datastore.close()
        for suffix in ["", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: left + suffix)
        }
    }

    /// Nothing of the process is left but its files.
    private func end() {
        running?.stop()
        running = nil
        servesSince = nil
        for connection in connections { connection.breakOff() }
        connections = []
    }

    func accepted(_ connection: Connection) {
        connections.removeAll(where: \.isOver)
        connections.append(connection)
    }

    func serve(
        _ request: Request,
        from peer: VerifiedPeer?,
        source: String,
        answer: @escaping (Result<Reply, APIError>) -> Void
    ) async throws {
        guard let running else { return }
        try await running.serve(request, from: peer, source: source, answer: answer)
    }

    func hello(
        _ hello: SyncHello,
        on channel: Channel,
        lane: Int,
        welcome: @escaping (Date, Set<Selector>) async throws -> Void,
        deliver: @escaping (SyncMessage) async throws -> Void
    ) throws {
        guard let running, let peer = channel.peer else { return }
        running.hello(
            hello,
            from: peer,
            on: channel.connection,
            lane: lane,
            welcome: welcome,
            deliver: deliver
        )
    }

    func acknowledged(on connection: Connection, _ acknowledgement: SyncAcknowledgement) {
        running?.acknowledged(on: connection, acknowledgement)
    }
}

/// The process ended in the middle of what it was doing.
struct ServerGone: Error {}
