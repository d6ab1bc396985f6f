// SPDX-License-Identifier: Apache-2.0

import NodeAgent
import TestSeeds
import Testing

/// How many exchanges one user, and all together, may ask for.
@Suite struct ExchangeAdmissionTests {
    private let user: UInt32 = 1000

    @Test func `a user has eight under way, all together sixteen`() {
        var admission = ExchangeAdmission()
        for _ in 0..<ExchangeAdmission.underWayPerUserMax {
            #expect(admission.entered(uid: user, now: .zero) == nil)
        }
        #expect(admission.entered(uid: user, now: .zero) == .underWay)
        for _ in 0..<8 { #expect(admission.entered(uid: 1001, now: .zero) == nil) }
        #expect(admission.entered(uid: 1002, now: .zero) == .underWay)
        admission.left(uid: 1001)
        #expect(admission.entered(uid: 1002, now: .zero) == nil)
        admission.left(uid: user)
        #expect(admission.entered(uid: user, now: .zero) == nil)
    }

    @Test func `who has spent fifty at once gets five a second, and hears when`() {
        var admission = ExchangeAdmission()
        for _ in 0..<50 {
            #expect(admission.entered(uid: user, now: .zero) == nil)
            admission.left(uid: user)
        }
        guard case .rate(let wait) = admission.entered(uid: user, now: .zero) else {
            Issue.record("a fifty-first was taken")
            return
        }
        #expect(wait > .milliseconds(199) && wait < .milliseconds(201))
        // Another user is not kept waiting by him.
        #expect(admission.entered(uid: 1001, now: .zero) == nil)
        #expect(admission.entered(uid: user, now: .milliseconds(199)) != nil)
        #expect(admission.entered(uid: user, now: .milliseconds(400)) == nil)
    }

    @Test func `users that have rested are forgotten when there are too many`() {
        var admission = ExchangeAdmission()
        for uid in 0..<UInt32(ExchangeAdmission.usersMax) {
            #expect(admission.entered(uid: uid, now: .zero) == nil)
            admission.left(uid: uid)
        }
        #expect(admission.entered(uid: 5000, now: .zero) == .rate(retryAfter: .seconds(1)))
        #expect(admission.entered(uid: 5000, now: .seconds(1)) == nil)
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `whoever walks, no more are under way than counted and no budget is overdrawn`(
        seed: UInt64
    ) {
        var generator = SeededGenerator(seed: seed)
        var admission = ExchangeAdmission()
        var underWay: [UInt32: Int] = [:]
        var taken: [UInt32: Int] = [:]
        var now = Duration.zero
        for _ in 0..<2_000 {
            now += .milliseconds(Int.random(in: 0..<40, using: &generator))
            let uid = UInt32.random(in: 0..<5, using: &generator)
            if Bool.random(using: &generator), let own = underWay[uid], own > 0 {
                admission.left(uid: uid)
                underWay[uid] = own - 1
                continue
            }
            let refusal = admission.entered(uid: uid, now: now)
            let (own, all) = (underWay[uid, default: 0], underWay.values.reduce(0, +))
            let isFull =
                own >= ExchangeAdmission.underWayPerUserMax
                || all >= ExchangeAdmission.underWayMax
            #expect((refusal == .underWay) == isFull)
            guard refusal == nil else { continue }
            underWay[uid] = own + 1
            taken[uid, default: 0] += 1
            let most =
                ExchangeAdmission.atOnceMax + ExchangeAdmission.perSecondMax * (now / .seconds(1))
            #expect(Double(taken[uid, default: 0]) <= most + 0.001)
        }
    }
}
