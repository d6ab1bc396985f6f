// SPDX-License-Identifier: Apache-2.0

import NodeSync
import SPIFFE
import TestSeeds
import Testing

/// A publisher over a small change log, and the subscribers of several agents.
///
/// They are joined by streams that lose what is in flight when they break. A seed chooses all.
private struct SyncWorld {
    struct Change {
        let number: UInt64
        let key: ResourceKey
        /// The agents in whose scope the resource was before or is now.
        let affected: Set<Int>
    }

    struct Stored: Equatable {
        var payload: [UInt8]
        var scope: Set<Int>
    }

    struct Stream {
        let session: SessionID
        var toAgent: [SyncMessage] = []
        var toServer: [SyncAcknowledgement] = []
        /// A message the server was told to write and has not written yet.
        var write: SyncPublisher.Action?
    }

    static let agentCount = 4

    var generator: SeededGenerator
    var now = Duration.zero
    var epoch: Epoch
    var number: UInt64 = 1
    var log: [Change] = []
    var store: [ResourceKey: Stored] = [:]
    var publisher: SyncPublisher
    var subscribers: [SyncSubscriber] = []
    var disks: [PersistedSync?]
    var streams: [Int: Stream] = [:]
    var sessionNumber: UInt64 = 0
    var serverTimer: Duration?
    /// Revocations that each agent has ever applied.
    var revocationsSeen: [Set<ResourceKey>]
    /// The newest revision each agent ever had in the current epoch.
    var newest: [UInt64]

    init(seed: UInt64) {
        generator = SeededGenerator(seed: seed)
        epoch = Epoch(using: &generator)
        publisher = SyncPublisher(epoch: epoch, committedNumber: 1)
        disks = Array(repeating: nil, count: Self.agentCount)
        revocationsSeen = Array(repeating: [], count: Self.agentCount)
        newest = Array(repeating: 0, count: Self.agentCount)
        for agent in 0..<Self.agentCount {
            subscribers.append(SyncSubscriber(restoring: nil, capabilities: []))
            perform(subscribers[agent].started(), of: agent)
        }
    }

    func name(_ agent: Int) -> AgentName { AgentName("agent-\(agent)") }

    // MARK: Events

    mutating func step() {
        now += .milliseconds(Int64(generator.below(3_000)))
        if let timer = serverTimer, timer <= now {
            serverTimer = nil
            perform(publisher.timerFired(now: now))
        }
        let agent = generator.below(Self.agentCount)
        switch generator.below(40) {
        case 0: restartAgent(agent)
        case 1, 2: breakStream(of: agent)
        case 3: if generator.once(in: 6) { restartServer() }
        case 4...10: commit()
        case 11...20: write(agent)
        case 21...32: deliver(agent)
        default: reconnect(agent)
        }
    }

    mutating func commit() {
        number += 1
        let types = ResourceType.allCases
        let type = types[generator.below(types.count)]
        let key = ResourceKey(type, "\(generator.below(6))")
        let old = store[key]
        // Revocations are never taken back here, so that the agents' memory can be checked.
        let isRemoval = type != .revocation && generator.once(in: 3)
        let scope: Set<Int> =
            type == .revocation || type == .bundle
            ? Set(0..<Self.agentCount)
            : Set((0..<Self.agentCount).filter { _ in generator.once(in: 2) })
        store[key] =
            isRemoval
            ? nil : Stored(payload: [UInt8(generator.below(256))], scope: scope)
        let affected = (old?.scope ?? []).union(isRemoval ? [] : scope)
        log.append(Change(number: number, key: key, affected: affected))
        perform(
            publisher.committed(
                number,
                affected: .agents(Set(affected.map(name))),
                urgent: type == .revocation,
                now: now
            )
        )
    }

    /// The server's shell reads the log and writes what it was told to write.
    mutating func write(_ agent: Int) {
        guard let write = streams[agent]?.write, let session = streams[agent]?.session else {
            return
        }
        streams[agent]?.write = nil
        if case .sendDelta(_, let from) = write {
            let keys = Set(
                log.filter { $0.number > from && $0.affected.contains(agent) }.map(\.key)
            )
            let changes = keys.sorted().map { key in
                visible(to: agent)[key].map { .upsert(key, payload: $0) }
                    ?? ResourceChange.remove(key)
            }
            streams[agent]?.toAgent.append(
                .delta(SyncDelta(epoch: epoch, from: from, to: number, changes: changes))
            )
        } else {
            let all = visible(to: agent).sorted { $0.key < $1.key }
                .map { Resource(key: $0.key, payload: $0.value) }
            var messages = [SyncMessage.snapshotBegin(Revision(epoch: epoch, number: number))]
            for (index, start) in stride(from: 0, to: all.count, by: 3).enumerated() {
                let page = Array(all[start..<min(start + 3, all.count)])
                messages.append(.snapshotPage(index: index, resources: page))
            }
            messages.append(.snapshotEnd(resourceCount: all.count))
            streams[agent]?.toAgent += messages
        }
        perform(publisher.sent(session, to: number, now: now))
    }

    mutating func deliver(_ agent: Int) {
        guard let stream = streams[agent] else { return }
        if generator.once(in: 2), !stream.toAgent.isEmpty {
            let message = streams[agent]?.toAgent.removeFirst()
            if let message { perform(subscribers[agent].received(message, now: now), of: agent) }
        } else if !stream.toServer.isEmpty {
            let acknowledgement = streams[agent]?.toServer.removeFirst()
            if let acknowledgement {
                perform(publisher.acknowledged(stream.session, acknowledgement, now: now))
            }
        }
    }

    mutating func breakStream(of agent: Int) {
        guard let stream = streams.removeValue(forKey: agent) else { return }
        perform(publisher.disconnected(stream.session, now: now))
        perform(subscribers[agent].disconnected(using: &generator), of: agent)
    }

    mutating func restartAgent(_ agent: Int) {
        if let stream = streams.removeValue(forKey: agent) {
            perform(publisher.disconnected(stream.session, now: now))
        }
        subscribers[agent] = SyncSubscriber(restoring: disks[agent], capabilities: [])
        perform(subscribers[agent].started(), of: agent)
    }

    /// The server restarts; half of the times its datastore was restored, with a new epoch.
    mutating func restartServer() {
        for agent in 0..<Self.agentCount where streams[agent] != nil {
            streams[agent] = nil
            perform(subscribers[agent].disconnected(using: &generator), of: agent)
        }
        if generator.once(in: 2) {
            epoch = Epoch(using: &generator)
            number = 1
            log = []
            // The backup is older than the newest revocations.
            store = store.filter { $0.key.type != .revocation }
            newest = newest.map { _ in 0 }
        }
        publisher = SyncPublisher(epoch: epoch, committedNumber: number)
        serverTimer = nil
    }

    mutating func reconnect(_ agent: Int) {
        perform(subscribers[agent].reconnectDue(), of: agent)
        guard streams[agent] == nil else { return }
        perform(subscribers[agent].connected(), of: agent)
    }

    // MARK: Actions

    mutating func perform(_ actions: [SyncPublisher.Action]) {
        for action in actions {
            switch action {
            case .close(let session, let reason):
                guard let agent = agent(of: session) else { continue }
                // An honest agent is turned away only because the link was slow, or by itself.
                #expect([.acknowledgementOverdue, .writeOverdue, .replaced].contains(reason))
                streams[agent] = nil
                perform(subscribers[agent].disconnected(using: &generator), of: agent)
            case .converged: break
            case .scheduleTimer(let at): serverTimer = at
            case .sendDelta(let session, _), .sendSnapshot(let session):
                guard let agent = agent(of: session) else { continue }
                #expect(streams[agent]?.write == nil, "one message at a time")
                streams[agent]?.write = action
            case .sendWatermark(let session, let to):
                guard let agent = agent(of: session) else { continue }
                streams[agent]?.toAgent.append(
                    .watermark(Revision(epoch: epoch, number: to))
                )
            }
        }
    }

    mutating func perform(_ actions: [SyncSubscriber.Action], of agent: Int) {
        for action in actions {
            switch action {
            case .acknowledge(let acknowledgement):
                streams[agent]?.toServer.append(acknowledgement)
            case .alarm(let alarm):
                if case .rollback = alarm { Issue.record("rollback of an honest server") }
            case .apply:
                perform(subscribers[agent].applied(refusing: []), of: agent)
            case .connect, .reconnect: break
            case .disconnect(let violation):
                #expect(violation == nil)
                breakStream(of: agent)
            case .persist: disks[agent] = subscribers[agent].persisted
            case .sendHello(let hello):
                sessionNumber += 1
                let session = SessionID(sessionNumber)
                streams[agent] = Stream(session: session)
                perform(
                    publisher.connected(
                        name(agent),
                        session: session,
                        have: hello.have,
                        selectors: [],
                        capabilities: hello.capabilities,
                        now: now
                    )
                )
            }
        }
    }

    func agent(of session: SessionID) -> Int? {
        streams.first { $0.value.session == session }?.key
    }

    func visible(to agent: Int) -> [ResourceKey: [UInt8]] {
        store.filter { $0.value.scope.contains(agent) }.mapValues(\.payload)
    }

    // MARK: Invariants

    mutating func check() {
        for agent in 0..<Self.agentCount {
            let subscriber = subscribers[agent]
            let revocations = Set(subscriber.resources.keys.filter { $0.type == .revocation })
            let isRestarted = subscriber.revision?.number ?? 0 < newest[agent]
            if !isRestarted {
                #expect(revocationsSeen[agent].isSubset(of: revocations), "never undone")
                revocationsSeen[agent] = revocations
            }
            if subscriber.revision?.epoch == epoch, let has = subscriber.revision?.number {
                #expect(has <= number, "nobody is ahead of the datastore")
                newest[agent] = max(newest[agent], has)
                let reached = publisher.appliedState(
                    of: has,
                    among: .agents([name(agent)]),
                    now: now
                )
                if !reached.applied.isEmpty { #expect(has >= reached.number) }
            }
        }
    }

    /// Whether everybody has everything.
    func checkConverged() {
        for agent in 0..<Self.agentCount {
            var has = subscribers[agent].resources
            let should = visible(to: agent)
            // What an earlier epoch revoked stays.
            for key in has.keys where key.type == .revocation && should[key] == nil {
                has[key] = nil
            }
            #expect(has == should)
            #expect(subscribers[agent].revision == Revision(epoch: epoch, number: number))
        }
        let state = publisher.appliedState(of: number, now: now)
        #expect(state.applied == (0..<Self.agentCount).map(name))
        #expect(state.waiting == [])
    }
}

struct SyncWalkTests {
    @Test(arguments: walkSeeds)
    func `agents end up with exactly their scope, whatever breaks on the way`(_ seed: UInt64) {
        var world = SyncWorld(seed: seed)
        for _ in 0..<1_500 {
            world.step()
            world.check()
        }
        // Calm: nothing breaks any more, time goes on.
        for _ in 0..<200 {
            for agent in 0..<SyncWorld.agentCount {
                world.reconnect(agent)
                world.write(agent)
                world.deliver(agent)
                world.deliver(agent)
            }
            world.now += .seconds(1)
            if let timer = world.serverTimer, timer <= world.now {
                world.serverTimer = nil
                world.perform(world.publisher.timerFired(now: world.now))
            }
            world.check()
        }
        world.checkConverged()
    }

    @Test func `the same seed gives the same walk`() {
        var first = SyncWorld(seed: 5)
        var second = SyncWorld(seed: 5)
        for _ in 0..<800 {
            first.step()
            second.step()
        }
        #expect(first.subscribers.map(\.resources) == second.subscribers.map(\.resources))
        #expect(first.subscribers.map(\.revision) == second.subscribers.map(\.revision))
        #expect(first.now == second.now)
    }

    @Test func `5000 quiet streams cost nothing, a change to three of them three messages`() throws
    {
        var publisher = SyncPublisher(
            epoch: try Epoch(bytes: Array(repeating: 7, count: 16)),
            committedNumber: 1
        )
        let have = Revision(epoch: publisher.epoch, number: 1)
        for number in 0..<5_000 {
            let actions = publisher.connected(
                AgentName("agent-\(number)"),
                session: SessionID(UInt64(number)),
                have: have,
                selectors: [try Selector("role:r\(number % 1_000)")],
                capabilities: [],
                now: .zero
            )
            #expect(actions.count == 1)
        }
        let affected = publisher.scope.agents(matching: [try Selector("role:r7")])
        #expect(affected.count == 5)
        let changed = publisher.committed(2, affected: .agents(affected), urgent: false, now: .zero)
        #expect(changed.count == 6)
        // The others learn the number once, when the round comes.
        #expect(publisher.timerFired(now: .seconds(9)) == [.scheduleTimer(at: .seconds(10))])
        let round = publisher.timerFired(now: .seconds(10))
        #expect(round.count { if case .sendWatermark = $0 { true } else { false } } == 4_995)
    }
}
