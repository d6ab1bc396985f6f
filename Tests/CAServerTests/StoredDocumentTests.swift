// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

/// Documents that cannot be stored, or are stored and cannot be read.
@Suite(.timeLimit(.minutes(1)))
struct StoredDocumentTests {
    /// A role just below the limit of a file, whose stored form is above it.
    private static var wideRole: String {
        var text = """
            apiVersion: core.signet/v1alpha1
            kind: Role
            metadata: {name: wide, namespace: default}
            spec:
              rules:

            """
        for rule in 0..<32 {
            let prefixes = (0..<32).map { index in
                let start = "spiffe://example.org/r\(rule)-\(index)/"
                return start + String(repeating: "a", count: 1020 - start.utf8.count)
            }
            text += "    - {verbs: [get], kinds: [RegistrationEntry], spiffeIDPrefixes: ["
            text += prefixes.joined(separator: ",") + "]}\n"
        }
        return text
    }

    private func key(_ kind: String, _ name: String) -> DocumentKey {
        DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: kind,
            namespace: "default",
            name: name
        )
    }

    /// Stores what no apply would store.
    private func plant(_ kind: String, _ name: String, _ server: TestServer) async throws {
        let key = key(kind, name)
        try await server.core.datastore.write { transaction in
            let revision = try transaction.advanceRevision()
            _ = try transaction.put(
                DocumentDraft(
                    key: key,
                    canonicalJSON: Array("{\"kind\":\"\(kind)\"".utf8),
                    labels: [:],
                    actor: "test",
                    reason: ""
                ),
                newUID: "uid-\(kind)",
                expecting: .any,
                number: revision.number,
                now: Date(timeIntervalSince1970: 1_800_000_000)
            )
        }
    }

    @Test func `a document too large to be read back is refused, and writing goes on`()
        async throws
    {
        try await withServer { server in
            for isDryRun in [true, false] {
                let refused = await refusal {
                    try await server.apply(Self.wideRole, isDryRun: isDryRun)
                }
                #expect(refused?.kind == .invalidArgument)
                #expect(refused?.reason == "documentTooLarge", "\(refused?.message ?? "stored")")
                #expect(refused?.message.contains("split it up") == true)
            }
            try await server.register("web")
        }
    }

    @Test func `a stored document that cannot be read stops nothing else and can be deleted`()
        async throws
    {
        try await withServer { server in
            let kinds = ["RegistrationEntry", "RoleBinding", "Role"]
            for kind in kinds { try await plant(kind, "broken", server) }
            try await server.register("web")
            for kind in kinds {
                let listed = try await server.documents.get(.with { $0.kind = kind }).documents
                let broken = try #require(listed.first { $0.key.name == "broken" })
                #expect(broken.json == "{\"kind\":\"\(kind)\"")
                #expect(broken.yaml.isEmpty)
                let deleted = try await server.documents.delete(
                    .with {
                        $0.keys = [
                            .with {
                                ($0.kind, $0.namespace, $0.name) = (kind, "default", "broken")
                            }
                        ]
                    }
                )
                #expect(deleted.changes.map(\.action) == ["deleted"])
            }
            try await server.register("db")
        }
    }

    @Test func `an entry that no message can hold is left out and keeps nothing else back`()
        async throws
    {
        try await withServer { server in
            let web = try await server.register("web")
            let shown = try Selector("role:web")
            // More than a message, in selectors that are each allowed.
            let long = try (0..<300).map { index in
                try Selector(type: "x", value: "\(index)" + String(repeating: "a", count: 4000))
            }
            try await server.core.datastore.write { transaction in
                let revision = try transaction.advanceRevision()
                try transaction.put(
                    RegistrationEntry(
                        id: "big",
                        namespace: "default",
                        name: "big",
                        revision: revision.number,
                        createdAt: Date(timeIntervalSince1970: 1_800_000_000),
                        spiffeID: "spiffe://example.org/big",
                        nodeSelectors: [shown],
                        workloadSelectors: long
                    )
                )
            }
            let (messages, leftOut) = try await server.core.datastore.read { transaction in
                var leftOut: [String] = []
                let messages = try SyncContent.snapshot(node: [shown], in: transaction) { key in
                    leftOut.append(key.name)
                }
                return (messages, leftOut)
            }
            #expect(leftOut == ["big"])
            var sent: [String] = []
            for case .snapshotPage(_, let resources) in messages {
                sent += resources.map(\.key.name)
            }
            #expect(sent.contains(web) && !sent.contains("big"))
            #expect(messages.last == .snapshotEnd(resourceCount: sent.count))
        }
    }
}
