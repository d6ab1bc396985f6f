// SPDX-License-Identifier: Apache-2.0

import Datastore
import FoundationEssentials
import NodeSync
import SPIFFE
import Testing

@Suite(.timeLimit(.minutes(1))) struct RevocationListTests {
    private typealias Entry = RevocationListRecord.Entry

    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
        try store.writeNow { transaction in
            try transaction.put(AuthorityRecord.sample("a1", state: "active"))
            try transaction.put(AuthorityRecord.sample("a2", state: "old"))
        }
    }

    private static func list(
        _ id: String = "a1",
        at seconds: TimeInterval = 0,
        isLast: Bool = false
    ) -> RevocationListRecord {
        RevocationListRecord(
            authorityID: id,
            thisUpdate: noon + seconds,
            nextUpdate: noon + seconds + 86_400,
            isLast: isLast,
            der: [UInt8(truncatingIfNeeded: Int(seconds)), 1]
        )
    }

    private static func entry(_ serial: UInt8) -> Entry {
        Entry(serial: [serial], revokedAt: noon, notAfter: noon + 60)
    }

    private func put(_ list: RevocationListRecord, _ serials: [UInt8] = []) throws {
        try store.writeNow { transaction in
            try transaction.put(
                list,
                entries: serials.map(Self.entry),
                number: transaction.advanceRevision().number
            )
        }
    }

    private func entries(_ id: String = "a1") throws -> Set<Entry> {
        Set(try store.readNow { try $0.revocationListEntries(of: id) })
    }

    @Test func `a list is found with what is on it, and replaced by a newer one`() throws {
        #expect(try store.readNow { try $0.revocationList(of: "a1") } == nil)
        try put(Self.list(), [1, 2])
        try put(Self.list("a2"), [2])
        #expect(try store.readNow { try $0.revocationList(of: "a1") } == Self.list())
        #expect(try entries() == [Self.entry(1), Self.entry(2)])
        try put(Self.list(at: 1), [2, 3])
        let lists = try store.readNow { try $0.revocationLists() }
        #expect(lists == [Self.list(at: 1), Self.list("a2")])
        #expect(try entries() == [Self.entry(2), Self.entry(3)])
        #expect(try entries("a2") == [Self.entry(2)])
        let (end, none, count) = try store.readNow { transaction in
            (
                try transaction.revocationListEnd(of: "a1"),
                try transaction.revocationListEnd(of: "a9"),
                try transaction.revocationListEntryCount(of: "a1")
            )
        }
        #expect(end == noon + 86_401)
        #expect(none == nil)
        #expect(count == 2)
    }

    @Test func `a list is replaced by a newer one only, and none follows the last`() throws {
        try put(Self.list("a2"))
        try put(Self.list(at: 5))
        for old in [5, 4] {
            #expect(throws: DatastoreError.constraint("authority a1 has a newer list")) {
                try put(Self.list(at: TimeInterval(old)), [1])
            }
        }
        try put(Self.list(at: 6, isLast: true))
        #expect(throws: DatastoreError.constraint("authority a1 has a newer list")) {
            try put(Self.list(at: 7))
        }
        #expect(try store.readNow { try $0.revocationList(of: "a1") }?.isLast == true)
        #expect(try store.readNow { try $0.authoritiesWithLastList() } == ["a1"])
        #expect(throws: DatastoreError.constraint("there is no authority a9")) {
            try put(Self.list("a9"))
        }
    }

    @Test func `a list that goes takes what is on it along, and both are changes`() throws {
        try put(Self.list(), [1])
        try put(Self.list("a2"), [2])
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            try transaction.deleteRevocationList(of: "a1", number: number)
            // There is none, so nobody is told of anything.
            try transaction.deleteRevocationList(of: "a9", number: number)
        }
        #expect(try store.readNow { try $0.revocationLists() } == [Self.list("a2")])
        #expect(try entries() == [])
        #expect(try entries("a2") == [Self.entry(2)])
        let changes = try store.readNow { try $0.changes(after: 0, limit: 9) }
        #expect(
            changes
                == .delta([
                    StoredChange(
                        number: 2,
                        key: ResourceKey(.revocationList, "a2"),
                        isRemoval: false
                    ),
                    StoredChange(
                        number: 3,
                        key: ResourceKey(.revocationList, "a1"),
                        isRemoval: true
                    ),
                ])
        )
    }

    @Test func `a round is due after revocations and authorities have changed, not after lists`()
        throws
    {
        func isDue(after number: UInt64) throws -> Bool {
            try store.readNow { try $0.hasListChange(after: number) }
        }
        try put(Self.list())
        #expect(try !isDue(after: 0))
        try store.writeNow { _ = try $0.recordBundleChange() }
        #expect(try isDue(after: 1))
        #expect(try !isDue(after: 2))
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            try transaction.recordChange(
                ResourceKey(.revocation, "identity:x"),
                number: number,
                isRemoval: false
            )
        }
        #expect(try isDue(after: 2))
        // What was trimmed may have been one.
        try store.writeNow { while try $0.trimChanges(keeping: 0, limit: 9) {} }
        #expect(try isDue(after: 2))
        #expect(try !isDue(after: 3))
    }

    private static func intent(
        _ serial: UInt8,
        authority: String = "a1",
        entry: String? = "e1",
        begins: TimeInterval?,
        ends: TimeInterval = 3600,
        path: String = "web"
    ) -> IssuanceIntent {
        IssuanceIntent(
            serial: [serial],
            authorityID: authority,
            spiffeID: "spiffe://example.org/\(path)",
            entryID: entry,
            entryRevision: entry == nil ? nil : 1,
            tbsSHA256: Array(repeating: serial, count: 32),
            notBefore: begins.map { noon + $0 },
            notAfter: noon + ends,
            node: "web-1",
            revision: 1,
            leafIndex: 0
        )
    }

    @Test func `who holds a revoked identity is told as Revocation judges, up to a limit`() throws {
        let before = noon + 100
        let intents = [
            Self.intent(1, begins: 39), Self.intent(2, authority: "a2", begins: -60),
            // A minute of backdating later it is the moment itself.
            Self.intent(3, begins: 40),
            // Its beginning is not on record.
            Self.intent(4, begins: nil),
            Self.intent(5, begins: 0, ends: 9), Self.intent(6, entry: nil, begins: 0),
            Self.intent(7, begins: 0, path: "api"),
        ]
        for intent in intents {
            guard let begins = intent.notBefore else { continue }
            let isRevoked = Revocation.revokes(leafNotBefore: begins, issuedBefore: before)
            #expect(isRevoked == (intent.serial != [3]), "\(intent.serial)")
        }
        try store.writeNow { try $0.record(intents) }
        let revocation = RevokedIdentity(
            spiffeID: try SPIFFEID("spiffe://example.org/web"),
            name: "identity:web",
            issuedBefore: before,
            ends: noon + 9000,
            reason: "",
            actor: "uid:0@host",
            revokedAt: noon
        )
        let found = try store.readNow {
            try $0.listableCertificates(revokedBy: revocation, endingFrom: noon + 10)
        }
        #expect(
            Set(found)
                == [
                    ListableCertificate(authorityID: "a1", serial: [1], notAfter: noon + 3600),
                    ListableCertificate(authorityID: "a2", serial: [2], notAfter: noon + 3600),
                    ListableCertificate(authorityID: "a1", serial: [4], notAfter: noon + 3600),
                ]
        )
        func counts(limit: Int) throws -> [String: Int] {
            try store.readNow {
                try $0.listableCertificateCounts(
                    revokedBy: revocation,
                    endingFrom: noon + 10,
                    limit: limit
                )
            }
        }
        #expect(try counts(limit: 9) == ["a1": 2, "a2": 1])
        #expect(try counts(limit: 2).values.reduce(0, +) == 2)
    }

    @Test func `of certificates that are revoked by serial those with an entry are told`() throws {
        let intents = [Self.intent(1, begins: 0), Self.intent(2, entry: nil, begins: 0)]
        try store.writeNow { transaction in
            try transaction.record(intents)
            let number = try transaction.advanceRevision().number
            for (place, intent) in intents.enumerated() {
                let revocation = RevokedCertificate(
                    intent,
                    ends: noon + 3660,
                    reason: "",
                    actor: "uid:0@host",
                    revokedAt: noon + Double(place)
                )
                try transaction.put(revocation, number: number)
            }
        }
        let found = try store.readNow { try $0.revokedListableCertificates() }
        #expect(found.map(\.certificate.serial) == [[1]])
        #expect(found.map(\.revokedAt) == [noon])
    }

    @Test func `only certificates with an entry put off the end of an authority's lists`() throws {
        func last(_ id: String) throws -> Date? {
            try store.readNow { try $0.lastListedNotAfter(authorityID: id) }
        }
        #expect(try last("a1") == nil)
        try store.writeNow { try $0.record([Self.intent(1, entry: nil, begins: 0, ends: 900)]) }
        #expect(try last("a1") == nil)
        try store.writeNow { transaction in
            try transaction.record([
                Self.intent(2, begins: 0, ends: 60), Self.intent(3, begins: 0, ends: 30),
            ])
            try transaction.record([Self.intent(4, begins: 0, ends: 20)])
        }
        #expect(try last("a1") == noon + 60)
        #expect(try last("a2") == nil)
        #expect(try store.readNow { try $0.lastIssuedNotAfter(authorityID: "a1") } == noon + 900)
    }
}
