// SPDX-License-Identifier: Apache-2.0

import AuditLog
import ControlAPI
import FoundationEssentials
import NodeAgent
import NodeAttestation
import NodeSync
import SPIFFE
import TestSeeds

/// An agent's machine: disk, clock, network and workloads outlive every process on it.
final class SimulatedAgent {
    /// Where all machines are; no entry names it that is for one node alone, so an agent learns it
    /// only from the server's Welcome.
    static let zone = "one"

    let scheduler: Scheduler
    let network: Network
    let name: String
    let clock: SimulatedClock
    let link: Link
    let selectors: Set<String>
    let path: String
    let sabotage: Sabotage?
    var random: SeededGenerator
    private(set) var workloads: [SimulatedWorkload] = []
    /// Nil in worlds without proxies.
    var proxy: SimulatedProxy?
    private(set) var process: AgentProcess?
    /// Since when a process with an identity runs; nil while none does.
    private(set) var runsSince: Duration?
    /// The machine is off for ever.
    private(set) var isDead = false
    /// How probable a crash is at each step of the process.
    var crashProbability = 0.0
    /// The revision that was last said to be on disk.
    var persisted: Revision?
    /// What a shell told the operator, by kind; most of it is worth nothing here.
    var alarms: [String] = []
    /// Held by the process that runs, as its lock demands.
    private var directory: AgentDirectory?
    private(set) var isJoining = false
    /// The last token is no use any more, or the agent has lost its way to the server.
    var needsToken = true
    /// The highest revision that was in force since the identity was made.
    private(set) var appliedMax: UInt64 = 0
    var turns = 0
    private var generation = 0

    init(
        _ scheduler: Scheduler,
        network: Network,
        name: String,
        selectors: Set<String>,
        path: String,
        sabotage: Sabotage?
    ) {
        self.scheduler = scheduler
        self.network = network
        self.name = name
        self.selectors = selectors
        allSelectors = selectors.union(["agent:\(name)"])
        self.path = path
        self.sabotage = sabotage
        random = scheduler.random.fork()
        link = Link(scheduler, name)
        clock = SimulatedClock(
            scheduler.time,
            bootedBefore: .seconds(Int64.random(in: 1...9_000_000, using: &random))
        )
    }

    /// What entries of this node may name.
    let allSelectors: Set<String>

    func applied(_ number: UInt64) { appliedMax = max(appliedMax, number) }

    func add(_ workload: SimulatedWorkload) { workloads.append(workload) }

    /// Plans something that happens unless the process is gone by then.
    func after(
        _ delay: Duration,
        _ label: String,
        _ action: @escaping () async throws -> Void
    ) {
        let generation = generation
        scheduler.after(delay, label) { [self] in
            guard generation == self.generation else { return }
            do { try await action() } catch is AgentGone {}
        }
    }

    // MARK: - Processes

    /// Starts a process on what the disk holds.
    func start() async throws {
        guard process == nil, !isDead else { return }
        do {
            let directory = try openDirectory()
            guard let stored = try await StoredAgent.read(from: directory, now: clock.wallTime)
            else { return }
            try check(stored)
            let process = AgentProcess(self, stored)
            self.process = process
            runsSince = scheduler.now
            scheduler.note("\(name) runs")
            try await process.start()
        } catch let error as AgentFileError {
            // Nobody damages files here: what an agent wrote, it can begin with.
            throw scheduler.violation(.durability, "\(name) cannot start: \(error.problem)")
        } catch is AgentGone {
            return
        }
        for workload in workloads { workload.processStarted(on: self) }
        proxy?.processStarted(on: self)
    }

    private func openDirectory() throws -> AgentDirectory {
        let opened = try directory ?? AgentDirectory(path)
        directory = opened
        return opened
    }

    func write(_ content: [UInt8], to file: AgentFile) throws {
        try openDirectory().write(content, to: file)
    }

    private func check(_ stored: StoredAgent) throws {
        guard let persisted else { return }
        let found = stored.sync?.revision
        guard let found, found.epoch != persisted.epoch || found.number >= persisted.number else {
            throw scheduler.violation(
                .revisions,
                "\(name) wrote revision \(persisted.number) to disk and restarts with "
                    + "\(found.map { "\($0.number)" } ?? "none")"
            )
        }
    }

    /// The process is gone between two instructions.
    func crash() {
        guard process != nil else { return }
        scheduler.note("\(name) crashes")
        end()
        link.breakAll()
    }

    func die() {
        end()
        link.breakAll()
        isDead = true
    }

    private func end() {
        generation += 1
        process = nil
        directory = nil
        isJoining = false
        runsSince = nil
        for workload in workloads { workload.processEnded() }
        proxy?.processEnded()
    }

    /// As if the admin had emptied the data directory to begin again with a new token.
    func reset() throws {
        end()
        link.breakAll()
        persisted = nil
        appliedMax = 0
        try? FileManager.default.removeItem(atPath: path)
    }

    // MARK: - First contact

    /// Trades a join token for an identity, as docs/decisions/0002 says; repeats what failed.
    func join(_ token: JoinToken) async throws {
        guard process == nil, !isDead, !isJoining else { return }
        isJoining = true
        needsToken = false
        let generation = generation
        let anonymous = Caller(link: link, chain: []) { _ in nil }
        network.ask(.bundle, anonymous) { [self] result in
            guard generation == self.generation else { return }
            guard case .success(.bundle(let offered)) = result else { return joinLater(token) }
            guard let pinned = try? PinnedBundle(keeping: offered, pinnedBy: token) else {
                return giveUp("no authority is pinned")
            }
            try await attest(token, pinned.bundle)
        }
    }

    private func joinLater(_ token: JoinToken) {
        isJoining = false
        after(random.duration(1...5), "\(name) tries to join again") { [self] in
            try await join(token)
        }
    }

    private func giveUp(_ reason: String) {
        scheduler.note("\(name) needs a new token: \(reason)")
        isJoining = false
        needsToken = true
    }

    private func attest(_ token: JoinToken, _ believed: TrustBundle) async throws {
        let key = try JoiningKey.key(for: token.secretHash, in: openDirectory()) {
            let made = NodeKey(pkcs8: try SimulatedKey(using: &random).pkcs8)
            guard let made else { throw AgentGone() }
            return made
        }
        let verifier = PeerVerifier(bundles: [believed.trustDomain: believed])
        let caller = Caller(link: link, chain: []) { [self] in await judge($0, verifier) }
        let request = Request.joinToken(hash: token.secretHash, csr: try key.certificateRequest())
        let generation = generation
        network.ask(request, caller) { [self] result in
            guard generation == self.generation else { return }
            switch result {
            case .success(.admitted(let admission)):
                guard let identity = await identity(from: admission, key) else {
                    return giveUp("the answer does not verify")
                }
                try write(identity.encoded(), to: .identity)
                isJoining = false
                scheduler.after(.milliseconds(10), "\(name) starts after joining") { [self] in
                    try await start()
                }
            case .failure(.refused(let error)) where error.kind == .permissionDenied:
                giveUp(error.reason)
            // Whoever signs the server's certificate came after the token.
            case .failure(.serverUnverified(let problem)) where network.server.trials.orders:
                giveUp(problem)
            case .failure, .success: joinLater(token)
            }
        }
    }

    private func identity(
        from admission: Reply.Admission,
        _ key: NodeKey
    ) async -> StoredIdentity? {
        let verifier = PeerVerifier(bundles: [admission.bundle.trustDomain: admission.bundle])
        guard
            let chain = try? await IssuedChain(
                verifying: admission.chain,
                id: admission.id,
                spkiSHA256: key.spkiSHA256,
                verifier: verifier,
                now: clock.wallTime
            )
        else { return nil }
        return StoredIdentity(
            id: chain.id,
            certificateChain: chain.chain,
            issuedAt: clock.wallTime,
            notAfter: chain.notAfter,
            bundle: admission.bundle,
            serverAddresses: ["server.simulation.test:8081"],
            auditKey: admission.auditKey
        )
    }

    /// What is wrong with a server's chain; nil if it is that of the trust domain's server.
    func judge(_ chain: [[UInt8]], _ verifier: PeerVerifier) async -> String? {
        do {
            let peer = try await verifier.verify(chain: chain, now: clock.wallTime)
            return peer.id.path == "/signet/server/\(ServerProcess.serverID)"
                ? nil : "\(peer.id) is no server"
        } catch {
            return "\(error)"
        }
    }
}

/// The process ended in the middle of what it was doing.
struct AgentGone: Error {}
