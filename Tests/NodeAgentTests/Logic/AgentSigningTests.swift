// SPDX-License-Identifier: Apache-2.0

import AuditLog
import ControlAPI
import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE
import TestPKI
import Testing

@Suite struct AgentSigningTests {
    private let world: AgentWorld
    private let web: RegistrationEntry
    private let selectors: Set<Selector>

    init() throws {
        world = try AgentWorld()
        web = try world.entry("web", workload: ["unix:uid:1000"], hint: "w")
        selectors = try Set("unix:uid:1000", "unix:user:alice")
    }

    private func driver() throws -> LogicDriver { LogicDriver(world, try world.stored()) }

    private func batches(_ actions: [AgentLogic.Action]) -> [SigningBatch] {
        actions.compactMap { if case .sign(let batch) = $0 { batch } else { nil } }
    }

    @Test func `an entry is signed ahead and shown at once`() throws {
        var agent = try driver()
        let actions = try agent.join([web])
        #expect(batches(actions).flatMap(\.items).map(\.key.entryID) == ["entry-web"])
        _ = try agent.sign(actions)
        let (id, _) = agent.subscribe(selectors)
        let view = try agent.view(id)
        #expect(view.svids.map(\.id.description) == ["spiffe://example.org/web"])
        #expect(view.svids.map(\.hint) == ["w"])
    }

    @Test func `a workload waits for its first certificate, and is told when it does not come`()
        throws
    {
        var agent = try driver()
        _ = try agent.join([web])
        let (id, _) = agent.subscribe(selectors)
        #expect(agent.logic.answer(for: id) == .wait)
        let start = agent.now.boot
        var actions: [AgentLogic.Action] = []
        while !actions.contains(.wake([id])) { actions = try agent.fire() }
        #expect(agent.now.boot - start == AgentLogic.firstAnswerPatience)
        guard case .unavailable = agent.logic.answer(for: id) else {
            Issue.record("\(agent.logic.answer(for: id))")
            return
        }
    }

    @Test func `bundles do not wait for certificates`() throws {
        var agent = try driver()
        _ = try agent.join([web])
        let (id, _) = agent.subscribe(selectors, .bundles)
        #expect(try agent.view(id).bundle == world.authority.bundle)
        #expect(try agent.view(id).svids.isEmpty)
    }

    @Test func `before the first sync nobody is denied`() throws {
        var agent = try driver()
        _ = agent.tell { $0.started(now: $1, using: &$2) }
        let (id, _) = agent.subscribe(selectors)
        guard case .unavailable = agent.logic.answer(for: id) else {
            Issue.record("\(agent.logic.answer(for: id))")
            return
        }
    }

    @Test func `who loses the entry is woken and denied`() throws {
        var agent = try driver()
        let joined = try agent.join([web])
        _ = try agent.sign(joined)
        let (id, _) = agent.subscribe(selectors)
        let actions = agent.receive([
            world.delta(1, 2, [.remove(ResourceKey(.entry, "entry-web"))])
        ])
        #expect(actions.contains(.wake([id])))
        #expect(agent.logic.answer(for: id) == .denied)
    }

    /// Has one entry shown, and then replaced by another one for the same workload.
    private func replaced(
        _ agent: inout LogicDriver
    ) throws -> (id: SubscriberID, shown: WorkloadView) {
        _ = try agent.sign(agent.join([web]))
        let (id, _) = agent.subscribe(selectors)
        let shown = try agent.view(id)
        let other = try world.entry("other", workload: ["unix:uid:1000"])
        let actions = agent.receive([
            world.delta(
                1,
                2,
                [
                    .remove(ResourceKey(.entry, web.id)),
                    .upsert(ResourceKey(.entry, other.id), payload: try payload(other)),
                ]
            )
        ])
        #expect(actions.contains(.wake([id])))
        return (id, shown)
    }

    @Test func `A-4 what is withdrawn before its replacement is signed is taken back at once`()
        throws
    {
        var agent = try driver()
        let (id, shown) = try replaced(&agent)
        let now = agent.now.wall
        #expect(agent.logic.answer(for: id, after: shown, now: now) == .withdrawn)
        // A stream that has shown nothing yet has nothing to take back.
        #expect(agent.logic.answer(for: id, after: nil, now: now) == .wait)
    }

    @Test func `what expired by itself is not taken back, and bundles never are`() throws {
        var agent = try driver()
        let (id, shown) = try replaced(&agent)
        let end = try #require(shown.svids.map(\.notAfter).max())
        #expect(agent.logic.answer(for: id, after: shown, now: end) == .wait)
        let (bundles, _) = agent.subscribe(selectors, .bundles)
        let answer = agent.logic.answer(for: bundles, after: shown, now: agent.now.wall)
        guard case .view = answer else {
            Issue.record("\(answer)")
            return
        }
    }

    @Test func `nothing is signed while the server is away, and all of it when it is back`()
        throws
    {
        var agent = try driver()
        let joined = try agent.join([])
        #expect(batches(joined).isEmpty)
        _ = agent.tell { $0.disconnected(now: $1, using: &$2) }
        let template = try world.entry(
            "t",
            id: "spiffe://example.org/u/{unix.user}",
            workload: ["unix:uid:1000"],
            bounds: ["unix.user": .prefix("al")]
        )
        _ = agent.connectAfterWait()
        let actions = agent.receive([
            world.delta(
                1,
                2,
                [.upsert(ResourceKey(.entry, template.id), payload: try payload(template))]
            )
        ])
        #expect(batches(actions).isEmpty)
        let (_, subscribed) = agent.subscribe(selectors)
        let batch = try #require(batches(subscribed).first)
        #expect(batch.items.map(\.variables) == [["unix.user": "alice"]])
        #expect(
            batch.items.map(\.key.spiffeID.description) == ["spiffe://example.org/u/alice"]
        )
        // Lost with the connection, so it is asked for again on the next one.
        _ = agent.tell { $0.disconnected(now: $1, using: &$2) }
        var again: [SigningBatch] = []
        var isConnected = false
        while again.isEmpty {
            let fired = try agent.fire()
            #expect(batches(fired).isEmpty || isConnected)
            again = batches(fired)
            if fired.contains(.connect) {
                isConnected = true
                again += batches(agent.connect())
            }
        }
        #expect(again.flatMap(\.items) == batch.items)
        let late = agent.tell { $0.signed(batch.id, [:], now: $1, using: &$2) }
        #expect(late.isEmpty)
    }

    @Test func `a node selector of an entry in scope fills a template`() throws {
        var agent = try driver()
        let entry = try world.entry(
            "t",
            id: "spiffe://example.org/{node.name}/{node.role}",
            workload: ["unix:uid:1000"]
        )
        let actions = try agent.join([entry])
        #expect(
            batches(actions).flatMap(\.items).map(\.key.spiffeID.description)
                == ["spiffe://example.org/web-1/web"]
        )
    }

    @Test func `a refusal keeps nobody waiting`() throws {
        var agent = try driver()
        let other = try world.entry("other", workload: ["unix:uid:1000"], age: 10)
        let actions = try agent.join([web, other])
        let (id, _) = agent.subscribe(selectors)
        let batch = try #require(batches(actions).first)
        var results: [IdentityKey: SigningResult] = [:]
        for item in batch.items {
            results[item.key] =
                item.key.entryID == "entry-other"
                ? .refused("no") : .issued(try world.issued(item.key))
        }
        let answers = results
        _ = agent.tell { $0.signed(batch.id, answers, now: $1, using: &$2) }
        #expect(try agent.view(id).svids.map(\.entryID) == ["entry-web"])
    }

    @Test func `certificates are renewed before they expire`() throws {
        var agent = try driver()
        let joined = try agent.join([web])
        _ = try agent.sign(joined)
        let (id, _) = agent.subscribe(selectors)
        let first = try agent.view(id)
        let end = try #require(first.svids.first?.notAfter)
        var renewal: [SigningBatch] = []
        while renewal.isEmpty { renewal = batches(try agent.fire()) }
        #expect(agent.now.wall < end)
        let item = try #require(renewal.first?.items.first)
        #expect(item.replacesNotAfter == Int64(end.timeIntervalSince1970))
    }

    // MARK: - The audit log

    @Test func `a checkpoint that continues the remembered one is remembered`() throws {
        var agent = try driver()
        _ = try agent.join([])
        let (one, two) = (MerkleHash(leaf: [1]), MerkleHash(leaf: [2]))
        let first = try world.note(size: 1, root: one)
        let second = try world.note(size: 2, root: MerkleHash(left: one, right: two))
        #expect(agent.checkpoint(first, [], nil) == [.rememberCheckpoint(note: first)])
        let mark = try #require(agent.logic.audit.mark)
        let origin = agent.logic.audit.key.name
        #expect(mark == CheckpointMark(origin: origin, size: 1, root: one))
        #expect(
            agent.checkpoint(second, [two.bytes], mark) == [.rememberCheckpoint(note: second)]
        )
        // The answer to an older question proves nothing any more.
        #expect(agent.checkpoint(first, [], mark).isEmpty)
        #expect(agent.conditions[.audit] == .some(nil))
    }

    @Test func `a rewritten log raises the alarm, once and for good`() throws {
        var agent = try driver()
        _ = try agent.join([])
        let one = MerkleHash(leaf: [1])
        _ = agent.checkpoint(try world.note(size: 1, root: one), [], nil)
        let mark = agent.logic.audit.mark
        let other = MerkleHash(leaf: [9])
        let forged = try world.note(size: 2, root: MerkleHash(left: other, right: one))
        let actions = agent.checkpoint(forged, [one.bytes], mark)
        guard case .recordAuditAlarm(_, let note) = actions.first else {
            Issue.record("\(actions)")
            return
        }
        #expect(note == forged)
        #expect(agent.conditions[.audit] != .some(nil))
        #expect(agent.checkpoint(forged, [one.bytes], mark).isEmpty)
        #expect(agent.logic.audit.mark == mark)
    }

    private func payload(_ entry: RegistrationEntry) throws -> [UInt8] {
        try ResourcePayload.entry(entry).resource.payload
    }
}

extension LogicDriver {
    mutating func checkpoint(
        _ note: [UInt8],
        _ path: [[UInt8]],
        _ asked: CheckpointMark?
    ) -> [AgentLogic.Action] {
        tell {
            $0.checkpointReceived(note: note, path: path, asked: asked, now: $1, using: &$2)
        }
    }

    /// Fires the timer until the logic connects, then lets it.
    mutating func connectAfterWait() -> [AgentLogic.Action] {
        for _ in 0..<10 {
            guard let actions = try? fire() else { break }
            if actions.contains(.connect) { return connect() }
        }
        return []
    }
}
