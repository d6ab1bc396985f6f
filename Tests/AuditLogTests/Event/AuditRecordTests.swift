// SPDX-License-Identifier: Apache-2.0

import AuditLog
import FoundationEssentials
import SPIFFE
import TestSeeds
import Testing

@Suite struct AuditRecordTests {
    @Test(arguments: GoldenRecord.all)
    func `an event becomes its leaf and is read back`(golden: GoldenRecord) throws {
        let leaves = try golden.record.leaves()
        #expect(leaves.count == 1)
        let leaf = try #require(leaves.first)
        #expect(String(decoding: leaf.bytes, as: UTF8.self) == golden.json)
        #expect(leaf.hash == MerkleHash(leaf: leaf.bytes))
        #expect(leaf.event == golden.record.event.name)
        #expect(leaf.actor == golden.record.actor.description)
        #expect(try AuditRecord(parsing: leaf.bytes) == golden.record)
        #expect(try AuditLeaf(parsing: leaf.bytes) == leaf)
    }

    @Test func `every event has its golden leaf`() {
        let names = GoldenRecord.all.map(\.record.event.name)
        #expect(names.count == Set(names).count)
        #expect(Set(names) == Set(AuditEvent.Name.allCases))
    }

    @Test func `the document shows every golden leaf and tells every field`() throws {
        let folders = #filePath.split(separator: "/").dropLast(4)
        let path = "/" + folders.joined(separator: "/") + "/docs/audit.md"
        let document = try String(contentsOf: URL(filePath: path), encoding: .utf8)
        for golden in GoldenRecord.all {
            #expect(document.contains(golden.json), "\(golden.testDescription)")
            let name = golden.testDescription
            let heading = try #require(document.firstRange(of: "\n### `\(name)`\n"), "\(name)")
            let rest = document[heading.upperBound...]
            let section = rest.prefix(
                upTo: rest.firstRange(of: "\n##")?.lowerBound ?? rest.endIndex
            )
            for field in Self.fields(of: golden.json) {
                #expect(section.contains("| `\(field)` |"), "\(name): \(field)")
            }
        }
    }

    @Test func `a leaf is found by what it names`() throws {
        let issued = try #require(
            GoldenRecord.all.first { $0.record.event.name == .svidsIssued }?.record.leaves().first
        )
        #expect(
            issued.spiffeIDs == [
                "spiffe://example.org/ns/shop/sa/web", "spiffe://example.org/signet/agent/web-1",
            ]
        )
        #expect(issued.serials == ["3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f"])
        #expect(issued.namespaces == ["shop"])
        let applied = try #require(
            GoldenRecord.all.first { $0.record.event.name == .documentsApplied }?.record.leaves()
                .first
        )
        #expect(applied.namespaces == ["shop"])
    }

    @Test(arguments: [0, 1, 2, 39, 40, 41, 80, 81, 500])
    func `a batch of any size is spread over leaves that fit, and nothing is lost`(
        count: Int
    ) throws {
        let svids = (0..<count).map { Self.svid(number: $0, pathLength: 30) }
        let leaves = try Self.issuance(svids).leaves()
        #expect(leaves.allSatisfy { $0.bytes.count <= AuditRecord.bytesMax })
        var found: [IssuedSVID] = []
        for (position, leaf) in leaves.enumerated() {
            let record = try AuditRecord(parsing: leaf.bytes)
            guard case .svidsIssued(let issuance) = record.event else {
                Issue.record("\(record.event.name)")
                return
            }
            #expect(record.part?.number == (leaves.count == 1 ? nil : position + 1))
            #expect(record.part?.count == (leaves.count == 1 ? nil : leaves.count))
            #expect(!issuance.svids.isEmpty || count == 0)
            found += issuance.svids
        }
        #expect(found == svids)
        #expect(leaves.count <= 1 + count / 25)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `a batch of uneven SVIDs is spread as well`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let svids = (0..<100).map {
            Self.svid(number: $0, pathLength: Int.random(in: 10...1900, using: &random))
        }
        let leaves = try Self.issuance(svids).leaves()
        #expect(leaves.allSatisfy { $0.bytes.count <= AuditRecord.bytesMax })
        #expect(leaves.flatMap(\.serials).count == 100)
    }

    @Test func `a long reason is cut, so that no caller escapes its record`() throws {
        for filler in ["x", "\u{1}", "\"", "\u{1F512}"] {
            let text = String(repeating: filler, count: 100_000)
            let path = "/" + String(repeating: "a", count: 2027)
            let refusal = RequestRefusal(
                what: text,
                reason: text,
                namespace: text,
                spiffeID: GoldenRecord.id(path)
            )
            #expect(refusal.reason.utf8.count <= 1024)
            #expect(refusal.reason.hasSuffix("\u{2026}"))
            let actor = Actor.spiffe(GoldenRecord.id(path))
            let record = AuditRecord(
                event: .requestRefused(refusal),
                actor: actor,
                time: GoldenRecord.time
            )
            // The largest refusal there is, and it is read back as it is.
            let leaf = try #require(try record.leaves().first)
            #expect(leaf.bytes.count <= AuditRecord.bytesMax)
            #expect(try AuditRecord(parsing: leaf.bytes) == record)
        }
    }

    @Test func `what cannot be written whole is refused`() throws {
        let selectors = (0..<10).map { _ in
            try? Selector("k:" + String(repeating: "v", count: 4000))
        }
        let token = TokenCreation(
            agent: GoldenRecord.agent,
            expires: GoldenRecord.later,
            selectors: selectors.compactMap { $0 },
            tokenID: "t"
        )
        let tooLarge = AuditRecord(
            event: .tokenCreated(token),
            actor: GoldenRecord.admin,
            time: GoldenRecord.time
        )
        #expect(throws: AuditRecordError.tooLarge(bytes: 40_250)) { try tooLarge.leaves() }

        let revision = DocumentChanges(documents: [], revision: 1 << 53)
        let outOfRange = AuditRecord(
            event: .documentsApplied(revision),
            actor: GoldenRecord.admin,
            time: GoldenRecord.time
        )
        #expect(throws: AuditRecordError.integerOutOfRange(field: "revision")) {
            try outOfRange.leaves()
        }
    }

    @Test(arguments: [
        Actor.person(issuer: "https://id.example#x", subject: "alice"), .system(""),
    ])
    func `an actor that would be read as another is refused`(actor: Actor) {
        let event = AuditEvent.clockRefused(
            ClockRefusal(problem: .jumped, expected: GoldenRecord.later)
        )
        let record = AuditRecord(event: event, actor: actor, time: GoldenRecord.time)
        #expect(throws: AuditRecordError.actorAmbiguous) { try record.leaves() }
    }

    @Test func `many missing agents are counted and some named`() throws {
        let missing = (0..<100_000).map { GoldenRecord.id("/signet/agent/a\($0)") }
        let activation = AuthorityActivation(authority: [1], previous: nil, missing: missing)
        #expect(activation.missingCount == 100_000)
        #expect(activation.missing == Array(missing.prefix(6)))
        let record = AuditRecord(
            event: .authorityActivated(activation),
            actor: .system("rotation"),
            time: GoldenRecord.time
        )
        #expect(try record.leaves().count == 1)
    }

    @Test func `the longest chain with all that permits it takes half of what a leaf may`() throws {
        // The IDs that `DelegationChain.bytesMax` allows, and what else is longest or escaped.
        let ids = (0..<5).map { GoldenRecord.id("/\($0)" + String(repeating: "p", count: 360)) }
        let issuance = DelegatedTokenIssuance(
            agent: GoldenRecord.id("/signet/agent/" + String(repeating: "n", count: 253)),
            authority: GoldenRecord.keyID,
            keyID: String(repeating: "k", count: 43),
            entry: .init(
                id: String(repeating: "e", count: 36),
                namespace: String(repeating: "n", count: 63),
                revision: 1 << 52
            ),
            subject: ids[0],
            actors: Array(ids.dropFirst()),
            audience: String(repeating: "\"", count: 512),
            tokenID: String(repeating: "t", count: 22),
            notAfter: GoldenRecord.later,
            signingInputSHA256: GoldenRecord.sha256,
            subjectTokenID: String(repeating: "\\", count: 64),
            subjectTokenSHA256: GoldenRecord.sha256,
            policies: (0..<4).map { _ in
                .init(
                    namespace: String(repeating: "n", count: 63),
                    name: String(repeating: "p", count: 253),
                    version: 1 << 52
                )
            }
        )
        let record = AuditRecord(
            event: .delegatedTokenIssued(issuance),
            actor: .spiffe(issuance.agent),
            time: GoldenRecord.time
        )
        let leaves = try record.leaves()
        #expect(leaves.count == 1)
        #expect(leaves.first.map { $0.bytes.count <= 8 << 10 } == true)
    }

    static func issuance(_ svids: [IssuedSVID]) -> AuditRecord {
        AuditRecord(
            event: .svidsIssued(
                SVIDIssuance(
                    agent: GoldenRecord.agent,
                    authority: GoldenRecord.keyID,
                    profile: .workload,
                    svids: svids
                )
            ),
            actor: .spiffe(GoldenRecord.agent),
            time: GoldenRecord.time
        )
    }

    static func svid(number: Int, pathLength: Int) -> IssuedSVID {
        IssuedSVID(
            spiffeID: GoldenRecord.id("/n\(number)/" + String(repeating: "p", count: pathLength)),
            serial: [UInt8(number >> 8), UInt8(number & 0xFF)] + [UInt8](repeating: 7, count: 14),
            notAfter: GoldenRecord.later,
            tbsSHA256: GoldenRecord.sha256,
            entry: .init(id: "entry-\(number)", namespace: "shop", revision: UInt64(number))
        )
    }

    /// The names of all members, of whatever depth, but those that every leaf has.
    private static func fields(of json: String) -> Set<String> {
        let words = json.split(separator: "\"", omittingEmptySubsequences: false)
        let names = zip(words, words.dropFirst()).filter { $0.1.hasPrefix(":") }
        return Set(names.map { String($0.0) }).subtracting(["actor", "event", "time", "v"])
    }
}
