// SPDX-License-Identifier: Apache-2.0

import NodeSync
import TestSeeds
import Testing

/// What stays in force against what comes.
extension SyncSubscriberTests {
    @Test(arguments: [true, false])
    func `a revocation outlives a Delta of another epoch that replaces or removes it`(
        isRemoved: Bool
    ) {
        var subscriber = settled()
        _ = receive(&subscriber, snapshot: Revision(epoch: other, number: 1), [])
        _ = subscriber.applied(refusing: [])
        #expect(subscriber.persisted?.retained == [revocation])
        let change =
            isRemoved
            ? ResourceChange.remove(revocation) : .upsert(revocation, payload: [9])
        _ = subscriber.received(
            .delta(SyncDelta(epoch: other, from: 1, to: 2, changes: [change])),
            now: .zero
        )
        _ = subscriber.applied(refusing: [])
        let kept = ResourceKey(.revocation, "kept:\(other).2:\(revocation.name)")
        #expect(subscriber.resources[kept] == [1])
        #expect(subscriber.resources[revocation] == (isRemoved ? nil : [9]))
        #expect(subscriber.persisted?.retained == [kept])
        // The same words again take nothing away and keep nothing twice.
        subscriber = settled()
        _ = receive(&subscriber, snapshot: Revision(epoch: other, number: 1), [])
        _ = subscriber.applied(refusing: [])
        let same = ResourceChange.upsert(revocation, payload: [1])
        _ = subscriber.received(
            .delta(SyncDelta(epoch: other, from: 1, to: 2, changes: [same])),
            now: .zero
        )
        _ = subscriber.applied(refusing: [])
        #expect(subscriber.resources == [revocation: [1]])
        #expect(subscriber.persisted?.retained == [])
    }

    @Test func `what is in force of a refused resource is of the revision before`() {
        var subscriber = settled()
        func receive(_ number: UInt64, _ refusals: [ResourceRefusal]) {
            let change = ResourceChange.upsert(entry, payload: [UInt8(number)])
            _ = subscriber.received(
                .delta(SyncDelta(epoch: epoch, from: number - 1, to: number, changes: [change])),
                now: .zero
            )
            _ = subscriber.applied(refusing: refusals)
        }
        #expect(subscriber.revision(of: entry) == at(5))
        for number: UInt64 in 6...7 { receive(number, [ResourceRefusal(key: entry, reason: "")]) }
        #expect(subscriber.revision(of: entry) == at(5))
        #expect(subscriber.revision(of: bundle) == at(7))
        receive(8, [])
        #expect(subscriber.revision(of: entry) == at(8))
    }

    @Test func `what was withdrawn with its refusal is kept nowhere and asked for anew`() {
        var subscriber = settled()
        let changes: [ResourceChange] = [
            .upsert(entry, payload: [2]), .upsert(bundle, payload: [2]),
        ]
        _ = subscriber.received(
            .delta(SyncDelta(epoch: epoch, from: 5, to: 6, changes: changes)),
            now: .zero
        )
        let refusal = ResourceRefusal(key: entry, reason: "not for this node")
        let actions = subscriber.applied(refusing: [refusal], withdrawing: [entry])
        #expect(actions == [.persist, acknowledged(at(6), [refusal])])
        #expect(subscriber.resources == [bundle: [2], revocation: [1]])
        #expect(subscriber.persisted?.refused == [entry])
        var restarted = restoring(subscriber.persisted)
        #expect(restarted.resources[entry] == nil)
        let hello = SyncSubscriber.Action.sendHello(SyncHello(have: nil, capabilities: ["x"]))
        #expect(restarted.connected() == [hello])
    }

    private func entries(_ range: Range<Int>) -> [Resource] {
        range.map { Resource(key: ResourceKey(.entry, "e\($0)"), payload: [1]) }
    }

    @Test func `entries that are too many are refused, and everything else goes on`() throws {
        var subscriber = settled()
        _ = subscriber.received(.snapshotBegin(at(9)), now: .zero)
        let pages = SyncLimits.entriesMax / 10_000
        let first = [
            Resource(key: revocation, payload: [2]), Resource(key: bundle, payload: [2]),
            Resource(key: entry, payload: [1]),
        ]
        _ = subscriber.received(.snapshotPage(index: 0, resources: first), now: .zero)
        for page in 0...pages {
            let resources = entries(page * 10_000..<(page + 1) * 10_000)
            let message = SyncMessage.snapshotPage(index: page + 1, resources: resources)
            #expect(subscriber.received(message, now: .zero) == [])
        }
        let count = (pages + 1) * 10_000 + 3
        _ = subscriber.received(.snapshotEnd(resourceCount: count), now: .zero)
        let actions = subscriber.applied(refusing: [])
        #expect(subscriber.revision == at(9))
        #expect(subscriber.resources[revocation] == [2])
        // What was there before is no part of what is too much: one of the new ones is.
        #expect(subscriber.resources.count == SyncLimits.entriesMax + 2)
        #expect(subscriber.resources[entry] == [1])
        guard case .acknowledge(let answer)? = actions.last else {
            Issue.record("\(actions)")
            return
        }
        #expect(answer.refused.count == SyncLimits.refusalsReportedMax)
        #expect(answer.refused.first?.reason.contains("narrower node selectors") == true)
        // Nor does a Delta: what it says beside entries is obeyed.
        let more: [ResourceChange] = [
            .upsert(ResourceKey(.entry, "new"), payload: [1]), .upsert(revocation, payload: [3]),
            .upsert(entry, payload: [4]),
        ]
        _ = subscriber.received(
            .delta(SyncDelta(epoch: epoch, from: 9, to: 10, changes: more)),
            now: .zero
        )
        _ = subscriber.applied(refusing: [])
        #expect(subscriber.resources[revocation] == [3])
        #expect(subscriber.resources[entry] == [4])
        #expect(subscriber.resources[ResourceKey(.entry, "new")] == nil)
        // What was refused is asked for when the stream opens again.
        var generator = SeededGenerator(seed: 1)
        _ = subscriber.disconnected(using: &generator)
        _ = subscriber.reconnectDue()
        #expect(subscriber.connected() == [.sendHello(SyncHello(have: nil, capabilities: ["x"]))])
        _ = receive(&subscriber, snapshot: at(11), first)
        _ = subscriber.applied(refusing: [])
        #expect(subscriber.resources.count == 3)
        _ = subscriber.disconnected(using: &generator)
        _ = subscriber.reconnectDue()
        #expect(
            subscriber.connected() == [.sendHello(SyncHello(have: at(11), capabilities: ["x"]))]
        )
    }

    @Test func `an entry that grows beyond the room is withdrawn, for it may have been narrowed`() {
        var subscriber = settled()
        let big = ResourceKey(.entry, "big")
        func grow(_ number: UInt64, _ bytes: Int) {
            let change = ResourceChange.upsert(big, payload: Array(repeating: 0, count: bytes))
            _ = subscriber.received(
                .delta(SyncDelta(epoch: epoch, from: number - 1, to: number, changes: [change])),
                now: .zero
            )
            _ = subscriber.applied(refusing: [])
        }
        var number: UInt64 = 6
        // Each Delta has at most a mebibyte.
        for place in 0..<SyncLimits.entryBytesMax >> 20 {
            let filler = ResourceChange.upsert(
                ResourceKey(.entry, "f\(place)"),
                payload: Array(repeating: 0, count: (1 << 20) - 16)
            )
            _ = subscriber.received(
                .delta(SyncDelta(epoch: epoch, from: number - 1, to: number, changes: [filler])),
                now: .zero
            )
            _ = subscriber.applied(refusing: [])
            number += 1
        }
        grow(number, 8)
        #expect(subscriber.resources[big]?.count == 8)
        grow(number + 1, 4096)
        #expect(subscriber.resources[big] == nil)
        #expect(subscriber.persisted?.refused == [big])
        grow(number + 2, 4)
        #expect(subscriber.resources[big]?.count == 4)
    }

    @Test func `nobody goes back to an epoch that was left, also after a restart`() throws {
        var subscriber = settled()
        _ = receive(&subscriber, snapshot: Revision(epoch: other, number: 1), [])
        _ = subscriber.applied(refusing: [])
        #expect(subscriber.persisted?.leftEpochs == [epoch])
        let applied = Revision(epoch: other, number: 1)
        let refused: [SyncSubscriber.Action] = [
            .alarm(.formerEpoch(applied: applied, offered: epoch)), .disconnect(nil),
        ]
        #expect(subscriber.received(.snapshotBegin(at(900)), now: .zero) == refused)
        subscriber = restoring(subscriber.persisted)
        _ = subscriber.connected()
        #expect(subscriber.received(.snapshotBegin(at(900)), now: .zero) == refused)
        #expect(subscriber.revision == applied)
    }

    @Test func `the last epochs that were left are remembered, the oldest go first`() throws {
        var subscriber = settled()
        let count = SyncSubscriber.leftEpochsMax + 3
        let epochs = try (0..<count).map {
            try Epoch(bytes: Array(repeating: UInt8(100 + $0), count: Epoch.byteCount))
        }
        for epoch in epochs {
            _ = receive(&subscriber, snapshot: Revision(epoch: epoch, number: 1), [])
            _ = subscriber.applied(refusing: [])
        }
        let left = Array(epochs.dropLast().suffix(SyncSubscriber.leftEpochsMax))
        #expect(subscriber.persisted?.leftEpochs == left)
    }
}
