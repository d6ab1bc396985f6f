// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE

/// One server, some agents, their networks, clocks and admin, and all checkers: a whole system in
/// one thread, out of one seed.
final class World {
    let scheduler: Scheduler
    let settings: Settings
    let trials: Trials
    let ledger = Ledger()
    let server: SimulatedServer
    let network: Network
    let sabotage: Sabotage?
    var agents: [SimulatedAgent] = []
    private(set) var partners: [SimulatedPartner] = []
    var entryNumber = 0
    /// What is wrong in the world now, by agent; nobody's name is the server's.
    var isStormy = false
    private(set) var latestWall = SimulatedClock.beginning
    private(set) var serverWorksSince: Duration?
    private var calm: [String: Duration] = [:]
    private var steps: [String: Duration] = [:]
    /// When agents were last connected to the server, whichever process of it.
    private(set) var seen: [String: Duration] = [:]
    private var authorityIDs: [[UInt8]: String] = [:]
    private var audit = AuditChecker()
    private var authorities = AuthorityChecker()
    private var availability = AvailabilityChecker()
    private var durability = DurabilityChecker()
    private var federation = FederationChecker()
    private var issuance = IssuanceChecker()
    private var revisions = RevisionChecker()
    private var revocation = RevocationChecker()
    private var rotation = RotationChecker()
    private let directory: String

    init(seed: UInt64, sabotage: Sabotage? = nil) throws {
        scheduler = Scheduler(seed: seed)
        settings = try Settings(seed: seed, using: &scheduler.random)
        trials = Trials(seed: seed)
        self.sabotage = sabotage
        directory = Self.newDirectory()
        server = SimulatedServer(
            scheduler,
            ledger: ledger,
            lifetimes: settings.lifetimes,
            hold: settings.hold,
            sabotage: sabotage,
            directory: "\(directory)/server"
        )
        network = Network(scheduler, server)
        for index in 1...settings.agentCount {
            let agent = SimulatedAgent(
                scheduler,
                network: network,
                name: "node-\(index)",
                selectors: [
                    "role:\(index % 2 == 0 ? "web" : "store")", "zone:\(SimulatedAgent.zone)",
                ],
                path: "\(directory)/node-\(index)",
                sabotage: sabotage
            )
            for uid in [1000, 1001] {
                agent.add(
                    SimulatedWorkload(
                        name: "uid-\(uid)",
                        selectors: [
                            try Selector("unix:uid:\(uid)"), try Selector("unix:path:/bin/app"),
                        ]
                    )
                )
            }
            if trials.proxies { agent.proxy = try SimulatedProxy() }
            agents.append(agent)
        }
        if trials.partners { try addPartners() }
        if sabotage == .silence { network.silenced = agents[0].name }
    }

    private func addPartners() throws {
        let own = try TrustDomain(ServerProcess.trustDomainName)
        let names = ["east", "west"]
        for name in names {
            let others = try names.filter { $0 != name }.map(SimulatedPartner.trustDomain)
            partners.append(try SimulatedPartner(scheduler, name, others: [own] + others))
        }
        server.partners = partners
    }

    /// Memory that looks like a disk where there is any: nothing here is about power cuts.
    private static func newDirectory() -> String {
        let memory = "/dev/shm"
        let parent =
            FileManager.default.isWritableFile(atPath: memory)
            ? memory : FileManager.default.temporaryDirectory.path
        return "\(parent)/signet-simulation-\(UUID().uuidString)"
    }

    /// Runs the world to its end.
    ///
    /// - Throws: `Violation` for the first rule that a checker finds broken.
    func run() async throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        do {
            try await begin()
            while try await scheduler.step(until: settings.duration) { try await check() }
            try finish()
        } catch let violation as Violation {
            throw violation
        } catch {
            throw Violation(
                rule: .durability,
                what: "an event failed: \(error)",
                seed: scheduler.seed,
                trace: scheduler.trace
            )
        }
    }

    private func finish() throws {
        try audit.checkFiles(self)
        if let running = server.running { try durability.compare(running.datastore, self) }
    }

    private func check() async throws {
        observe()
        try issuance.check(self)
        try audit.check(self)
        try revisions.check(self)
        try revocation.check(self)
        try await federation.check(self)
        try durability.check(self)
        try await rotation.check(self)
        try await authorities.check(self)
        try availability.check(self)
    }

    /// What the run was worth: enough must have happened for the checkers to say anything.
    var summary: String {
        "\(scheduler.stepCount) events, \(ledger.issuedInOrder.count) certificates, "
            + "revision \(ledger.number), \(rotation.rotationCount) rotations, "
            + "\(authorities.judged.count) taints, \(authorities.judgedRevocations.count) revoked "
            + "authorities judged, "
            + "\(ledger.refusals.all.count) certificates revoked, \(revocation.judgedCount) judged, "
            + "\(ledger.lists.count) lists, "
            + "\(ledger.beliefs.count) bundles of partners, \(ledger.refusedBundleCount) refused, "
            + "at most \(issuance.mostValid) valid at once for one holder, "
            + "\(server.crashCount) server crashes, \(lockoutCount) lockouts, longest recovery "
            + "\(availability.longestRecovery.inSeconds) s"
    }

    var rotationCount: Int { rotation.rotationCount }
    var lockoutCount = 0

    // MARK: - What checkers ask

    func violation(_ rule: Rule, _ what: String) -> Violation { scheduler.violation(rule, what) }

    func authorityID(of der: [UInt8]) -> String {
        if let known = authorityIDs[der] { return known }
        for authority in ledger.authorities.values {
            authorityIDs[authority.certificateDER] = authority.id
        }
        return authorityIDs[der] ?? "unknown"
    }

    /// Since when nothing is wrong for this agent; nil while something is.
    func calmSince(_ agent: SimulatedAgent) -> Duration? { calm[agent.name] }

    /// Whether neither the agent's nor the server's wall clock was wrong since then.
    func clocksSteady(since instant: Duration, _ agent: SimulatedAgent) -> Bool {
        (steps["server"] ?? .seconds(-1)) < instant && (steps[agent.name] ?? .seconds(-1)) < instant
    }

    var serverClockStepped: Bool { steps["server"] != nil }

    // MARK: - What is wrong now

    private func observe() {
        let now = scheduler.now
        latestWall = max(latestWall, server.clock.wallTime)
        if server.clock.error != .zero { steps["server"] = now }
        let isBehind = server.clock.wallTime < latestWall.addingTimeInterval(-5)
        if server.servesSince == nil || isBehind {
            serverWorksSince = nil
        } else if serverWorksSince == nil {
            serverWorksSince = now
        }
        for agent in agents {
            if server.running?.publisher.presence(of: AgentName(agent.name)).isConnected == true {
                seen[agent.name] = now
            } else if ledger.nodes[agent.name]?.isBanned ?? true {
                seen[agent.name] = nil
            }
            if agent.clock.error != .zero { steps[agent.name] = now }
            let skew = abs((agent.clock.error - server.clock.error).seconds)
            let isWrong =
                serverWorksSince == nil || agent.runsSince == nil || !agent.link.isUp
                || agent.link.breakProbability > 0 || agent.crashProbability > 0
                || server.crashProbability > 0 || skew > 20 || isLockedOut(agent)
                || ledger.nodes[agent.name]?.isBanned ?? true
            if isWrong {
                calm[agent.name] = nil
            } else if calm[agent.name] == nil {
                calm[agent.name] = now
            }
        }
    }

    /// Whether nothing that the agent believes vouches for the server any more.
    ///
    /// It happens to an agent that was away while an authority was published and came to sign the
    /// server's own certificate; it needs a new token.
    func isLockedOut(_ agent: SimulatedAgent) -> Bool {
        guard let process = agent.process, let running = server.running,
            let authority = running.ownAuthorityID
        else { return false }
        let state = ledger.state(at: process.logic.bundle.sequenceNumber)
        return state.map { !$0.authorities.contains(authority) } ?? false
    }
}
