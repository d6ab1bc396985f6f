// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE

/// No certificate says what no entry allowed when it was issued, no holder has more of them than
/// renewals make, and no workload is shown what its agent's revision does not grant.
struct IssuanceChecker {
    /// Who a certificate is for.
    private struct Holder: Hashable {
        let node: String
        let entryID: String?
        let spiffeID: String
    }

    /// Most certificates of one holder that are valid at a time.
    ///
    /// The one in use, its replacement at half life, and what is signed again because an answer was
    /// lost, an agent was started anew or an entry or authority changed. Crashes and losses come in
    /// bursts here.
    private static let validMax = 24

    /// Work between approval and commit is part of a second or two.
    private static let workMax: Duration = .seconds(2)

    private var issuedSeen = 0
    /// What the server's wall clock showed in that time: it may have stepped back meanwhile.
    private var walls: [(at: Duration, wall: Date)] = []
    private var serials: Set<[UInt8]> = []
    /// When the certificates of each holder end that had not ended when the last one was issued.
    private var ends: [Holder: [Date]] = [:]
    /// The most that were ever valid at a time for one holder.
    private(set) var mostValid = 0
    /// What was looked at, by agent.
    private var turns: [String: Int] = [:]

    mutating func check(_ world: World) throws {
        let now = world.scheduler.now
        walls.append((now, world.server.clock.wallTime))
        walls.removeAll { now - $0.at > Self.workMax }
        for fact in world.ledger.issuedInOrder[issuedSeen...] {
            issuedSeen += 1
            guard serials.insert(fact.serial).inserted else {
                throw world.violation(.issuance, "a serial was used twice")
            }
            try count(fact, world)
            if let problem = problem(of: fact, world) {
                throw world.violation(
                    .issuance,
                    "\(fact.spiffeID) was signed for \(fact.node), but \(problem)"
                )
            }
        }
        for agent in world.agents {
            guard let process = agent.process, turns[agent.name] != process.turn else { continue }
            turns[agent.name] = process.turn
            for workload in agent.workloads {
                guard let subscriber = workload.subscriber,
                    case .view(let view) = process.logic.answer(for: subscriber)
                else { continue }
                try checkServed(view, to: workload, on: agent, world)
            }
        }
    }

    private mutating func count(_ fact: IssuedFact, _ world: World) throws {
        if fact.node.isEmpty { return }
        let holder = Holder(node: fact.node, entryID: fact.entryID, spiffeID: fact.spiffeID)
        // Of clocks that disagree the agent's may refuse whatever the server's signs, again and again.
        let agent = world.agents.first { $0.name == fact.node }
        guard world.server.clock.error == .zero, agent?.clock.error ?? .zero == .zero else {
            ends[holder] = nil
            return
        }
        let now = world.server.clock.wallTime
        let valid = ends[holder, default: []].filter { $0 > now } + [fact.notAfter]
        ends[holder] = valid
        mostValid = max(mostValid, valid.count)
        // The identity of proxies is held by them, and ahead of time for workloads.
        let keys = fact.spiffeID == SimulatedProxy.identity ? 2 : 1
        guard valid.count <= keys * Self.validMax else {
            throw world.violation(
                .issuance,
                "\(fact.node) has \(valid.count) valid certificates of \(fact.spiffeID)"
            )
        }
    }

    /// Why the server should not have signed it; nil if it was right.
    private func problem(of fact: IssuedFact, _ world: World) -> String? {
        if fact.node.isEmpty { return nil }
        guard let node = world.ledger.nodes[fact.node] else { return "there is no such node" }
        if node.isBanned { return "the node is banned" }
        guard let entryID = fact.entryID else {
            return fact.spiffeID.hasSuffix("/signet/agent/\(fact.node)") ? nil : "it is no agent"
        }
        guard let entry = world.ledger.current.entries[entryID] else { return "no entry says so" }
        let selectors = node.selectors.union(["agent:\(fact.node)"])
        guard entry.nodeSelectors.isSubset(of: selectors) else {
            return "the entry is of other nodes"
        }
        guard entry.resolved(on: fact.node) == fact.spiffeID else {
            return "the entry says another"
        }
        let now = walls.map(\.wall).max() ?? world.server.clock.wallTime
        if fact.notAfter > now.addingTimeInterval(Double(entry.ttlSeconds) + 1) {
            return "it lives too long"
        }
        if world.ledger.refusals.isOfRevokedIdentity(fact) { return "the identity is revoked" }
        if let expires = entry.expires, fact.notAfter > expires.addingTimeInterval(1) {
            return "it outlives its entry"
        }
        return nil
    }

    private func checkServed(
        _ view: WorkloadView,
        to workload: SimulatedWorkload,
        on agent: SimulatedAgent,
        _ world: World
    ) throws {
        guard let revision = agent.process?.logic.sync.revision,
            let state = world.ledger.state(at: revision.number)
        else { throw world.violation(.issuance, "\(agent.name) serves without a revision") }
        for svid in view.svids {
            func refuse(_ why: String) -> Violation {
                world.violation(.issuance, "\(agent.name) serves \(svid.id), but \(why)")
            }
            guard let fact = world.ledger.issued[svid.serial], fact.node == agent.name else {
                throw refuse("it was not signed for this node")
            }
            guard let entry = state.entries[svid.entryID] else {
                throw refuse("there is no entry for it at revision \(revision.number)")
            }
            guard entry.workloadSelectors.isSubset(of: workload.selectorTexts) else {
                throw refuse("the workload does not match")
            }
            guard entry.nodeSelectors.isSubset(of: agent.allSelectors) else {
                throw refuse("the node does not match")
            }
            guard entry.resolved(on: agent.name) == svid.id.description else {
                throw refuse("the entry says another ID")
            }
        }
    }
}
