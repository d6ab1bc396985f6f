// SPDX-License-Identifier: Apache-2.0

import CAServer
import FoundationEssentials
import MTLSProxy
import NodeAgent
import NodeSync
import SPIFFE

/// `Rule.revocation`: who is revoked is refused everywhere in time, and nobody else is.
struct RevocationChecker {
    /// Who was undisturbed for `AvailabilityChecker.recovery` has heard of a revocation so long after
    /// it: some messages each way, and a stream that is opened again.
    static let promptness: Duration = .seconds(30)
    /// The newest list has a certificate so long after its revocation, or after the server is back:
    /// the quiet time, a round that has just begun, and one that found the lists not to be signed.
    static let listing: Duration =
        RevocationListSchedule.quietDuration + RevocationListSchedule.roundInterval * 3
        + .seconds(10)

    /// How long tokens live at the least that the server may give, as far as it is looked at.
    private static let tokenSeconds = 600.0

    /// Nothing happens so quickly that a closer look would show more.
    private static let interval: Duration = .seconds(5)

    /// What one process of an agent has shown of an authority's lists.
    private struct Shown {
        weak var process: AgentProcess?
        var numbers: [[UInt8]: Int64] = [:]
    }

    private struct ListID: Hashable {
        let authorityID: String
        let number: [UInt8]
    }

    private var nextAt = Duration.zero
    private var refusalsSeen = 0
    private var listsSeen = 0
    /// Refused certificates that had not ended when it was looked last.
    private var open: [RefusalRecord.Refused] = []
    /// The lists of the server by what a workload knows of one.
    private var lists: [ListID: ListFact] = [:]
    private var shown: [String: Shown] = [:]
    /// Certificates as a proxy would show them, by serial.
    private var identities: [[UInt8]: ProxyIdentity] = [:]
    private var judged: Set<[UInt8]> = []

    /// Revoked certificates that a proxy had to refuse by then: that the rule was judged at all.
    var judgedCount: Int { judged.count }

    mutating func check(_ world: World) throws {
        guard world.trials.revocations else { return }
        try readLists(world)
        let now = world.scheduler.now
        guard now >= nextAt else { return }
        nextAt = now + Self.interval
        open += world.ledger.refusals.all[refusalsSeen...]
        refusalsSeen = world.ledger.refusals.all.count
        // What has ended by any clock that decided about it may be forgotten.
        open.removeAll { $0.certificate.notAfter <= world.latestWall }
        try checkServer(world)
        for agent in world.agents where !agent.isDead { try check(agent, world) }
    }

    // MARK: - The server

    /// A list names nothing that counts.
    private mutating func readLists(_ world: World) throws {
        for list in world.ledger.lists[listsSeen...] {
            listsSeen += 1
            let id = ListID(authorityID: list.authorityID, number: Self.bytes(list.number))
            lists[id] = list
            for serial in list.serials {
                // One that nobody was given is on record as well.
                guard let fact = world.ledger.issued[serial] else { continue }
                guard world.ledger.refusals.refusal(of: serial) != nil else {
                    throw world.violation(
                        .revocation,
                        "a list has a certificate of \(fact.spiffeID) that nobody revoked"
                    )
                }
            }
        }
    }

    /// Big-endian without leading zeros, as lists have their numbers.
    private static func bytes(_ number: Int64) -> [UInt8] {
        let all = stride(from: Int64(56), through: 0, by: -8).map {
            UInt8(truncatingIfNeeded: number >> $0)
        }
        return Array(all.drop { $0 == 0 })
    }

    /// The server has a list of each authority, which has not ended and names who is revoked.
    private func checkServer(_ world: World) throws {
        let now = world.scheduler.now
        // A clock that was hours ahead dates lists so that none can be signed until then.
        guard let since = world.serverWorksSince, !world.settings.serverClockRuns,
            now - since > Self.listing
        else { return }
        let wall = world.server.clock.wallTime
        for id in world.ledger.current.authorities {
            guard let authority = world.ledger.authorities[id], authority.notAfter > wall else {
                continue
            }
            guard let list = world.ledger.list(of: id), list.nextUpdate > wall else {
                throw world.violation(
                    .revocation,
                    "authority \(id.prefix(8)) has no list, or one that has ended"
                )
            }
        }
        for refused in open where now - refused.at > Self.listing {
            let fact = refused.certificate
            guard world.ledger.current.authorities.contains(fact.authorityID) else { continue }
            let list = world.ledger.list(of: fact.authorityID)
            guard list?.serials.contains(fact.serial) == true else {
                throw world.violation(
                    .revocation,
                    "a certificate of \(fact.spiffeID) was revoked at \(refused.at.inSeconds) and "
                        + "is on no list"
                )
            }
        }
    }

    // MARK: - Nodes

    private mutating func check(_ agent: SimulatedAgent, _ world: World) throws {
        guard let process = agent.process, let calmSince = world.calmSince(agent) else { return }
        /// Whether it must have heard of what happened then.
        func hasHeard(of instant: Duration) -> Bool {
            let settled = max(instant, calmSince + AvailabilityChecker.recovery)
            return world.scheduler.now - settled > Self.promptness
        }
        if let trust = agent.proxy?.trust {
            for refused in open where hasHeard(of: refused.at) {
                // By the clock of its agent it may have ended.
                guard refused.certificate.notAfter > agent.clock.wallTime else { continue }
                guard trust.revokes(refused.shown) else {
                    throw world.violation(
                        .revocation,
                        "the proxy of \(agent.name) takes a certificate of "
                            + "\(refused.certificate.spiffeID), which was revoked at "
                            + "\(refused.at.inSeconds)"
                    )
                }
                judged.insert(refused.certificate.serial)
            }
            try checkAdmitted(by: trust, of: agent, world)
        }
        try checkTokens(of: process, agent, world, hasHeard)
        for workload in agent.workloads {
            // While nothing can be shown a workload keeps what it had.
            guard let subscriber = workload.subscriber,
                case .view(let view) = process.logic.answer(for: subscriber)
            else { continue }
            for svid in view.svids {
                guard let refused = world.ledger.refusals.refusal(of: svid.serial),
                    hasHeard(of: refused.at)
                else { continue }
                throw world.violation(
                    .revocation,
                    "\(agent.name) shows \(workload.name) an SVID of \(svid.id) still, which was "
                        + "revoked at \(refused.at.inSeconds)"
                )
            }
            try checkLists(view, agent, process, world, hasHeard)
        }
    }

    /// An agent knows up to when tokens of a revoked identity were issued that count no more, and of
    /// no other identity.
    private func checkTokens(
        of process: AgentProcess,
        _ agent: SimulatedAgent,
        _ world: World,
        _ hasHeard: (Duration) -> Bool
    ) throws {
        let identities = world.ledger.refusals.identities
        for (_, revoked) in identities.sorted(by: { $0.key < $1.key }) where hasHeard(revoked.at) {
            // The server forgets it when no token of before can be valid.
            guard world.latestWall < revoked.wall.addingTimeInterval(Self.tokenSeconds) else {
                continue
            }
            let known = process.logic.cache.revokedBefore(revoked.id) ?? .distantPast
            guard known >= revoked.before else {
                throw world.violation(
                    .revocation,
                    "\(agent.name) takes tokens of \(revoked.id), which was revoked at "
                        + "\(revoked.at.inSeconds)"
                )
            }
        }
        for entry in world.ledger.current.entries.values {
            let text = entry.resolved(on: agent.name)
            guard identities[text] == nil, let id = try? SPIFFEID(text),
                process.logic.cache.revokedBefore(id) != nil
            else { continue }
            throw world.violation(
                .revocation,
                "\(agent.name) refuses tokens of \(id), which nobody revoked"
            )
        }
    }

    /// A proxy refuses nobody who was not revoked.
    private mutating func checkAdmitted(
        by trust: ProxyTrust,
        of agent: SimulatedAgent,
        _ world: World
    ) throws {
        for other in world.agents {
            for svid in other.workloads.flatMap({ $0.view?.svids ?? [] }) {
                guard world.ledger.refusals.refusal(of: svid.serial) == nil,
                    let fact = world.ledger.issued[svid.serial],
                    world.ledger.current.authorities.contains(fact.authorityID),
                    let shown = identities[svid.serial] ?? ProxyIdentity(fact)
                else { continue }
                identities[svid.serial] = shown
                guard trust.revokes(shown) else { continue }
                throw world.violation(
                    .revocation,
                    "the proxy of \(agent.name) refuses a certificate of \(svid.id) that nobody "
                        + "revoked"
                )
            }
        }
    }

    /// What a workload is shown are lists of the server; they go forward, and tell in time.
    private mutating func checkLists(
        _ view: WorkloadView,
        _ agent: SimulatedAgent,
        _ process: AgentProcess,
        _ world: World,
        _ hasHeard: (Duration) -> Bool
    ) throws {
        var known = shown[agent.name] ?? Shown()
        if known.process !== process { known = Shown(process: process) }
        defer { shown[agent.name] = known }
        var current: [String: ListFact] = [:]
        for list in view.lists {
            let id = Hexadecimal.text(list.authorityKeyID)
            guard let fact = lists[ListID(authorityID: id, number: list.number)],
                fact.der == list.der
            else {
                throw world.violation(
                    .revocation,
                    "\(agent.name) shows a list of authority \(id.prefix(8)) that the server has "
                        + "not signed"
                )
            }
            let before = known.numbers[list.authorityKeyID] ?? fact.number
            guard fact.number >= before else {
                throw world.violation(
                    .revocation,
                    "\(agent.name) went from list \(before) of authority \(id.prefix(8)) back to "
                        + "\(fact.number)"
                )
            }
            known.numbers[list.authorityKeyID] = fact.number
            current[id] = fact
        }
        try checkTold(current, agent, world, hasHeard)
    }

    private func checkTold(
        _ current: [String: ListFact],
        _ agent: SimulatedAgent,
        _ world: World,
        _ hasHeard: (Duration) -> Bool
    ) throws {
        guard let since = world.serverWorksSince, !world.settings.serverClockRuns else { return }
        for refused in open where hasHeard(max(refused.at, since) + Self.listing) {
            let fact = refused.certificate
            guard world.ledger.current.authorities.contains(fact.authorityID),
                current[fact.authorityID]?.serials.contains(fact.serial) != true
            else { continue }
            throw world.violation(
                .revocation,
                "\(agent.name) shows no list with a certificate of \(fact.spiffeID), which was "
                    + "revoked at \(refused.at.inSeconds)"
            )
        }
    }
}
