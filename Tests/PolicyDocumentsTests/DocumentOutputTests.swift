// SPDX-License-Identifier: Apache-2.0

import Foundation
import PolicyDocuments
import SPIFFE
import TestSeeds
import Testing
import Yams

struct DocumentOutputTests {
    private static let stored = StoredMetadata(
        uid: "0a1b",
        resourceVersion: 3,
        creationTimestamp: Date(timeIntervalSince1970: 1_800_000_000.75),
        revision: 17
    )

    /// The example files, by name.
    private static let examples: [(name: String, text: [UInt8])] = {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../deploy/examples").standardizedFileURL
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return names.sorted().compactMap { name in
            (try? Data(contentsOf: folder.appending(path: name))).map { (name, Array($0)) }
        }
    }()

    @Test func `every kind has an example, and every example is read`() throws {
        var kinds: Set<DocumentKind> = []
        for example in Self.examples {
            let documents = try Document.parse(example.text, file: example.name)
            #expect(!documents.isEmpty, "\(example.name)")
            kinds.formUnion(documents.map(\.kind))
            for document in documents {
                let problems = document.problems(inTrustDomain: try TrustDomain("example.org"))
                #expect(problems.isEmpty, "\(example.name)")
            }
        }
        #expect(kinds == Set(DocumentKind.allCases))
    }

    @Test func `what get shows is what apply took`() throws {
        for example in Self.examples {
            for document in try Document.parse(example.text, file: example.name) {
                try Self.expectRoundTrips(of: document)
            }
        }
    }

    @Test func `the canonical form is sorted JSON with the namespace and without spaces`() throws {
        let document = try #require(
            try Document.parse(Array(BadDocument.sampleEntry.utf8), file: "f.yaml").first
        )
        let expected =
            #"{"apiVersion":"core.signet/v1alpha1","kind":"RegistrationEntry","metadata":"#
            + #"{"name":"web","namespace":"payments"},"spec":{"hint":"x","nodeSelectors":"#
            + #"["role:web"],"spiffeID":"spiffe://example.org/web","workloadSelectors":"#
            + #"["unix:uid:1000"],"x509SVIDTTL":"1h"}}"#
        #expect(String(decoding: document.canonicalJSON, as: UTF8.self) == expected)
    }

    @Test func `the canonical form holds nothing that the server adds`() throws {
        let plain = try #require(
            try Document.parse(Array(BadDocument.sampleEntry.utf8), file: "f.yaml").first
        )
        let shown = plain.yaml(stored: Self.stored)
        let again = try #require(try Document.parse(Array(shown.utf8), file: "f.yaml").first)
        #expect(again.canonicalJSON == plain.canonicalJSON)
        #expect(again.metadata.uid == "0a1b")
        #expect(again.metadata.resourceVersion == 3)
    }

    @Test func `YAML output is plain where it can be and quoted where it must be`() throws {
        let text = BadDocument.sampleEntry.replacing(
            "namespace: payments",
            with: "annotations: {a: \"no\", b: \"1:30\", c: \"x: y\", d: \"\\u00e9\\n\", e: a b}"
        )
        let document = try #require(try Document.parse(Array(text.utf8), file: "f.yaml").first)
        let expected = """
            apiVersion: core.signet/v1alpha1
            kind: RegistrationEntry
            metadata:
              annotations:
                a: "no"
                b: "1:30"
                c: "x: y"
                d: "é\\n"
                e: "a b"
              creationTimestamp: "2027-01-15T08:00:00Z"
              name: web
              namespace: default
              resourceVersion: 3
              revision: 17
              uid: 0a1b
            spec:
              hint: x
              nodeSelectors:
                - role:web
              spiffeID: spiffe://example.org/web
              workloadSelectors:
                - unix:uid:1000
              x509SVIDTTL: 1h

            """
        #expect(document.yaml(stored: Self.stored) == expected)
    }

    @Test(arguments: [UInt64](1...4))
    func `text is written so that other YAML readers take it for text`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let characters = Array("0123456789abcdefox+-._:tTzZ~nyNYOsul=<{}#' \"\\/@é,")
        for _ in 0..<200 {
            let length = Int.random(in: 1...6, using: &random)
            let value = String(characters.shuffled(using: &random).prefix(length))
            let quoted = value.replacing("'", with: "''")
            let text = BadDocument.sampleEntry.replacing(
                "namespace: payments",
                with: "annotations: {a: '\(quoted)'}"
            )
            let document = try #require(try Document.parse(Array(text.utf8), file: "f.yaml").first)
            let other = try Yams.load(yaml: document.yaml(stored: nil)) as? [String: Any]
            let metadata = other?["metadata"] as? [String: Any]
            let annotations = metadata?["annotations"] as? [String: Any]
            #expect(annotations?["a"] as? String == value)
        }
    }

    @Test(arguments: [UInt64](1...6))
    func `no change of a document traps, and what is accepted comes back`(seed: UInt64) throws {
        var mutation = TextMutation(random: SeededGenerator(seed: seed))
        let bases = Self.examples.map(\.text) + [Array(BadDocument.sampleEntry.utf8)]
        var accepted = 0
        for _ in 0..<300 {
            let base = try #require(bases.randomElement(using: &mutation.random))
            let text = mutation.mutated(base)
            guard let documents = try? Document.parse(text, file: "f") else { continue }
            accepted += 1
            for document in documents { try Self.expectRoundTrips(of: document) }
        }
        #expect(accepted > 10)
    }

    private static func expectRoundTrips(of document: Document) throws {
        let texts = [
            Array(document.yaml(stored: nil).utf8),
            Array(document.yaml(stored: stored).utf8),
            Array(document.prettyJSON(stored: stored).utf8),
            document.canonicalJSON,
        ]
        for text in texts {
            let again = try #require(
                try Document.parse(text, file: "again").first,
                "\(String(decoding: text, as: UTF8.self))"
            )
            #expect(again.canonicalJSON == document.canonicalJSON)
            #expect(again.key == document.key)
            #expect(again.spec == document.spec)
        }
    }
}
