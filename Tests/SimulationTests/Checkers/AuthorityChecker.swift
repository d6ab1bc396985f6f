// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE

/// What a tainted authority signed is replaced (decision 0014).
///
/// `RenewalQueue.taintSpread` and `AvailabilityChecker.recovery` after the taint, and after the end
/// of the last disturbance, no agent shows an SVID by it, its own or a workload's.
struct AuthorityChecker {
    /// Nothing is replaced so quickly that a closer look would show more.
    private static let interval: Duration = .seconds(5)
    private static let replacement = RenewalQueue.taintSpread + AvailabilityChecker.recovery

    private var nextAt = Duration.zero
    /// Taints whose time was over with an agent watched: that the rule was judged at all.
    private(set) var judged: Set<String> = []

    mutating func check(_ world: World) throws {
        let now = world.scheduler.now
        guard now >= nextAt, !world.ledger.taintedAt.isEmpty else { return }
        nextAt = now + Self.interval
        for agent in world.agents where !agent.isDead {
            guard let process = agent.process, let calmSince = world.calmSince(agent),
                let node = world.ledger.nodes[agent.name], !node.isBanned
            else { continue }
            for (authority, taintedAt) in world.ledger.taintedAt
            where now - max(taintedAt, calmSince) > Self.replacement {
                judged.insert(authority)
                try require(process.ownSerial, not: authority, "its own", agent, world)
                for workload in agent.workloads {
                    for svid in workload.view?.svids ?? [] {
                        try check(svid, of: workload, not: authority, agent, world)
                    }
                }
            }
        }
    }

    private func check(
        _ svid: X509SVID,
        of workload: SimulatedWorkload,
        not authority: String,
        _ agent: SimulatedAgent,
        _ world: World
    ) throws {
        // While a revocation lasts nothing replaces what a workload keeps.
        guard world.ledger.refusals.refusal(of: svid.serial) == nil else { return }
        // After the server said no it is asked again only later.
        let refused = world.ledger.refusedAt["\(agent.name) \(svid.entryID)"]
        if let refused, world.scheduler.now - refused < AvailabilityChecker.refusedRecovery {
            return
        }
        try require(svid.serial, not: authority, workload.name, agent, world)
    }

    private func require(
        _ serial: [UInt8],
        not authority: String,
        _ whose: String,
        _ agent: SimulatedAgent,
        _ world: World
    ) throws {
        guard world.ledger.issued[serial]?.authorityID == authority else { return }
        throw world.violation(
            .rotation,
            "\(agent.name) has \(whose) SVID by authority \(authority.prefix(8)) still, which was "
                + "tainted at \((world.ledger.taintedAt[authority] ?? .zero).inSeconds)"
        )
    }
}
