// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Foundation
import SwiftProtobuf
import Testing
import signet

@Suite struct ExplanationViewTests {
    private struct Answer: Decodable {
        struct Grant: Decodable, Equatable {
            var entry: String
            var entryID: String
            var spiffeID: String
            var matched: [String]
        }
        var spiffeIDs: [String]
        var grantingEntries: [Grant]
    }

    private static let web = "spiffe://example.org/web"

    private func explanation(
        grants: [(entry: String, id: String, matched: [String])]
    ) -> Signet_Node_V1alpha1_WorkloadExplanation {
        .with {
            $0.pid = 42
            $0.selectors = ["unix:gid:1000", "unix:uid:1000"]
            $0.spiffeIds = [Self.web, Self.web]
            $0.grantingEntries = grants.map { grant in
                .with {
                    ($0.entry, $0.entryID, $0.matched) = (grant.entry, grant.id, grant.matched)
                    $0.spiffeID = Self.web
                }
            }
            $0.revision = .with { $0.number = 7 }
        }
    }

    @Test func `an identity stands once, with each entry that grants it`() {
        let view = ExplanationView(
            explanation(grants: [
                ("default/web", "one", ["unix:uid:1000"]), ("shop/front", "two", ["unix:gid:1000"]),
            ])
        )
        #expect(
            view.text == """
                process 42, judged at revision 7
                it attests to:
                  unix:gid:1000
                  unix:uid:1000
                it gets:
                  spiffe://example.org/web
                    by entry default/web (id one)
                      has  unix:uid:1000
                    by entry shop/front (id two)
                      has  unix:gid:1000
                """
        )
    }

    @Test func `JSON names the entries that grant an identity`() throws {
        let view = ExplanationView(
            explanation(grants: [("default/web", "one", ["unix:uid:1000"])])
        )
        let read = try JSONDecoder().decode(Answer.self, from: JSONEncoder().encode(view))
        #expect(read.spiffeIDs == [Self.web])
        #expect(
            read.grantingEntries == [
                .init(
                    entry: "default/web",
                    entryID: "one",
                    spiffeID: Self.web,
                    matched: ["unix:uid:1000"]
                )
            ]
        )
    }

    @Test func `an agent that names no entries is shown with its identities`() {
        let lines = ExplanationView(explanation(grants: [])).text.split(separator: "\n")
        #expect(lines.last == "  spiffe://example.org/web")
    }

    @Test func `what an answer holds does not steer the terminal`() {
        let view = ExplanationView(explanation(grants: [("default/\u{1B}[2J", "one", ["a\nb"])]))
        #expect(view.text.contains("by entry default/?[2J (id one)"))
        #expect(view.text.contains("has  a?b"))
    }
}
