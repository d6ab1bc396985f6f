// SPDX-License-Identifier: Apache-2.0

import NodeSync
import TestSeeds
import Testing

struct SyncSubscriberTests {
    let epoch: Epoch
    let other: Epoch
    let entry = ResourceKey(.entry, "e")
    let bundle = ResourceKey(.bundle, "b")
    let revocation = ResourceKey(.revocation, "r")

    init() throws {
        epoch = try Epoch(bytes: Array(repeating: 7, count: 16))
        other = try Epoch(bytes: Array(repeating: 8, count: 16))
    }

    func at(_ number: UInt64) -> Revision { Revision(epoch: epoch, number: number) }

    func acknowledged(
        _ revision: Revision,
        _ refused: [ResourceRefusal] = []
    ) -> SyncSubscriber.Action {
        .acknowledge(SyncAcknowledgement(applied: revision, refused: refused))
    }

    private func delta(
        _ from: UInt64,
        _ to: UInt64,
        _ changes: [ResourceChange] = []
    ) -> SyncMessage {
        .delta(SyncDelta(epoch: epoch, from: from, to: to, changes: changes))
    }

    func restoring(_ state: PersistedSync?) -> SyncSubscriber {
        let persisted = state.map {
            PersistedSync(
                revision: $0.revision,
                resources: $0.resources,
                refused: $0.refused,
                retained: $0.retained,
                capabilities: ["x"],
                leftEpochs: $0.leftEpochs
            )
        }
        var subscriber = SyncSubscriber(restoring: persisted, capabilities: ["x"])
        _ = subscriber.started()
        _ = subscriber.applied(refusing: [])
        return subscriber
    }

    /// A subscriber that has number 5 with one entry, one bundle and one revocation.
    func settled() -> SyncSubscriber {
        var subscriber = restoring(
            PersistedSync(
                revision: at(5),
                resources: [entry: [1], bundle: [1], revocation: [1]]
            )
        )
        _ = subscriber.connected()
        return subscriber
    }

    func receive(
        _ subscriber: inout SyncSubscriber,
        snapshot revision: Revision,
        _ resources: [Resource]
    ) -> [SyncSubscriber.Action] {
        var actions = subscriber.received(.snapshotBegin(revision), now: .zero)
        actions += subscriber.received(.snapshotPage(index: 0, resources: resources), now: .zero)
        return actions
            + subscriber.received(.snapshotEnd(resourceCount: resources.count), now: .zero)
    }

    // MARK: Start

    @Test func `an agent without state connects and asks for everything`() {
        var subscriber = SyncSubscriber(restoring: nil, capabilities: ["x"])
        #expect(subscriber.started() == [.connect])
        #expect(subscriber.connected() == [.sendHello(SyncHello(have: nil, capabilities: ["x"]))])
        #expect(subscriber.persisted == nil)
    }

    @Test func `what was restored comes into force before the agent connects`() {
        let persisted = PersistedSync(
            revision: at(5),
            resources: [entry: [1], revocation: [2], bundle: [3]]
        )
        var subscriber = SyncSubscriber(restoring: persisted, capabilities: [])
        #expect(
            subscriber.started() == [
                .apply(
                    at(5),
                    [
                        .upsert(revocation, payload: [2]), .upsert(bundle, payload: [3]),
                        .upsert(entry, payload: [1]),
                    ]
                )
            ]
        )
        #expect(subscriber.applied(refusing: []) == [.connect])
        #expect(subscriber.connected() == [.sendHello(SyncHello(have: at(5), capabilities: []))])
        #expect(subscriber.persisted == persisted)
    }

    @Test func `what cannot be read after a restart is not in force, and everything is asked for`()
    {
        var subscriber = SyncSubscriber(
            restoring: PersistedSync(revision: at(5), resources: [entry: [1], bundle: [1]]),
            capabilities: []
        )
        _ = subscriber.started()
        let refusal = ResourceRefusal(key: entry, reason: "unknown field")
        #expect(subscriber.applied(refusing: [refusal]) == [.connect])
        #expect(subscriber.resources == [bundle: [1]])
        #expect(subscriber.connected() == [.sendHello(SyncHello(have: nil, capabilities: []))])
    }

    @Test func `what was refused before a restart is asked for again`() {
        var subscriber = restoring(
            PersistedSync(revision: at(5), resources: [:], refused: [entry])
        )
        #expect(subscriber.connected() == [.sendHello(SyncHello(have: nil, capabilities: ["x"]))])
    }

    @Test(arguments: [[], ["x"], ["x", "y"], ["y", "z"]] as [Set<String>])
    func `who understands more than when he was told asks for everything`(told: Set<String>) {
        let persisted = PersistedSync(revision: at(5), resources: [:], capabilities: told)
        var subscriber = SyncSubscriber(restoring: persisted, capabilities: ["x"])
        _ = subscriber.started()
        _ = subscriber.applied(refusing: [])
        let have = told.contains("x") ? at(5) : nil
        #expect(
            subscriber.connected() == [.sendHello(SyncHello(have: have, capabilities: ["x"]))]
        )
        // What is not understood any more was not told from now on.
        #expect(subscriber.persisted?.capabilities == told.intersection(["x"]))
        _ = receive(&subscriber, snapshot: at(6), [])
        _ = subscriber.applied(refusing: [])
        #expect(subscriber.persisted?.capabilities == ["x"])
    }

    // MARK: Delta

    @Test func `a Delta that continues is applied, written and acknowledged`() {
        var subscriber = settled()
        let changes: [ResourceChange] = [
            .upsert(entry, payload: [2]), .remove(bundle),
            .upsert(ResourceKey(.revocation, "s"), payload: [9]),
        ]
        let actions = subscriber.received(delta(5, 8, changes), now: .seconds(3))
        #expect(actions == [.apply(at(8), [changes[2], changes[1], changes[0]])])
        #expect(subscriber.revision == at(5))
        #expect(subscriber.applied(refusing: []) == [.persist, acknowledged(at(8))])
        #expect(subscriber.revision == at(8))
        #expect(subscriber.lastHeard == .seconds(3))
        #expect(
            subscriber.resources
                == [entry: [2], revocation: [1], ResourceKey(.revocation, "s"): [9]]
        )
    }

    @Test func `a refused change leaves the last good state, and the rest applies`() {
        var subscriber = settled()
        let changes: [ResourceChange] = [
            .upsert(entry, payload: [2]), .upsert(bundle, payload: [2]),
        ]
        _ = subscriber.received(delta(5, 6, changes), now: .zero)
        let refusal = ResourceRefusal(key: entry, reason: "unknown field")
        let actions = subscriber.applied(refusing: [refusal])
        #expect(actions == [.persist, acknowledged(at(6), [refusal])])
        #expect(subscriber.resources[entry] == [1])
        #expect(subscriber.resources[bundle] == [2])
        #expect(subscriber.persisted?.refused == [entry])
        // The refusal stands until the resource is sent again.
        _ = subscriber.received(delta(6, 7), now: .zero)
        #expect(subscriber.applied(refusing: []) == [.persist, acknowledged(at(7), [refusal])])
        _ = subscriber.received(delta(7, 8, [.upsert(entry, payload: [3])]), now: .zero)
        #expect(subscriber.applied(refusing: []) == [.persist, acknowledged(at(8))])
    }

    @Test(arguments: [(UInt64(4), UInt64(8)), (6, 8), (0, 5)])
    func `a Delta that does not continue ends the stream`(_ from: UInt64, _ to: UInt64) {
        var subscriber = settled()
        #expect(
            subscriber.received(delta(from, to), now: .zero) == [.disconnect(.deltaNotContinuous)]
        )
        #expect(subscriber.revision == at(5))
        #expect(subscriber.received(delta(5, 6), now: .zero) == [])
    }

    // MARK: Rollback and epochs

    @Test func `a lower number of the same epoch changes nothing and raises the alarm`() {
        let rollback: [SyncSubscriber.Action] = [
            .alarm(.rollback(applied: at(5), offered: 4)), .disconnect(nil),
        ]
        var subscriber = settled()
        #expect(subscriber.received(.watermark(at(4)), now: .zero) == rollback)
        subscriber = settled()
        #expect(subscriber.received(.snapshotBegin(at(4)), now: .zero) == rollback)
        subscriber = settled()
        #expect(subscriber.received(delta(3, 4), now: .zero) == rollback)
        #expect(subscriber.revision == at(5))
        #expect(subscriber.resources[entry] == [1])
    }

    @Test func `a new epoch replaces everything but the revocations`() {
        var subscriber = settled()
        let revision = Revision(epoch: other, number: 1)
        let actions = receive(
            &subscriber,
            snapshot: revision,
            [Resource(key: bundle, payload: [2])]
        )
        #expect(
            actions == [.apply(revision, [.upsert(bundle, payload: [2]), .remove(entry)])]
        )
        #expect(
            subscriber.applied(refusing: []) == [
                .persist, .alarm(.epochChanged(from: epoch, to: other)), acknowledged(revision),
            ]
        )
        #expect(subscriber.resources == [bundle: [2], revocation: [1]])
        #expect(subscriber.persisted?.retained == [revocation])
        // Nor does a later snapshot of that epoch undo them, nor a restart in between.
        subscriber = restoring(subscriber.persisted)
        _ = subscriber.connected()
        let next = Revision(epoch: other, number: 2)
        _ = receive(&subscriber, snapshot: next, [])
        _ = subscriber.applied(refusing: [])
        #expect(subscriber.resources == [revocation: [1]])
    }

    @Test func `a revocation is not replaced by what another epoch knows of it`() {
        var subscriber = settled()
        let revision = Revision(epoch: other, number: 1)
        _ = receive(&subscriber, snapshot: revision, [Resource(key: revocation, payload: [9])])
        _ = subscriber.applied(refusing: [])
        let kept = ResourceKey(.revocation, "kept:\(epoch):\(revocation.name)")
        #expect(subscriber.resources == [revocation: [9], kept: [1]])
        #expect(subscriber.persisted?.retained == [kept])
        // What the epoch does with its own concerns its own alone.
        _ = subscriber.received(
            .delta(SyncDelta(epoch: other, from: 1, to: 2, changes: [.remove(revocation)])),
            now: .zero
        )
        _ = subscriber.applied(refusing: [])
        #expect(subscriber.resources == [kept: [1]])
    }

    @Test func `within an epoch the server may drop a revocation that has expired`() {
        var subscriber = settled()
        let actions = receive(&subscriber, snapshot: at(6), [Resource(key: entry, payload: [1])])
        #expect(actions == [.apply(at(6), [.remove(revocation), .remove(bundle)])])
    }

    @Test func `a Delta or Watermark of another epoch ends the stream`() {
        var subscriber = settled()
        let foreign = SyncDelta(epoch: other, from: 5, to: 6, changes: [])
        #expect(subscriber.received(.delta(foreign), now: .zero) == [.disconnect(.epochUnknown)])
        subscriber = settled()
        let watermark = SyncMessage.watermark(Revision(epoch: other, number: 9))
        #expect(subscriber.received(watermark, now: .zero) == [.disconnect(.epochUnknown)])
    }

    // MARK: Snapshot

    @Test func `half a snapshot changes nothing`() {
        var subscriber = settled()
        var generator = SeededGenerator(seed: 1)
        _ = subscriber.received(.snapshotBegin(at(9)), now: .zero)
        let page = [Resource(key: entry, payload: [5])]
        _ = subscriber.received(.snapshotPage(index: 0, resources: page), now: .zero)
        _ = subscriber.disconnected(using: &generator)
        #expect(subscriber.revision == at(5))
        #expect(subscriber.resources[entry] == [1])
        _ = subscriber.reconnectDue()
        #expect(subscriber.connected() == [.sendHello(SyncHello(have: at(5), capabilities: ["x"]))])
        #expect(
            subscriber.received(.snapshotEnd(resourceCount: 1), now: .zero)
                == [.disconnect(.snapshotOutOfOrder)]
        )
    }

    @Test func `a snapshot names only what differs`() {
        var subscriber = settled()
        let resources = [
            Resource(key: entry, payload: [1]), Resource(key: bundle, payload: [2]),
            Resource(key: revocation, payload: [1]),
        ]
        let actions = receive(&subscriber, snapshot: at(9), resources)
        #expect(actions == [.apply(at(9), [.upsert(bundle, payload: [2])])])
    }

    struct BadSnapshot: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let messages: [SyncMessage]
        let violation: SyncViolation
    }

    static let badSnapshots: [BadSnapshot] = {
        let key = ResourceKey(.entry, "e")
        let big = Resource(key: key, payload: Array(repeating: 0, count: 1 << 20))
        let long = ResourceKey(.entry, String(repeating: "n", count: ResourceKey.nameBytesMax + 1))
        let one = Resource(key: key, payload: [])
        func page(_ index: Int, _ resources: [Resource]) -> SyncMessage {
            .snapshotPage(index: index, resources: resources)
        }
        return [
            BadSnapshot(
                testDescription: "first page missing",
                messages: [page(1, [one])],
                violation: .pageOutOfOrder
            ),
            BadSnapshot(
                testDescription: "page repeated",
                messages: [page(0, [one]), page(0, [])],
                violation: .pageOutOfOrder
            ),
            BadSnapshot(
                testDescription: "resource repeated",
                messages: [page(0, [one]), page(1, [one])],
                violation: .resourceRepeated
            ),
            BadSnapshot(
                testDescription: "page too big",
                messages: [page(0, [big])],
                violation: .messageTooBig
            ),
            BadSnapshot(
                testDescription: "name too long",
                messages: [page(0, [Resource(key: long, payload: [])])],
                violation: .resourceNameTooLong
            ),
            BadSnapshot(
                testDescription: "resources missing at the end",
                messages: [page(0, [one]), .snapshotEnd(resourceCount: 2)],
                violation: .snapshotIncomplete
            ),
            BadSnapshot(
                testDescription: "another beginning",
                messages: [.snapshotBegin(Revision(epoch: one.anyEpoch, number: 9))],
                violation: .snapshotOutOfOrder
            ),
            BadSnapshot(
                testDescription: "a watermark inside",
                messages: [.watermark(Revision(epoch: one.anyEpoch, number: 9))],
                violation: .snapshotOutOfOrder
            ),
        ]
    }()

    @Test(arguments: badSnapshots)
    func `a broken snapshot ends the stream and changes nothing`(_ bad: BadSnapshot) {
        var subscriber = settled()
        var last = subscriber.received(.snapshotBegin(at(9)), now: .zero)
        for message in bad.messages { last = subscriber.received(message, now: .zero) }
        #expect(last == [.disconnect(bad.violation)])
        #expect(subscriber.revision == at(5))
        #expect(subscriber.resources.count == 3)
    }

    @Test func `what the server cuts into pages the agent takes`() {
        var subscriber = settled()
        let resources = (0..<9).map {
            Resource(
                key: ResourceKey(.entry, "\($0)"),
                payload: Array(repeating: UInt8($0), count: 300_000)
            )
        }
        let messages = SyncMessage.snapshot(at: at(9), resources.reversed())
        #expect(messages.count == 5)
        var last: [SyncSubscriber.Action] = []
        for message in messages { last = subscriber.received(message, now: .zero) }
        guard case .apply(let revision, let changes)? = last.first else {
            Issue.record("nothing to apply")
            return
        }
        #expect(revision == at(9))
        #expect(changes.count == 12)
        let empty = SyncMessage.snapshot(at: at(9), [])
        #expect(empty == [.snapshotBegin(at(9)), .snapshotEnd(resourceCount: 0)])
    }

    @Test func `more resources than an agent can use end the stream`() {
        var subscriber = restoring(nil)
        _ = subscriber.connected()
        _ = subscriber.received(.snapshotBegin(at(9)), now: .zero)
        var last: [SyncSubscriber.Action] = []
        for page in 0...SyncLimits.resourcesMax / 10_000 {
            let resources = (0..<10_000).map {
                Resource(key: ResourceKey(.bundle, "\(page).\($0)"), payload: [])
            }
            last = subscriber.received(.snapshotPage(index: page, resources: resources), now: .zero)
        }
        #expect(last == [.disconnect(.resourcesTooMany)])
    }

    @Test func `a Delta is held to the same limits`() {
        var subscriber = settled()
        let big = ResourceChange.upsert(entry, payload: Array(repeating: 0, count: 1 << 20))
        #expect(
            subscriber.received(delta(5, 6, [big]), now: .zero) == [.disconnect(.messageTooBig)]
        )
        subscriber = settled()
        let twice = delta(5, 6, [.remove(entry), .remove(entry)])
        #expect(subscriber.received(twice, now: .zero) == [.disconnect(.resourceRepeated)])
    }

    // MARK: Watermark

    @Test func `a watermark moves the revision, is acknowledged, and seldom written`() {
        var subscriber = settled()
        #expect(
            subscriber.received(.watermark(at(6)), now: .seconds(10))
                == [.persist, acknowledged(at(6))]
        )
        #expect(
            subscriber.received(.watermark(at(7)), now: .seconds(20)) == [acknowledged(at(7))]
        )
        #expect(subscriber.received(.watermark(at(7)), now: .seconds(30)) == [])
        #expect(
            subscriber.received(.watermark(at(8)), now: .seconds(610))
                == [.persist, acknowledged(at(8))]
        )
        #expect(subscriber.revision == at(8))
    }

    // MARK: Illegal events

    @Test func `events out of order do nothing`() {
        var generator = SeededGenerator(seed: 1)
        var subscriber = SyncSubscriber(restoring: nil, capabilities: [])
        #expect(subscriber.connected() == [])
        #expect(subscriber.disconnected(using: &generator) == [])
        #expect(subscriber.reconnectDue() == [])
        #expect(subscriber.received(.watermark(at(1)), now: .zero) == [])
        #expect(subscriber.applied(refusing: []) == [])
        _ = subscriber.started()
        #expect(subscriber.started() == [])
        _ = subscriber.connected()
        #expect(subscriber.connected() == [])
        #expect(subscriber.reconnectDue() == [])
    }

    @Test func `a message before the last one was applied ends the stream`() {
        var subscriber = settled()
        _ = subscriber.received(delta(5, 6), now: .zero)
        #expect(
            subscriber.received(delta(6, 7), now: .zero) == [.disconnect(.messageUnexpected)]
        )
        // What was being applied counts, but nobody is left to be told.
        #expect(subscriber.applied(refusing: []) == [.persist])
        #expect(subscriber.revision == at(6))
    }

    @Test func `waiting grows until something valid is heard`() throws {
        var generator = SeededGenerator(seed: 1)
        var subscriber = settled()
        var longest = Duration.zero
        for _ in 0..<12 {
            let actions = subscriber.disconnected(using: &generator)
            guard case .reconnect(let delay)? = actions.first else {
                Issue.record("no reconnect")
                return
            }
            longest = max(longest, delay)
            #expect(subscriber.reconnectDue() == [.connect])
            // An open stream alone proves nothing, nor does the beginning of a snapshot.
            _ = subscriber.connected()
            _ = subscriber.received(.snapshotBegin(at(9)), now: .zero)
        }
        #expect(longest > .seconds(5))
        _ = subscriber.disconnected(using: &generator)
        _ = subscriber.reconnectDue()
        _ = subscriber.connected()
        _ = subscriber.received(.watermark(at(5)), now: .zero)
        let actions = subscriber.disconnected(using: &generator)
        guard case .reconnect(let delay)? = actions.first else {
            Issue.record("no reconnect")
            return
        }
        #expect(delay <= .seconds(1))
    }
}

extension Resource {
    /// Some epoch, for messages in which it does not matter.
    fileprivate var anyEpoch: Epoch {
        var generator = SeededGenerator(seed: 0)
        return Epoch(using: &generator)
    }
}
