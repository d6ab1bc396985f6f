// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Foundation
import SwiftProtobuf
import Testing
import signet

@Suite struct HistoryPrinterTests {
    private struct Version: Decodable, Equatable {
        struct Document: Decodable, Equatable {
            var kind: String
        }
        var version: UInt64
        var revision: UInt64
        var updatedAt: String
        var state: String
        var by: String
        var document: Document?
    }

    /// A document that was made and then deleted, newest first, as the server answers.
    private static let versions: [Signet_Admin_V1alpha1_StoredDocument] = [
        .with {
            $0.resourceVersion = 9
            $0.revision = 9
            $0.updatedAtUnixMilliseconds = 1_000_000
            $0.updatedBy = "uid:0@a \"b\""
            $0.deleted = true
        },
        .with {
            $0.resourceVersion = 7
            $0.revision = 7
            $0.updatedAtUnixMilliseconds = 1_000
            $0.updatedBy = "uid:0@a"
            $0.json = "{\"kind\":\"Role\"}"
            $0.yaml = "kind: Role\nspec:\n  verbs:\n    - get\n"
        },
    ]

    @Test func `a history with a deletion is JSON that has what the table has`() throws {
        let text = try HistoryPrinter.json(Self.versions)
        let read = try JSONDecoder().decode([Version].self, from: Data(text.utf8))
        try #require(read.count == 2)
        #expect(read[0].state == "deleted" && read[0].document == nil)
        #expect(read[0].by == "uid:0@a \"b\"" && read[0].version == 9)
        #expect(read[1].state == "present" && read[1].document?.kind == "Role")
        #expect(read[1].updatedAt == "1970-01-01T00:00:01Z" && read[1].revision == 7)
        #expect(text.contains("\"document\":null"))
    }

    @Test func `the same history is one YAML list`() throws {
        #expect(
            try HistoryPrinter.yaml(Self.versions) == """
                - version: 9
                  revision: 9
                  updatedAt: "1970-01-01T00:16:40Z"
                  state: deleted
                  by: "uid:0@a \\"b\\""
                  document: null
                - version: 7
                  revision: 7
                  updatedAt: "1970-01-01T00:00:01Z"
                  state: present
                  by: "uid:0@a"
                  document:
                    kind: Role
                    spec:
                      verbs:
                        - get
                """
        )
        #expect(try HistoryPrinter.yaml([]) == "[]")
    }
}
