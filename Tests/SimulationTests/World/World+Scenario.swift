// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import FoundationEssentials
import Issuance
import NodeAttestation
import NodeSync
import SPIFFE
import TestSeeds

/// What happens to the world: admins at work, storms of faults, and calm between them.
extension World {
    private var random: SeededGenerator {
        get { scheduler.random }
        set { scheduler.random = newValue }
    }

    func pick<Element>(_ elements: [Element]) -> Element? {
        elements.randomElement(using: &random)
    }

    func begin() async throws {
        try await server.start()
        for _ in 0..<settings.entryNameCount { try applyEntry() }
        if trials.proxies { try applyProxy() }
        for agent in agents {
            plan(.milliseconds(100), "admin makes a token for \(agent.name)") { [self] in
                try await giveToken(to: agent)
            }
            for workload in agent.workloads {
                plan(random.duration(1...20), "\(agent.name) \(workload.name) begins") {
                    workload.begin(on: agent)
                }
            }
        }
        planAdmin()
        planRejoining()
        if trials.taints { planTaints() }
        if trials.orders { planOrders() }
        if trials.revocations { planRevocations() }
        if trials.partners { planPartners() }
        planWeather()
        if let last = agents.last {
            plan(settings.deathAt, "\(last.name) dies for ever") { last.die() }
        }
    }

    func plan(
        _ delay: Duration,
        _ label: String,
        _ action: @escaping () async throws -> Void
    ) {
        scheduler.after(delay, label, action)
    }

    /// Does something with the server, if it is there; refusals are part of life.
    func administer(_ action: (ServerProcess) throws -> Void) throws {
        guard server.servesSince != nil, let running = server.running else { return }
        do {
            try action(running)
        } catch is ServerGone {
        } catch let error as APIError {
            scheduler.note("admin is refused: \(error.reason)")
        }
    }

    // MARK: - Admins

    private func planAdmin() {
        plan(random.duration(30...400), "admin acts") { [self] in
            switch Int.random(in: 0..<20, using: &random) {
            case 0..<9: try applyEntry()
            case 9..<14: try deleteEntry()
            case 14..<16: try banForAWhile()
            case 16..<19: try await restartWorkload()
            default: try evict()
            }
            planAdmin()
        }
    }

    private func planTaints() {
        plan(.seconds(300), "admin looks at authorities") { [self] in
            try await command { try await $0.taintOld() }
            planTaints()
        }
    }

    private func applyProxy() throws {
        let entry = SimulatedProxy.entry(
            ttlSeconds: Int(settings.lifetimes.workloadMax.seconds),
            federatesWith: partners.map(\.trustDomain)
        )
        try administer { try $0.apply([entry], and: [SimulatedProxy.document]) }
    }

    private func planRevocations() {
        plan(random.duration(60...500), "admin revokes") { [self] in
            try revokeSomething()
            planRevocations()
        }
    }

    private func revokeSomething() throws {
        let wall = server.clock.wallTime
        // By a clock that is wrong, what was revoked might be forgotten too early.
        guard server.clock.error == .zero,
            let fact = pick(
                ledger.issuedInOrder.suffix(200).filter { $0.entryID != nil && $0.notAfter > wall }
            )
        else { return }
        switch Int.random(in: 0..<4, using: &random) {
        case 0: try administer { try $0.revoke(identity: fact.spiffeID, seconds: 0) }
        case 1:
            let seconds = UInt32.random(in: 30...600, using: &random)
            try administer { try $0.revoke(identity: fact.spiffeID, seconds: seconds) }
        default: try administer { try $0.revoke(serial: fact.serial) }
        }
    }

    private func applyEntry() throws {
        let name = "entry-\(Int.random(in: 0..<settings.entryNameCount, using: &random))"
        let app = Int.random(in: 0..<4, using: &random)
        let variable = random.chance(0.3) ? pick(["/{node.name}", "/{node.zone}"]) : nil
        let node: Set<String> =
            random.chance(0.5)
            ? ["agent:node-\(Int.random(in: 1...settings.agentCount, using: &random))"]
            : [random.chance(0.5) ? "role:web" : "role:store", "zone:\(SimulatedAgent.zone)"]
        let now = server.clock.wallTime
        let expires =
            random.chance(0.1)
            ? Date(timeIntervalSince1970: (now.timeIntervalSince1970 + 2400).rounded()) : nil
        let plan = EntryPlan(
            name: name,
            spiffeID: "spiffe://\(ServerProcess.trustDomainName)/app-\(app)"
                + (variable ?? ""),
            nodeSelectors: node,
            workloadSelectors: ["unix:uid:\(random.chance(0.5) ? 1000 : 1001)"],
            ttlSeconds: Int.random(
                in: 720...Int(settings.lifetimes.workloadMax.seconds),
                using: &random
            ),
            expires: expires
        )
        try administer { try $0.apply([plan]) }
    }

    private func deleteEntry() throws {
        let names = ledger.current.entries.values.map(\.name)
            .filter { $0.hasPrefix("entry-") }.sorted()
        guard names.count > 2, let name = pick(names) else { return }
        try administer { try $0.apply([], deleting: [name]) }
    }

    private func banForAWhile() throws {
        guard let agent = pick(agents), ledger.nodes[agent.name] != nil else { return }
        try administer { try $0.change(.ban, of: agent.name) }
        plan(random.duration(20...900), "admin forgives \(agent.name)") { [self] in
            try forgive(agent)
        }
    }

    private func forgive(_ agent: SimulatedAgent) throws {
        try administer { try $0.change(.unban, of: agent.name) }
        guard ledger.nodes[agent.name]?.isBanned == true else { return }
        plan(.seconds(60), "admin forgives \(agent.name) again") { [self] in try forgive(agent) }
    }

    private func evict() throws {
        guard let agent = pick(agents), ledger.nodes[agent.name] != nil else { return }
        try administer { try $0.change(.evict, of: agent.name) }
        if ledger.nodes[agent.name] == nil {
            try agent.reset()
            agent.needsToken = true
        }
    }

    private func restartWorkload() async throws {
        guard let agent = pick(agents.filter { !$0.isDead }), let workload = pick(agent.workloads)
        else { return }
        try await workload.end(on: agent)
        plan(random.duration(1...200), "\(agent.name) \(workload.name) begins") {
            guard workload.wantsSince == nil else { return }
            workload.begin(on: agent)
        }
    }

    /// Whoever cannot come back by itself gets a new token after a while.
    private func planRejoining() {
        plan(.seconds(60), "admin looks for lost agents") { [self] in
            for agent in agents where !agent.isDead {
                if isLockedOut(agent), !isStormy {
                    scheduler.note("\(agent.name) is locked out")
                    lockoutCount += 1
                    try agent.reset()
                    agent.needsToken = true
                }
                if agent.process == nil, agent.needsToken { try await giveToken(to: agent) }
            }
            planRejoining()
        }
    }

    private func giveToken(to agent: SimulatedAgent) async throws {
        if ledger.nodes[agent.name] != nil {
            try administer { try $0.change(.evict, of: agent.name) }
        }
        let secret = random.bytes(JoinToken.secretBytes)
        var made: JoinToken?
        try administer { running in
            let token = try JoinToken(
                trustDomain: running.logic.trustDomain,
                serverAddresses: ["server.simulation.test:8081"],
                authorityPins: running.requireTrust().bundle.x509Authorities.map {
                    try authoritySPKISHA256($0)
                },
                secret: secret
            )
            try running.createToken(
                hash: token.secretHash,
                name: agent.name,
                selectors: agent.selectors
            )
            made = token
        }
        guard let made else { return }
        plan(random.duration(0.1...20), "\(agent.name) is given a token") {
            try await agent.join(made)
        }
    }
}
