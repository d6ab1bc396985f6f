// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import GRDB
import NodeSync
import SPIFFE
import Testing

/// What was fetched of other trust domains.
@Suite(.timeLimit(.minutes(1))) struct FederatedBundleTests {
    private let directory: TemporaryStore
    private let store: ServerStore
    private let partner: TrustDomain

    init() throws {
        directory = try TemporaryStore()
        store = try directory.openEstablished()
        partner = try TrustDomain("partner.example")
    }

    private static func key(_ name: String) -> DocumentKey {
        DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: "FederatedTrustDomain",
            namespace: "",
            name: name
        )
    }

    /// Writes a document, whatever it says, and tells its version.
    @discardableResult
    private func write(_ name: String, uid: String) throws -> UInt64 {
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            try transaction.put(
                DocumentDraft(
                    key: Self.key(name),
                    canonicalJSON: Array("{\"n\":\(number)}".utf8),
                    labels: [:],
                    actor: "uid:0@host",
                    reason: ""
                ),
                newUID: uid,
                expecting: .any,
                number: number,
                now: noon
            )
            return number
        }
    }

    private func filled() -> FederatedBundleRecord {
        var record = FederatedBundleRecord(trustDomain: partner, documentUID: "u1")
        record.document = Array("{\"keys\":[]}".utf8)
        record.sequenceNumber = .max - 1
        record.verifiedBySHA256 = Array(repeating: 7, count: 32)
        record.newKeysAt = noon - 0.125
        record.changedAt = noon
        record.confirmedAt = noon + 60
        record.isWithheld = true
        return record
    }

    @Test func `a row comes back as it was written, with every bit of its sequence`() throws {
        let version = try write("partner", uid: "u1")
        let empty = FederatedBundleRecord(trustDomain: partner, documentUID: "u1")
        try store.writeNow { try $0.insert(empty) }
        #expect(try store.readNow { try $0.federatedBundle(of: partner) } == empty)
        var record = filled()
        for sequence in [0, 1, 255, 1 << 63, .max] as [UInt64] {
            record.sequenceNumber = sequence
            let isWritten = try store.writeNow { [record] in
                try $0.update(record, ifDocumentHasVersion: version)
            }
            #expect(isWritten)
            #expect(try store.readNow { try $0.federatedBundle(of: partner) } == record)
        }
        #expect(try store.readNow { try $0.federatedBundle(documentUID: "u1") } == record)
        #expect(try store.readNow { try $0.federatedBundles() } == [record])
        #expect(try store.readNow { try $0.federatedTrustDomains() } == [partner])
        #expect(
            try store.readNow { try $0.federatedBundle(of: TrustDomain("other.example")) } == nil
        )
    }

    @Test func `what was fetched for an earlier version of the document is not written`() throws {
        let first = try write("partner", uid: "u1")
        let empty = FederatedBundleRecord(trustDomain: partner, documentUID: "u1")
        try store.writeNow { try $0.insert(empty) }
        let second = try write("partner", uid: "other")
        #expect(
            try store.writeNow { try $0.update(filled(), ifDocumentHasVersion: first) } == false
        )
        #expect(try store.readNow { try $0.federatedBundle(of: partner) } == empty)
        #expect(try store.writeNow { try $0.update(filled(), ifDocumentHasVersion: second) })
    }

    @Test func `nothing comes back after a delete, not even to a document of the same name`() throws
    {
        let first = try write("partner", uid: "u1")
        try store.writeNow {
            try $0.insert(FederatedBundleRecord(trustDomain: partner, documentUID: "u1"))
        }
        let deleted = try store.writeNow { try $0.deleteFederatedBundle(documentUID: "u1") }
        #expect(deleted?.trustDomain == partner)
        #expect(try store.writeNow { try $0.deleteFederatedBundle(documentUID: "u1") } == nil)
        #expect(
            try store.writeNow { try $0.update(filled(), ifDocumentHasVersion: first) } == false
        )
        let deletion = try store.writeNow { transaction in
            try transaction.deleteDocument(
                Self.key("partner"),
                expecting: .any,
                actor: "uid:0@host",
                reason: "",
                number: try transaction.advanceRevision().number,
                now: noon
            )
        }
        #expect(deletion?.uid == "u1")
        let again = try write("partner", uid: "u2")
        try store.writeNow {
            try $0.insert(FederatedBundleRecord(trustDomain: partner, documentUID: "u2"))
        }
        for version in [first, again] {
            let isWritten = try store.writeNow {
                try $0.update(filled(), ifDocumentHasVersion: version)
            }
            #expect(!isWritten)
        }
        #expect(try store.readNow { try $0.federatedBundle(of: partner)?.document } == nil)
    }

    /// What agents are told of after a number.
    private func changes(after number: UInt64) throws -> [StoredChange] {
        guard
            case .delta(let changes) = try store.readNow({ try $0.changes(after: number, limit: 9) }
            )
        else {
            Issue.record("no delta")
            return []
        }
        return changes
    }

    private func number() throws -> UInt64 { try store.readNow { try $0.revision().number } }

    @Test func `what agents are told is recorded when it becomes another, and only then`() throws {
        let version = try write("partner", uid: "u1")
        try store.writeNow {
            try $0.insert(FederatedBundleRecord(trustDomain: partner, documentUID: "u1"))
        }
        var record = FederatedBundleRecord(trustDomain: partner, documentUID: "u1")
        /// Writes the row, and tells whether it was recorded, and as a removal.
        func update(_ change: (inout FederatedBundleRecord) -> Void) throws -> [Bool] {
            change(&record)
            let before = try number()
            let isWritten = try store.writeNow { [record] in
                try $0.update(record, ifDocumentHasVersion: version)
            }
            #expect(isWritten)
            let found = try changes(after: before)
            #expect(found.allSatisfy { $0.key == ResourceKey(.federatedBundle, partner.name) })
            return found.map(\.isRemoval)
        }
        // Before the first fetch there is nothing to be told.
        #expect(try update { $0.confirmedAt = noon } == [])
        #expect(try update { $0.document = Array("{\"keys\":[]}".utf8) } == [false])
        #expect(try update { ($0.confirmedAt, $0.sequenceNumber) = (noon + 1, 7) } == [])
        #expect(try update { $0.isWithheld = true } == [true])
        #expect(try update { $0.document = Array("{\"keys\":[1]}".utf8) } == [])
        #expect(try update { $0.isWithheld = false } == [false])
        // What is refused, because the document is another one, is not recorded.
        let before = try number()
        record.isWithheld = true
        let isWritten = try store.writeNow { [record] in
            try $0.update(record, ifDocumentHasVersion: version + 1)
        }
        #expect(!isWritten)
        #expect(try changes(after: before).isEmpty)
        try store.writeNow { _ = try $0.deleteFederatedBundle(documentUID: "u1") }
        #expect(try changes(after: before).map(\.isRemoval) == [true])
        let end = try number()
        try store.writeNow { _ = try $0.deleteFederatedBundle(documentUID: "u1") }
        #expect(try number() == end)
    }

    @Test func `a trust domain has one row, and a row has its document`() throws {
        try write("partner", uid: "u1")
        try write("again", uid: "u2")
        try store.writeNow {
            try $0.insert(FederatedBundleRecord(trustDomain: partner, documentUID: "u1"))
        }
        for uid in ["u2", "none"] {
            let name = uid == "none" ? "other.example" : partner.name
            #expect(throws: DatastoreError.self, "\(uid)") {
                try store.writeNow {
                    try $0.insert(
                        FederatedBundleRecord(
                            trustDomain: try TrustDomain(name),
                            documentUID: uid
                        )
                    )
                }
            }
        }
        // Whoever deletes the document deletes the row, by whatever way.
        let deletion = try store.writeNow { transaction in
            try transaction.deleteDocument(
                Self.key("partner"),
                expecting: .any,
                actor: "uid:0@host",
                reason: "",
                number: try transaction.advanceRevision().number,
                now: noon
            )
        }
        #expect(deletion?.uid == "u1")
        #expect(try store.readNow { try $0.federatedBundles() }.isEmpty)
    }

    @Test func `a sequence of another width is damage`() throws {
        try write("partner", uid: "u1")
        try store.writeNow {
            try $0.insert(FederatedBundleRecord(trustDomain: partner, documentUID: "u1"))
        }
        try store.close()
        let queue = try DatabaseQueue(path: directory.path)
        try queue.write { try $0.execute(sql: "UPDATE federated_bundles SET sequence = x'01'") }
        try queue.close()
        let reopened = try directory.open()
        #expect(throws: DatastoreError.corrupt("column sequence has not 8 bytes")) {
            try reopened.readNow { try $0.federatedBundle(of: partner) }
        }
    }

    @Test func `entries that federate are counted, whatever else they name`() throws {
        let lists: [[String]] = [
            [], ["partner.example"], ["a.example", "partner.example"], ["not-partner.example"],
            ["partner.example.org"],
        ]
        try store.writeNow { transaction in
            let number = try transaction.advanceRevision().number
            for (index, list) in lists.enumerated() {
                try transaction.put(
                    RegistrationEntry(
                        id: "e\(index)",
                        namespace: "default",
                        name: "e\(index)",
                        revision: number,
                        createdAt: noon,
                        spiffeID: "spiffe://example.org/e\(index)",
                        nodeSelectors: [try Selector("role:web")],
                        workloadSelectors: [try Selector("unix:uid:1000")],
                        federatesWith: list
                    )
                )
            }
        }
        try store.readNow { transaction in
            let (a, other) = (try TrustDomain("a.example"), try TrustDomain("other.example"))
            // All in one pass; an entry that names nobody is none of the rows.
            for (names, rowsMax, counts, isComplete) in [
                ([partner, a, other], 4, [partner: 2, a: 1, other: 0], true),
                ([partner, a], 3, [partner: 2, a: 1], false),
                ([partner, a], 1, [partner: 1, a: 0], false),
                ([other], 10, [other: 0], true), ([], 10, [:], true),
            ] as [(Set<TrustDomain>, Int, [TrustDomain: Int], Bool)] {
                let found = try transaction.federatingEntries(with: names, rowsMax: rowsMax)
                #expect(found.counts == counts, "\(rowsMax)")
                #expect(found.isComplete == isComplete, "\(rowsMax)")
            }
        }
    }
}
