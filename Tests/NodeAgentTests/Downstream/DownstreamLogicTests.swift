// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE
import TestPKI
import Testing

/// Which processes are servers below, and what wakes their streams.
@Suite struct DownstreamLogicTests {
    private let world: AgentWorld
    private let below: Set<Selector>

    init() throws {
        world = try AgentWorld()
        below = try Set("unix:uid:7", "unix:gid:7")
    }

    private func driver(_ entries: [RegistrationEntry]) throws -> LogicDriver {
        var driver = LogicDriver(world, try world.stored())
        _ = try driver.join(entries)
        return driver
    }

    private func entry(_ name: String, expires: Date? = nil) throws -> RegistrationEntry {
        try world.entry(name, workload: ["unix:uid:7"]).below(expires: expires)
    }

    /// Opens a stream; the wakes of one are seen by its number.
    private func watch(_ driver: inout LogicDriver) -> SubscriberID {
        let (id, selectors) = (SubscriberID(900), below)
        _ = driver.tell {
            $0.watchedFromBelow(id, selectors: selectors, now: $1, using: &$2)
        }
        return id
    }

    private func tell(
        _ change: ResourceChange,
        _ driver: inout LogicDriver
    ) -> [AgentLogic.Action] {
        driver.receive([world.delta(1, 2, [change])])
    }

    @Test func `exactly one entry with downstream has to mean the process`() throws {
        let ordinary = try world.entry("web", workload: ["unix:uid:7"])
        let others = try world.entry("far", workload: ["unix:uid:8"]).below()
        var one = try driver([ordinary, others, entry("below")])
        #expect(one.logic.downstreamStanding(of: below) == .entry("entry-below"))
        one = try driver([ordinary, others])
        #expect(one.logic.downstreamStanding(of: below) == .none)
        one = try driver([try entry("a"), try entry("b")])
        #expect(one.logic.downstreamStanding(of: below) == .several(2))
    }

    @Test func `before the first state nothing is known of it`() throws {
        let driver = LogicDriver(world, try world.stored())
        guard case .unknown = driver.logic.downstreamStanding(of: below) else {
            Issue.record("it is known")
            return
        }
    }

    @Test func `an entry for another node than the server attested means nobody`() throws {
        var driver = LogicDriver(world, try world.stored())
        _ = driver.tell { $0.started(now: $1, using: &$2) }
        _ = driver.connect(nodeSelectors: try Set("role:db"))
        _ = driver.receive(try world.snapshot(1, [try entry("below")]))
        #expect(driver.logic.downstreamStanding(of: below) == .none)
    }

    @Test func `an entry that ends by itself wakes the stream`() throws {
        let end = world.now.addingTimeInterval(100)
        var driver = try driver([entry("below", expires: end)])
        let id = watch(&driver)
        var actions: [AgentLogic.Action] = []
        while driver.now.wall < end.addingTimeInterval(20), !actions.contains(.wake([id])) {
            actions = try driver.fire()
        }
        #expect(actions.contains(.wake([id])))
        #expect(driver.logic.downstreamView(for: below).standing == .none)
    }

    @Test func `a revocation, a root and the end of the entry each wake the stream once`() throws {
        let keyID = [UInt8](repeating: 3, count: 20)
        let revocation = try ResourcePayload.revocation(
            name: "authority:03",
            .authority(keyID: keyID)
        ).resource
        let root = try TestAuthority.root("example.org", now: world.now)
        let bundle = TrustBundle(
            trustDomain: world.authority.trustDomain,
            x509Authorities: [world.authority.der, root.der],
            x509Intermediates: [],
            sequenceNumber: 2,
            refreshHintSeconds: 300
        )
        let published = try ResourcePayload.bundle(bundle).resource
        for change in [
            ResourceChange.upsert(revocation.key, payload: revocation.payload),
            .upsert(published.key, payload: published.payload),
            .remove(ResourceKey(.entry, "entry-below")),
        ] {
            var driver = try driver([entry("below")])
            let id = watch(&driver)
            #expect(tell(change, &driver).filter { $0 == .wake([id]) }.count == 1)
        }
        var driver = try driver([entry("below")])
        _ = watch(&driver)
        _ = tell(.upsert(revocation.key, payload: revocation.payload), &driver)
        #expect(driver.logic.downstreamView(for: below).revoked == [keyID])
    }

    @Test func `what concerns others wakes nobody, nor is who left woken`() throws {
        let other = try ResourcePayload.entry(
            try world.entry("other", workload: ["unix:uid:8"])
        ).resource
        var driver = try driver([entry("below")])
        let id = watch(&driver)
        #expect(!tell(.upsert(other.key, payload: other.payload), &driver).contains(.wake([id])))
        _ = driver.tell { $0.unsubscribed(id, now: $1, using: &$2) }
        let removal = ResourceChange.remove(ResourceKey(.entry, "entry-below"))
        let after = driver.receive([world.delta(2, 3, [removal])])
        #expect(!after.contains(.wake([id])))
    }

    @Test func `what is tainted above is no news below`() throws {
        let keyID = [UInt8](repeating: 3, count: 20)
        let taint = try ResourcePayload.revocation(
            name: "authority:03",
            .taintedAuthority(keyID: keyID)
        ).resource
        var driver = try driver([entry("below")])
        let id = watch(&driver)
        #expect(!tell(.upsert(taint.key, payload: taint.payload), &driver).contains(.wake([id])))
        #expect(driver.logic.downstreamView(for: below).revoked.isEmpty)
    }
}

extension RegistrationEntry {
    /// The same, whose workload is a server below.
    func below(expires: Date? = nil) -> RegistrationEntry {
        RegistrationEntry(
            id: id,
            namespace: namespace,
            name: name,
            revision: revision,
            createdAt: createdAt,
            spiffeID: spiffeID,
            nodeSelectors: nodeSelectors,
            workloadSelectors: workloadSelectors,
            expires: expires,
            isDownstream: true
        )
    }
}
