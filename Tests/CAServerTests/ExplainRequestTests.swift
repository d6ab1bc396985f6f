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

/// What the server says of a request that nobody made.
@Suite(.timeLimit(.minutes(1)))
struct ExplainRequestTests {
    typealias Question = Signet_Admin_V1alpha1_ExplainRequestRequest
    typealias Change = @Sendable (inout Question) -> Void

    private static let documents =
        proxyDocument() + policyDocument(operation: "methods: [GET], paths: [\"/rows\"]")
        + entryDocument("web", spiffeID: "spiffe://example.org/web")

    static let clauses: [(Change, String)] = [
        (
            { $0.from = "spiffe://example.org/other" },
            "principals does not name spiffe://example.org/other"
        ),
        ({ $0.from = "" }, "principals asks about what the request does not have"),
        ({ $0.method = "PUT" }, #"methods names GET; the request has "PUT""#),
        ({ $0.path = "/other" }, #"paths names /rows; the request has "/other""#),
        (
            { $0.method = "A\"\\" + String(repeating: "B", count: 100) },
            #"the request has "A\"\\"# + String(repeating: "B", count: 61) + #"...""#
        ),
    ]

    static let nonsense: [(Change, String)] = [
        ({ $0.to = "web" }, "spiffeID"),
        ({ $0.to = "spiffe://example.org/none" }, "workloadUnknown"), ({ $0.port = 0 }, "port"),
        ({ $0.port = 65_536 }, "port"), ({ $0.path = "/a/../b" }, "path"),
        ({ $0.method = "" }, "method"), ({ $0.address = "here" }, "address"),
    ]

    private func question(_ change: (inout Question) -> Void = { _ in }) -> Question {
        .with {
            $0.from = "spiffe://example.org/client"
            $0.to = "spiffe://example.org/web"
            $0.port = 8080
            $0.method = "GET"
            $0.path = "/rows"
            change(&$0)
        }
    }

    @Test func `the rule that allows is named, with the revision that it is of`() async throws {
        try await withServer { server in
            try await server.apply(Self.documents)
            let answer = try await server.administration.explainRequest(question())
            #expect(answer.allowed)
            #expect(answer.policyNamespace == "default")
            #expect(answer.policy == "allow")
            #expect(answer.rule == 0)
            #expect(answer.identity == "spiffe://example.org/web")
            let revision = try await server.core.read { try $0.revision() }
            #expect(answer.revision.number == revision.number)
        }
    }

    @Test(arguments: clauses)
    func `what keeps a rule from allowing is named`(
        _ change: Change,
        _ clause: String
    ) async throws {
        try await withServer { server in
            try await server.apply(Self.documents)
            let answer = try await server.administration.explainRequest(question(change))
            #expect(!answer.allowed)
            #expect(answer.rule == -1)
            let rule = try #require(answer.rules.first)
            #expect(!rule.matches)
            #expect(rule.failed.contains(clause), "\(rule.failed)")
        }
    }

    @Test(arguments: nonsense)
    func `a question that means nothing is refused`(
        _ change: Change,
        _ reason: String
    ) async throws {
        try await withServer { server in
            try await server.apply(Self.documents)
            let refused = await refusal {
                try await server.administration.explainRequest(question(change))
            }
            #expect(refused?.reason == reason, "\(refused?.message ?? "answered")")
        }
    }
}
