// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import NodeSync
import PolicyDocuments
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
            text += "    - {verbs: [get, list], kinds: [RegistrationEntry], spiffeIDPrefixes: ["
            text += prefixes.joined(separator: ",") + "]}\n"
        }
        return text
    }

    private static let wideBinding = """
        apiVersion: core.signet/v1alpha1
        kind: RoleBinding
        metadata: {name: wide, namespace: default}
        spec: {role: wide, subjects: [spiffe://example.org/operator]}
        """

    private func key(_ kind: String, _ name: String) -> DocumentKey {
        DocumentKey(
            group: DocumentKey.nativeGroup,
            kind: kind,
            namespace: "default",
            name: name
        )
    }

    /// Stores what no apply would store.
    private func plant(
        _ kind: String,
        _ name: String,
        _ server: TestServer,
        json: [UInt8]? = nil
    ) async throws {
        let key = key(kind, name)
        let content = json ?? Array("{\"kind\":\"\(kind)\"".utf8)
        try await server.core.datastore.write { transaction in
            let revision = try transaction.advanceRevision()
            _ = try transaction.put(
                DocumentDraft(
                    key: key,
                    canonicalJSON: content,
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

    @Test func `a role that was stored too large gives no rights, ends no writing, and is mended`()
        async throws
    {
        try await withServer { server in
            let caller = try await server.workload("operator")
            let wide = try #require(
                try Document.parse(Array(Self.wideRole.utf8), file: "wide.yaml").first
            )
            let binding = try #require(
                try Document.parse(Array(Self.wideBinding.utf8), file: "wide.yaml").first
            )
            try await plant("Role", "wide", server, json: wide.canonicalJSON)
            try await plant("RoleBinding", "wide", server, json: binding.canonicalJSON)
            let key = key("Role", "wide")
            let stored = try #require(
                try await server.core.datastore.read { try $0.document(key) }
            )
            #expect(throws: UnreadableDocument.self) { try Document(stored: stored) }
            try await server.authenticated(as: try caller.identity) { client in
                let documents = Documents.Client(wrapping: client)
                let request = Signet_Admin_V1alpha1_GetRequest.with {
                    $0.kind = "RegistrationEntry"
                }
                // Each of these reads all roles.
                let refused = await refusal { try await documents.get(request) }
                #expect(refused?.reason == "adminDenied", "\(refused?.message ?? "allowed")")
                try await server.register("web")
                #expect(try await server.unmetConditions().isEmpty)
                let narrow = """
                    apiVersion: core.signet/v1alpha1
                    kind: Role
                    metadata: {name: wide, namespace: default}
                    spec:
                      rules:
                        - {verbs: [get, list], kinds: [RegistrationEntry]}
                    """
                try await server.apply(narrow)
                let names = try await documents.get(request).documents.map(\.key.name)
                #expect(Set(names) == ["operator", "web"])
            }
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
