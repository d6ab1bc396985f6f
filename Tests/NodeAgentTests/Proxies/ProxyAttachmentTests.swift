// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import FoundationEssentials
import NodeAgent
import NodeSync
import Routing
import SPIFFE
import TestSeeds
import Testing

/// What one proxy's stream says, as a pure machine.
struct ProxyAttachmentTests {
    let epoch: Epoch
    let hello = ProxyHello(proxy: "", instance: [1, 2, 3, 4, 5], version: "1", capabilities: [])

    init() {
        var generator = SeededGenerator(seed: 4)
        epoch = Epoch(using: &generator)
    }

    private func offer(
        _ number: UInt64,
        payload: UInt8 = 1,
        granted: [String] = ["a"],
        isDue: Bool = true
    ) throws -> ProxyOffer {
        let ids = try granted.map { try SPIFFEID("spiffe://example.org/\($0)") }
        return ProxyOffer(
            view: ProxyView(
                proxy: NodeProxy(
                    reference: "default/p",
                    namespace: "default",
                    nodeSelectors: [],
                    selectors: [try Selector("unix:uid:1")],
                    identities: ids,
                    payload: [payload]
                ),
                trust: ProxyView.Trust(bundles: [], revocations: [], granted: ids),
                identities: ids.map { ProxyView.Identity(id: $0, svid: nil) },
                isAwaiting: false
            ),
            revision: Revision(epoch: epoch, number: number),
            isDue: isDue
        )
    }

    private func greeted() -> ProxyAttachment {
        var machine = ProxyAttachment(now: .zero)
        #expect(machine.received(hello: hello) == [])
        return machine
    }

    /// A machine whose first state, of revision 1, was applied.
    private func settled() throws -> ProxyAttachment {
        var machine = greeted()
        _ = machine.offered(try offer(1), now: .zero)
        _ = machine.answered(1, refusedReason: "", now: .zero)
        return machine
    }

    @Test func `trust comes first, and a state after it`() throws {
        var machine = greeted()
        let first = try offer(1)
        #expect(
            machine.offered(first, now: .zero) == [
                .sendTrust(first.view.trust), .sendState(sequence: 1, first),
                .scheduleTimer(at: ProxyAttachment.quietInterval),
            ]
        )
        #expect(machine.answered(1, refusedReason: "", now: .seconds(1)) == [.report])
        #expect(machine.standing.applied == first.revision)
    }

    @Test func `a first state waits for what is being signed, trust does not`() throws {
        var machine = greeted()
        let early = try offer(1, isDue: false)
        #expect(machine.offered(early, now: .zero) == [.sendTrust(early.view.trust)])
        #expect(machine.offered(early, now: .zero) == [])
        let due = try offer(1)
        #expect(machine.offered(due, now: .zero).first == .sendState(sequence: 1, due))
    }

    @Test func `a later state waits for nothing`() throws {
        var machine = try settled()
        let next = try offer(2, payload: 2, isDue: false)
        #expect(machine.offered(next, now: .zero).first == .sendState(sequence: 2, next))
    }

    @Test func `changes while a state is unanswered merge into one`() throws {
        var machine = greeted()
        _ = machine.offered(try offer(1), now: .zero)
        #expect(machine.offered(try offer(2, payload: 2), now: .zero) == [])
        let third = try offer(3, payload: 3)
        #expect(machine.offered(third, now: .zero) == [])
        #expect(
            machine.answered(1, refusedReason: "", now: .seconds(2)) == [
                .report, .sendState(sequence: 2, third),
                .scheduleTimer(at: .seconds(2) + ProxyAttachment.quietInterval),
            ]
        )
    }

    @Test func `trust overtakes an unanswered state`() throws {
        var machine = greeted()
        _ = machine.offered(try offer(1), now: .zero)
        let less = try offer(2, granted: [])
        #expect(machine.offered(less, now: .zero) == [.sendTrust(less.view.trust)])
    }

    @Test func `a revision that changes nothing is a watermark, once`() throws {
        var machine = try settled()
        #expect(machine.offered(try offer(1), now: .zero) == [])
        let later = try offer(5)
        #expect(
            machine.offered(later, now: .zero) == [.sendWatermark(later.revision), .report]
        )
        #expect(machine.offered(later, now: .zero) == [])
        #expect(machine.standing.applied == later.revision)
    }

    @Test func `watermarks that come while a state is unanswered are one`() throws {
        var machine = greeted()
        _ = machine.offered(try offer(1), now: .zero)
        for number in 2...9 {
            #expect(machine.offered(try offer(UInt64(number)), now: .zero) == [])
        }
        #expect(
            machine.answered(1, refusedReason: "", now: .zero) == [
                .report, .sendWatermark(Revision(epoch: epoch, number: 9)), .report,
            ]
        )
    }

    @Test func `a refused state is remembered, told, and not said again`() throws {
        var machine = try settled()
        _ = machine.offered(try offer(2, payload: 2), now: .zero)
        let reason = String(repeating: "x", count: 2_000)
        #expect(machine.answered(2, refusedReason: reason, now: .zero) == [.report])
        #expect(machine.standing.applied == Revision(epoch: epoch, number: 1))
        #expect(machine.standing.refused == Revision(epoch: epoch, number: 2))
        #expect(machine.standing.refusedReason.utf8.count == AttachedProxy.reasonBytesMax)
        // Neither the state nor a word about its revision.
        #expect(machine.offered(try offer(3, payload: 2), now: .zero) == [])
        let mended = try offer(4, payload: 4)
        #expect(machine.offered(mended, now: .zero).first == .sendState(sequence: 3, mended))
        _ = machine.answered(3, refusedReason: "", now: .zero)
        #expect(machine.standing.refused == nil)
        #expect(machine.standing.refusedReason == "")
        #expect(machine.standing.applied == mended.revision)
    }

    @Test func `no answer in time ends the stream`() throws {
        var machine = greeted()
        _ = machine.offered(try offer(1), now: .seconds(1))
        let due = Duration.seconds(1) + ProxyAttachment.answerTimeout
        #expect(
            machine.timerFired(now: due - .milliseconds(1)) == [
                .sendWord, .scheduleTimer(at: due),
            ]
        )
        #expect(machine.timerFired(now: due) == [.end(.unanswered)])
    }

    @Test func `who is told nothing else is told each 10 s that the agent is there`() throws {
        let quiet = ProxyAttachment.quietInterval
        // In any state: before the first, with one that was refused, at the end.
        var refusing = greeted()
        _ = refusing.offered(try offer(1), now: .zero)
        _ = refusing.answered(1, refusedReason: "no", now: .zero)
        var draining = try settled()
        _ = draining.drains()
        for var machine in [greeted(), refusing, draining, try settled()] {
            var now = Duration.zero
            for _ in 0..<3 {
                let early = now + quiet - .milliseconds(1)
                #expect(machine.timerFired(now: early) == [.scheduleTimer(at: now + quiet)])
                now += quiet
                #expect(
                    machine.timerFired(now: now) == [.sendWord, .scheduleTimer(at: now + quiet)]
                )
            }
        }
        // What is said anyway is as good.
        var machine = try settled()
        _ = machine.offered(try offer(2), now: .seconds(8))
        #expect(machine.timerFired(now: quiet) == [.scheduleTimer(at: .seconds(8) + quiet)])
    }

    @Test func `no hello in time ends the stream`() {
        var machine = ProxyAttachment(now: .seconds(5))
        #expect(machine.firstDeadline == .seconds(5) + ProxyAttachment.helloTimeout)
        #expect(machine.timerFired(now: .seconds(6)) == [.scheduleTimer(at: machine.firstDeadline)])
        #expect(machine.timerFired(now: machine.firstDeadline) == [.end(.helloMissing)])
        var polite = greeted()
        #expect(
            polite.timerFired(now: .seconds(60)) == [
                .sendWord, .scheduleTimer(at: .seconds(60) + ProxyAttachment.quietInterval),
            ]
        )
    }

    @Test func `what comes before the hello, or is answered twice, ends the stream`() throws {
        var machine = ProxyAttachment(now: .zero)
        #expect(machine.answered(1, refusedReason: "", now: .zero) == [.end(.helloMissing)])
        #expect(machine.received(listening: []) == [.end(.helloMissing)])
        #expect(machine.drains() == [.end(.helloMissing)])
        #expect(machine.receivedOther() == [.end(.helloMissing)])
        var settled = try settled()
        #expect(settled.answered(1, refusedReason: "", now: .zero) == [.end(.answerUnexpected)])
        #expect(settled.received(hello: hello) == [.end(.helloRepeated)])
        _ = settled.offered(try offer(2, payload: 2), now: .zero)
        #expect(settled.answered(3, refusedReason: "", now: .zero) == [.end(.answerUnexpected)])
    }

    @Test func `who drains is sent trust and no states, and owes no answer`() throws {
        var machine = greeted()
        _ = machine.offered(try offer(1), now: .zero)
        #expect(machine.drains() == [.report])
        #expect(machine.drains() == [])
        #expect(machine.timerFired(now: .seconds(3_600)).first == .sendWord)
        #expect(machine.answered(1, refusedReason: "", now: .zero) == [])
        let less = try offer(2, payload: 2, granted: [])
        #expect(machine.offered(less, now: .zero) == [.sendTrust(less.view.trust)])
    }

    @Test func `where it listens is told when it changes`() throws {
        var machine = try settled()
        let listening = ProxyListening(
            listener: "web",
            identity: try SPIFFEID("spiffe://example.org/a"),
            address: try #require(.init("192.0.2.1:443"))
        )
        #expect(machine.received(listening: [listening]) == [.report])
        #expect(machine.received(listening: [listening]) == [])
        #expect(machine.standing.listening == [listening])
    }

    /// Whatever happens: one unanswered state, sequences without gaps, revisions that never sink,
    /// and at the end the newest view is the last that was said.
    @Test(arguments: UInt64(1)...40)
    func `random streams keep the rules`(_ seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var machine = greeted()
        var (now, number, payload) = (Duration.zero, UInt64(1), UInt8(0))
        var granted = ["a"]
        var unanswered: UInt64?
        var sent: UInt64 = 0
        var newest: ProxyOffer?
        var (saidState, saidTrust): (ProxyOffer?, ProxyView.Trust?)
        var lastRevision: UInt64 = 0
        func take(_ actions: [ProxyAttachment.Action]) {
            for action in actions {
                switch action {
                case .sendEndpoints: Issue.record("there are none")
                case .sendState(let sequence, let offer):
                    #expect(unanswered == nil)
                    #expect(sequence == sent + 1)
                    (sent, unanswered, saidState) = (sequence, sequence, offer)
                    #expect(offer.revision.number >= lastRevision)
                    lastRevision = offer.revision.number
                case .sendTrust(let trust):
                    #expect(trust != saidTrust)
                    saidTrust = trust
                case .sendWatermark(let revision):
                    #expect(unanswered == nil && machine.standing.refused == nil)
                    #expect(revision.number > lastRevision)
                    lastRevision = revision.number
                case .end(let violation): Issue.record("\(violation)")
                case .report, .scheduleTimer, .sendWord: break
                }
            }
        }
        for _ in 0..<200 {
            now += .milliseconds(Int.random(in: 0...100, using: &generator))
            switch Int.random(in: 0..<5, using: &generator) {
            case 0: number += 1
            case 1: payload = UInt8.random(in: 0...3, using: &generator)
            case 2: granted = Bool.random(using: &generator) ? ["a"] : ["a", "b"]
            case 3:
                if let sequence = unanswered {
                    unanswered = nil
                    let reason = Int.random(in: 0..<4, using: &generator) == 0 ? "no" : ""
                    take(machine.answered(sequence, refusedReason: reason, now: now))
                }
            default: take(machine.timerFired(now: now))
            }
            let offer = try offer(
                number,
                payload: payload,
                granted: granted,
                isDue: number > 3
            )
            newest = offer
            take(machine.offered(offer, now: now))
        }
        if let sequence = unanswered {
            unanswered = nil
            take(machine.answered(sequence, refusedReason: "", now: now))
        }
        #expect(saidTrust == newest?.view.trust)
        #expect(saidState?.view.proxy == newest?.view.proxy)
        #expect(saidState?.view.identities == newest?.view.identities)
    }
}
