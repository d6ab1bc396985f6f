// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE

/// Nobody is without an identity longer than this statement allows.
///
/// A *disturbance* of an agent is any time in which it or the server is down, its network is cut
/// or loses connections, the wall clocks of the two differ by more than the backdate covers, or
/// the server refuses to sign because its clock is behind its last signature. Then:
///
/// 1. `recovery` after the end of the last disturbance, of the last change of its entry and of the
///    last revocation of its identity or of an authority, every workload that an entry means holds a
///    valid SVID.
/// 2. A workload that holds an SVID of lifetime T keeps a valid one through every disturbance
///    shorter than 0.45 T - `recovery`, because it is renewed at 55 % of its life at the latest.
///    So a disturbance of length d leaves it without identity for at most
///    max(0, d - 0.45 T) + `recovery`.
///
/// With the default lifetime of an hour the server may be away for 22 minutes without anybody
/// noticing. After an authority has changed while an agent was away, the agent may be locked out;
/// see `World.isLockedOut`.
struct AvailabilityChecker {
    /// A dead connection is noticed; the longest wait before connecting again, or before asking for
    /// readmission if the agent's own SVID has expired meanwhile; connecting to a
    /// server that is away gives up; the longest wait after a failed signature or after an answer
    /// that never came; the workload's own wait before it asks again; and the work itself.
    static let recovery: Duration =
        Link.detectionMax + max(Backoff.delayMax, OwnSVID.retryDelayMax)
        + Network.connectTimeout + Backoff.delayMax
        + Network.deadline + SimulatedWorkload.retryMax
        + SimulatedServer.restartDelay + .seconds(20)
    /// After the server said no it is asked again only so much later.
    static let refusedRecovery = RenewalQueue.refusedDelayMax + recovery
    /// From the renewal that is due at 55 % of the life, at the latest.
    static let renewalShare = 0.45

    private struct Want: Hashable {
        let agent: String
        let workload: String
        let spiffeID: String
    }

    /// Nothing happens so quickly that a closer look would show more.
    private static let interval: Duration = .seconds(2)

    private var nextAt = Duration.zero
    /// The end of the last undisturbed time of at least `recovery`, by agent.
    private var quietUntil: [String: Duration] = [:]
    /// The SVID that last satisfied a want.
    private var satisfied: [Want: X509SVID] = [:]
    /// The longest time without an identity while nothing was wrong.
    private(set) var longestRecovery = Duration.zero

    mutating func check(_ world: World) throws {
        let now = world.scheduler.now
        guard now >= nextAt else { return }
        nextAt = now + Self.interval
        for agent in world.agents where !agent.isDead {
            let calmSince = world.calmSince(agent)
            if let calmSince, now - calmSince >= Self.recovery { quietUntil[agent.name] = now }
            guard let node = world.ledger.nodes[agent.name], !node.isBanned else { continue }
            for (uid, entry) in world.ledger.current.entries {
                guard entry.nodeSelectors.isSubset(of: agent.allSelectors) else { continue }
                for workload in agent.workloads {
                    try check(entry, uid, workload, agent, calmSince: calmSince, world)
                }
            }
        }
    }

    private mutating func check(
        _ entry: EntryFact,
        _ uid: String,
        _ workload: SimulatedWorkload,
        _ agent: SimulatedAgent,
        calmSince: Duration?,
        _ world: World
    ) throws {
        let (now, wall) = (world.scheduler.now, agent.clock.wallTime)
        guard entry.workloadSelectors.isSubset(of: workload.selectorTexts),
            let wants = workload.wantsSince,
            entry.expires.map({ wall.addingTimeInterval(60) < $0 }) ?? true
        else { return }
        let id = entry.resolved(on: agent.name)
        let want = Want(agent: agent.name, workload: workload.name, spiffeID: id)
        let held = workload.view?.svids.first {
            $0.id.description == id && $0.notAfter > wall
        }
        if let held {
            satisfied[want] = held
            return
        }
        if let lost = satisfied.removeValue(forKey: want) {
            try checkLoss(of: lost, want, uid, wants, agent, world)
        }
        guard let calmSince else { return }
        let begin = max(
            calmSince,
            wants,
            world.ledger.changedAt[uid] ?? .zero,
            world.ledger.refusals.freeAt[id] ?? .zero,
            world.ledger.revokedAuthorities.values.map(\.at).max() ?? .zero
        )
        var allowance = Self.recovery
        if let refused = world.ledger.refusedAt["\(agent.name) \(uid)"] {
            allowance = max(allowance, refused + Self.refusedRecovery - begin)
        }
        longestRecovery = max(longestRecovery, now - begin)
        guard now - begin <= allowance else {
            throw world.violation(
                .availability,
                "\(agent.name) \(workload.name) is without \(id) although nothing was wrong since "
                    + "\(begin.inSeconds)"
            )
        }
    }

    /// An SVID may only run out if there was no quiet time in which to renew it.
    private func checkLoss(
        of svid: X509SVID,
        _ want: Want,
        _ uid: String,
        _ wants: Duration,
        _ agent: SimulatedAgent,
        _ world: World
    ) throws {
        guard world.ledger.refusals.refusal(of: svid.serial) == nil else { return }
        let authority = world.ledger.issued[svid.serial]?.authorityID
        guard authority.flatMap({ world.ledger.revokedAuthorities[$0] }) == nil else { return }
        let now = world.scheduler.now
        let lifetime = svid.notAfter.timeIntervalSince(svid.issuedAt)
        let issued = now - .seconds(lifetime)
        // Clocks that were stepped, entries and workloads that changed end SVIDs in other ways.
        guard world.clocksSteady(since: issued - .seconds(60), agent),
            (world.ledger.changedAt[uid] ?? .zero) < issued, wants < issued,
            agent.clock.wallTime.timeIntervalSince(svid.notAfter) < 60
        else { return }
        if let refused = world.ledger.refusedAt["\(agent.name) \(uid)"],
            refused > issued - Self.refusedRecovery
        {
            return
        }
        let renewalDue = now - .seconds(lifetime * Self.renewalShare)
        guard let quiet = quietUntil[agent.name], quiet > renewalDue + Self.recovery else { return }
        throw world.violation(
            .availability,
            "\(want.agent) \(want.workload) let \(want.spiffeID) run out although nothing was "
                + "wrong for \(Self.recovery.inSeconds) s until \(quiet.inSeconds)"
        )
    }
}
