// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import NodeSync
import SwiftProtobuf
import Testing

@Suite(.timeLimit(.minutes(1)))
struct DocumentTests {
    private static let payments = """
        apiVersion: core.signet/v1alpha1
        kind: Namespace
        metadata:
          name: payments

        """

    private func key(
        _ name: String,
        namespace: String = "default",
        kind: String = "RegistrationEntry"
    ) -> Signet_Admin_V1alpha1_DocumentKey {
        .with { ($0.kind, $0.namespace, $0.name) = (kind, namespace, name) }
    }

    private func get(
        _ name: String,
        namespace: String = "default",
        _ server: TestServer
    ) async throws -> [Signet_Admin_V1alpha1_StoredDocument] {
        try await server.documents.get(
            .with {
                ($0.kind, $0.namespace, $0.name) = ("RegistrationEntry", namespace, name)
            }
        ).documents
    }

    private func count(_ name: String, _ server: TestServer) async throws -> Int {
        try await get(name, server).count
    }

    @Test func `one apply is one revision and one leaf, whatever it holds`() async throws {
        try await withServer { server in
            let before = try await server.administration.getHealth(.init()).revision.number
            let applied = try await server.apply(
                Self.payments
                    + entryDocument(
                        "web",
                        namespace: "payments",
                        spiffeID: "spiffe://example.org/web"
                    )
                    + entryDocument("db", spiffeID: "spiffe://example.org/db")
            )
            #expect(applied.revision.number == before + 1)
            #expect(applied.changes.map(\.action) == ["created", "created", "created"])
            let leaves = try await server.records("documentsApplied")
            #expect(leaves.count == 1)
            #expect(leaves.first?.contains("\"actor\":\"\(TestServer.actor)\"") == true)
            #expect(
                try await server.records("documentsApplied") {
                    $0.namespace = "payments"
                }.count == 1
            )
            let stored = try await get("web", namespace: "payments", server)
            #expect(stored.map(\.resourceVersion) == [applied.revision.number])
            #expect(stored.first?.updatedBy == TestServer.actor)
            // What get shows, apply takes, and it changes nothing.
            let again = try await server.apply(try #require(stored.first).yaml)
            #expect(again.changes.map(\.action) == ["unchanged"])
            #expect(again.revision.number == applied.revision.number)
            #expect(try await server.records("documentsApplied").count == 1)
        }
    }

    @Test func `one bad document refuses all of them, with its place`() async throws {
        try await withServer { server in
            let good = entryDocument("web", spiffeID: "spiffe://example.org/web")
            let bad: [(text: String, kind: APIError.Kind, part: String)] = [
                (
                    entryDocument("db", spiffeID: "spiffe://example.org/db", more: "  hnit: x"),
                    .invalidArgument, "test.yaml:"
                ),
                (entryDocument("db", spiffeID: "spiffe://other.org/db"), .invalidArgument, "other"),
                (
                    entryDocument("db", spiffeID: "spiffe://example.org/signet/agent/x"),
                    .invalidArgument, "/signet/"
                ),
                (
                    entryDocument("db", namespace: "none", spiffeID: "spiffe://example.org/db"),
                    .failedPrecondition, "namespace none"
                ),
                (
                    entryDocument(
                        "db",
                        spiffeID: "spiffe://example.org/db",
                        more: "  x509SVIDTTL: 23h"
                    ),
                    .invalidArgument, "x509SVIDTTL"
                ),
                (good, .invalidArgument, "web"),
            ]
            for document in bad {
                let error = await refusal { try await server.apply(good + document.text) }
                #expect(error?.kind == document.kind, "\(document.text)")
                #expect(error?.message.contains(document.part) == true, "\(error?.message ?? "")")
            }
            let stored = try await count("web", server)
            #expect(stored == 0)
            let applied = try await server.records("documentsApplied")
            #expect(applied.isEmpty)
        }
    }

    @Test func `a dry run shows what would happen and does nothing`() async throws {
        try await withServer { server in
            let text = entryDocument("web", spiffeID: "spiffe://example.org/web")
            let rehearsed = try await server.apply(text, isDryRun: true)
            #expect(rehearsed.dryRun)
            #expect(rehearsed.changes.map(\.action) == ["created"])
            #expect(try await count("web", server) == 0)
            let applied = try await server.apply(text)
            #expect(applied.changes.map(\.action) == ["created"])
            #expect(applied.revision == rehearsed.revision)
            #expect(try await server.records("documentsApplied").count == 1)
            let refused = await refusal {
                try await server.apply(text + "nonsense: 1\n", isDryRun: true)
            }
            #expect(refused?.kind == .invalidArgument)
        }
    }

    @Test func `one admin cannot keep the writer busy, not even with what changes nothing`()
        async throws
    {
        try await withServer { server in
            let keys = (0..<10_000).map { number in
                Signet_Admin_V1alpha1_DocumentKey.with {
                    ($0.kind, $0.namespace, $0.name) = (
                        "RegistrationEntry", "default", "none-\(number)"
                    )
                }
            }
            var reasons: [String?] = []
            for _ in 0..<3 {
                let refused = await refusal {
                    try await server.documents.delete(
                        .with {
                            $0.keys = keys
                            $0.dryRun = true
                        }
                    )
                }
                reasons.append(refused?.reason)
            }
            #expect(reasons.prefix(2).allSatisfy { $0 != "documentRate" })
            #expect(reasons.last == "documentRate")
        }
    }

    @Test func `prune deletes what its owner no longer has, and nothing else`() async throws {
        try await withServer { server in
            let web = entryDocument("web", spiffeID: "spiffe://example.org/web", owner: "team-a")
            let api = entryDocument("api", spiffeID: "spiffe://example.org/api", owner: "team-a")
            let theirs = entryDocument("db", spiffeID: "spiffe://example.org/db", owner: "team-b")
            try await server.apply(web + api + theirs)
            let planned = try await server.apply(web, isDryRun: true, pruneOwner: "team-a")
            #expect(planned.changes.map(\.action) == ["unchanged", "deleted"])
            #expect(try await count("api", server) == 1)
            let pruned = try await server.apply(web, pruneOwner: "team-a")
            #expect(pruned.changes.map(\.key.name) == ["web", "api"])
            #expect(pruned.changes.map(\.action) == ["unchanged", "deleted"])
            #expect(try await count("api", server) == 0)
            #expect(try await count("db", server) == 1)
        }
    }

    @Test func `of two writers that read the same version, the second is refused`() async throws {
        try await withServer { server in
            try await server.register("web")
            let read = try #require(try await get("web", server).first).yaml
            let mine = read.replacing("role:web", with: "role:mine")
            let theirs = read.replacing("role:web", with: "role:theirs")
            try await server.apply(mine)
            let conflict = await refusal { try await server.apply(theirs) }
            #expect(conflict?.kind == .conflict)
            let kept = try await get("web", server)
            #expect(kept.first?.yaml.contains("role:mine") == true)
        }
    }

    @Test func `a document made again is another one`() async throws {
        try await withServer { server in
            let first = try await server.register("web")
            let read = try #require(try await get("web", server).first).yaml
            _ = try await server.documents.delete(.with { $0.keys = [key("web")] })
            let second = try await server.register("web")
            #expect(first != second)
            let changed = read.replacing("role:web", with: "role:db")
            let old = await refusal { try await server.apply(changed) }
            #expect(old?.kind == .conflict)
        }
    }

    @Test func `history keeps every version with its writer, also after the end`() async throws {
        try await withServer { server in
            try await server.register("web", node: "role:a")
            try await server.register("web", node: "role:b")
            _ = try await server.documents.delete(.with { $0.keys = [key("web")] })
            let history = try await server.documents.history(.with { $0.key = key("web") })
            #expect(history.documents.map(\.deleted) == [true, false, false])
            #expect(history.documents[1].json.contains("role:b"))
            #expect(history.documents[2].json.contains("role:a"))
            #expect(history.documents.allSatisfy { $0.updatedBy == TestServer.actor })
            let never = await refusal {
                try await server.documents.history(.with { $0.key = key("never") })
            }
            #expect(never?.kind == .notFound)
        }
    }

    @Test func `a namespace goes when it is empty`() async throws {
        try await withServer { server in
            try await server.apply(
                Self.payments
                    + entryDocument(
                        "web",
                        namespace: "payments",
                        spiffeID: "spiffe://example.org/web"
                    )
            )
            let namespace = key("payments", namespace: "", kind: "Namespace")
            let held = await refusal {
                try await server.documents.delete(.with { $0.keys = [namespace] })
            }
            #expect(held?.reason == "namespaceNotEmpty")
            let both = try await server.documents.delete(
                .with { $0.keys = [key("web", namespace: "payments"), namespace] }
            )
            #expect(both.changes.map(\.action) == ["deleted", "deleted"])
            let unknown = await refusal {
                try await server.documents.delete(.with { $0.keys = [namespace] })
            }
            #expect(unknown?.kind == .notFound)
        }
    }

    @Test func `lists are read page by page`() async throws {
        try await withServer { server in
            let names = (0..<7).map { "web-\($0)" }
            try await server.apply(
                names.map { entryDocument($0, spiffeID: "spiffe://example.org/\($0)") }.joined()
            )
            var listed: [String] = []
            var token = ""
            repeat {
                let page = try await server.documents.get(
                    .with {
                        ($0.kind, $0.limit, $0.pageToken) = ("RegistrationEntry", 3, token)
                    }
                )
                #expect(page.documents.count <= 3)
                listed += page.documents.map(\.key.name)
                token = page.nextPageToken
            } while !token.isEmpty
            #expect(listed == names)
        }
    }
}
