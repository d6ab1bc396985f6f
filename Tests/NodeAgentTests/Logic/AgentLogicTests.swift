// SPDX-License-Identifier: Apache-2.0

import AuditLog
import ControlAPI
import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE
import TestPKI
import Testing

@Suite struct AgentLogicTests {
    private let world: AgentWorld
    private let web: RegistrationEntry

    init() throws {
        world = try AgentWorld()
        web = try world.entry("web", workload: ["unix:uid:1000"])
    }

    private func driver(_ stored: StoredAgent? = nil) throws -> LogicDriver {
        LogicDriver(world, try stored ?? world.stored())
    }

    // MARK: - Sync

    @Test func `a snapshot is applied, written to disk and only then acknowledged`() throws {
        var agent = try driver()
        let actions = try agent.join([web])
        let hello = AgentLogic.Action.sendHello(SyncHello(have: nil, capabilities: []), nil)
        #expect(actions.first == hello)
        let persisted = try #require(actions.firstIndex(of: .persistSync))
        let acknowledged = try #require(
            actions.firstIndex(
                of: .sendAcknowledgement(
                    SyncAcknowledgement(applied: world.revision(1), refused: [])
                )
            )
        )
        #expect(persisted < acknowledged)
        #expect(agent.logic.persistedSync?.revision == world.revision(1))
        #expect(agent.conditions[.synced] == .some(nil))
    }

    @Test func `what cannot be read is refused by name and the rest is in force`() throws {
        var agent = try driver()
        let bad = Resource(key: ResourceKey(.entry, "entry-bad"), payload: [0xFF])
        let unknown = Resource(key: ResourceKey(.revocation, "r"), payload: [])
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        _ = agent.connect()
        let actions = agent.receive(try world.snapshot(1, [web], extra: [bad, unknown]))
        let refused = actions.compactMap { action -> [ResourceKey]? in
            guard case .sendAcknowledgement(let ack) = action else { return nil }
            return ack.refused.map(\.key)
        }
        #expect(refused == [[unknown.key, bad.key]])
        #expect(agent.logic.cache.entryCount == 1)
    }

    @Test func `templates are resolved with what the server says it attested of the node`() throws {
        var agent = try driver()
        let zoned = try world.entry(
            "zoned",
            id: "spiffe://example.org/{node.zone}/web",
            workload: ["unix:uid:1000"]
        )
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        _ = agent.connect(nodeSelectors: try Set("role:web", "zone:north"))
        let batches = agent.receive(try world.snapshot(1, [zoned])).compactMap { action in
            if case .sign(let batch) = action { batch } else { nil }
        }
        let ids = batches.flatMap { $0.items.map(\.key.spiffeID.description) }
        #expect(ids == ["spiffe://example.org/north/web"])

        // From a server that does not say, only what entries name is known: nothing is asked for.
        _ = agent.tell { $0.disconnected(now: $1, using: &$2) }
        _ = try agent.fire()
        _ = agent.connect()
        #expect(agent.logic.cache.problem(ofEntry: zoned.id) == .variableMissing("node.zone"))
        let (id, _) = agent.subscribe(try Set("unix:uid:1000"))
        #expect(agent.logic.answer(for: id) == .denied)
    }

    @Test func `a bundle without a readable authority does not replace the one in force`() throws {
        var agent = try driver()
        _ = try agent.join([web])
        let empty = TrustBundle(
            trustDomain: world.authority.trustDomain,
            x509Authorities: [[1]],
            x509Intermediates: [],
            sequenceNumber: 9,
            refreshHintSeconds: 1
        )
        let resource = try ResourcePayload.bundle(empty).resource
        let actions = agent.receive([
            world.delta(1, 2, [.upsert(resource.key, payload: resource.payload)])
        ])
        #expect(!actions.contains { if case .trust = $0 { true } else { false } })
        #expect(agent.logic.bundle == world.authority.bundle)
        let removal = agent.receive([world.delta(2, 3, [.remove(resource.key)])])
        #expect(!removal.contains { if case .trust = $0 { true } else { false } })
        #expect(agent.logic.bundle == world.authority.bundle)
    }

    @Test func `a new bundle is trusted before anything of the same change is shown`() throws {
        var agent = try driver()
        let joined = try agent.join([web])
        _ = try agent.sign(joined)
        let (id, _) = agent.subscribe(try Set("unix:uid:1000"))
        let second = try TestAuthority.root("example.org")
        let new = TrustBundle(
            trustDomain: world.authority.trustDomain,
            x509Authorities: [world.authority.der, second.der],
            x509Intermediates: [],
            sequenceNumber: 2,
            refreshHintSeconds: 300
        )
        let resource = try ResourcePayload.bundle(new).resource
        let actions = agent.receive([
            world.delta(1, 2, [.upsert(resource.key, payload: resource.payload)])
        ])
        #expect(Array(actions.prefix(2)) == [.trust(new), .wake([id])])
        #expect(try agent.view(id).bundle == new)
    }

    @Test func `a server of another trust domain is left`() throws {
        var agent = try driver()
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        _ = agent.tell { $0.connected(now: $1, using: &$2) }
        let actions = agent.tell {
            $0.welcomed(
                trustDomain: "other.org",
                serverTime: $1.wall,
                nodeSelectors: [],
                now: $1,
                using: &$2
            )
        }
        #expect(actions.contains { if case .disconnect = $0 { true } else { false } })
    }

    @Test func `a server that says nothing is left in time`() throws {
        var agent = try driver()
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        let start = agent.now.boot
        var actions: [AgentLogic.Action] = []
        while actions.isEmpty { actions = try agent.fire() }
        #expect(actions == [.disconnect(reason: "the server did not answer in time")])
        #expect(agent.now.boot - start == AgentLogic.welcomeTimeout)
    }

    @Test func `after a restart the agent serves what it had, without its server`() throws {
        var first = try driver()
        _ = try first.join([web])
        let persisted = try #require(first.logic.persistedSync)
        var agent = try driver(world.stored(sync: persisted))
        let actions = agent.tell { $0.started(now: $1, using: &$2) }
        #expect(actions.contains(.connect))
        #expect(agent.conditions[.synced] == .some(nil))
        let (id, _) = agent.subscribe(try Set("unix:uid:1000"))
        #expect(agent.logic.answer(for: id) == .wait)
        let (stranger, _) = agent.subscribe(try Set("unix:uid:1"))
        #expect(agent.logic.answer(for: stranger) == .denied)
        let hello = agent.tell { $0.connected(now: $1, using: &$2) }
        #expect(
            hello == [.sendHello(SyncHello(have: world.revision(1), capabilities: []), nil)]
        )
    }

    @Test func `after a restart nobody is denied for what the node is not known to be`() throws {
        let zoned = try world.entry(
            "zoned",
            id: "spiffe://example.org/{node.zone}/web",
            workload: ["unix:uid:1000"]
        )
        var first = try driver()
        _ = try first.join([zoned])
        var agent = try driver(world.stored(sync: first.logic.persistedSync))
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        let (id, _) = agent.subscribe(try Set("unix:uid:1000"))
        let (stranger, _) = agent.subscribe(try Set("unix:uid:1"))
        // A denial would make it give up an SVID that is good.
        guard case .unavailable = agent.logic.answer(for: id) else {
            Issue.record("\(agent.logic.answer(for: id))")
            return
        }
        #expect(agent.logic.answer(for: stranger) == .denied)
        _ = agent.connect(nodeSelectors: try Set("role:web", "zone:north"))
        #expect(agent.logic.answer(for: id) == .wait)
    }

    @Test func `the bundle beside the SVID wins over an older one of the last sync`() throws {
        var first = try driver()
        _ = try first.join([web])
        var stored = try world.stored(sync: first.logic.persistedSync)
        let second = try TestAuthority.root("example.org")
        let newer = TrustBundle(
            trustDomain: world.authority.trustDomain,
            x509Authorities: [world.authority.der, second.der],
            x509Intermediates: [],
            sequenceNumber: 5,
            refreshHintSeconds: 300
        )
        stored.identity.bundle = newer
        var agent = try driver(stored)
        let actions = agent.tell { $0.started(now: $1, using: &$2) }
        #expect(!actions.contains { if case .trust = $0 { true } else { false } })
        #expect(agent.logic.bundle == newer)
    }

    // MARK: - The agent's own SVID

    @Test func `the own SVID is renewed at half life on the open connection`() throws {
        let end = world.now.addingTimeInterval(3600)
        var agent = try driver(world.stored(notAfter: end))
        let joined = try agent.join([])
        // Made with two hours of life, of which one is over: renewal is due between 45 and 55 %.
        var renewals = joined.filter { $0 == .renewOwnSVID(.renew) }
        while renewals.isEmpty, agent.now.wall < end {
            renewals = try agent.fire().filter { $0 == .renewOwnSVID(.renew) }
        }
        #expect(renewals == [.renewOwnSVID(.renew)])
        let age = agent.now.wall.timeIntervalSince(end.addingTimeInterval(-7200))
        #expect((0.45...0.56).contains(age / 7200))
        // Asked for once, however often the timer fires.
        let again = try agent.fire()
        #expect(!again.contains(.renewOwnSVID(.renew)))
    }

    @Test func `a renewed SVID is shown on a new connection, once nothing is being signed`()
        throws
    {
        var agent = try driver()
        let joined = try agent.join([web])
        let validity = SVIDValidity(
            issuedAt: world.now,
            notAfter: world.now.addingTimeInterval(4 * 3600)
        )
        let bundle = world.authority.bundle
        let renewed = agent.tell {
            $0.ownSVIDRenewed(
                validity,
                authorityKeyID: [],
                bundle: bundle,
                now: $1,
                using: &$2
            )
        }
        #expect(renewed.isEmpty)
        let signed = try agent.sign(joined)
        #expect(signed.contains { if case .disconnect = $0 { true } else { false } })
    }

    @Test func `an expired agent is readmitted before it connects`() throws {
        let end = world.now.addingTimeInterval(-60)
        var agent = try driver(world.stored(notAfter: end))
        #expect(agent.tell { $0.started(now: $1, using: &$2) } == [.renewOwnSVID(.readmit)])
        #expect(agent.conditions[.identity]??.contains("expired") == true)
        let validity = SVIDValidity(
            issuedAt: world.now,
            notAfter: world.now.addingTimeInterval(4 * 3600)
        )
        let bundle = world.authority.bundle
        let actions = agent.tell {
            $0.ownSVIDRenewed(
                validity,
                authorityKeyID: [],
                bundle: bundle,
                now: $1,
                using: &$2
            )
        }
        #expect(actions == [.connect])
        #expect(agent.conditions[.identity] == .some(nil))
    }

    @Test func `a renewal whose connection ended after the SVID did is asked for again`() throws {
        let end = world.now.addingTimeInterval(600)
        var agent = try driver(world.stored(notAfter: end))
        var asked = try agent.join([web])
        while !asked.contains(.renewOwnSVID(.renew)) { asked = try agent.fire() }
        // Nobody answers, and the connection is found to be dead only after the end.
        while agent.now.wall <= end { asked = try agent.fire() }
        #expect(!asked.contains(.renewOwnSVID(.readmit)))
        let ended = agent.tell { $0.disconnected(now: $1, using: &$2) }
        #expect(ended.contains(.renewOwnSVID(.readmit)))
    }

    @Test func `readmission is tried again, ever more seldom, and given up after seven days`()
        throws
    {
        let world = try AgentWorld(authorityNotAfter: world.now.addingTimeInterval(30 * 86_400))
        let end = world.now.addingTimeInterval(-60)
        var agent = LogicDriver(world, try world.stored(notAfter: end))
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        var waits: [Duration] = []
        while agent.now.wall < end.addingTimeInterval(8 * 86_400), waits.count < 20_000 {
            let failedAt = agent.now.boot
            _ = agent.tell { $0.ownSVIDRenewalFailed("no", now: $1, using: &$2) }
            var actions: [AgentLogic.Action] = []
            while !actions.contains(.renewOwnSVID(.readmit)),
                agent.logic.own.standing(at: agent.now.wall) == .expired
            { actions = try agent.fire() }
            guard actions.contains(.renewOwnSVID(.readmit)) else { break }
            waits.append(agent.now.boot - failedAt)
        }
        #expect(agent.logic.own.standing(at: agent.now.wall) == .lapsed(.keyForgotten))
        #expect(waits.allSatisfy { $0 <= OwnSVID.retryDelayMax + .seconds(1) })
        #expect(waits.max() ?? .zero > .seconds(60))
        #expect(agent.conditions[.identity]??.contains("join token") == true)
    }

    @Test func `only of an agent that the server has is it advised to look there`() throws {
        var agent = try driver()
        _ = try agent.join([web])
        for (rule, hasAgent) in [
            ("nodeBanned", true), ("keySuperseded", true), ("nodeUnknown", false),
        ] {
            _ = agent.tell {
                $0.disconnected(
                    refusal: AgentRefusal(rule: rule, text: "no"),
                    now: $1,
                    using: &$2
                )
            }
            let problem = try #require(agent.conditions[.identity] ?? nil)
            #expect(problem.contains("signet agent show web-1") == hasAgent, "\(problem)")
        }
    }

    @Test func `a server that refuses the agent is a reason not to be ready`() throws {
        var agent = try driver()
        _ = try agent.join([web])
        _ = agent.tell {
            $0.disconnected(
                refusal: AgentRefusal(rule: "nodeBanned", text: "agent web-1 is banned"),
                now: $1,
                using: &$2
            )
        }
        #expect(agent.conditions[.identity]??.contains("banned") == true)
        #expect(agent.conditions[.identity]??.contains("signet agent unban web-1") == true)
        // A workload that waits for its first certificate waits for nothing.
        let (id, _) = agent.subscribe([try Selector("unix:uid:1000")])
        var answer = agent.logic.answer(for: id)
        while answer == .wait {
            _ = try agent.fire()
            answer = agent.logic.answer(for: id)
        }
        guard case .unavailable(let reason) = answer else {
            Issue.record("\(answer)")
            return
        }
        #expect(reason.contains("the server refuses this machine's agent"))
        _ = try agent.fire()
        _ = agent.connect()
        #expect(agent.conditions[.identity] == .some(nil))
    }

    @Test func `readmission is given up once no authority is left that could vouch for a server`()
        throws
    {
        let end = world.now.addingTimeInterval(-60)
        let stored = try world.stored(notAfter: end)
        let authorityEnd = try #require(world.authority.bundle.notAfter)
        var agent = try driver(stored)
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        #expect(agent.logic.own.standing(at: authorityEnd) == .expired)
        #expect(!stored.isLapsed(at: authorityEnd))
        let later = authorityEnd.addingTimeInterval(1)
        #expect(agent.logic.own.standing(at: later) == .lapsed(.authoritiesEnded))
        #expect(stored.isLapsed(at: later))
        agent.advance(.seconds(later.timeIntervalSince(agent.now.wall)))
        let actions = agent.tell {
            $0.ownSVIDRenewalFailed("no path", now: $1, using: &$2)
        }
        #expect(!actions.contains(.renewOwnSVID(.readmit)))
        let problem = agent.conditions[.identity] ?? nil
        #expect(problem?.contains("every authority that the agent knows") == true)
        #expect(problem?.contains("signet agent evict web-1") == true)
        #expect(problem?.contains("signet token create --name web-1") == true)
    }

    // MARK: - Clocks

    @Test(arguments: [(3.0, false, false), (7, true, false), (-61, true, true), (61, true, true)])
    func `a skewed clock is reported, and too much of it is a reason not to be ready`(
        ahead: Double,
        isReported: Bool,
        isUnready: Bool
    ) throws {
        var agent = try driver()
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        _ = agent.tell { $0.connected(now: $1, using: &$2) }
        let actions = agent.tell { logic, now, generator in
            logic.welcomed(
                trustDomain: "example.org",
                serverTime: now.wall.addingTimeInterval(-ahead),
                nodeSelectors: [],
                now: now,
                using: &generator
            )
        }
        let skew = AgentLogic.Action.report(.clockSkewed(.seconds(ahead)))
        #expect(actions.contains(skew) == isReported)
        #expect((agent.conditions[.clock] != .some(nil)) == isUnready)
    }

    @Test func `a step of the wall clock is noticed when nothing else happens`() throws {
        var agent = try driver()
        _ = try agent.join([web])
        agent.now = ClockReading(
            wall: agent.now.wall.addingTimeInterval(100),
            boot: agent.now.boot
        )
        let start = agent.now.boot
        var actions: [AgentLogic.Action] = []
        while !actions.contains(.report(.clockStepped(.seconds(100)))) {
            actions = try agent.fire()
        }
        #expect(agent.now.boot - start <= AgentLogic.clockCheckInterval)
    }
}
