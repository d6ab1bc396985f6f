// SPDX-License-Identifier: Apache-2.0

import NodeSync
import SPIFFE
import Testing

struct ConvergenceTests {
    let epoch: Epoch
    let a = AgentName("a")
    let b = AgentName("b")
    let c = AgentName("c")
    let wait = WaitID(1)

    init() throws {
        epoch = try Epoch(bytes: Array(repeating: 7, count: 16))
    }

    /// Number 11 was just committed for all: `a` has it, `b` is connected, `c` is long gone.
    private func publisher() -> SyncPublisher {
        var publisher = SyncPublisher(epoch: epoch, committedNumber: 10)
        for (agent, session) in [(a, SessionID(1)), (b, SessionID(2))] {
            _ = publisher.connected(
                agent,
                session: session,
                have: Revision(epoch: epoch, number: 10),
                selectors: [],
                capabilities: agent == a ? ["x"] : [],
                now: .zero
            )
        }
        publisher.remembered(c, selectors: [], lastSeen: nil)
        _ = publisher.committed(11, affected: .all, urgent: false, now: .zero)
        _ = publisher.sent(SessionID(1), to: 11, now: .zero)
        _ = acknowledge(&publisher, SessionID(1))
        return publisher
    }

    private func acknowledge(
        _ publisher: inout SyncPublisher,
        _ session: SessionID
    ) -> [SyncPublisher.Action] {
        _ = publisher.sent(session, to: 11, now: .zero)
        return publisher.acknowledged(
            session,
            SyncAcknowledgement(applied: Revision(epoch: epoch, number: 11), refused: []),
            now: .seconds(1)
        )
    }

    private func state(
        applied: [AgentName],
        waiting: [AgentName],
        unreachable: [AgentName]
    ) -> AppliedState {
        AppliedState(number: 11, applied: applied, waiting: waiting, unreachable: unreachable)
    }

    @Test func `every agent is applied, waited for or unreachable`() {
        let publisher = publisher()
        let all = publisher.appliedState(of: 11, now: .zero)
        #expect(all == state(applied: [a], waiting: [b], unreachable: [c]))
        let some = publisher.appliedState(
            of: 11,
            among: .agents([b, AgentName("nobody")]),
            now: .zero
        )
        #expect(some == state(applied: [], waiting: [b], unreachable: [AgentName("nobody")]))
        #expect(publisher.agents(lacking: "x") == [b, c])
    }

    @Test func `an agent's presence tells its stream and what it has`() {
        let publisher = publisher()
        #expect(publisher.presence(of: a).session == SessionID(1))
        #expect(publisher.presence(of: a).applied == 11)
        #expect(publisher.presence(of: b).applied == 10)
        #expect(publisher.presence(of: c).session == nil)
        #expect(publisher.presence(of: AgentName("nobody")).applied == nil)
    }

    @Test func `who waits is answered when the last live agent has applied it`() {
        var publisher = publisher()
        #expect(publisher.waitStarted(wait, for: 11, among: .all, now: .zero) == [])
        let actions = acknowledge(&publisher, SessionID(2))
        #expect(
            actions == [.converged(wait, state(applied: [a, b], waiting: [], unreachable: [c]))]
        )
    }

    @Test func `who waits for nobody is answered at once`() {
        var publisher = publisher()
        let actions = publisher.waitStarted(wait, for: 11, among: .agents([a]), now: .zero)
        #expect(actions == [.converged(wait, state(applied: [a], waiting: [], unreachable: []))])
    }

    @Test func `an agent that went away is waited for 15 minutes`() {
        var publisher = publisher()
        _ = publisher.waitStarted(wait, for: 11, among: .all, now: .zero)
        _ = publisher.disconnected(SessionID(2), now: .seconds(60))
        var actions = publisher.timerFired(now: .seconds(959))
        #expect(actions.contains(.scheduleTimer(at: .seconds(960))))
        actions = publisher.timerFired(now: .seconds(960))
        #expect(
            actions == [.converged(wait, state(applied: [a], waiting: [], unreachable: [b, c]))]
        )
    }

    @Test func `an agent that was away already when the wait began is waited for as long`() {
        var publisher = publisher()
        _ = publisher.disconnected(SessionID(2), now: .seconds(60))
        let began = publisher.waitStarted(wait, for: 11, among: .agents([b]), now: .seconds(70))
        #expect(began == [])
        let actions = publisher.timerFired(now: .seconds(960))
        #expect(
            actions == [.converged(wait, state(applied: [], waiting: [], unreachable: [b]))]
        )
    }

    @Test func `an agent that comes back in time with the change counts as applied`() {
        var publisher = publisher()
        _ = publisher.waitStarted(wait, for: 11, among: .all, now: .zero)
        _ = publisher.disconnected(SessionID(2), now: .seconds(60))
        let actions = publisher.connected(
            b,
            session: SessionID(3),
            have: Revision(epoch: epoch, number: 11),
            selectors: [],
            capabilities: [],
            now: .seconds(90)
        )
        #expect(
            actions.contains(
                .converged(wait, state(applied: [a, b], waiting: [], unreachable: [c]))
            )
        )
    }

    @Test func `nobody waits for an agent that was removed`() {
        var publisher = publisher()
        _ = publisher.waitStarted(wait, for: 11, among: .all, now: .zero)
        let actions = publisher.removed(b, now: .zero)
        #expect(
            actions == [
                .close(SessionID(2), .removed),
                .converged(wait, state(applied: [a], waiting: [], unreachable: [c])),
            ]
        )
    }

    @Test func `who stopped waiting is not answered`() {
        var publisher = publisher()
        _ = publisher.waitStarted(wait, for: 11, among: .all, now: .zero)
        publisher.waitEnded(wait)
        #expect(acknowledge(&publisher, SessionID(2)) == [])
    }

    @Test func `refusals are kept with the agent`() {
        var publisher = publisher()
        let refusal = ResourceRefusal(key: ResourceKey(.document, "x"), reason: "unknown field")
        _ = publisher.sent(SessionID(2), to: 11, now: .zero)
        _ = publisher.acknowledged(
            SessionID(2),
            SyncAcknowledgement(applied: Revision(epoch: epoch, number: 11), refused: [refusal]),
            now: .zero
        )
        #expect(publisher.refusals(of: b) == [refusal])
        #expect(publisher.refusals(of: a) == [])
    }
}
