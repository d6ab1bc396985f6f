// SPDX-License-Identifier: Apache-2.0

import CAServer
import FoundationEssentials
import MTLSProxy
import NodeAgent
import NodeSync
import SPIFFE

/// `Rule.federation`: of a partner that is believed which it published last, by those who should.
struct FederationChecker {
    /// The newest bundle is believed so long after its endpoint began to serve it: a fetch after the
    /// one that failed, one after what new keys have to wait, and the work itself.
    static let taking: Duration =
        .seconds(BundleDocument.refreshHintSecondsDefault) + BundleSuccession.newKeysInterval
        + .seconds(60)

    /// Nothing happens so quickly that a closer look would show more.
    private static let interval: Duration = .seconds(10)

    /// Chains of each partner that are looked at: those of its last authorities.
    private static let samplesMax = 15

    private struct Verified: Hashable {
        let partner: String
        let sample: Int
        let authorities: Set<[UInt8]>
    }

    private struct Seen {
        weak var process: AgentProcess?
        let revision: Revision
    }

    private var nextAt = Duration.zero
    private var beliefsSeen = 0
    /// What is remembered of each document.
    private var sequences: [String: UInt64] = [:]
    /// What was looked at, by agent: what is told of partners changes with the revision alone.
    private var seen: [String: Seen] = [:]
    /// Whether a leaf verifies with some authorities.
    private var verified: [Verified: Bool] = [:]

    mutating func check(_ world: World) async throws {
        guard world.trials.partners else { return }
        try readBeliefs(world)
        for agent in world.agents {
            guard let process = agent.process else { continue }
            try checkTold(by: process, of: agent, world)
        }
        let now = world.scheduler.now
        guard now >= nextAt else { return }
        nextAt = now + Self.interval
        for partner in world.partners {
            try checkFreshness(of: partner, world)
            for agent in world.agents where !agent.isDead {
                try checkProxy(of: agent, partner, world)
                try await checkSamples(of: partner, at: agent, world)
            }
        }
    }

    // MARK: - The server

    /// What is believed was published, and by one document nothing older follows.
    private mutating func readBeliefs(_ world: World) throws {
        for fact in world.ledger.beliefs[beliefsSeen...] {
            beliefsSeen += 1
            let partner = world.partners.first { $0.trustDomain == fact.trustDomain }
            let published = partner?.publications.last { $0.authorities == fact.authorities }
            guard let published else {
                throw world.violation(
                    .federation,
                    "what is believed of \(fact.trustDomain) was never published"
                )
            }
            let before = sequences[fact.documentUID] ?? 0
            guard (fact.sequence ?? 0) >= before, published.sequence >= before else {
                throw world.violation(
                    .federation,
                    "bundle \(published.sequence) of \(fact.trustDomain) is believed after "
                        + "bundle \(before)"
                )
            }
            sequences[fact.documentUID] = fact.sequence
        }
    }

    /// What an honest endpoint serves is believed in time, and nothing for too long.
    private func checkFreshness(of partner: SimulatedPartner, _ world: World) throws {
        // A clock that was hours ahead holds everything up until then.
        guard let standing = world.ledger.partners[partner.trustDomain],
            let since = world.serverWorksSince, !world.settings.serverClockRuns
        else { return }
        let now = world.scheduler.now
        let believed = world.ledger.current.partners[partner.trustDomain]
        if let honestSince = partner.isHonestSince,
            now - max(honestSince, since, standing.since) > Self.taking
        {
            guard believed == partner.newest.authorities else {
                throw world.violation(
                    .federation,
                    "bundle \(partner.newest.sequence) of \(partner.name) is not believed although "
                        + "it was served since \(honestSince.inSeconds)"
                )
            }
        }
        let confirmedAt = standing.confirmedAt ?? standing.since
        if now - max(confirmedAt + SimulatedPartner.staleAfter, since) > Self.taking {
            guard believed == nil else {
                throw world.violation(
                    .federation,
                    "the bundle of \(partner.name) is believed still, which was last confirmed at "
                        + "\(confirmedAt.inSeconds)"
                )
            }
        }
    }

    // MARK: - Nodes

    /// What an agent tells its proxy of partners is what its revision says.
    private mutating func checkTold(
        by process: AgentProcess,
        of agent: SimulatedAgent,
        _ world: World
    ) throws {
        let last = seen[agent.name]
        guard let attached = process.attached, let revision = process.logic.sync.revision,
            last?.process !== process || last?.revision != revision,
            let state = world.ledger.state(at: revision.number),
            case .view(let offer) = process.logic.proxyAnswer(for: attached.subscriber),
            !offer.view.trust.granted.isEmpty
        else { return }
        seen[agent.name] = Seen(process: process, revision: revision)
        for partner in world.partners {
            let bundle = offer.view.trust.bundles.first { $0.trustDomain == partner.trustDomain }
            let told = bundle.map { Set($0.x509Authorities) }
            guard told == state.partners[partner.trustDomain] else {
                throw world.violation(
                    .federation,
                    "\(agent.name) tells of \(partner.name) something else than revision "
                        + "\(revision.number) says"
                )
            }
        }
    }

    /// The proxy of whoever is settled goes by what the server believes now.
    private func checkProxy(
        of agent: SimulatedAgent,
        _ partner: SimulatedPartner,
        _ world: World
    ) throws {
        guard agent.process != nil, let calmSince = world.calmSince(agent),
            let proxy = agent.proxy, proxy.trust?.granted.isEmpty == false
        else { return }
        let changedAt = world.ledger.partnersChangedAt[partner.trustDomain] ?? .zero
        let settled = max(changedAt, calmSince + AvailabilityChecker.recovery)
        guard world.scheduler.now - settled > RevocationChecker.promptness else { return }
        let found = proxy.authorities(of: partner.trustDomain).map { Set($0) }
        guard found == world.ledger.current.partners[partner.trustDomain] else {
            throw world.violation(
                .federation,
                "the proxy of \(agent.name) goes by another bundle of \(partner.name) than what is "
                    + "believed since \(changedAt.inSeconds)"
            )
        }
    }

    /// A proxy admits whom an authority of the ID's own trust domain vouches for, and nobody else.
    private mutating func checkSamples(
        of partner: SimulatedPartner,
        at agent: SimulatedAgent,
        _ world: World
    ) async throws {
        guard let proxy = agent.proxy, proxy.trust != nil else { return }
        for sample in partner.samples.suffix(Self.samplesMax) {
            let known = Set(proxy.authorities(of: sample.claimed) ?? [])
            let isOwn = sample.claimed == partner.trustDomain
            let isExpected = isOwn && known.contains(sample.authority)
            let question = Verified(
                partner: partner.name,
                sample: sample.number,
                authorities: known
            )
            let isAdmitted: Bool
            if let answer = verified[question] {
                isAdmitted = answer
            } else {
                isAdmitted = await proxy.verifies(
                    sample.chain,
                    of: sample.claimed,
                    now: SimulatedClock.beginning
                )
                verified[question] = isAdmitted
            }
            guard isAdmitted == isExpected else {
                throw world.violation(
                    .federation,
                    "the proxy of \(agent.name) \(isAdmitted ? "admits" : "refuses") an ID of "
                        + "\(sample.claimed) by an authority of \(partner.name)"
                )
            }
        }
    }
}
