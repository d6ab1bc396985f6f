// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import TestSeeds
import Testing

struct TokenBucketTests {
    @Test func `a bucket gives its burst, then its rate`() {
        var bucket = TokenBucket(rate: 10, burst: 5, now: .seconds(100))
        for _ in 0..<5 { #expect(bucket.take(1, now: .seconds(100)) == nil) }
        #expect(bucket.take(1, now: .seconds(100)) == .milliseconds(100))
        #expect(bucket.take(1, now: .milliseconds(100_100)) == nil)
        #expect(bucket.take(1, now: .milliseconds(100_100)) != nil)
    }

    @Test func `what is not given costs nothing`() {
        var bucket = TokenBucket(rate: 1, burst: 10, now: .zero)
        #expect(bucket.take(8, now: .zero) == nil)
        #expect(bucket.take(3, now: .zero) == .seconds(1))
        #expect(bucket.take(2, now: .zero) == nil)
    }

    @Test func `more than the burst waits for a full bucket and is paid back`() {
        var bucket = TokenBucket(rate: 1, burst: 10, now: .zero)
        #expect(bucket.take(30, now: .zero) == nil)
        #expect(bucket.take(1, now: .seconds(20)) == .seconds(1))
        #expect(bucket.take(1, now: .seconds(21)) == nil)
    }

    @Test func `a time before the last one refills nothing`() {
        var bucket = TokenBucket(rate: 1, burst: 1, now: .seconds(10))
        #expect(bucket.take(1, now: .seconds(10)) == nil)
        #expect(bucket.take(1, now: .seconds(5)) == .seconds(1))
        #expect(!bucket.isFull(now: .seconds(10)))
        #expect(bucket.isFull(now: .seconds(11)))
    }
}

struct SigningAdmissionTests {
    private func ticket(
        _ id: UInt64,
        agent: String = "a",
        count: Int = 1,
        expires: TimeInterval? = nil
    ) -> SigningAdmission.Ticket {
        SigningAdmission.Ticket(
            id: id,
            agent: agent,
            count: count,
            expiresAt: expires.map { Workshop.now.addingTimeInterval($0) }
        )
    }

    private func admission(
        signing: Int = 1,
        waiting: Int = 3,
        perAgent: Int = 10
    ) -> SigningAdmission {
        SigningAdmission(
            limits: .init(
                agentRate: 10,
                agentBurst: 100,
                signingMax: signing,
                waitingMax: waiting,
                waitingPerAgentMax: perAgent
            )
        )
    }

    @Test func `one agent takes few places in the line, and a refusal costs it nothing`() {
        var admission = admission(waiting: 10, perAgent: 2)
        #expect(admission.requested(ticket(1, count: 98), now: .zero) == [.start(1)])
        for id: UInt64 in 2...3 { #expect(admission.requested(ticket(id), now: .zero) == []) }
        #expect(
            admission.requested(ticket(4, expires: 1), now: .zero) == [
                .refuse(4, retryAfter: .seconds(1))
            ]
        )
        #expect(admission.requested(ticket(5, agent: "b"), now: .zero) == [])
        #expect(admission.finished(1) == [.start(2)])
        #expect(admission.finished(2) == [.start(3)])
        #expect(admission.waitingCount == 1)
    }

    @Test func `renewals come first, the nearest expiry before the others`() {
        var admission = admission(waiting: 10)
        #expect(admission.requested(ticket(1), now: .zero) == [.start(1)])
        #expect(admission.requested(ticket(2), now: .zero) == [])
        #expect(admission.requested(ticket(3, expires: 600), now: .zero) == [])
        #expect(admission.requested(ticket(4, expires: 60), now: .zero) == [])
        #expect(admission.requested(ticket(5), now: .zero) == [])
        #expect(admission.requested(ticket(6, expires: 60), now: .zero) == [])
        var order: [SigningAdmission.Action] = []
        for id: UInt64 in [1, 4, 6, 3, 2, 5] { order += admission.finished(id) }
        #expect(order == [.start(4), .start(6), .start(3), .start(2), .start(5)])
    }

    @Test func `a full line refuses what is least urgent`() {
        var admission = admission()
        _ = admission.requested(ticket(1), now: .zero)
        for id: UInt64 in 2...4 {
            _ = admission.requested(ticket(id, expires: Double(id)), now: .zero)
        }
        #expect(
            admission.requested(ticket(5), now: .zero) == [
                .refuse(5, retryAfter: .seconds(1))
            ]
        )
        #expect(
            admission.requested(ticket(6, expires: 1), now: .zero) == [
                .refuse(4, retryAfter: .seconds(1))
            ]
        )
        #expect(admission.waitingCount == 3)
    }

    @Test func `an agent above its budget is refused and the others are not`() {
        var admission = admission(signing: 10)
        #expect(admission.requested(ticket(1, count: 100), now: .zero) == [.start(1)])
        #expect(
            admission.requested(ticket(2, count: 10), now: .zero) == [
                .refuse(2, retryAfter: .seconds(1))
            ]
        )
        #expect(admission.requested(ticket(3, agent: "b"), now: .zero) == [.start(3)])
        #expect(admission.requested(ticket(4, count: 10), now: .seconds(1)) == [.start(4)])
    }

    /// Asks for one certificate of each identity, and has signed what may be; nil is signed.
    private func sign(
        _ identities: [String],
        agent: String = "a",
        at now: Duration = .zero,
        _ admission: inout SigningAdmission
    ) -> [Duration?] {
        let waits = admission.waits(of: identities, agent: agent, now: now)
        let admitted = zip(identities, waits).filter { $1 == nil }.map(\.0)
        let ticket = SigningAdmission.Ticket(
            id: 1,
            agent: agent,
            count: admitted.count,
            expiresAt: nil,
            identities: admitted
        )
        if !admitted.isEmpty {
            let actions = admission.requested(ticket, now: now) + admission.finished(1)
            #expect(actions == [.start(1)])
        }
        return waits
    }

    @Test func `one identity leaves half of its node's budget to the others`() {
        var admission = admission()
        let loud = sign(Array(repeating: "loud", count: 51), &admission)
        #expect(loud.prefix(50).allSatisfy { $0 == nil })
        // Its share went with that.
        #expect(loud.last == .milliseconds(400))
        #expect(sign(["quiet", "loud"], &admission) == [nil, .milliseconds(400)])
        #expect(sign(["loud"], agent: "b", &admission) == [nil])
        #expect(sign(["loud"], at: .milliseconds(400), &admission) == [nil])
    }

    @Test func `an identity that is alone has all of its node's rate`() {
        var admission = admission()
        _ = sign(Array(repeating: "alone", count: 50), &admission)
        for second in 1...60 {
            let waits = sign(
                Array(repeating: "alone", count: 10),
                at: .seconds(second),
                &admission
            )
            #expect(waits == Array(repeating: nil, count: 10))
        }
    }

    @Test func `below half of the budget each identity has its quarter`() {
        var admission = admission()
        let others = (0..<60).map { "other\($0)" }
        #expect(sign(others, &admission).allSatisfy { $0 == nil })
        let loud = sign(Array(repeating: "loud", count: 30), &admission)
        #expect(loud.count { $0 == nil } == 25)
        #expect(sign(Array(repeating: "quiet", count: 15), &admission).allSatisfy { $0 == nil })
    }

    @Test func `what the agent's budget refuses is taken of no share`() {
        var admission = admission()
        let others = (0..<99).map { "other\($0)" }
        _ = sign(others, &admission)
        let many = Array(repeating: "web", count: 25)
        #expect(admission.waits(of: many, agent: "a", now: .zero).allSatisfy { $0 == nil })
        let ticket = SigningAdmission.Ticket(
            id: 2,
            agent: "a",
            count: 25,
            expiresAt: nil,
            identities: many
        )
        #expect(admission.requested(ticket, now: .zero).count == 1)
        #expect(admission.waits(of: many, agent: "a", now: .zero).allSatisfy { $0 == nil })
    }

    @Test func `a caller that leaves the line is not signed for`() {
        var admission = admission()
        _ = admission.requested(ticket(1), now: .zero)
        _ = admission.requested(ticket(2), now: .zero)
        _ = admission.requested(ticket(3), now: .zero)
        #expect(admission.withdrawn(2) == [])
        #expect(admission.finished(1) == [.start(3)])
    }

    @Test(arguments: 0..<20 as Range<UInt64>)
    func `every batch is started or refused once and never more than allowed are signed`(
        seed: UInt64
    ) throws {
        var generator = SeededGenerator(seed: seed)
        var admission = admission(signing: 3, waiting: 5)
        var running: Set<UInt64> = []
        var answered: Set<UInt64> = []
        func note(_ actions: [SigningAdmission.Action]) {
            for action in actions {
                switch action {
                case .start(let id):
                    #expect(answered.insert(id).inserted)
                    running.insert(id)
                case .refuse(let id, let retryAfter):
                    #expect(answered.insert(id).inserted)
                    #expect(retryAfter > .zero)
                }
            }
            #expect(running.count <= 3)
            #expect(admission.waitingCount <= 5)
            #expect(admission.waitingCount == 0 || running.count == 3)
        }
        for id in 0..<500 as Range<UInt64> {
            let agent = "agent-\(Int.random(in: 0..<5, using: &generator))"
            let count = Int.random(in: 1...20, using: &generator)
            let expires = Bool.random(using: &generator) ? Double(id) : nil
            let request = ticket(id, agent: agent, count: count, expires: expires)
            note(admission.requested(request, now: .milliseconds(Int64(id) * 100)))
            while let done = running.first, Bool.random(using: &generator) {
                running.remove(done)
                note(admission.finished(done))
            }
        }
        while let done = running.first {
            running.remove(done)
            note(admission.finished(done))
        }
        #expect(answered.count == 500)
    }
}
