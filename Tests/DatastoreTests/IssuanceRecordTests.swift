// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import NodeSync
import Testing

@Suite(.timeLimit(.minutes(1))) struct IssuanceRecordTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
        try store.writeNow { try $0.put(AuthorityRecord.sample("a1", state: "active")) }
    }

    private func lastIssued(_ id: String) throws -> Date? {
        try store.readNow { try $0.lastIssuedNotAfter(authorityID: id) }
    }

    @Test func `authorities come in the order of their publication`() throws {
        let later = AuthorityRecord(
            id: "a0",
            serverID: "s1",
            state: "prepared",
            certificateDER: [1, 2, 3],
            tokenKeySPKI: [4, 5],
            publishedAt: noon + 60,
            activatedAt: noon + 90,
            notBefore: noon,
            notAfter: noon + 9
        )
        try store.writeNow { try $0.put(later) }
        let all = try store.readNow { try $0.authorities() }
        #expect(all == [.sample("a1", state: "active"), later])
        #expect(try store.readNow { try $0.authority(id: "a0") } == later)
        #expect(try store.writeNow { try $0.deleteAuthority(id: "a0") })
        #expect(try store.readNow { try $0.authority(id: "a0") } == nil)
    }

    @Test func `a revoked authority is in no bundle, and is known as distrusted`() throws {
        let distrust = AuthorityDistrust(
            taintedAt: noon + 5,
            revokedAt: noon + 9,
            reason: "lost",
            actor: "uid:0@host"
        )
        let revoked = AuthorityRecord(
            id: "a0",
            serverID: "s1",
            state: "revoked",
            certificateDER: [1],
            tokenKeySPKI: nil,
            publishedAt: noon,
            activatedAt: nil,
            notBefore: noon,
            notAfter: noon + 9,
            distrust: distrust
        )
        try store.writeNow { transaction in
            try transaction.put(revoked)
            try transaction.put(AuthorityRecord.sample("a2", state: "tainted"))
        }
        let (bundle, distrusted) = try store.readNow { transaction in
            (try transaction.bundleAuthorities(), try transaction.distrustedAuthorities())
        }
        #expect(bundle.map(\.id) == ["a1", "a2"])
        #expect(distrusted.map(\.id) == ["a0", "a2"])
        #expect(distrusted.first?.distrust == distrust)
        let name = AuthorityRecord.revocationName(of: "a0")
        #expect(AuthorityRecord.authority(ofRevocation: name) == "a0")
        #expect(AuthorityRecord.authority(ofRevocation: "identity:a0") == nil)
    }

    @Test func `what is not replaced is counted by holder, by what was issued last`() throws {
        @Sendable func intent(
            _ serial: UInt8,
            _ authority: String,
            leaf: UInt64,
            node: String = "web-1",
            proxy: String? = nil,
            notAfter: Date = noon + 3600
        ) -> IssuanceIntent {
            IssuanceIntent(
                serial: [serial],
                authorityID: authority,
                spiffeID: "spiffe://example.org/web",
                entryID: "e1",
                entryRevision: 1,
                tbsSHA256: Array(repeating: serial, count: 32),
                notAfter: notAfter,
                node: node,
                proxy: proxy,
                revision: 1,
                leafIndex: leaf
            )
        }
        try store.writeNow { transaction in
            try transaction.put(AuthorityRecord.sample("a2"))
            try transaction.record([
                // A workload's and a proxy's key on one node, and a workload's on another.
                intent(1, "a1", leaf: 1), intent(2, "a1", leaf: 1, proxy: "default/p"),
                intent(3, "a1", leaf: 2, node: "web-2"),
                // The workload's was replaced, though the new one ends earlier.
                intent(4, "a2", leaf: 3, notAfter: noon + 1800),
                // Over already.
                intent(5, "a1", leaf: 4, node: "web-3", notAfter: noon),
            ])
        }
        let issued = try store.readNow { try $0.issued(validAt: noon) }
        #expect(issued["a1"] == IssuedUnder(valid: 3, notReplaced: 2))
        #expect(issued["a2"] == IssuedUnder(valid: 1, notReplaced: 1))
        let named = try store.readNow {
            try $0.notReplaced(authorityID: "a1", validAt: noon, limit: 9)
        }
        #expect(named == ["spiffe://example.org/web"])
        #expect(try store.readNow { try $0.intent(serial: [2]) }?.proxy == "default/p")
    }

    @Test func `a server has one active authority, and may swap it in one transaction`() throws {
        let error = #expect(throws: DatastoreError.self) {
            try store.writeNow { try $0.put(AuthorityRecord.sample("a2", state: "active")) }
        }
        guard case .constraint = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        try store.writeNow { transaction in
            try transaction.put(AuthorityRecord.sample("a1", state: "old"))
            try transaction.put(AuthorityRecord.sample("a2", state: "active"))
        }
        #expect(try store.readNow { try $0.authorities() }.map(\.state) == ["old", "active"])
    }

    @Test func `an authority tells when its last certificate ends`() throws {
        #expect(try lastIssued("a1") == nil)
        try store.writeNow { transaction in
            try transaction.record([
                .sample(1, notAfter: noon + 50), .sample(2, notAfter: noon + 9),
            ])
        }
        #expect(try lastIssued("a1") == noon + 50)
        try store.writeNow { try $0.record([.sample(3, notAfter: noon + 20)]) }
        try store.writeNow { try $0.put(AuthorityRecord.sample("a1", state: "old")) }
        _ = try store.writeNow { try $0.trimIntents(expiredBefore: noon + 99, limit: 10) }
        #expect(try lastIssued("a1") == noon + 50)
    }

    @Test func `an intent comes back as it was written`() throws {
        try store.writeNow { try $0.record([.sample(1)]) }
        #expect(try store.readNow { try $0.intent(serial: [1]) } == .sample(1))
        #expect(try store.readNow { try $0.intent(serial: [2]) } == nil)
    }

    @Test func `a serial is never used twice`() throws {
        try store.writeNow { try $0.record([.sample(1)]) }
        let error = #expect(throws: DatastoreError.self) {
            try store.writeNow { try $0.record([.sample(2), .sample(1)]) }
        }
        guard case .constraint = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(try store.readNow { try $0.intent(serial: [2]) } == nil)
    }

    @Test func `nothing is issued under an authority that does not exist`() throws {
        #expect(throws: DatastoreError.constraint("there is no authority a9")) {
            try store.writeNow { try $0.record([.sample(1, authority: "a9")]) }
        }
        #expect(try store.readNow { try $0.intent(serial: [1]) } == nil)
    }

    @Test func `the valid certificates of an identity are listed, the longest first`() throws {
        try store.writeNow { transaction in
            try transaction.record((1...5).map { .sample($0, notAfter: noon + Double($0)) })
        }
        let valid = try store.readNow {
            try $0.intents(spiffeID: "spiffe://example.org/web", validAfter: noon + 2, limit: 2)
        }
        #expect(valid.map(\.serial) == [[5], [4]])
    }

    @Test func `the bundle's sequence number grows with each change of it and only then`() throws {
        #expect(try store.readNow { try $0.bundleSequenceNumber() } == 0)
        _ = try store.writeNow { try $0.advanceRevision() }
        let revision = try store.writeNow { transaction in
            try transaction.put(AuthorityRecord.sample("a2"))
            return try transaction.recordBundleChange()
        }
        _ = try store.writeNow { try $0.advanceRevision() }
        #expect(revision.number == 2)
        #expect(try store.readNow { try $0.bundleSequenceNumber() } == 2)
        let change = StoredChange(
            number: 2,
            key: ResourceKey(.bundle, "example.org"),
            isRemoval: false
        )
        #expect(try store.readNow { try $0.changes(after: 1, limit: 9) } == .delta([change]))
    }

    @Test func `what a log tells after a restore is newer than what the one before told`() throws {
        @Sendable func intent(_ serial: UInt8, _ authority: String, leaf: UInt64) -> IssuanceIntent
        {
            IssuanceIntent(
                serial: [serial],
                authorityID: authority,
                spiffeID: "spiffe://example.org/web",
                entryID: "e1",
                entryRevision: 1,
                tbsSHA256: Array(repeating: serial, count: 32),
                notAfter: noon + 3600,
                node: "web-1",
                revision: 1,
                leafIndex: leaf
            )
        }
        try store.writeNow { transaction in
            try transaction.put(AuthorityRecord.sample("before"))
            try transaction.put(AuthorityRecord.sample("after"))
            try transaction.record([intent(1, "before", leaf: 6)])
            try transaction.lowerLeaves(by: 7)
            try transaction.record([intent(2, "after", leaf: 0)])
        }
        let issued = try store.readNow { try $0.issued(validAt: noon) }
        #expect(issued["before"]?.valid == 1 && issued["before"]?.notReplaced == 0)
        #expect(issued["after"]?.notReplaced == 1)
    }

    @Test func `trimming deletes what is over, in bounded steps, and says when it is done`() throws
    {
        try store.writeNow { transaction in
            try transaction.record((1...5).map { .sample($0, notAfter: noon + Double($0)) })
            try transaction.put(JoinTokenRecord.sample(1))
        }
        #expect(try store.writeNow { try $0.trimIntents(expiredBefore: noon + 4, limit: 2) })
        #expect(try !store.writeNow { try $0.trimIntents(expiredBefore: noon + 4, limit: 2) })
        #expect(try store.readNow { try $0.intent(serial: [4]) } != nil)
        #expect(try store.readNow { try $0.intent(serial: [3]) } == nil)
        #expect(try !store.writeNow { try $0.trim(now: noon + 30 * 86_400) })
        #expect(try store.readNow { try $0.intent(serial: [4]) } == nil)
        #expect(try store.readNow { try $0.joinTokens(limit: 1) } == [])
    }
}
