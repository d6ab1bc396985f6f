// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import NodeSync
import SPIFFE
import TestPKI
import Testing

/// Authorities of servers below (docs/decisions/0020-authorities-under-another.md, "Nested").
@Suite(.timeLimit(.minutes(1))) struct DownstreamTests {
    let directory: TemporaryStore
    let store: ServerStore

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
    }

    private static func record(
        _ id: String,
        entry: String = "e1",
        node: String = "ca-1",
        at time: Date = noon,
        revocation: DownstreamRecord.Revocation? = nil
    ) throws -> DownstreamRecord {
        DownstreamRecord(
            id: id,
            entry: DownstreamRecord.Entry(
                id: entry,
                namespace: "infra",
                name: "ca",
                revision: 3,
                spiffeID: "spiffe://example.org/ca"
            ),
            node: node,
            serverID: "east",
            certificateDER: [0x30, 0x00],
            ancestry: try AuthorityAncestry(
                chain: [try TestAuthority.root("example.org").der],
                rootID: "ab"
            ),
            certifiedAt: time,
            notBefore: time - 60,
            notAfter: time + 3_600,
            revocation: revocation
        )
    }

    @Test func `one comes back as it was written, by its key, entry and node`() throws {
        let revoked = DownstreamRecord.Revocation(
            at: noon + 5,
            reason: "stolen",
            actor: "uid:0@host"
        )
        let all = [
            try Self.record("c"),
            try Self.record("a", entry: "e2", at: noon + 1),
            try Self.record("b", node: "ca-2", at: noon + 2, revocation: revoked),
        ]
        try store.writeNow { transaction in
            for record in all.reversed() { try transaction.put(record) }
        }
        #expect(try store.readNow { try $0.downstreamAuthorities() } == all)
        #expect(try store.readNow { try $0.downstreamAuthority(id: "b") } == all[2])
        #expect(try store.readNow { try $0.downstreamAuthority(id: "d") } == nil)
        let ofEntry = try store.readNow { try $0.downstreamAuthorities(ofEntry: "e1") }
        #expect(ofEntry == [all[0], all[2]])
        let ofNode = try store.readNow { try $0.downstreamAuthorities(ofNode: "ca-1") }
        #expect(ofNode == [all[0], all[1]])
        #expect(try store.readNow { try $0.revokedDownstreamIDs() } == ["b"])
        #expect(try store.writeNow { try $0.deleteDownstream(id: "c") })
        #expect(try store.writeNow { try !$0.deleteDownstream(id: "c") })
    }

    @Test func `those count that are not revoked and had not ended a minute ago`() throws {
        let revoked = DownstreamRecord.Revocation(at: noon, reason: "", actor: "uid:0@host")
        try store.writeNow { transaction in
            try transaction.put(try Self.record("a"))
            try transaction.put(try Self.record("b", revocation: revoked))
        }
        func count(_ time: Date) throws -> Int {
            try store.readNow { try $0.validDownstreamCount(at: time) }
        }
        #expect(try count(noon) == 1)
        #expect(try count(noon + 3_659) == 1)
        #expect(try count(noon + 3_660) == 0)
        let all = try store.readNow { try $0.validDownstreamCount(at: noon, countingRevoked: true) }
        #expect(all == 2)
        let record = try Self.record("a")
        #expect(record.isValid(at: noon + 3_659) && !record.isValid(at: noon + 3_660))
        #expect(try !Self.record("b", revocation: revoked).isValid(at: noon))
    }
}
