// SPDX-License-Identifier: Apache-2.0

import Datastore
import FoundationEssentials
import NodeSync
import SPIFFE
import Testing

@Suite(.timeLimit(.minutes(1))) struct RevocationTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    private static func sample(
        _ path: String = "web",
        before: TimeInterval = 10,
        ends: TimeInterval = 100
    ) throws -> RevokedIdentity {
        RevokedIdentity(
            spiffeID: try SPIFFEID("spiffe://example.org/\(path)"),
            name: "identity:\(path)",
            issuedBefore: noon + before,
            ends: noon + ends,
            reason: "stolen",
            actor: "uid:0@host",
            revokedAt: noon
        )
    }

    private func put(_ revocation: RevokedIdentity) throws {
        try store.writeNow { transaction in
            try transaction.put(revocation, number: transaction.advanceRevision().number)
        }
    }

    @Test func `a revocation is found by its ID and its name, and replaced by its ID`() throws {
        try put(Self.sample())
        try put(Self.sample("api"))
        try put(Self.sample(before: 20))
        let (web, api) = (try Self.sample(before: 20), try Self.sample("api"))
        #expect(try store.readNow { try $0.revocation(of: web.spiffeID) } == web)
        #expect(try store.readNow { try $0.revocation(named: "identity:web") } == web)
        #expect(try store.readNow { try $0.revocation(named: "web") } == nil)
        #expect(try store.readNow { try $0.revocations() } == [api, web])
        #expect(try store.readNow { try $0.revocationCount() } == 2)
    }

    @Test func `what has ended is forgotten under a number of its own`() throws {
        try put(Self.sample("a", ends: 10))
        try put(Self.sample("b", ends: 20))
        try put(Self.sample("c", ends: 30))
        func end(_ time: Date, limit: Int = 9) throws -> [String] {
            try store.writeNow { transaction in
                try transaction.endRevocations(by: time, limit: limit).map(\.name)
            }
        }
        #expect(try end(noon + 9).isEmpty)
        #expect(try store.readNow { try $0.revision().number } == 3)
        #expect(try end(noon + 20, limit: 1) == ["identity:a"])
        #expect(try end(noon + 20) == ["identity:b"])
        let changes = try store.readNow { try $0.changes(after: 3, limit: 9) }
        #expect(
            changes
                == .delta([
                    StoredChange(
                        number: 4,
                        key: ResourceKey(.revocation, "identity:a"),
                        isRemoval: true
                    ),
                    StoredChange(
                        number: 5,
                        key: ResourceKey(.revocation, "identity:b"),
                        isRemoval: true
                    ),
                ])
        )
    }

    private static func intent(
        _ serial: UInt8,
        begins: TimeInterval?,
        ends: TimeInterval
    ) -> IssuanceIntent {
        IssuanceIntent(
            serial: [serial],
            authorityID: "a1",
            spiffeID: "spiffe://example.org/web",
            entryID: "e",
            entryRevision: 1,
            tbsSHA256: Array(repeating: serial, count: 32),
            notBefore: begins.map { noon + $0 },
            notAfter: noon + ends,
            node: "web-1",
            revision: 1,
            leafIndex: 0
        )
    }

    @Test func `the newest issuance of an ID is told, of all that are on record`() throws {
        let id = try SPIFFEID("spiffe://example.org/web")
        #expect(try store.readNow { try $0.issuance(of: id) } == nil)
        try store.writeNow { transaction in
            try transaction.put(AuthorityRecord.sample("a1"))
            try transaction.record([Self.intent(1, begins: nil, ends: 900)])
        }
        let unknown = try #require(try store.readNow { try $0.issuance(of: id) })
        #expect(unknown.lastNotBefore == nil)
        #expect(unknown.lastNotAfter == noon + 900)
        try store.writeNow { transaction in
            try transaction.record([
                Self.intent(2, begins: 50, ends: 600), Self.intent(3, begins: 40, ends: 700),
            ])
        }
        let known = try #require(try store.readNow { try $0.issuance(of: id) })
        #expect(known.lastNotBefore == noon + 50)
        #expect(known.lastNotAfter == noon + 900)
        #expect(try store.readNow { try $0.intent(serial: [2])?.notBefore } == noon + 50)
    }
}
