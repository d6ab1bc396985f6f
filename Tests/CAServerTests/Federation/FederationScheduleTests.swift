// SPDX-License-Identifier: Apache-2.0

import CAServer
import SPIFFE
import TestSeeds
import Testing

struct FederationScheduleTests {
    private typealias Fetch = FederationSchedule.Fetch

    private let names: [TrustDomain]
    private var random = SeededGenerator(seed: 1)

    init() throws { names = try (0..<6).map { try TrustDomain("p\($0).example") } }

    private static func at(_ seconds: Int) -> Duration { .seconds(seconds) }

    private func versions(_ count: Int) -> [TrustDomain: UInt64] {
        Dictionary(uniqueKeysWithValues: names.prefix(count).map { ($0, 1) })
    }

    @Test func `a start, an apply and an edit are followed by a fetch at once`() {
        var schedule = FederationSchedule()
        #expect(schedule.wakeAt == nil)
        schedule.documentsChanged(to: versions(1), now: Self.at(5))
        #expect(schedule.wakeAt == Self.at(5))
        let first = Fetch(trustDomain: names[0], version: 1)
        #expect(schedule.timerFired(now: Self.at(5)) == [first])
        #expect(schedule.timerFired(now: Self.at(5)) == [])
        // An edit while it is under way: its result is of the old document.
        schedule.documentsChanged(to: [names[0]: 2], now: Self.at(6))
        #expect(schedule.wakeAt == nil)
        var random = random
        schedule.fetchEnded(first, .fetched(refreshSeconds: 600), now: Self.at(7), using: &random)
        #expect(schedule.wakeAt == Self.at(6))
        #expect(schedule.timerFired(now: Self.at(7)) == [Fetch(trustDomain: names[0], version: 2)])
    }

    @Test func `F-2 the next one is by the hint, less up to a tenth, also after a failure`() throws
    {
        var schedule = FederationSchedule()
        schedule.documentsChanged(to: versions(1), now: .zero)
        var (random, now) = (random, Duration.zero)
        var seen: Set<Duration> = []
        for (outcome, hint) in [
            (.failed, 300), (.fetched(refreshSeconds: 600), 600), (.failed, 600),
            (.fetched(refreshSeconds: 60), 60), (.failed, 60), (.failed, 60),
        ] as [(FederationSchedule.Outcome, Int)] {
            let fetch = try #require(schedule.timerFired(now: now).first)
            now += .seconds(3)
            schedule.fetchEnded(fetch, outcome, now: now, using: &random)
            let next = try #require(schedule.wakeAt)
            #expect(next - now <= .seconds(hint))
            #expect(next - now >= .seconds(Double(hint) * 0.9))
            seen.insert(next - now)
            #expect(schedule.timerFired(now: next - .milliseconds(1)) == [])
            now = next
        }
        #expect(seen.count == 6, "nothing is spread")
    }

    @Test func `what was postponed is fetched again when it can be taken`() throws {
        var schedule = FederationSchedule()
        schedule.documentsChanged(to: versions(1), now: .zero)
        var random = random
        for (delay, latest) in [(40, 40), (290, 290), (900, 300)] {
            _ = schedule.refreshRequested(of: names[0], acceptsOlder: false, now: Self.at(1000))
            let fetch = try #require(schedule.timerFired(now: Self.at(1000)).first)
            schedule.fetchEnded(
                fetch,
                .postponed(for: .seconds(delay)),
                now: Self.at(1000),
                using: &random
            )
            #expect(try #require(schedule.wakeAt) <= Self.at(1000 + latest))
            schedule = FederationSchedule()
            schedule.documentsChanged(to: versions(1), now: .zero)
        }
    }

    @Test func `four at a time, the one that waits longest first`() {
        var schedule = FederationSchedule()
        schedule.documentsChanged(to: versions(6), now: .zero)
        let first = schedule.timerFired(now: Self.at(1))
        #expect(first.map(\.trustDomain) == Array(names.prefix(4)))
        #expect(schedule.wakeAt == nil && schedule.timerFired(now: Self.at(1)) == [])
        var random = random
        schedule.fetchEnded(first[2], .failed, now: Self.at(2), using: &random)
        #expect(schedule.timerFired(now: Self.at(400)).map(\.trustDomain) == [names[4]])
        // Twice is once.
        schedule.fetchEnded(first[2], .failed, now: Self.at(2), using: &random)
        #expect(schedule.timerFired(now: Self.at(400)) == [])
    }

    @Test func `an admin's wish goes before what waits, and an edit keeps its place`() {
        var schedule = FederationSchedule()
        schedule.documentsChanged(to: versions(6), now: .zero)
        let first = schedule.timerFired(now: .zero)
        #expect(first.map(\.trustDomain) == Array(names.prefix(4)))
        // p4 and p5 are overdue since 0, and p0, which ends now, comes after both.
        var random = random
        schedule.documentsChanged(
            to: versions(6).merging([names[4]: 2]) { $1 },
            now: Self.at(1)
        )
        #expect(
            schedule.refreshRequested(of: names[5], acceptsOlder: false, now: Self.at(2))
                == .accepted
        )
        #expect(
            schedule.refreshRequested(of: names[0], acceptsOlder: false, now: Self.at(3))
                == .accepted
        )
        for fetch in first.prefix(2) {
            schedule.fetchEnded(fetch, .failed, now: Self.at(4), using: &random)
        }
        // Both wishes, by how long they wait, before the one that no admin asked for.
        #expect(
            schedule.timerFired(now: Self.at(4)) == [
                Fetch(trustDomain: names[5], version: 1, asking: .admin),
                Fetch(trustDomain: names[0], version: 1, asking: .admin),
            ]
        )
        schedule.fetchEnded(first[2], .failed, now: Self.at(5), using: &random)
        let last = schedule.timerFired(now: Self.at(600))
        #expect(last == [Fetch(trustDomain: names[4], version: 2)])
    }

    @Test func `an edit does not move an overdue fetch behind those that came later`() {
        var schedule = FederationSchedule()
        schedule.held(true)
        // The names' order would have p0 first.
        schedule.documentsChanged(to: [names[5]: 1], now: .zero)
        schedule.documentsChanged(to: versions(6), now: Self.at(1))
        schedule.documentsChanged(to: versions(6).merging([names[5]: 2]) { $1 }, now: Self.at(2))
        schedule.held(false)
        #expect(
            schedule.timerFired(now: Self.at(3)).first == Fetch(trustDomain: names[5], version: 2)
        )
    }

    @Test func `one whose document is gone is under way, and does not come back`() {
        var schedule = FederationSchedule()
        schedule.documentsChanged(to: versions(5), now: .zero)
        let first = schedule.timerFired(now: .zero)
        schedule.documentsChanged(to: [names[4]: 1], now: Self.at(1))
        #expect(schedule.timerFired(now: Self.at(1)) == [])
        var random = random
        schedule.fetchEnded(first[0], .failed, now: Self.at(2), using: &random)
        #expect(schedule.timerFired(now: Self.at(2)).map(\.trustDomain) == [names[4]])
        for fetch in first { schedule.fetchEnded(fetch, .failed, now: Self.at(3), using: &random) }
        #expect(schedule.wakeAt == nil)
    }

    @Test func `an admin's wish comes at once, each ten seconds`() {
        var schedule = FederationSchedule()
        schedule.documentsChanged(to: versions(1), now: .zero)
        var random = random
        let first = schedule.timerFired(now: .zero)[0]
        // What is under way may have begun before the partner did what the admin waits for.
        #expect(
            schedule.refreshRequested(of: names[0], acceptsOlder: true, now: Self.at(1))
                == .accepted
        )
        #expect(schedule.timerFired(now: Self.at(1)) == [])
        schedule.fetchEnded(first, .fetched(refreshSeconds: 300), now: Self.at(2), using: &random)
        let second = schedule.timerFired(now: Self.at(2))
        #expect(
            second == [
                Fetch(trustDomain: names[0], version: 1, asking: .adminAcceptingOlder)
            ]
        )
        #expect(
            schedule.refreshRequested(of: names[0], acceptsOlder: false, now: Self.at(10))
                == .tooSoon(until: Self.at(11))
        )
        schedule.fetchEnded(second[0], .failed, now: Self.at(3), using: &random)
        #expect(
            schedule.refreshRequested(of: names[0], acceptsOlder: false, now: Self.at(11))
                == .accepted
        )
        // The word of the last time counts once.
        #expect(schedule.timerFired(now: Self.at(11)).map(\.asking) == [.admin])
        #expect(
            schedule.refreshRequested(of: names[1], acceptsOlder: false, now: Self.at(20))
                == .unknown
        )
    }

    @Test func `a wish that waits is nobody else's to change, and is withdrawn`() {
        var schedule = FederationSchedule()
        schedule.documentsChanged(to: versions(1), now: .zero)
        var random = random
        let first = Fetch(trustDomain: names[0], version: 1)
        #expect(schedule.timerFired(now: .zero) == [first])
        #expect(
            schedule.refreshRequested(of: names[0], acceptsOlder: true, now: Self.at(1))
                == .accepted
        )
        #expect(
            schedule.refreshRequested(of: names[0], acceptsOlder: false, now: Self.at(12))
                == .tooSoon(until: Self.at(22))
        )
        // Who asked has gone: it is made as any other, and nobody asks again the sooner.
        schedule.refreshWithdrawn(of: names[0], isForgotten: false)
        #expect(
            schedule.refreshRequested(of: names[0], acceptsOlder: true, now: Self.at(10))
                == .tooSoon(until: Self.at(11))
        )
        schedule.fetchEnded(first, .failed, now: Self.at(13), using: &random)
        let next = schedule.timerFired(now: Self.at(600))
        #expect(next == [first])
        schedule.fetchEnded(first, .failed, now: Self.at(601), using: &random)
        // Who was not served may ask again at once.
        for second in [602, 603] {
            #expect(
                schedule.refreshRequested(of: names[0], acceptsOlder: true, now: Self.at(second))
                    == .accepted
            )
            schedule.refreshWithdrawn(of: names[0], isForgotten: true)
        }
        #expect(schedule.timerFired(now: Self.at(604)).map(\.asking) == [.schedule])
    }

    @Test func `what a fetch lacked is here: it is made again at once, also if it is under way`()
        throws
    {
        var schedule = FederationSchedule()
        schedule.documentsChanged(to: versions(2), now: .zero)
        var random = random
        let both = schedule.timerFired(now: .zero)
        #expect(both.map(\.trustDomain) == Array(names.prefix(2)))
        // p0 has failed for want of p1's bundle, which has come.
        for fetch in both {
            schedule.fetchEnded(fetch, .failed, now: Self.at(1), using: &random)
        }
        schedule.becameFetchable(names[0], now: Self.at(1))
        let again = schedule.timerFired(now: Self.at(1))
        #expect(again.map(\.trustDomain) == [names[0]])
        // This one may have looked before it came.
        schedule.becameFetchable(names[0], now: Self.at(2))
        schedule.fetchEnded(try #require(again.first), .failed, now: Self.at(3), using: &random)
        let last = schedule.timerFired(now: Self.at(3))
        #expect(last == again)
        schedule.fetchEnded(try #require(last.first), .failed, now: Self.at(4), using: &random)
        #expect(schedule.timerFired(now: Self.at(5)) == [])
        schedule.becameFetchable(names[5], now: Self.at(6))
        #expect(schedule.timerFired(now: Self.at(6)) == [])
    }

    @Test func `nothing begins while the server is held`() {
        var schedule = FederationSchedule()
        schedule.held(true)
        schedule.documentsChanged(to: versions(1), now: .zero)
        #expect(schedule.wakeAt == nil && schedule.timerFired(now: Self.at(1)) == [])
        schedule.held(false)
        #expect(schedule.wakeAt == .zero && schedule.timerFired(now: Self.at(1)).count == 1)
    }

    @Test(arguments: [UInt64](1...6))
    func `through anything, each is fetched in time, and never twice at once`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var schedule = FederationSchedule()
        var documents: [TrustDomain: UInt64] = [:]
        var running: [(fetch: Fetch, until: Duration)] = []
        var last: [TrustDomain: Duration] = [:]
        var (now, version, count) = (Duration.zero, UInt64(0), 0)
        for _ in 0..<2_000 {
            now += .seconds(Int.random(in: 1...20, using: &random))
            for (index, item) in running.enumerated().reversed() where item.until <= now {
                running.remove(at: index)
                let outcomes: [FederationSchedule.Outcome] = [
                    .failed, .fetched(refreshSeconds: 60), .fetched(refreshSeconds: 120),
                    .postponed(for: .seconds(30)),
                ]
                let outcome = try #require(outcomes.randomElement(using: &random))
                schedule.fetchEnded(item.fetch, outcome, now: now, using: &random)
            }
            let name = try #require(names.randomElement(using: &random))
            switch Int.random(in: 0..<40, using: &random) {
            case 0:
                documents[name] = nil
                last[name] = nil
                schedule.documentsChanged(to: documents, now: now)
            case 1...3:
                version += 1
                documents[name] = version
                last[name] = now
                schedule.documentsChanged(to: documents, now: now)
            case 4: _ = schedule.refreshRequested(of: name, acceptsOlder: false, now: now)
            default: break
            }
            for fetch in schedule.timerFired(now: now) {
                #expect(documents[fetch.trustDomain] == fetch.version)
                #expect(!running.contains { $0.fetch.trustDomain == fetch.trustDomain })
                let seconds = Int.random(in: 1...15, using: &random)
                running.append((fetch, now + .seconds(seconds)))
                last[fetch.trustDomain] = now
                count += 1
            }
            #expect(running.count <= FederationSchedule.fetchesMax)
            // The first hint is 300 s; a fetch ends within 35 s here, so does the wait for one of the
            // four, and time goes on by 20 s.
            for (name, time) in last { #expect(now - time <= .seconds(390), "\(name)") }
        }
        #expect(count > 100)
    }
}
