// SPDX-License-Identifier: Apache-2.0

import NodeSync
import SPIFFE
import Testing

struct SyncPublisherTests {
    let epoch: Epoch
    let a = AgentName("a")
    let b = AgentName("b")
    let one = SessionID(1)
    let two = SessionID(2)

    init() throws {
        epoch = try Epoch(bytes: Array(repeating: 7, count: 16))
    }

    private func publisher(at number: UInt64 = 10) -> SyncPublisher {
        SyncPublisher(epoch: epoch, committedNumber: number)
    }

    private func has(_ number: UInt64) -> Revision { Revision(epoch: epoch, number: number) }

    private func ack(_ number: UInt64) -> SyncAcknowledgement {
        SyncAcknowledgement(applied: has(number), refused: [])
    }

    private func connect(
        _ publisher: inout SyncPublisher,
        _ agent: AgentName,
        _ session: SessionID,
        have: UInt64?,
        now: Duration = .zero
    ) -> [SyncPublisher.Action] {
        publisher.connected(
            agent,
            session: session,
            have: have.map { has($0) },
            selectors: [],
            capabilities: [],
            now: now
        )
    }

    /// A publisher at number 10 with agent `a` connected and told everything.
    private func settled() -> SyncPublisher {
        var publisher = publisher()
        _ = connect(&publisher, a, one, have: 10)
        return publisher
    }

    // MARK: Hello

    @Test func `an agent without anything gets a snapshot`() {
        var publisher = publisher()
        let actions = connect(&publisher, a, one, have: nil)
        #expect(actions == [.sendSnapshot(one), .scheduleTimer(at: .seconds(60))])
    }

    @Test func `an agent of another epoch gets a snapshot`() throws {
        var publisher = publisher()
        let other = Revision(epoch: try Epoch(bytes: Array(0..<16)), number: 99)
        let actions = publisher.connected(
            a,
            session: one,
            have: other,
            selectors: [],
            capabilities: [],
            now: .zero
        )
        #expect(actions == [.sendSnapshot(one), .scheduleTimer(at: .seconds(60))])
    }

    @Test func `an agent that is behind gets the changes since`() {
        var publisher = publisher()
        let actions = connect(&publisher, a, one, have: 4)
        #expect(actions == [.sendDelta(one, from: 4), .scheduleTimer(at: .seconds(60))])
    }

    @Test func `an agent whose selectors changed while it was away gets a snapshot`() {
        var publisher = publisher()
        let actions = publisher.connected(
            a,
            session: one,
            have: has(4),
            selectors: [],
            capabilities: [],
            scopeChangedAt: 5,
            now: .zero
        )
        #expect(actions == [.sendSnapshot(one), .scheduleTimer(at: .seconds(60))])
    }

    @Test func `an agent that has everything is told so, and then costs nothing`() {
        var publisher = publisher()
        #expect(connect(&publisher, a, one, have: 10) == [.sendWatermark(one, to: 10)])
        #expect(publisher.timerFired(now: .seconds(100_000)) == [])
    }

    @Test func `an agent ahead of the server is shown why and turned away`() {
        var publisher = publisher()
        let actions = connect(&publisher, a, one, have: 11)
        #expect(actions == [.sendWatermark(one, to: 10), .close(one, .aheadOfServer)])
        #expect(publisher.sessionCount == 0)
    }

    @Test func `a second stream of an agent replaces the first`() {
        var publisher = settled()
        let actions = connect(&publisher, a, two, have: 10)
        #expect(actions == [.close(one, .replaced), .sendWatermark(two, to: 10)])
        #expect(publisher.disconnected(one, now: .zero) == [])
        #expect(publisher.sessionCount == 1)
    }

    // MARK: One unacknowledged Delta

    @Test func `a change goes to whom it concerns, and later ones merge until it is acknowledged`()
    {
        var publisher = settled()
        _ = connect(&publisher, b, two, have: 10)
        var actions = publisher.committed(11, affected: .agents([a]), urgent: false, now: .zero)
        #expect(actions == [.sendDelta(one, from: 10), .scheduleTimer(at: .seconds(10))])
        actions = publisher.committed(12, affected: .agents([a]), urgent: false, now: .zero)
        #expect(actions == [])
        #expect(publisher.sent(one, to: 11, now: .seconds(1)) == [])
        actions = publisher.committed(13, affected: .agents([a]), urgent: false, now: .seconds(1))
        #expect(actions == [])
        #expect(
            publisher.acknowledged(one, ack(11), now: .seconds(2)) == [.sendDelta(one, from: 11)]
        )
        #expect(publisher.sent(one, to: 13, now: .seconds(2)) == [])
        #expect(publisher.acknowledged(one, ack(13), now: .seconds(3)) == [])
    }

    @Test func `a change read along with an earlier one is not sent again`() {
        var publisher = settled()
        _ = publisher.committed(11, affected: .all, urgent: false, now: .zero)
        #expect(publisher.sent(one, to: 12, now: .zero) == [])
        #expect(publisher.committed(12, affected: .all, urgent: false, now: .zero) == [])
        #expect(publisher.acknowledged(one, ack(12), now: .zero) == [])
    }

    @Test func `an acknowledgement may come before the report of the message`() {
        var publisher = settled()
        _ = publisher.committed(11, affected: .all, urgent: false, now: .zero)
        #expect(publisher.acknowledged(one, ack(11), now: .zero) == [])
        #expect(publisher.sent(one, to: 11, now: .zero) == [])
        let state = publisher.appliedState(of: 11, now: .zero)
        #expect(state.applied == [a])
        // Nothing is owed: the timer ends no stream.
        let later = publisher.timerFired(now: .seconds(1000))
        #expect(!later.contains(.close(one, .acknowledgementOverdue)))
    }

    @Test func `a revocation overtakes an unacknowledged change, within a limit`() {
        var publisher = settled()
        _ = publisher.committed(11, affected: .all, urgent: false, now: .zero)
        _ = publisher.sent(one, to: 11, now: .zero)
        for number in UInt64(12)...14 {
            let actions = publisher.committed(number, affected: .all, urgent: true, now: .zero)
            #expect(actions == [.sendDelta(one, from: number - 1)])
            _ = publisher.sent(one, to: number, now: .zero)
        }
        #expect(publisher.committed(15, affected: .all, urgent: true, now: .zero) == [])
        let actions = publisher.acknowledged(one, ack(12), now: .zero)
        #expect(actions == [.sendDelta(one, from: 14)])
    }

    @Test func `a revocation committed while a message is written follows it at once`() {
        var publisher = settled()
        _ = publisher.committed(11, affected: .all, urgent: false, now: .zero)
        #expect(publisher.committed(12, affected: .all, urgent: true, now: .zero) == [])
        #expect(publisher.sent(one, to: 11, now: .zero) == [.sendDelta(one, from: 11)])
    }

    @Test func `a number reported late costs a snapshot, not a missed change`() {
        var publisher = settled()
        _ = publisher.committed(12, affected: .agents([]), urgent: false, now: .zero)
        let told = publisher.timerFired(now: .seconds(10))
        #expect(told == [.sendWatermark(one, to: 12)])
        let actions = publisher.committed(11, affected: .all, urgent: false, now: .seconds(11))
        #expect(actions.first == .sendSnapshot(one))
    }

    @Test func `a number may be reported in parts`() {
        var publisher = settled()
        _ = publisher.committed(11, affected: .all, urgent: false, now: .zero)
        _ = publisher.sent(one, to: 12, now: .zero)
        _ = publisher.acknowledged(one, ack(12), now: .zero)
        for part in [Set([b]), [a]] {
            let actions = publisher.committed(12, affected: .agents(part), urgent: true, now: .zero)
            #expect(actions == [])
        }
    }

    @Test func `changed selectors bring a snapshot`() throws {
        var publisher = settled()
        let web = try Selector("role:web")
        let actions = publisher.selectorsChanged(a, to: [web], now: .zero)
        #expect(actions == [.sendSnapshot(one), .scheduleTimer(at: .seconds(60))])
        #expect(publisher.scope.agents(matching: [web]) == [a])
        #expect(publisher.selectorsChanged(b, to: [web], now: .zero) == [])
    }

    // MARK: Time

    @Test func `a stream that does not acknowledge for 30 s is closed`() {
        var publisher = settled()
        _ = publisher.committed(11, affected: .all, urgent: false, now: .zero)
        _ = publisher.sent(one, to: 11, now: .seconds(5))
        var actions = publisher.timerFired(now: .seconds(34))
        #expect(!actions.contains(.close(one, .acknowledgementOverdue)))
        actions = publisher.timerFired(now: .seconds(35))
        #expect(actions.contains(.close(one, .acknowledgementOverdue)))
        #expect(publisher.sessionCount == 0)
    }

    @Test func `a stream that does not take a message is closed`() {
        var publisher = settled()
        _ = publisher.committed(11, affected: .all, urgent: false, now: .zero)
        let actions = publisher.timerFired(now: .seconds(60))
        #expect(actions.contains(.close(one, .writeOverdue)))
    }

    @Test func `watermarks are coalesced to one in 10 s, and none when nothing changed`() {
        var publisher = settled()
        var actions = publisher.committed(
            11,
            affected: .agents([]),
            urgent: false,
            now: .seconds(20)
        )
        #expect(actions == [.scheduleTimer(at: .seconds(30))])
        actions = publisher.committed(12, affected: .agents([]), urgent: false, now: .seconds(25))
        #expect(actions == [])
        actions = publisher.timerFired(now: .seconds(30))
        #expect(actions == [.sendWatermark(one, to: 12)])
        #expect(publisher.timerFired(now: .seconds(40)) == [])
        #expect(publisher.acknowledged(one, ack(12), now: .seconds(41)) == [])
        #expect(publisher.appliedState(of: 12, now: .seconds(41)).applied == [a])
    }

    @Test func `a watermark never passes by a change that is under way`() {
        var publisher = settled()
        _ = publisher.committed(11, affected: .all, urgent: false, now: .zero)
        _ = publisher.sent(one, to: 11, now: .zero)
        _ = publisher.committed(12, affected: .all, urgent: false, now: .zero)
        let actions = publisher.timerFired(now: .seconds(10))
        #expect(actions == [.scheduleTimer(at: .seconds(20))])
        #expect(
            publisher.acknowledged(one, ack(11), now: .seconds(11)) == [.sendDelta(one, from: 11)]
        )
    }

    @Test func `an acknowledgement settles only what it covers`() {
        var publisher = settled()
        _ = publisher.committed(11, affected: .all, urgent: false, now: .zero)
        _ = publisher.sent(one, to: 11, now: .zero)
        _ = publisher.committed(12, affected: .all, urgent: true, now: .seconds(5))
        _ = publisher.sent(one, to: 12, now: .seconds(5))
        _ = publisher.acknowledged(one, ack(11), now: .seconds(6))
        var actions = publisher.timerFired(now: .seconds(34))
        #expect(!actions.contains(.close(one, .acknowledgementOverdue)))
        actions = publisher.timerFired(now: .seconds(35))
        #expect(actions.contains(.close(one, .acknowledgementOverdue)))
    }

    @Test func `a stream is not told twice within 10 s`() {
        var publisher = settled()
        _ = publisher.committed(11, affected: .agents([]), urgent: false, now: .seconds(20))
        _ = connect(&publisher, b, two, have: 11, now: .seconds(25))
        _ = publisher.committed(12, affected: .agents([]), urgent: false, now: .seconds(26))
        var actions = publisher.timerFired(now: .seconds(30))
        #expect(actions == [.sendWatermark(one, to: 12), .scheduleTimer(at: .seconds(40))])
        actions = publisher.timerFired(now: .seconds(40))
        #expect(actions == [.sendWatermark(two, to: 12)])
    }

    // MARK: Limits

    @Test func `agents beyond the limit are turned away`() {
        var publisher = publisher()
        for number in 0..<SyncPublisher.agentsMax {
            publisher.remembered(AgentName("\(number)"), selectors: [], lastSeen: nil)
        }
        #expect(connect(&publisher, a, one, have: 10) == [.close(one, .agentsTooMany)])
        #expect(connect(&publisher, AgentName("7"), two, have: 10).count == 1)
        #expect(publisher.sessionCount == 1)
    }

    // MARK: Illegal events

    @Test func `acknowledging what was never sent ends the stream`() {
        var publisher = settled()
        #expect(
            publisher.acknowledged(one, ack(11), now: .zero) == [
                .close(one, .acknowledgementUnsent)
            ]
        )
        #expect(publisher.acknowledged(one, ack(11), now: .zero) == [])
    }

    @Test func `acknowledging too much before the report of the message ends the stream`() {
        var publisher = settled()
        _ = publisher.committed(11, affected: .all, urgent: false, now: .zero)
        #expect(publisher.acknowledged(one, ack(12), now: .zero) == [])
        let actions = publisher.sent(one, to: 11, now: .zero)
        #expect(actions == [.close(one, .acknowledgementUnsent)])
    }

    @Test func `acknowledging backwards ends the stream`() {
        var publisher = settled()
        #expect(
            publisher.acknowledged(one, ack(9), now: .zero)
                == [.close(one, .acknowledgementBackwards)]
        )
    }

    @Test func `acknowledging another epoch ends the stream`() throws {
        var publisher = settled()
        let other = Revision(epoch: try Epoch(bytes: Array(0..<16)), number: 10)
        let actions = publisher.acknowledged(
            one,
            SyncAcknowledgement(applied: other, refused: []),
            now: .zero
        )
        #expect(actions == [.close(one, .acknowledgementOfOtherEpoch)])
    }

    @Test func `events of a stream that is gone do nothing`() {
        var publisher = settled()
        _ = publisher.disconnected(one, now: .zero)
        #expect(publisher.disconnected(one, now: .zero) == [])
        #expect(publisher.sent(one, to: 11, now: .zero) == [])
        #expect(publisher.acknowledged(one, ack(10), now: .zero) == [])
        #expect(publisher.sent(SessionID(77), to: 11, now: .zero) == [])
    }

    @Test func `a report of a message that nobody asked for does nothing`() {
        var publisher = settled()
        #expect(publisher.sent(one, to: 11, now: .zero) == [])
        #expect(
            publisher.acknowledged(one, ack(11), now: .zero) == [
                .close(one, .acknowledgementUnsent)
            ]
        )
    }

    @Test func `a session number is never used again`() async {
        await #expect(processExitsWith: .failure) {
            var publisher = SyncPublisher(
                epoch: try Epoch(bytes: Array(repeating: 7, count: 16)),
                committedNumber: 1
            )
            for name in ["a", "b"] {
                _ = publisher.connected(
                    AgentName(name),
                    session: SessionID(1),
                    have: nil,
                    selectors: [],
                    capabilities: [],
                    now: .zero
                )
            }
        }
    }
}
