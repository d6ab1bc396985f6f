// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE
import TestPKI
import Testing

/// What an agent does when the authority of its own SVID is distrusted (decision 0014).
@Suite struct OwnAuthorityTests {
    private let world: AgentWorld
    private let keyID: [UInt8]

    init() throws {
        world = try AgentWorld()
        keyID = try #require(try world.stored().identity.authorityKeyID.nonEmpty)
    }

    private func told(
        _ revocation: Revocation,
        _ agent: inout LogicDriver
    ) throws -> [AgentLogic.Action] {
        let resource = try ResourcePayload.revocation(name: "authority:x", revocation).resource
        return agent.receive([
            world.delta(1, 2, [.upsert(resource.key, payload: resource.payload)])
        ])
    }

    private func renew(_ agent: inout LogicDriver, by authority: [UInt8]) -> [AgentLogic.Action] {
        let validity = SVIDValidity(
            issuedAt: agent.now.wall,
            notAfter: agent.now.wall.addingTimeInterval(4 * 3600)
        )
        let bundle = world.authority.bundle
        return agent.tell {
            $0.ownSVIDRenewed(
                validity,
                authorityKeyID: authority,
                bundle: bundle,
                now: $1,
                using: &$2
            )
        }
    }

    @Test func `its SVID by a tainted authority is renewed within five minutes, once`() throws {
        var agent = LogicDriver(world, try world.stored())
        _ = try agent.join([])
        _ = try told(.taintedAuthority(keyID: keyID), &agent)
        #expect(agent.logic.own.distrust == .tainted)
        let begun = agent.now.boot
        var actions: [AgentLogic.Action] = []
        while !actions.contains(.renewOwnSVID(.renew)), agent.now.boot - begun < .seconds(400) {
            actions = try agent.fire()
        }
        #expect(actions.contains(.renewOwnSVID(.renew)))
        #expect(agent.now.boot - begun <= RenewalQueue.taintSpread + .seconds(1))
        // A server that signs by it again is not asked sooner than ever.
        _ = renew(&agent, by: keyID)
        let renewed = agent.now.boot
        actions = []
        while !actions.contains(.renewOwnSVID(.renew)), agent.now.boot - renewed < .seconds(3600) {
            actions = try agent.fire()
        }
        #expect(agent.now.boot - renewed >= .seconds(3600))
    }

    @Test func `a clock that goes back does not put the replacement off`() throws {
        var agent = LogicDriver(world, try world.stored())
        _ = try agent.join([])
        _ = try told(.taintedAuthority(keyID: keyID), &agent)
        agent.now = ClockReading(
            wall: agent.now.wall.addingTimeInterval(-1800),
            boot: agent.now.boot
        )
        let begun = agent.now.boot
        var actions: [AgentLogic.Action] = []
        while !actions.contains(.renewOwnSVID(.renew)), agent.now.boot - begun < .seconds(3600) {
            actions = try agent.fire()
        }
        // Once the step is noticed it has five minutes again.
        #expect(agent.now.boot - begun <= RenewalQueue.taintSpread * 2 + .seconds(1))
    }

    @Test func `what was asked for before the taint, and is by the tainted one, is replaced too`()
        throws
    {
        var agent = LogicDriver(world, try world.stored())
        _ = try agent.join([])
        while try !agent.fire().contains(.renewOwnSVID(.renew)) {}
        _ = try told(.taintedAuthority(keyID: keyID), &agent)
        var actions = renew(&agent, by: keyID)
        let renewed = agent.now.boot
        while !actions.contains(.renewOwnSVID(.renew)) { actions = try agent.fire() }
        #expect(agent.now.boot - renewed <= RenewalQueue.taintSpread + .seconds(1))
    }

    @Test func `its SVID by a revoked authority counts as expired, and its key brings it back`()
        throws
    {
        var agent = LogicDriver(world, try world.stored())
        _ = try agent.join([])
        let actions = try told(.authority(keyID: keyID), &agent)
        #expect(actions.contains(.renewOwnSVID(.readmit)))
        #expect(agent.logic.own.standing(at: agent.now.wall) == .expired)
        #expect(agent.conditions[.identity]??.contains("revoked") == true)
        // Until it has another one there is nothing to connect with.
        _ = agent.tell { $0.disconnected(now: $1, using: &$2) }
        let back = renew(&agent, by: [9])
        #expect(agent.logic.own.distrust == nil)
        #expect(agent.conditions[.identity] == .some(nil))
        let next = try agent.fire()
        #expect((back + next).contains(.connect))
    }

    @Test func `a restart does not make a revoked authority good`() throws {
        var agent = LogicDriver(world, try world.stored())
        _ = try agent.join([])
        _ = try told(.authority(keyID: keyID), &agent)
        var stored = try world.stored()
        stored.sync = agent.logic.persistedSync
        var again = LogicDriver(world, stored)
        let started = again.tell { $0.started(now: $1, using: &$2) }
        #expect(again.logic.own.standing(at: again.now.wall) == .expired)
        #expect(started.contains(.renewOwnSVID(.readmit)))
        #expect(!started.contains(.connect))
    }

    @Test func `an agent that was away doubts its certificate after three refusals of it`() throws {
        var agent = LogicDriver(world, try world.stored())
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        func refused(_ isTurnedAway: Bool) throws -> [AgentLogic.Action] {
            var actions = agent.tell {
                $0.disconnected(isTurnedAway: isTurnedAway, now: $1, using: &$2)
            }
            while !actions.contains(.connect) { actions += try agent.fire() }
            return actions
        }
        // A server that is not there says nothing of the certificate, and hides nothing of it.
        for isTurnedAway in [true, true, false, false] {
            #expect(try !refused(isTurnedAway).contains(.renewOwnSVID(.readmit)))
        }
        // One that takes it ends the count.
        _ = agent.connect()
        for isTurnedAway in [true, false, true] {
            #expect(try !refused(isTurnedAway).contains(.renewOwnSVID(.readmit)))
        }
        #expect(try refused(true).contains(.renewOwnSVID(.readmit)))
        // Asked for once at a time; and it goes on to connect, in case it was the server.
        #expect(try !refused(true).contains(.renewOwnSVID(.readmit)))
        _ = agent.connect()
        _ = agent.tell { $0.ownSVIDRenewalFailed("no", now: $1, using: &$2) }
        let begun = agent.now.boot
        while agent.now.boot - begun < .seconds(300) {
            #expect(try !agent.fire().contains(.renewOwnSVID(.readmit)))
        }
    }
}

extension [UInt8] {
    fileprivate var nonEmpty: Self? { isEmpty ? nil : self }
}
