// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import SPIFFE
import Testing

/// When a list is signed and what it says, rule by rule (decision 0018).
@Suite struct RevocationListPlanTests {
    /// 17:00 of the moment of the tests, which is 17:46:40.
    private static let hour = Date(timeIntervalSince1970: 1_899_997_200)

    @Test func `an authority without a list gets one, on which nothing is`() throws {
        var server = ListedServer()
        server.records["b"] = .init(state: .prepared)
        let plan = server.round(at: Workshop.now)
        #expect(plan.lists.map(\.authorityID) == ["a", "b"])
        #expect(plan.lists.allSatisfy { $0.entries.isEmpty && !$0.isLast })
        #expect(plan.leftOut.isEmpty)
    }

    @Test func `nothing is signed while nothing has changed and none is due`() throws {
        var server = ListedServer()
        server.revoke(serial: [7])
        try server.revoke(identity: "web", first: 9, count: 3)
        server.round(at: Workshop.now)
        for seconds in [0, 1, 60, 3600, 12 * 3600 - 300] as [Double] {
            #expect(server.plan(at: .after(seconds)).lists.isEmpty, "after \(seconds) s")
        }
    }

    @Test func `the first list is signed before the authority is published`() throws {
        let workshop = try Workshop()
        var authority = workshop.authority
        authority.state = .prepared
        let list = try #require(
            RevocationListPlan.firstList(of: authority, now: Workshop.now)
        )
        #expect(list.authorityID == authority.id)
        #expect(list.thisUpdate == authority.notBefore)
        #expect(list.nextUpdate == authority.notBefore.addingTimeInterval(86_400))
        #expect(list.entries.isEmpty)
        #expect(RevocationListPlan.firstList(of: authority, now: authority.notBefore) == nil)
        #expect(RevocationListPlan.firstList(of: authority, now: .after(2 * 86_400)) == nil)
        authority.state = .revoked
        #expect(RevocationListPlan.firstList(of: authority, now: Workshop.now) == nil)
    }

    // MARK: thisUpdate and nextUpdate

    @Test func `a list begins five minutes ago, at a whole second`() throws {
        var server = ListedServer()
        #expect(server.round(at: .after(0.75)).lists.map(\.thisUpdate) == [.after(-300)])
    }

    @Test func `a list does not begin before its authority`() throws {
        var server = ListedServer()
        server.records["a"]?.notBefore = .after(-60)
        #expect(server.plan(at: .after(0)).lists.map(\.thisUpdate) == [.after(-60)])
        #expect(server.plan(at: .after(-60)).lists.isEmpty)
        #expect(server.plan(at: .after(-59.5)).lists.map(\.thisUpdate) == [.after(-60)])
    }

    @Test func `a list begins a second after the one before, whatever the clock says`() throws {
        var server = ListedServer()
        server.round(at: .after(0))
        for number in 1...5 {
            server.revoke(serial: [UInt8(number)])
            let plan = server.round(at: .after(Double(-number)))
            #expect(plan.lists.map(\.thisUpdate) == [.after(-300 + Double(number))])
        }
    }

    @Test func `what would not begin in the past is not signed`() throws {
        var server = ListedServer()
        server.round(at: .after(0))
        server.revoke(serial: [1])
        // The last list began at -300.
        #expect(server.plan(at: .after(-400)).lists.isEmpty)
        #expect(server.plan(at: .after(-299)).lists.isEmpty)
        #expect(server.plan(at: .after(-298.5)).lists.map(\.thisUpdate) == [.after(-299)])
    }

    @Test func `a list ends after 24 hours, or with its authority`() throws {
        var server = ListedServer()
        server.records["b"] = .init(notAfter: .after(3600))
        let lists = server.round(at: .after(0)).lists
        #expect(lists.map(\.nextUpdate) == [.after(24 * 3600 - 300), .after(3600)])
    }

    @Test func `nothing is signed after the authority's end, nor while its key is away`() throws {
        var server = ListedServer()
        server.records = ["a": .init(notAfter: .after(-300)), "b": .init(hasKey: false)]
        #expect(server.plan(at: .after(0)).lists.isEmpty)
        #expect(server.plan(at: .after(-1)).lists.map(\.authorityID) == ["a"])
    }

    @Test func `a revoked authority has no list`() throws {
        var server = ListedServer()
        server.records["a"]?.state = .revoked
        #expect(server.plan(at: .after(0)).lists.isEmpty)
    }

    // MARK: Renewal

    @Test func `a list is renewed when it is older than 12 hours`() throws {
        var server = ListedServer()
        server.revoke(serial: [1], notAfter: .after(86_400))
        server.round(at: .after(0))
        #expect(server.plan(at: .after(12 * 3600 - 300)).lists.isEmpty)
        let renewed = server.round(at: .after(12 * 3600 - 299)).lists
        #expect(renewed.map(\.nextUpdate) == [.after(36 * 3600 - 599)])
        #expect(renewed.first?.entries.map(\.serial) == [[1]])
    }

    @Test func `a list older than 6 hours is renewed with another one`() throws {
        var server = ListedServer()
        server.records["b"] = .init()
        server.round(at: .after(0))
        server.revoke(serial: [1], notAfter: .after(86_400))
        #expect(server.plan(at: .after(6 * 3600 - 300)).lists.map(\.authorityID) == ["a"])
        #expect(server.plan(at: .after(6 * 3600 - 299)).lists.map(\.authorityID) == ["a", "b"])
    }

    @Test func `what is due by the clock is known without what is revoked`() throws {
        var server = ListedServer()
        #expect(RevocationListPlan.isDue(server.authorities, now: .after(0)))
        server.revoke(serial: [1])
        server.round(at: .after(0))
        server.revoke(serial: [2])
        for seconds in [0, 3600, 12 * 3600 - 300] as [Double] {
            #expect(!RevocationListPlan.isDue(server.authorities, now: .after(seconds)))
        }
        #expect(RevocationListPlan.isDue(server.authorities, now: .after(12 * 3600 - 299)))
        server.records["a"]?.state = .old
        #expect(!RevocationListPlan.isDue(server.authorities, now: .after(3900)))
        #expect(RevocationListPlan.isDue(server.authorities, now: .after(3901)))
    }

    // MARK: Entries

    @Test func `what is revoked is on the list of its authority`() throws {
        var server = ListedServer()
        server.records["b"] = .init()
        server.round(at: .after(0))
        server.revoke(serial: [2], of: "b")
        server.revoke(serial: [1, 0])
        server.revoke(serial: [3])
        server.revoke(serial: [4], of: "elsewhere")
        try server.revoke(identity: "web", first: 0x20, count: 2)
        let lists = server.round(at: .after(10)).lists
        #expect(
            lists.map { $0.entries.map(\.serial) } == [
                [[3], [1, 0], [0x20, 0, 0, 0], [0x20, 0, 0, 1]], [[2]],
            ]
        )
    }

    @Test func `a certificate in both ways stands once, with the earlier act's entry`() throws {
        var server = ListedServer()
        try server.revoke(identity: "web", first: 0x20, count: 2)
        server.round(at: .after(0))
        server.revoke(serial: [0x20, 0, 0, 1], at: .after(3600))
        #expect(server.plan(at: .after(3600)).lists.isEmpty)
        #expect(server.count() == 2)
    }

    @Test func `the date is the hour of the act`() throws {
        var server = ListedServer()
        server.revoke(serial: [1], at: .after(-4000))
        server.revoke(serial: [2], at: .after(-400))
        let list = try #require(server.round(at: .after(0)).lists.first)
        #expect(list.entries.map(\.revokedAt) == [Self.hour.addingTimeInterval(-3600), Self.hour])
    }

    @Test func `the date is not after the list's beginning, even of an act in the future`() throws {
        var server = ListedServer()
        server.round(at: Self.hour)
        // 17:02, when lists begin at 16:57: verifiers whose clocks are behind refuse it too.
        server.revoke(serial: [1], at: Self.hour.addingTimeInterval(120))
        server.revoke(serial: [2], at: .after(86_400))
        let list = try #require(server.round(at: Self.hour.addingTimeInterval(120)).lists.first)
        let before = Self.hour.addingTimeInterval(-3600)
        #expect(list.entries.map(\.revokedAt) == [before, before])
    }

    @Test func `the date stays the same on later lists`() throws {
        var server = ListedServer()
        server.revoke(serial: [1], at: .after(0))
        let first = try #require(server.round(at: .after(0)).lists.first?.entries)
        // The act is done again, and another one makes a list.
        server.serials = []
        server.revoke(serial: [1], at: .after(3000))
        server.revoke(serial: [2], at: .after(3000))
        let second = try #require(server.round(at: .after(3000)).lists.first?.entries)
        #expect(second.map(\.serial) == [[1], [2]])
        #expect(second[0] == first[0])
        #expect(second[1].revokedAt == Self.hour.addingTimeInterval(3600))
    }

    @Test func `what had ended before it was revoked does not come`() throws {
        var server = ListedServer()
        server.round(at: .after(0))
        server.revoke(serial: [1], notAfter: .after(-292))
        #expect(server.plan(at: .after(10)).lists.isEmpty)
        // Verifiers whose clocks are behind hear of it.
        server.revoke(serial: [2], notAfter: .after(-290))
        #expect(server.round(at: .after(10)).lists.first?.entries.map(\.serial) == [[2]])
    }

    @Test func `an end is no reason for a list`() throws {
        var server = ListedServer()
        server.revoke(serial: [1], notAfter: .after(100))
        server.round(at: .after(0))
        for seconds in stride(from: 90.0, to: 7200, by: 7) {
            #expect(server.plan(at: .after(seconds)).lists.isEmpty)
        }
    }

    @Test func `RFC 5280 3.3: a certificate stays until a list after its end has had it`() throws {
        var server = ListedServer()
        server.revoke(serial: [1], notAfter: .after(100))
        server.round(at: .after(0))
        // Ended, and its record forgotten.
        server.serials = []
        server.revoke(serial: [2])
        server.round(at: .after(200))
        #expect(server.lists([1]), "the list before began at -300")
        server.revoke(serial: [3])
        server.round(at: .after(500))
        #expect(server.lists([1]), "the list before began at -100")
        server.revoke(serial: [4])
        server.round(at: .after(600))
        #expect(!server.lists([1]), "the list before began at 200")
        #expect(server.count() == 3)
    }

    @Test func `what has left does not come again`() throws {
        var server = ListedServer()
        server.revoke(serial: [1], notAfter: .after(100))
        for seconds in [0, 500, 900] as [Double] {
            server.revoke(serial: [2, UInt8(seconds / 100)])
            server.round(at: .after(seconds))
        }
        #expect(!server.lists([1]))
        server.revoke(serial: [5])
        server.round(at: .after(1000))
        #expect(!server.lists([1]))
    }

    @Test func `what no record tells of any more stays until its end`() throws {
        var server = ListedServer()
        server.revoke(serial: [1])
        server.round(at: .after(0))
        server.serials = []
        #expect(server.plan(at: .after(0)).lists.isEmpty)
        server.revoke(serial: [2])
        server.round(at: .after(100))
        #expect(server.lists([1]))
    }

    // MARK: The last list

    @Test(arguments: [Authority.State.old, .tainted])
    func `a minute after the last certificate's end the last list is signed`(
        state: Authority.State
    ) throws {
        var server = ListedServer()
        server.round(at: .after(0))
        server.records["a"]?.state = state
        #expect(server.plan(at: .after(3660)).lists.isEmpty)
        let last = try #require(server.round(at: .after(3661)).lists.first)
        #expect(last.isLast)
        #expect(last.nextUpdate == .after(7 * 86_400))
        #expect(last.entries.isEmpty)
        server.revoke(serial: [1], notAfter: .after(86_400))
        for seconds in [3661, 4000, 86_400] as [Double] {
            #expect(server.plan(at: .after(seconds)).lists.isEmpty)
        }
    }

    @Test func `an authority that signs has no last list`() throws {
        var server = ListedServer()
        server.records["b"] = .init(state: .prepared, lastCertificateNotAfter: nil)
        server.round(at: .after(0))
        #expect(server.plan(at: .after(10_000)).lists.isEmpty)
    }

    @Test func `an old authority without a certificate of an entry has its last list`() throws {
        var server = ListedServer()
        server.records["a"]?.state = .old
        server.records["a"]?.lastCertificateNotAfter = nil
        #expect(server.round(at: .after(0)).lists.map(\.isLast) == [true])
    }

    @Test func `the last list is empty: what has ended leaves by one before it`() throws {
        var server = ListedServer()
        server.records["a"]?.state = .old
        server.revoke(serial: [1], notAfter: .after(3600))
        server.round(at: .after(0))
        server.serials = []
        #expect(server.plan(at: .after(3661)).lists.isEmpty)
        #expect(server.plan(at: .after(3900)).lists.isEmpty)
        let farewell = try #require(server.round(at: .after(3901)).lists.first)
        #expect(!farewell.isLast)
        #expect(farewell.thisUpdate == .after(3601))
        #expect(farewell.entries.map(\.serial) == [[1]])
        let last = try #require(server.round(at: .after(3902)).lists.first)
        #expect(last.isLast && last.entries.isEmpty)
        #expect(server.plan(at: .after(3903)).lists.isEmpty)
    }
}
