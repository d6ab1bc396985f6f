// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPIProtos
import Datastore
import FoundationEssentials
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

/// What the server adds to an agent's explanation of a workload.
@Suite(.timeLimit(.minutes(1)))
struct ExplanationTests {
    private static let request = Signet_Admin_V1alpha1_ExplainWorkloadRequest.with {
        ($0.agentName, $0.pid) = ("web-1", 42)
    }

    /// Stores entries for another node than the agent's, in one commit: `count` that do not mean the
    /// workload, and after them, by their IDs, one that does.
    private func plant(_ count: Int, on server: TestServer) async throws {
        let node = [try Selector("role:db")]
        let (other, mine) = ([try Selector("unix:uid:1")], [try Selector("unix:uid:1000")])
        try await server.core.datastore.write { transaction in
            let revision = try transaction.advanceRevision()
            for index in 0...count {
                let isLast = index == count
                let name = isLast ? "last" : "other-\(index)"
                try transaction.put(
                    RegistrationEntry(
                        id: isLast ? "z" : "a-\(index)",
                        namespace: "default",
                        name: name,
                        revision: revision.number,
                        createdAt: Date(timeIntervalSince1970: 1_800_000_000),
                        spiffeID: "spiffe://example.org/\(name)",
                        nodeSelectors: node,
                        workloadSelectors: isLast ? mine : other
                    )
                )
            }
        }
    }

    private func explain(
        _ server: TestServer
    ) async throws -> Signet_Node_V1alpha1_WorkloadExplanation {
        let agent = try await server.agent("web-1", selectors: ["role:web"])
        return try await server.withSync(as: agent) { sync in
            sync.acknowledge(try await sync.snapshot().revision)
            async let explained = server.administration.explainWorkload(Self.request)
            try await sync.explainOnce(selectors: ["unix:uid:1000"])
            return try await explained
        }
    }

    @Test(arguments: [999, 1000, 1001, 2500])
    func `a near miss is found behind more entries than one page holds`(count: Int) async throws {
        try await withServer { server in
            try await plant(count, on: server)
            let answer = try await explain(server)
            #expect(answer.nearMisses.map(\.entry) == ["default/last"])
            #expect(answer.nearMisses.map(\.missingNodeSelectors) == [["role:db"]])
            #expect(answer.notes.isEmpty)
        }
    }

    @Test func `an explanation that did not compare all entries says so`() async throws {
        try await withServer { server in
            try await plant(20_000, on: server)
            let answer = try await explain(server)
            #expect(answer.nearMisses.isEmpty)
            #expect(answer.notes.count == 1)
            #expect(answer.notes.first?.hasPrefix("only 20000 entries were compared") == true)
        }
    }

    @Test func `the entries that an agent names reach the caller`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let granted = Signet_Node_V1alpha1_GrantingEntry.with {
                ($0.entry, $0.entryID, $0.matched) = ("default/web", "one", ["unix:uid:1000"])
                $0.spiffeID = "spiffe://example.org/web"
            }
            try await server.withSync(as: agent) { sync in
                sync.acknowledge(try await sync.snapshot().revision)
                async let explained = server.administration.explainWorkload(Self.request)
                try await sync.explainOnce(selectors: ["unix:uid:1000"], granting: [granted])
                let answer = try await explained
                #expect(answer.grantingEntries == [granted])
            }
        }
    }
}
