// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import Testing

/// How long a key is published before it signs (docs/decisions/0019); times are in hours after the
/// birth of the active authority, which lives 24 h and ends its work at 16 h.
struct PublicationHoldTests {
    private static let hold: Duration = .seconds(3600)

    private func time(_ hours: Double) -> Date { Workshop.now.addingTimeInterval(hours * 3600) }

    private func authority(
        _ id: String,
        _ state: Authority.State,
        birth: Double,
        published: Double? = nil
    ) -> Authority {
        Authority(
            id: id,
            serverID: "server-1",
            state: state,
            certificateDER: [],
            publishedAt: published.map(time),
            notBefore: time(birth),
            notAfter: time(birth + 24)
        )
    }

    private func rotation(hold: Duration = hold) -> AuthorityRotation {
        AuthorityRotation(
            authorities: [authority("a", .active, birth: 0)],
            lifetimes: .standard,
            hold: hold
        )
    }

    /// Publishes the next authority, which no agent lacks but those named.
    private func publish(
        _ rotation: inout AuthorityRotation,
        at hours: Double,
        missing: [String] = []
    ) -> [AuthorityRotation.Action] {
        let next = authority("b", .prepared, birth: hours, published: hours)
        _ = rotation.prepared(next, now: time(hours))
        return rotation.agentsApplied(id: "b", missing: missing, now: time(hours))
    }

    @Test func `a key is published for the hold, though every agent has it`() {
        var rotation = rotation()
        #expect(rotation.timerFired(now: time(12)) == [.prepare])
        #expect(publish(&rotation, at: 12) == [.scheduleTimer(at: time(13))])
        #expect(rotation.timerFired(now: time(13) - 1) == [.scheduleTimer(at: time(13))])
        #expect(
            rotation.timerFired(now: time(13)).first
                == .activate(id: "b", retiring: "a", missing: [])
        )
    }

    @Test func `a key that is made after the last moment is held all the same`() throws {
        var rotation = rotation()
        #expect(rotation.timerFired(now: time(17)) == [.prepare])
        #expect(publish(&rotation, at: 17) == [.scheduleTimer(at: time(18))])
        let shown = try #require(rotation.activation(now: time(17)))
        #expect(shown.expected == time(18) && shown.latest == time(18))
        #expect(
            rotation.timerFired(now: time(18)).first
                == .activate(id: "b", retiring: "a", missing: [])
        )
    }

    @Test func `agents are not waited for beyond the last moment`() {
        var rotation = rotation()
        #expect(rotation.timerFired(now: time(15.5)) == [.prepare])
        #expect(
            publish(&rotation, at: 15.5, missing: ["dead"]) == [.scheduleTimer(at: time(16.5))]
        )
        #expect(
            rotation.timerFired(now: time(16.5)).first
                == .activate(id: "b", retiring: "a", missing: ["dead"])
        )
    }

    @Test func `it is held until the active authority signs no whole SVID, and no longer`() {
        var late = rotation()
        #expect(late.timerFired(now: time(19.5)) == [.prepare])
        #expect(publish(&late, at: 19.5) == [.scheduleTimer(at: time(20))])
        var later = rotation()
        #expect(later.timerFired(now: time(21)) == [.prepare])
        let next = authority("b", .prepared, birth: 21, published: 21)
        #expect(
            later.prepared(next, now: time(21)).first
                == .activate(id: "b", retiring: "a", missing: [])
        )
    }

    @Test func `a hold that does not fit the lifetimes puts no rotation off`() {
        var rotation = rotation(hold: .seconds(4 * 3600 + 1))
        #expect(rotation.timerFired(now: time(15.5)) == [.prepare])
        #expect(publish(&rotation, at: 15.5) == [.scheduleTimer(at: time(16))])
    }

    @Test func `the next authority is made early enough for the hold`() {
        var rotation = rotation(hold: .seconds(5 * 3600))
        #expect(rotation.timerFired(now: time(0)) == [.scheduleTimer(at: time(11))])
        #expect(rotation.timerFired(now: time(11)) == [.prepare])
    }

    @Test func `the longest hold is what is left of half a life`() throws {
        #expect(SVIDLifetimes.standard.publicationHoldMax == .seconds(4 * 3600))
        let short = try SVIDLifetimes(
            workload: .seconds(100),
            agent: .seconds(100),
            server: .seconds(100),
            authority: .seconds(600)
        )
        #expect(short.publicationHoldMax == .seconds(100))
        let small = try SVIDLifetimes(
            workload: .seconds(60),
            workloadMax: .seconds(60),
            agent: .seconds(60),
            server: .seconds(60),
            authority: .seconds(600)
        )
        #expect(small.publicationHoldMax == .seconds(180))
        let tiny = try SVIDLifetimes(
            workload: .seconds(20),
            workloadMax: .seconds(20),
            agent: .seconds(20),
            server: .seconds(20),
            authority: .seconds(600)
        )
        // From here on the sixth part of a life decides.
        #expect(tiny.publicationHoldMax == .seconds(200))
    }
}
