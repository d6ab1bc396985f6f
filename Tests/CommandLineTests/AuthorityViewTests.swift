// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import SwiftProtobuf
import Testing
import signet

/// What `signet authority` says.
struct AuthorityViewTests {
    private typealias List = Signet_Admin_V1alpha1_ListAuthoritiesResponse
    private typealias Outcome = Signet_Admin_V1alpha1_AuthorityActionResponse

    private static let id = String(repeating: "ab", count: 20)

    private func list(_ change: (inout List) -> Void = { _ in }) -> AuthorityListView {
        var response = List.with {
            $0.authorities = [
                .with { ($0.id, $0.state) = (Self.id, "prepared") },
                .with {
                    ($0.id, $0.state, $0.validSvids, $0.notReplacedSvids) = ("cd", "tainted", 9, 4)
                },
                .with { ($0.id, $0.state) = ("ef", "active") },
            ]
            $0.latestActivationUnixSeconds = 1_800_000_000
        }
        change(&response)
        return AuthorityListView(response)
    }

    @Test func `only of a tainted authority it is said what is not replaced`() {
        let rows = list().table.rows
        #expect(rows.map { $0.last } == ["-", "4", "-"])
        #expect(rows[0][0] == "abababababababab")
    }

    @Test func `a rotation says for whom it waits, and until when`() {
        let waiting = list {
            $0.waitingAgents = (1...6).map { "web-\($0)" }
            $0.waitingAgentCount = 8
        }
        let said = waiting.progress(of: Self.id)
        #expect(said?.contains("8 agent(s): web-1, web-2, web-3, web-4, web-5, ...") == true)
        #expect(said?.contains("at the latest at 2027-01-15T08:00:00Z") == true)
        let ready = list { $0.nextStepAtUnixSeconds = 1_799_999_000 }
        #expect(ready.progress(of: Self.id)?.contains("begins to sign at 2027-01-15") == true)
        #expect(ready.progress(of: "ef") == nil)
        #expect(ready.progress(of: "unknown")?.contains("not there") == true)
    }

    @Test func `agents and nodes of proxies that know no authority below another are named`() {
        #expect(list().outdated.isEmpty)
        let old = list {
            $0.agentsWithoutIntermediates = ["web-1"]
            $0.agentsWithoutIntermediatesCount = 1
        }
        #expect(old.outdated == ["to be renewed before there is an upstream: 1 agent(s): web-1"])
        let both = list {
            $0.agentsWithoutIntermediates = ["web-1"]
            $0.agentsWithoutIntermediatesCount = 1
            $0.proxyNodesWithoutIntermediates = (1...6).map { "db-\($0)" }
            $0.proxyNodesWithoutIntermediatesCount = 300
        }
        #expect(both.outdated.count == 2)
        #expect(
            both.outdated.last == "to be renewed before there is an upstream: proxies of 300 "
                + "node(s): db-1, db-2, db-3, db-4, db-5, ..."
        )
    }

    @Test func `authorities of servers below are shown with entry and node`() {
        let view = list {
            $0.downstream = [
                .with {
                    ($0.id, $0.kind, $0.state) = ("12", "downstream", "certified")
                    ($0.entry, $0.node) = ("default/ca-east", "ca-1")
                },
                .with {
                    ($0.id, $0.kind, $0.state) = ("34", "downstream", "revoked")
                    ($0.entry, $0.node) = ("default/ca-east", "ca-1")
                },
            ]
        }
        #expect(
            view.table.rows.suffix(2).map { $0[1] } == [
                "downstream of default/ca-east on ca-1",
                "downstream, revoked, of default/ca-east on ca-1",
            ]
        )
    }

    @Test func `an act says whom it would hurt`() {
        let view = AuthorityActView(
            Outcome.with {
                $0.authority = .with { ($0.id, $0.state) = (Self.id, "old") }
                $0.objections = ["2 SVID(s) of it are valid"]
                $0.waitingAgents = ["web-1"]
                $0.waitingAgentCount = 1
                $0.absentAgents = ["web-2"]
                $0.absentAgentCount = 1
                $0.notReplacedSvids = 2
                $0.notReplacedIds = ["spiffe://example.org/a", "spiffe://example.org/b"]
            }
        )
        let lines = view.consequences
        #expect(lines.first == "2 SVID(s) of it are valid")
        #expect(lines.contains("without the bundle: 1 agent(s): web-1"))
        #expect(lines.contains("away: 1 agent(s): web-2"))
        #expect(lines.last?.contains("spiffe://example.org/a, spiffe://example.org/b") == true)
    }
}
