// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import SPIFFE
import Testing

/// Who has a place when there are not enough for all (decision 0018).
@Suite struct RevocationListPlaceTests {
    private func server(places: Int) -> ListedServer {
        var server = ListedServer()
        server.places = places
        server.round(at: .after(-10))
        return server
    }

    private func id(_ name: String) throws -> SPIFFEID {
        try SPIFFEID("spiffe://example.org/\(name)")
    }

    @Test func `what is revoked by serial number comes first`() throws {
        var server = server(places: 5)
        try server.revoke(identity: "web", first: 0x20, count: 3)
        for number in 1...3 { server.revoke(serial: [UInt8(number)]) }
        let plan = server.round(at: .after(0))
        #expect(plan.lists.first?.entries.map(\.serial) == [[1], [2], [3]])
        #expect(plan.leftOut.identities == [try id("web"): 3])
        #expect(plan.leftOut.certificates == ["a": 3])
        #expect(plan.leftOut.serials.isEmpty)
        #expect(!plan.leftOut.isEmpty)
    }

    @Test func `an identity is there whole or not at all, the smallest first`() throws {
        var server = server(places: 10)
        try server.revoke(identity: "large", first: 0x20, count: 6)
        try server.revoke(identity: "middle", first: 0x30, count: 5)
        try server.revoke(identity: "small", first: 0x40, count: 4)
        let plan = server.round(at: .after(0))
        #expect(server.count() == 9)
        #expect(!server.lists(ListedServer.serial(0x20, 0)))
        #expect(plan.leftOut.identities == [try id("large"): 6])
    }

    @Test func `of two equal ones the first by name has the place`() throws {
        var server = server(places: 3)
        try server.revoke(identity: "b", first: 0x20, count: 2)
        try server.revoke(identity: "a", first: 0x30, count: 2)
        #expect(server.round(at: .after(0)).leftOut.identities == [try id("b"): 2])
        #expect(server.lists(ListedServer.serial(0x30, 1)))
    }

    @Test func `who asks for many certificates leaves out nobody but himself`() throws {
        var server = server(places: 100)
        try server.revoke(identity: "flood", first: 0x20, count: 95)
        server.round(at: .after(0))
        #expect(server.count() == 95)
        try server.revoke(identity: "web", first: 0x30, count: 8)
        let plan = server.round(at: .after(1))
        #expect(plan.leftOut.identities == [try id("flood"): 95])
        #expect(server.count() == 8)
        #expect(server.plan(at: .after(1)).lists.isEmpty)
    }

    @Test func `an identity of more certificates than all places is left out`() throws {
        var server = server(places: RevocationListPlan.placesMax)
        let count = RevocationListPlan.placesMax + 1
        try server.revoke(identity: "flood", first: 0x20, count: count)
        server.revoke(serial: [1])
        let plan = server.round(at: .after(0))
        #expect(plan.leftOut.identities == [try id("flood"): count])
        #expect(server.count() == 1)
        // Also if some have a place of their own.
        server.revoke(serial: ListedServer.serial(0x20, 0))
        let again = server.round(at: .after(1))
        #expect(again.leftOut.identities == [try id("flood"): count - 1])
        #expect(server.count() == 2)
    }

    @Test func `an identity whose certificates were not read is left out`() throws {
        var server = server(places: 100)
        server.identities = [
            .init(spiffeID: try id("flood"), revokedAt: .after(0), unread: ["a": 7, "b": 4])
        ]
        try server.revoke(identity: "web", first: 0x20, count: 5)
        let plan = server.round(at: .after(0))
        #expect(plan.leftOut.identities == [try id("flood"): 11])
        #expect(plan.leftOut.certificates == ["a": 7, "b": 4])
        #expect(!plan.leftOut.isEmpty)
        #expect(server.count() == 5)
    }

    @Test func `as many as can be revoked by serial number always fit, beside 1,000`() throws {
        var server = server(places: RevocationListPlan.placesMax)
        server.records["b"] = .init()
        for number in 0..<9_000 {
            server.revoke(
                serial: ListedServer.serial(0x10, number),
                of: number % 2 == 0 ? "a" : "b"
            )
        }
        try server.revoke(identity: "web", first: 0x20, count: 1_000)
        try server.revoke(identity: "zoo", first: 0x30, count: 1_001)
        let plan = server.round(at: .after(0))
        #expect(server.count("a") == 5_500)
        #expect(server.count("b") == 4_500)
        #expect(plan.leftOut.identities == [try id("zoo"): 1_001])
    }

    @Test func `the places are those of all lists together`() throws {
        var server = server(places: 10)
        server.records["b"] = .init()
        try server.revoke(identity: "large", first: 0x20, count: 8)
        server.round(at: .after(0))
        #expect(server.count("a") == 8)
        try server.revoke(identity: "small", first: 0x30, count: 5, of: "b")
        let plan = server.round(at: .after(1))
        #expect(plan.lists.map(\.authorityID) == ["a", "b"])
        #expect(server.count("a") == 0)
        #expect(server.count("b") == 5)
        #expect(plan.leftOut.certificates == ["a": 8])
    }

    @Test func `an identity's certificates count on every list`() throws {
        var server = server(places: 10)
        server.records["b"] = .init()
        let here = try ListedServer.holder("web", first: 0x20, count: 6, of: "a")
        let there = try ListedServer.holder("web", first: 0x30, count: 5, of: "b")
        server.identities = [
            .init(
                spiffeID: here.spiffeID,
                revokedAt: here.revokedAt,
                certificates: here.certificates + there.certificates
            )
        ]
        let plan = server.round(at: .after(0))
        #expect(plan.leftOut.identities == [try id("web"): 11])
        #expect(plan.leftOut.certificates == ["a": 6, "b": 5])
        #expect(server.count("a") == 0)
        #expect(server.count("b") == 0)
    }

    @Test func `what has a place by its serial number costs its identity none`() throws {
        var server = server(places: 5)
        try server.revoke(identity: "web", first: 0x20, count: 5)
        server.revoke(serial: ListedServer.serial(0x20, 3))
        #expect(server.round(at: .after(0)).leftOut.isEmpty)
        #expect(server.count() == 5)
    }

    @Test func `what has ended gives its place to what is revoked`() throws {
        var server = server(places: 10)
        server.records["b"] = .init()
        try server.revoke(identity: "past", first: 0x20, count: 8, notAfter: .after(100))
        server.round(at: .after(0))
        server.revoke(serial: [1])
        server.round(at: .after(500))
        #expect(server.count("a") == 9, "the list before began at -300")
        server.identities = []
        try server.revoke(identity: "web", first: 0x30, count: 8, of: "b")
        let plan = server.round(at: .after(600))
        #expect(plan.lists.map(\.authorityID) == ["a", "b"])
        #expect(plan.leftOut.isEmpty)
        #expect(server.count("a") == 1)
        #expect(server.count("b") == 8)
    }

    @Test func `without that an ended certificate stays where it is`() throws {
        var server = server(places: 10)
        server.records["b"] = .init()
        try server.revoke(identity: "past", first: 0x20, count: 8, notAfter: .after(100))
        server.round(at: .after(0))
        server.revoke(serial: [1])
        server.round(at: .after(500))
        server.revoke(serial: [2], of: "b")
        #expect(server.round(at: .after(600)).lists.map(\.authorityID) == ["b"])
        #expect(server.count("a") == 9)
    }

    @Test func `what no record explains has the places that nobody needs`() throws {
        var server = server(places: 6)
        try server.revoke(identity: "gone", first: 0x20, count: 2, notAfter: .after(200))
        try server.revoke(identity: "late", first: 0x30, count: 2, notAfter: .after(900))
        server.round(at: .after(0))
        server.identities = []
        try server.revoke(identity: "web", first: 0x40, count: 3)
        let plan = server.round(at: .after(1))
        #expect(plan.leftOut.identities.isEmpty)
        #expect(plan.leftOut.certificates == ["a": 1])
        #expect(server.count() == 6)
        // What ends last is kept first.
        #expect(server.lists(ListedServer.serial(0x30, 0)))
        #expect(server.lists(ListedServer.serial(0x30, 1)))
        #expect(server.lists(ListedServer.serial(0x20, 0)))
        #expect(!server.lists(ListedServer.serial(0x20, 1)))
    }

    @Test func `a list that cannot be signed keeps its places`() throws {
        var server = server(places: 10)
        server.records["b"] = .init()
        try server.revoke(identity: "large", first: 0x20, count: 8)
        server.round(at: .after(0))
        server.records["a"]?.hasKey = false
        try server.revoke(identity: "small", first: 0x30, count: 3, of: "b")
        server.revoke(serial: [1], of: "b")
        let plan = server.round(at: .after(1))
        #expect(plan.leftOut.identities == [try id("small"): 3])
        #expect(server.count("a") == 8)
        #expect(server.count("b") == 1)
        // Only what is revoked by serial number goes beyond.
        for number in 2...5 { server.revoke(serial: [UInt8(number)], of: "b") }
        #expect(server.round(at: .after(2)).leftOut.serials.isEmpty)
        #expect(server.count("b") == 5)
    }

    @Test func `more serial numbers than places are named`() throws {
        var server = server(places: 3)
        for number in 1...5 { server.revoke(serial: [UInt8(number)]) }
        try server.revoke(identity: "web", first: 4, count: 1)
        let plan = server.round(at: .after(0))
        #expect(plan.leftOut.serials.map(\.serial) == [[4], [5]])
        #expect(plan.leftOut.certificates == ["a": 3])
        #expect(server.count() == 3)
    }

    @Test func `of no places nothing is on a list, and of more than the most as many`() throws {
        var server = server(places: -1)
        server.revoke(serial: [1])
        #expect(server.round(at: .after(0)).leftOut.serials.count == 1)
        server.places = .max
        try server.revoke(identity: "web", first: 0x20, count: RevocationListPlan.placesMax)
        #expect(server.round(at: .after(1)).leftOut.identities.count == 1)
        #expect(server.count() == 1)
    }
}
