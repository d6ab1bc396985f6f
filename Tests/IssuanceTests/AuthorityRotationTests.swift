// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import SPIFFE
import Testing

/// The rotation of one server, event by event; times are in seconds after the first authority.
struct AuthorityRotationTests {
    private static let hour: TimeInterval = 3600

    private func time(_ seconds: TimeInterval) -> Date {
        Workshop.now.addingTimeInterval(seconds)
    }

    /// An authority that is born at `birth` and lives 24 h.
    private func authority(
        _ id: String,
        _ state: Authority.State = .prepared,
        birth: TimeInterval = 0,
        published: TimeInterval? = nil,
        lastSVID: TimeInterval? = nil,
        below ancestry: AuthorityAncestry? = nil
    ) -> Authority {
        Authority(
            id: id,
            serverID: "server-1",
            state: state,
            certificateDER: [],
            ancestry: ancestry,
            publishedAt: published.map(time),
            lastSVIDNotAfter: lastSVID.map(time),
            notBefore: time(birth),
            notAfter: time(birth + 24 * Self.hour)
        )
    }

    private func rotation(_ authorities: Authority...) -> AuthorityRotation {
        AuthorityRotation(authorities: authorities, lifetimes: .standard)
    }

    @Test func `the first authority signs as soon as it is published`() {
        var rotation = rotation()
        #expect(rotation.timerFired(now: time(0)) == [.prepare])
        #expect(
            rotation.prepared(authority("a"), now: time(1)) == [
                .scheduleTimer(at: time(16 * Self.hour))
            ]
        )
        #expect(
            rotation.published(id: "a", now: time(2)) == [
                .activate(id: "a", retiring: nil, missing: []),
                .scheduleTimer(at: time(16 * Self.hour)),
            ]
        )
        #expect(
            rotation.activated(id: "a", lastSVIDNotAfter: nil, now: time(3)) == [
                .scheduleTimer(at: time(12 * Self.hour))
            ]
        )
        #expect(rotation.active?.activatedAt == time(3))
    }

    @Test func `the next authority waits for the hold and for every live agent`() {
        var rotation = rotation(authority("a", .active))
        let half = 12 * Self.hour
        #expect(rotation.timerFired(now: time(half - 1)) == [.scheduleTimer(at: time(half))])
        #expect(rotation.timerFired(now: time(half)) == [.prepare])
        let next = authority("b", birth: half, published: half + 1)
        // Nobody has counted yet: at the latest when the old one has 8 h left.
        #expect(
            rotation.prepared(next, now: time(half + 1)) == [
                .scheduleTimer(at: time(16 * Self.hour))
            ]
        )
        #expect(
            rotation.agentsApplied(id: "b", missing: ["web-1"], now: time(half + 5)) == [
                .scheduleTimer(at: time(16 * Self.hour))
            ]
        )
        #expect(
            rotation.agentsApplied(id: "b", missing: [], now: time(half + 6)) == [
                .scheduleTimer(at: time(half + 31))
            ]
        )
        #expect(
            rotation.timerFired(now: time(half + 31)) == [
                .activate(id: "b", retiring: "a", missing: []),
                .scheduleTimer(at: time(half + 16 * Self.hour)),
            ]
        )
        let lastSVID = time(half + 4 * Self.hour)
        #expect(
            rotation.activated(id: "b", lastSVIDNotAfter: lastSVID, now: time(half + 32)) == [
                .scheduleTimer(at: lastSVID.addingTimeInterval(60))
            ]
        )
        #expect(rotation.active?.id == "b")
        #expect(
            rotation.timerFired(now: lastSVID.addingTimeInterval(60)) == [
                .remove(id: "a"), .scheduleTimer(at: time(2 * half)),
            ]
        )
        #expect(
            rotation.removed(id: "a", now: lastSVID.addingTimeInterval(61)) == [
                .scheduleTimer(at: time(2 * half))
            ]
        )
        #expect(rotation.authorities.map(\.id) == ["b"])
    }

    @Test func `an agent that connects without the next authority is waited for again`() {
        var rotation = rotation(
            authority("a", .active),
            authority("b", birth: 100, published: 100)
        )
        _ = rotation.agentsApplied(id: "b", missing: [], now: time(101))
        #expect(
            rotation.agentsApplied(id: "b", missing: ["late"], now: time(110)) == [
                .scheduleTimer(at: time(16 * Self.hour))
            ]
        )
        #expect(rotation.timerFired(now: time(130)) == [.scheduleTimer(at: time(16 * Self.hour))])
    }

    @Test func `a dead agent delays a rotation but does not stop it`() {
        var rotation = rotation(
            authority("a", .active),
            authority("b", birth: 12 * Self.hour, published: 12 * Self.hour)
        )
        _ = rotation.agentsApplied(id: "b", missing: ["dead"], now: time(13 * Self.hour))
        let last = 16 * Self.hour
        #expect(rotation.timerFired(now: time(last - 1)) == [.scheduleTimer(at: time(last))])
        #expect(
            rotation.timerFired(now: time(last)) == [
                .activate(id: "b", retiring: "a", missing: ["dead"]),
                .scheduleTimer(at: time(28 * Self.hour)),
            ]
        )
    }

    @Test func `an authority that is not published never signs`() {
        var rotation = rotation(authority("a", .active))
        _ = rotation.timerFired(now: time(12 * Self.hour))
        _ = rotation.prepared(authority("b", birth: 12 * Self.hour), now: time(12 * Self.hour))
        _ = rotation.agentsApplied(id: "b", missing: [], now: time(13 * Self.hour))
        for hours in [13.0, 16, 20, 24, 25] {
            let actions = rotation.timerFired(now: time(hours * Self.hour))
            #expect(!actions.contains { if case .activate = $0 { true } else { false } })
        }
    }

    @Test func `an authority that an earlier process never published is replaced`() {
        var rotation = rotation(authority("a", .active), authority("b", birth: 12 * Self.hour))
        let now = time(12 * Self.hour + 100)
        #expect(rotation.timerFired(now: now) == [.remove(id: "b")])
        #expect(rotation.removed(id: "b", now: now) == [.prepare])
    }

    @Test func `an old authority whose last SVID is not known stays until its own end`() {
        var rotation = rotation(
            authority("a", .old),
            authority("b", .active, birth: 13 * Self.hour)
        )
        let end = 24 * Self.hour + 60
        #expect(rotation.timerFired(now: time(end - 1)) == [.scheduleTimer(at: time(end))])
        #expect(
            rotation.timerFired(now: time(end)) == [
                .remove(id: "a"), .scheduleTimer(at: time(25 * Self.hour)),
            ]
        )
    }

    @Test func `an old authority that never signed leaves at once`() {
        var rotation = rotation(
            authority("a", .old, lastSVID: -100),
            authority("b", .active)
        )
        #expect(
            rotation.timerFired(now: time(0)) == [
                .remove(id: "a"), .scheduleTimer(at: time(12 * Self.hour)),
            ]
        )
    }

    @Test func `below a root an old authority stays until its own end, that it can be revoked`()
        throws
    {
        let ancestry = try AuthorityAncestry(chain: [], rootID: "root")
        var rotation = rotation(
            authority("a", .old, lastSVID: 16 * Self.hour, below: ancestry),
            authority("b", .active, birth: 13 * Self.hour, below: ancestry)
        )
        let end = 24 * Self.hour + 60
        #expect(!rotation.timerFired(now: time(end - 1)).contains(.remove(id: "a")))
        #expect(rotation.timerFired(now: time(end)).contains(.remove(id: "a")))
        // One that is tainted is refused from its last SVID on, as each is.
        var tainted = self.rotation(
            authority("a", .tainted, lastSVID: 5000, below: ancestry),
            authority("b", .active, below: ancestry)
        )
        #expect(tainted.timerFired(now: time(5060)).contains(.remove(id: "a")))
    }

    @Test func `an expired authority is replaced without waiting`() {
        var rotation = rotation(authority("a", .active))
        let now = time(30 * Self.hour)
        #expect(rotation.timerFired(now: now) == [.prepare])
        let next = authority("b", birth: 30 * Self.hour, published: 30 * Self.hour)
        #expect(
            rotation.prepared(next, now: now).first
                == .activate(id: "b", retiring: "a", missing: [])
        )
    }

    @Test func `a prepared authority that slept too long is replaced unused`() {
        var rotation = rotation(authority("b", published: 0))
        let now = time(16 * Self.hour)
        #expect(rotation.timerFired(now: now) == [.remove(id: "b")])
        #expect(rotation.removed(id: "b", now: now) == [.prepare])
    }

    @Test func `a failed step is asked for again ten seconds later`() {
        var rotation = rotation(authority("a", .active))
        let half = 12 * Self.hour
        #expect(rotation.timerFired(now: time(half)) == [.prepare])
        #expect(rotation.timerFired(now: time(half + 5)) == [])
        #expect(
            rotation.stepFailed(.prepare, now: time(half + 6)) == [
                .scheduleTimer(at: time(half + 16))
            ]
        )
        #expect(rotation.timerFired(now: time(half + 16)) == [.prepare])
    }

    @Test func `a clock that stepped back does not stretch a retry`() {
        var rotation = rotation()
        #expect(rotation.timerFired(now: time(0)) == [.prepare])
        _ = rotation.stepFailed(.prepare, now: time(7200))
        #expect(rotation.timerFired(now: time(3600)) == [.prepare])
    }

    @Test func `a requested rotation prepares at once and follows the same formula`() throws {
        var rotation = rotation(authority("a", .active))
        #expect(try rotation.rotationRequested(now: time(100)) == [.prepare])
        let next = authority("b", birth: 100, published: 101)
        _ = rotation.prepared(next, now: time(101))
        #expect(
            rotation.agentsApplied(id: "b", missing: [], now: time(102)) == [
                .scheduleTimer(at: time(131))
            ]
        )
        #expect(try rotation.rotationRequested(now: time(103)) == [.scheduleTimer(at: time(131))])
        _ = rotation.timerFired(now: time(131))
        let actions = rotation.activated(id: "b", lastSVIDNotAfter: time(5000), now: time(132))
        #expect(actions == [.scheduleTimer(at: time(5060))])
    }

    @Test func `rotations are not requested without end`() {
        var rotation = AuthorityRotation(
            authorities: (0..<7).map { authority("\($0)", .old) } + [authority("x", .active)],
            lifetimes: .standard
        )
        #expect(throws: RotationRefusal.tooManyAuthorities) {
            _ = try rotation.rotationRequested(now: time(1))
        }
        // The schedule itself is never held up.
        #expect(rotation.timerFired(now: time(12 * Self.hour)).contains(.prepare))
    }

    // MARK: Distrust (docs/decisions/0014-life-of-an-authority.md)

    @Test func `a tainted authority is revoked after its last SVID, and its record kept`() {
        let last = time(5000)
        var rotation = rotation(
            authority("a", .tainted, lastSVID: 5000),
            authority("b", .active, birth: 100)
        )
        #expect(rotation.timerFired(now: time(200)) == [.scheduleTimer(at: last + 60)])
        let due = rotation.timerFired(now: last + 60)
        #expect(due.contains(.remove(id: "a")))
        // The shell has recorded it; from now on it is there for those who hold connections open.
        let kept = rotation.removed(id: "a", now: last + 61)
        #expect(rotation.authorities.map(\.state) == [.revoked, .active])
        #expect(!kept.contains(.remove(id: "a")))
        let end = time((24 + 7 * 24) * Self.hour)
        #expect(!rotation.timerFired(now: end - 1).contains(.remove(id: "a")))
        #expect(rotation.timerFired(now: end).contains(.remove(id: "a")))
        _ = rotation.removed(id: "a", now: end)
        #expect(rotation.authorities.map(\.id) == ["b"])
    }

    @Test func `a successor that was revoked is made anew`() {
        let half = 12 * Self.hour
        var rotation = rotation(
            authority("a", .active),
            authority("b", birth: half, published: half)
        )
        let records = [authority("a", .active), authority("b", .revoked, birth: half)]
        #expect(rotation.next?.id == "b")
        let actions = rotation.recordsChanged(records, now: time(half + 5))
        #expect(rotation.next == nil)
        #expect(actions.contains(.prepare))
        // What was said of the one that is gone is not said of the next.
        _ = rotation.prepared(
            authority("c", birth: half + 6, published: half + 6),
            now: time(half + 6)
        )
        #expect(rotation.missingAgents == nil)
    }

    @Test func `revoked authorities take no place of others`() {
        let rotation = AuthorityRotation(
            authorities: (0..<20).map { authority("\($0)", .revoked) } + [authority("x", .active)],
            lifetimes: .standard
        )
        #expect(throws: Never.self) { try rotation.requireRoom() }
    }

    @Test func `it is said when the next authority begins to sign`() throws {
        var rotation = rotation(authority("a", .active))
        #expect(rotation.activation(now: time(0)) == nil)
        _ = rotation.prepared(authority("b", birth: 100, published: 100), now: time(100))
        let latest = time(16 * Self.hour)
        var shown = try #require(rotation.activation(now: time(101)))
        #expect(shown.expected == latest && shown.latest == latest)
        _ = rotation.agentsApplied(id: "b", missing: [], now: time(102))
        shown = try #require(rotation.activation(now: time(103)))
        #expect(shown.expected == time(130) && shown.latest == latest)
    }

    @Test func `events that do not fit change nothing`() {
        let before = [authority("a", .active), authority("b", birth: 100, published: 100)]
        var rotation = AuthorityRotation(authorities: before, lifetimes: .standard)
        _ = rotation.activated(id: "a", lastSVIDNotAfter: nil, now: time(101))
        _ = rotation.activated(id: "c", lastSVIDNotAfter: nil, now: time(101))
        _ = rotation.removed(id: "a", now: time(101))
        _ = rotation.published(id: "c", now: time(101))
        _ = rotation.prepared(authority("c", birth: 101), now: time(101))
        _ = rotation.prepared(authority("a"), now: time(101))
        _ = rotation.prepared(authority("d", .active), now: time(101))
        _ = rotation.agentsApplied(id: "c", missing: [], now: time(101))
        _ = rotation.stepFailed(.scheduleTimer(at: time(0)), now: time(101))
        #expect(rotation.authorities == before)
        #expect(
            rotation.timerFired(now: time(200)) == [.scheduleTimer(at: time(16 * Self.hour))]
        )
    }

    @Test func `with longer SVIDs than before the successor is made in time`() throws {
        // The authority lived 24 h; now SVIDs of 8 h are allowed: it must end its work 16 h early.
        let longer = try SVIDLifetimes(authority: .seconds(48 * 3600))
        var rotation = AuthorityRotation(
            authorities: [authority("a", .active)],
            lifetimes: longer
        )
        let due = time(8 * Self.hour - 30)
        #expect(rotation.timerFired(now: time(0)) == [.scheduleTimer(at: due)])
        #expect(rotation.timerFired(now: due) == [.prepare])
    }
}
