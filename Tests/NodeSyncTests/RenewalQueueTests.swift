// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeSync
import SPIFFE
import TestSeeds
import Testing

struct RenewalQueueTests {
    let start = ClockReading(wall: Date(timeIntervalSince1970: 1_800_000_000), boot: .seconds(100))
    let first = SigningBatchID(1)

    private func reading(_ seconds: Double) -> ClockReading {
        ClockReading(
            wall: start.wall.addingTimeInterval(seconds),
            boot: start.boot + .seconds(seconds)
        )
    }

    private func key(_ name: String) throws -> IdentityKey {
        IdentityKey(entryID: name, spiffeID: try SPIFFEID("spiffe://example.org/\(name)"))
    }

    private func validity(_ seconds: Double, lifetime: Double = 3_600) -> SVIDValidity {
        SVIDValidity(
            issuedAt: reading(seconds).wall,
            notAfter: reading(seconds + lifetime).wall
        )
    }

    private func wanted(
        _ key: IdentityKey,
        _ demand: IdentityDemand = .subscribed,
        _ validity: SVIDValidity? = nil,
        isOutdated: Bool = false,
        isTainted: Bool = false
    ) -> DemandChange {
        DemandChange(
            key: key,
            demand: demand,
            validity: validity,
            isOutdated: isOutdated,
            isTainted: isTainted
        )
    }

    private func timer(_ actions: [RenewalQueue.Action]) -> Duration? {
        actions.compactMap { action -> Duration? in
            if case .scheduleTimer(let at) = action { at } else { nil }
        }.last
    }

    // MARK: When

    @Test func `what has no SVID is signed at once, and renewed at half of its life`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let a = try key("a")
        var actions = queue.demandChanged([wanted(a)], now: start, using: &generator)
        #expect(actions == [.sign(first, [a])])
        actions = queue.signed(
            first,
            outcomes: [a: .issued(validity(0))],
            now: reading(1),
            using: &generator
        )
        let at = try #require(timer(actions))
        #expect(at >= start.boot + .seconds(1_620))
        #expect(at <= start.boot + .seconds(1_981))
        #expect(actions.count == 1)
        let due = reading(Double((at - start.boot).components.seconds))
        #expect(queue.timerFired(now: reading(1_600)) == [.scheduleTimer(at: at)])
        #expect(queue.timerFired(now: due) == [.sign(SigningBatchID(2), [a])])
    }

    @Test func `what a tainted authority signed is replaced within five minutes, spread`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let keys = try (0..<300).map { try key("k\($0)") }
        let held = validity(0, lifetime: 36_000)
        _ = queue.demandChanged(
            keys.map { wanted($0, .subscribed, held) },
            now: start,
            using: &generator
        )
        let tainted = keys.map { wanted($0, .subscribed, held, isTainted: true) }
        var actions = queue.demandChanged(tainted, now: reading(10), using: &generator)
        var signed = 0
        var seconds: Set<Int> = []
        for second in 10...310 {
            actions += queue.timerFired(now: reading(Double(second)))
            for case .sign(let batch, let batchKeys) in actions {
                signed += batchKeys.count
                seconds.insert(second)
                let outcomes = Dictionary(
                    uniqueKeysWithValues: batchKeys.map {
                        ($0, SigningOutcome.issued(validity(Double(second), lifetime: 36_000)))
                    }
                )
                _ = queue.signed(
                    batch,
                    outcomes: outcomes,
                    now: reading(Double(second)),
                    using: &generator
                )
            }
            actions = []
        }
        #expect(signed == 300)
        #expect(seconds.count > 100)
    }

    @Test func `an answer that was under way when its authority was tainted is replaced soon`()
        throws
    {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let a = try key("a")
        _ = queue.demandChanged([wanted(a)], now: start, using: &generator)
        _ = queue.demandChanged(
            [wanted(a, .subscribed, nil, isTainted: true)],
            now: start,
            using: &generator
        )
        let held = validity(0, lifetime: 36_000)
        let actions = queue.signed(
            first,
            outcomes: [a: .issued(held)],
            now: reading(1),
            using: &generator
        )
        #expect(try #require(timer(actions)) <= start.boot + .seconds(302))
        // Only once: the next one lives as long as any.
        let second = SigningBatchID(2)
        #expect(queue.timerFired(now: reading(302)) == [.sign(second, [a])])
        let again = queue.signed(
            second,
            outcomes: [a: .issued(validity(302, lifetime: 36_000))],
            now: reading(303),
            using: &generator
        )
        #expect(try #require(timer(again)) > start.boot + .seconds(10_000))
    }

    @Test func `an SVID at hand is not signed again before half of its life`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let a = try key("a")
        var actions = queue.demandChanged([wanted(a)], now: start, using: &generator)
        actions = queue.demandChanged(
            [wanted(try key("b"), .subscribed, validity(0))],
            now: start,
            using: &generator
        )
        #expect(actions.count == 1)
        #expect(try #require(timer(actions)) > start.boot + .seconds(1_600))
    }

    @Test func `renewals of SVIDs signed together are spread, those of a second share a batch`()
        throws
    {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let keys = try (0..<400).map { try key("k\($0)") }
        let actions = queue.demandChanged(
            keys.map { wanted($0, .subscribed, validity(0)) },
            now: start,
            using: &generator
        )
        #expect(actions.count == 1)
        var now = start
        var batches = 0
        var signed = 0
        while signed < keys.count {
            now = reading((now.wall.timeIntervalSince(start.wall)) + 1)
            for case .sign(_, let batch) in queue.timerFired(now: now) {
                batches += 1
                signed += batch.count
                _ = queue.signed(
                    SigningBatchID(UInt64(batches)),
                    outcomes: [:],
                    now: now,
                    using: &generator
                )
                break
            }
            if now.boot > start.boot + .seconds(3_600) { break }
        }
        #expect(signed >= keys.count)
        #expect(batches > 50)
        #expect(now.boot <= start.boot + .seconds(1_990))
    }

    // MARK: In what order

    @Test func `what expires soonest is signed first, then who waits, then what is fetched ahead`()
        throws
    {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        // Two batches in flight, so that the rest has to queue.
        for name in ["x", "y"] {
            _ = queue.demandChanged([wanted(try key(name))], now: start, using: &generator)
        }
        let soon = wanted(try key("soon"), .subscribed, validity(-100, lifetime: 110))
        let late = wanted(try key("late"), .prefetch, validity(-3_000))
        let waiting = wanted(try key("waiting"))
        let ahead = wanted(try key("ahead"), .prefetch)
        let held = queue.demandChanged(
            [ahead, late, waiting, soon],
            now: start,
            using: &generator
        )
        #expect(held == [])
        let actions = queue.signed(first, outcomes: [:], now: start, using: &generator)
        #expect(
            actions.first
                == .sign(
                    SigningBatchID(3),
                    try ["soon", "waiting", "late", "ahead"].map { try key($0) }
                )
        )
    }

    @Test func `batches hold at most 500, and two are under way`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let keys = try (0..<1_200).map { try key("k\($0)") }
        let actions = queue.demandChanged(
            keys.map { wanted($0) },
            now: start,
            using: &generator
        )
        let sizes = actions.compactMap { action -> Int? in
            if case .sign(_, let keys) = action { keys.count } else { nil }
        }
        #expect(sizes == [500, 500])
        #expect(queue.inFlightCount == 1_000)
        let outcomes = Dictionary(
            uniqueKeysWithValues: keys.map { ($0, SigningOutcome.issued(validity(0))) }
        )
        let next = queue.signed(first, outcomes: outcomes, now: start, using: &generator)
        #expect(queue.inFlightCount == 700)
        #expect(next.count == 2)
    }

    @Test func `1000 identities are signed ahead, more only for a workload`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let keys = try (0..<1_002).map { try key("k\($0 + 1_000)") }
        _ = queue.demandChanged(
            keys.map { wanted($0, .prefetch) },
            now: start,
            using: &generator
        )
        var signed: Set<IdentityKey> = []
        var batch: UInt64 = 0
        let outcomes = Dictionary(
            uniqueKeysWithValues: keys.map { ($0, SigningOutcome.issued(validity(0))) }
        )
        while queue.inFlightCount > 0 {
            batch += 1
            _ = queue.signed(
                SigningBatchID(batch),
                outcomes: outcomes,
                now: start,
                using: &generator
            )
        }
        #expect(batch == 2)
        #expect(queue.wantedCount == 1_002)
        // A workload comes for one beyond the limit.
        let last = keys[1_001]
        var actions = queue.demandChanged([wanted(last)], now: start, using: &generator)
        #expect(actions.first == .sign(SigningBatchID(3), [last]))
        // A place becomes free.
        actions = queue.demandChanged([wanted(keys[0], .none)], now: start, using: &generator)
        #expect(actions.first == .sign(SigningBatchID(4), [keys[1_000]]))
        signed.insert(last)
    }

    // MARK: Failures

    @Test func `failures are tried again, ever more seldom, and success forgets them`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let a = try key("a")
        var now = start
        var waits: [Duration] = []
        var actions = queue.demandChanged([wanted(a)], now: now, using: &generator)
        for number in 1...12 {
            #expect(actions.first == .sign(SigningBatchID(UInt64(number)), [a]))
            actions = queue.signed(
                SigningBatchID(UInt64(number)),
                outcomes: [a: .failed],
                now: now,
                using: &generator
            )
            let at = try #require(timer(actions))
            waits.append(at - now.boot)
            now = ClockReading(wall: now.wall, boot: at)
            actions = queue.timerFired(now: now)
        }
        #expect(waits.allSatisfy { $0 >= Backoff.delayMin && $0 <= Backoff.delayMax })
        #expect(waits[0] <= .seconds(1))
        #expect(try #require(waits.max()) > .seconds(10))
    }

    @Test func `who was refused asks again seldom, unless its entry changes`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let a = try key("a")
        _ = queue.demandChanged([wanted(a)], now: start, using: &generator)
        let actions = queue.signed(first, outcomes: [a: .refused], now: start, using: &generator)
        #expect(try #require(timer(actions)) >= start.boot + RenewalQueue.refusedDelayMin)
        let changed = queue.demandChanged(
            [wanted(a, isOutdated: true)],
            now: reading(1),
            using: &generator
        )
        #expect(changed == [.sign(SigningBatchID(2), [a])])
    }

    @Test func `a workload that comes and goes does not ask more often`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let a = try key("a")
        _ = queue.demandChanged([wanted(a)], now: start, using: &generator)
        _ = queue.signed(first, outcomes: [a: .refused], now: start, using: &generator)
        for second in 1...50 {
            let now = reading(Double(second))
            let gone = queue.demandChanged([wanted(a, .none)], now: now, using: &generator)
            let back = queue.demandChanged([wanted(a)], now: now, using: &generator)
            #expect(timer(gone + back).map { $0 >= start.boot + .seconds(60) } ?? true)
            #expect(queue.inFlightCount == 0)
        }
    }

    @Test func `an SVID that is half over when it comes does not start a race`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let a = try key("a")
        _ = queue.demandChanged([wanted(a)], now: start, using: &generator)
        let actions = queue.signed(
            first,
            outcomes: [a: .issued(validity(-3_000))],
            now: start,
            using: &generator
        )
        #expect(try #require(timer(actions)) >= start.boot + Backoff.delayMin)
        #expect(actions.count == 1)
    }

    // MARK: Changes on the way

    @Test func `an entry that changes while it is signed is signed again`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let a = try key("a")
        _ = queue.demandChanged([wanted(a)], now: start, using: &generator)
        let change = wanted(a, isOutdated: true)
        #expect(queue.demandChanged([change], now: start, using: &generator) == [])
        var actions = queue.signed(
            first,
            outcomes: [a: .issued(validity(0))],
            now: start,
            using: &generator
        )
        #expect(actions == [.sign(SigningBatchID(2), [a])])
        actions = queue.signed(
            SigningBatchID(2),
            outcomes: [a: .issued(validity(0))],
            now: start,
            using: &generator
        )
        #expect(queue.inFlightCount == 0)
    }

    @Test func `an outdated SVID is replaced at once`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let a = try key("a")
        let have = wanted(a, .subscribed, validity(0))
        _ = queue.demandChanged([have], now: start, using: &generator)
        let outdated = wanted(a, .subscribed, validity(0), isOutdated: true)
        let actions = queue.demandChanged([outdated], now: reading(5), using: &generator)
        #expect(actions == [.sign(first, [a])])
    }

    @Test func `an answer for what is not wanted any more does nothing`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let a = try key("a")
        _ = queue.demandChanged([wanted(a)], now: start, using: &generator)
        _ = queue.demandChanged([wanted(a, .none)], now: start, using: &generator)
        #expect(queue.wantedCount == 0)
        // Wanted again meanwhile: the old answer does not count for the new request.
        let again = queue.demandChanged([wanted(a)], now: start, using: &generator)
        #expect(again == [.sign(SigningBatchID(2), [a])])
        #expect(queue.signed(first, outcomes: [a: .failed], now: start, using: &generator) == [])
        #expect(queue.inFlightCount == 1)
    }

    @Test func `answers to unknown batches do nothing`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let outcomes = [try key("a"): SigningOutcome.issued(validity(0))]
        #expect(queue.signed(first, outcomes: outcomes, now: start, using: &generator) == [])
        #expect(queue.timerFired(now: start) == [])
        #expect(queue.clockStepped(now: start, using: &generator) == [])
        let gone = wanted(try key("a"), .none)
        #expect(queue.demandChanged([gone], now: start, using: &generator) == [])
        #expect(queue.wantedCount == 0)
    }

    // MARK: Clock steps

    @Test func `after a step forward what became due is spread, once`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let keys = try (0..<200).map { try key("k\($0)") }
        _ = queue.demandChanged(
            keys.map { wanted($0, .subscribed, validity(0)) },
            now: start,
            using: &generator
        )
        let stepped = ClockReading(wall: reading(3_000).wall, boot: start.boot + .seconds(10))
        var actions = queue.clockStepped(now: stepped, using: &generator)
        #expect(queue.inFlightCount < 20)
        let spread = ClockReading(
            wall: stepped.wall.addingTimeInterval(30),
            boot: stepped.boot + RenewalQueue.stepSpread
        )
        actions = queue.timerFired(now: spread)
        #expect(queue.inFlightCount == keys.count)
        #expect(!actions.isEmpty)
    }

    @Test func `after a step back renewals wait for their time on the new clock`() throws {
        var generator = SeededGenerator(seed: 1)
        var queue = RenewalQueue()
        let a = try key("a")
        let have = wanted(a, .subscribed, validity(0))
        let before = try #require(timer(queue.demandChanged([have], now: start, using: &generator)))
        let stepped = ClockReading(wall: reading(-1_000).wall, boot: start.boot)
        let after = try #require(timer(queue.clockStepped(now: stepped, using: &generator)))
        #expect(after - before == .seconds(1_000))
    }
}
