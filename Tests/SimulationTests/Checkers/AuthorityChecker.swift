// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import MTLSProxy
import NodeAgent
import NodeSync
import SPIFFE

/// What a tainted authority signed is replaced, and what a revoked one signed counts nowhere
/// (decision 0014).
///
/// Of a taint whoever was undisturbed for `AvailabilityChecker.recovery` hears within `hearing`, and
/// then replaces each SVID within `RenewalQueue.taintSpread`, or a quarter of what it has left.
/// Others have until `replacement` after the end of the last disturbance. Of a revocation everybody
/// settled has heard after `hearing`. An agent may be locked out by it, but not for long.
struct AuthorityChecker {
    /// Nothing is replaced so quickly that a closer look would show more.
    private static let interval: Duration = .seconds(5)
    private static let replacement = RenewalQueue.taintSpread + AvailabilityChecker.recovery
    /// Some messages, or for who was cut off before he heard a few connections; and a workload that
    /// is between two streams.
    private static let hearing = RevocationChecker.promptness + SimulatedWorkload.retryMax
    /// What is signed in the last moment before a taint may arrive after it.
    private static let arrivalSeconds = 5.0
    /// An admin looks each minute for who is lost, a token is on its way for 20 s, and then it is as
    /// after any other disturbance.
    private static let lossMax = AvailabilityChecker.recovery + .seconds(80)

    private var nextAt = Duration.zero
    private var issuedSeen = 0
    private var listsSeen = 0
    private var activationsSeen = 0
    /// Since when an agent without a way to the server is not helped, by name.
    private var lostSince: [String: Duration] = [:]
    /// The revoked authorities of which the server was asked, and which process of it that was.
    private var asked: [String: Int] = [:]
    /// Taints whose time was over with an agent watched: that the rule was judged at all.
    private(set) var judged: Set<String> = []
    /// The same of revocations.
    private(set) var judgedRevocations: Set<String> = []

    mutating func check(_ world: World) async throws {
        try checkSignatures(world)
        let now = world.scheduler.now
        guard now >= nextAt else { return }
        nextAt = now + Self.interval
        try checkLost(world)
        let ledger = world.ledger
        let revoked = ledger.revokedAuthorities.sorted { $0.key < $1.key }
        let tainted = ledger.tainted.sorted { $0.key < $1.key }
            .filter { ledger.revokedAuthorities[$0.key] == nil }
        guard !revoked.isEmpty || !tainted.isEmpty else { return }
        for (authority, _) in revoked { try await checkServer(authority, world) }
        for agent in world.agents where !agent.isDead {
            guard let process = agent.process, let calmSince = world.calmSince(agent),
                let node = ledger.nodes[agent.name], !node.isBanned
            else { continue }
            for (authority, taint) in tainted {
                let taint = Taint(authority: authority, act: taint, calmSince: calmSince)
                try check(taint, agent, process, world)
            }
            for (authority, act) in revoked {
                let settled = max(act.at, calmSince + AvailabilityChecker.recovery)
                guard now - settled > Self.hearing else { continue }
                judgedRevocations.insert(authority)
                try checkProxy(of: agent, authority, world)
                try checkShown(authority, agent, process, world)
                guard now - settled > AvailabilityChecker.recovery else { continue }
                try require(process.ownSerial, not: authority, "its own", agent, world)
            }
        }
    }

    // MARK: - The server

    /// A revoked authority signs nothing any more.
    private mutating func checkSignatures(_ world: World) throws {
        let ledger = world.ledger
        let signers =
            ledger.issuedInOrder[issuedSeen...].map { ($0.authorityID, $0.spiffeID) }
            + ledger.lists[listsSeen...].map { ($0.authorityID, "a revocation list") }
            + ledger.activations[activationsSeen...].map { ($0.id, "what is asked for") }
        issuedSeen = ledger.issuedInOrder.count
        listsSeen = ledger.lists.count
        activationsSeen = ledger.activations.count
        for (authority, what) in signers where ledger.revokedAuthorities[authority] != nil {
            throw world.violation(
                .revocation,
                "authority \(authority.prefix(8)) signs \(what), and is revoked"
            )
        }
    }

    /// The server believes nobody whom a revoked authority vouches for.
    private mutating func checkServer(_ authority: String, _ world: World) async throws {
        let wall = world.server.clock.wallTime
        guard let running = world.server.running, world.server.servesSince != nil,
            asked[authority] != world.server.crashCount,
            let fact = world.ledger.issuedInOrder.last(where: {
                $0.authorityID == authority && $0.notBefore <= wall && $0.notAfter > wall
            })
        else { return }
        asked[authority] = world.server.crashCount
        guard await running.verify([fact.der]) == nil else {
            throw world.violation(
                .revocation,
                "the server believes \(fact.spiffeID) by authority \(authority.prefix(8)), which "
                    + "is revoked"
            )
        }
    }

    /// Whoever cannot come back by itself is found and has a new token.
    private mutating func checkLost(_ world: World) throws {
        guard world.trials.orders else { return }
        let now = world.scheduler.now
        for agent in world.agents where !agent.isDead {
            guard agent.process == nil || world.isLockedOut(agent), !world.isStormy,
                world.serverWorksSince != nil
            else {
                lostSince[agent.name] = nil
                continue
            }
            let since = lostSince[agent.name] ?? now
            lostSince[agent.name] = since
            guard now - since <= Self.lossMax else {
                throw world.violation(
                    .availability,
                    "\(agent.name) is locked out since \(since.inSeconds)"
                )
            }
        }
    }

    // MARK: - Revocations

    /// A proxy neither verifies by a revoked authority nor keeps connections of it.
    private func checkProxy(
        of agent: SimulatedAgent,
        _ authority: String,
        _ world: World
    ) throws {
        guard let trust = agent.proxy?.trust, let fact = world.ledger.authorities[authority],
            let keyID = Hexadecimal.bytes(authority)
        else { return }
        let believed = trust.bundles[trust.trustDomain]?.x509Authorities ?? []
        guard trust.authorities[keyID] == .revoked, !believed.contains(fact.certificateDER) else {
            throw world.violation(
                .revocation,
                "the proxy of \(agent.name) takes authority \(authority.prefix(8)) still, which "
                    + "is revoked"
            )
        }
    }

    private func checkShown(
        _ authority: String,
        _ agent: SimulatedAgent,
        _ process: AgentProcess,
        _ world: World
    ) throws {
        for workload in agent.workloads {
            // While nothing can be shown a workload keeps what it had.
            guard let subscriber = workload.subscriber,
                case .view(let view) = process.logic.answer(for: subscriber)
            else { continue }
            for svid in view.svids {
                try require(svid.serial, not: authority, workload.name, agent, world)
            }
        }
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
            .revocation,
            "\(agent.name) has \(whose) SVID by authority \(authority.prefix(8)), which is revoked"
        )
    }

    // MARK: - Taints

    /// A taint as an agent sees it that is undisturbed since some moment.
    private struct Taint {
        let authority: String
        let act: Ledger.Distrust
        let calmSince: Duration

        /// Until when a certificate may be at hand.
        func end(of fact: IssuedFact, signedAt: Date) -> Duration {
            let longest = max(act.at, calmSince) + AuthorityChecker.replacement
            guard calmSince + AvailabilityChecker.recovery <= act.at,
                signedAt < act.wall.addingTimeInterval(-AuthorityChecker.arrivalSeconds)
            else { return longest }
            let left = max(0, fact.notAfter.timeIntervalSince(act.wall))
            let spread = min(RenewalQueue.taintSpread, .seconds(left / 4))
            return min(longest, act.at + spread + AuthorityChecker.hearing)
        }
    }

    private mutating func check(
        _ taint: Taint,
        _ agent: SimulatedAgent,
        _ process: AgentProcess,
        _ world: World
    ) throws {
        let now = world.scheduler.now
        if now - max(taint.act.at, taint.calmSince) > Self.replacement {
            judged.insert(taint.authority)
        }
        try require(process.ownSerial, replacedAfter: taint, "its own", agent, world)
        for workload in agent.workloads {
            for svid in workload.view?.svids ?? [] {
                // While a revocation lasts nothing replaces what a workload keeps.
                guard world.ledger.refusals.refusal(of: svid.serial) == nil else { continue }
                // After the server said no it is asked again only later.
                let refused = world.ledger.refusedAt["\(agent.name) \(svid.entryID)"]
                if let refused, now - refused < AvailabilityChecker.refusedRecovery { continue }
                try require(svid.serial, replacedAfter: taint, workload.name, agent, world)
            }
        }
    }

    private func require(
        _ serial: [UInt8],
        replacedAfter taint: Taint,
        _ whose: String,
        _ agent: SimulatedAgent,
        _ world: World
    ) throws {
        guard let fact = world.ledger.issued[serial], fact.authorityID == taint.authority else {
            return
        }
        let backdate = world.settings.lifetimes.backdate.seconds
        let signedAt = fact.notBefore.addingTimeInterval(backdate)
        guard world.scheduler.now > taint.end(of: fact, signedAt: signedAt) else { return }
        throw world.violation(
            .rotation,
            "\(agent.name) has \(whose) SVID by authority \(taint.authority.prefix(8)) still, "
                + "which was tainted at \(taint.act.at.inSeconds)"
        )
    }
}
