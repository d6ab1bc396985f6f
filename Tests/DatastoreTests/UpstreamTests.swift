// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import GRDB
import SPIFFE
import TestPKI
import Testing

/// What is above authorities (docs/decisions/0020-authorities-under-another.md).
@Suite(.timeLimit(.minutes(1))) struct UpstreamTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    private static func record(
        _ id: String,
        _ kind: UpstreamRecord.Kind = .root,
        publishedAt: Date = noon,
        distrust: AuthorityDistrust? = nil
    ) -> UpstreamRecord {
        UpstreamRecord(
            id: id,
            kind: kind,
            certificateDER: [0x30, 0x00],
            publishedAt: publishedAt,
            notAfter: noon + 86_400,
            distrust: distrust
        )
    }

    @Test func `the bundle has the roots that are not revoked, the oldest first`() throws {
        let revoked = AuthorityDistrust(
            taintedAt: nil,
            revokedAt: noon + 5,
            reason: "lost",
            actor: "uid:0@host"
        )
        let tainted = AuthorityDistrust(
            taintedAt: noon + 5,
            revokedAt: nil,
            reason: "",
            actor: "uid:0@host"
        )
        let all = [
            Self.record("c", publishedAt: noon + 1, distrust: tainted),
            Self.record("d", .intermediate, publishedAt: noon + 2),
            Self.record("b", publishedAt: noon + 3, distrust: revoked),
            Self.record("a", publishedAt: noon + 4),
        ]
        try store.writeNow { transaction in
            for record in all.reversed() { try transaction.put(record) }
        }
        #expect(try store.readNow { try $0.upstreams() } == all)
        #expect(try store.readNow { try $0.bundleRoots() }.map(\.id) == ["c", "a"])
        #expect(try store.readNow { try $0.upstream(id: "b") } == all[2])
        #expect(try store.writeNow { try $0.deleteUpstream(id: "b") })
        #expect(try !store.writeNow { try $0.deleteUpstream(id: "b") })
        #expect(try store.readNow { try $0.upstream(id: "b") } == nil)
    }

    @Test func `a newer certificate of the same key takes the place of the older`() throws {
        let newer = UpstreamRecord(
            id: "a",
            kind: .intermediate,
            certificateDER: [1, 2],
            publishedAt: noon + 9,
            notAfter: noon + 10
        )
        try store.writeNow { transaction in
            try transaction.put(Self.record("a"))
            try transaction.put(newer)
        }
        #expect(try store.readNow { try $0.upstreams() } == [newer])
    }

    @Test func `an authority is read with all that is above it`() throws {
        let root = try TestAuthority.root("example.org")
        let upper = try root.intermediate()
        let lower = try upper.intermediate()
        let rootID = try LeafCertificate(der: root.der).keyIdentifier.description
        for chain in [[lower.der, upper.der], [upper.der], []] {
            let ancestry = try AuthorityAncestry(chain: chain, rootID: rootID)
            #expect(ancestry.keyIDs.count == chain.count + 1 && ancestry.rootID == rootID)
            let issuer = try LeafCertificate(der: chain.first ?? root.der).keyIdentifier
            #expect(ancestry.issuerID == issuer.description)
            let record = AuthorityRecord(
                id: "a\(chain.count)",
                serverID: "s1",
                state: "prepared",
                certificateDER: [1],
                tokenKeySPKI: nil,
                publishedAt: noon,
                activatedAt: nil,
                notBefore: noon,
                notAfter: noon + 9,
                ancestry: ancestry
            )
            try store.writeNow { try $0.put(record) }
            #expect(try store.readNow { try $0.authority(id: record.id) } == record)
        }
        // Of a self-signed one there is nothing above.
        try store.writeNow { try $0.put(AuthorityRecord.sample("a1")) }
        #expect(try store.readNow { try $0.authority(id: "a1") }?.ancestry == nil)
    }

    @Test func `a chain that is no list of certificates is damage`() throws {
        try store.writeNow { try $0.put(AuthorityRecord.sample("a1")) }
        try store.close()
        for chain in [#"["MAA="]"#, #"["?"]"#, "nothing"] {
            let queue = try DatabaseQueue(path: directory.path)
            try queue.write {
                try $0.execute(
                    sql: "UPDATE authorities SET root = 'r', chain = ? WHERE id = 'a1'",
                    arguments: [chain]
                )
            }
            try queue.close()
            let damaged = try directory.open()
            let error = #expect(throws: DatastoreError.self) {
                try damaged.readNow { try $0.authority(id: "a1") }
            }
            guard case .corrupt = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            try damaged.close()
        }
    }

    @Test func `a key that the upstream has revoked is known until it is deleted`() throws {
        let one = UpstreamRevocation(id: "a", namedAt: noon, isWaiting: true)
        let other = UpstreamRevocation(id: "b", namedAt: noon + 9, isWaiting: false)
        try store.writeNow { transaction in
            try transaction.put(other)
            try transaction.put(one)
        }
        #expect(try store.readNow { try $0.upstreamRevocations() } == [one, other])
        try store.writeNow { try $0.raiseUpstreamRevocations(to: noon + 5) }
        let raised = UpstreamRevocation(id: "a", namedAt: noon + 5, isWaiting: true)
        #expect(try store.readNow { try $0.upstreamRevocations() } == [raised, other])
        #expect(try store.readNow { try $0.upstreamRevocationCount() } == 2)
        let told = UpstreamRevocation(id: "a", namedAt: noon, isWaiting: false)
        try store.writeNow { try $0.put(told) }
        #expect(try store.readNow { try $0.upstreamRevocation(id: "a") } == told)
        #expect(try store.writeNow { try $0.deleteUpstreamRevocation(id: "a") })
        #expect(try !store.writeNow { try $0.deleteUpstreamRevocation(id: "a") })
        #expect(try store.readNow { try $0.upstreamRevocation(id: "a") } == nil)
    }
}
