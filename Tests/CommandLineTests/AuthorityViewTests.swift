// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Foundation
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

    @Test func `what is above is called what messages call it`() {
        let shown = list {
            $0.above = [
                ("intermediate", "published"), ("intermediate", "tainted"), ("root", "published"),
            ]
            .map { what in .with { ($0.id, $0.kind, $0.state) = ("01", what.0, what.1) } }
        }
        #expect(
            shown.table.rows.suffix(3).map { $0[1] } == ["upstream", "upstream, tainted", "root"]
        )
    }

    @Test func `a rotation says for whom it waits, and until when`() {
        let waiting = list {
            $0.waitingAgents = (1...6).map { "web-\($0)" }
            $0.waitingAgentCount = 8
        }
        let said = waiting.progress(of: Self.id)
        #expect(said.text.contains("8 agent(s): web-1, web-2, web-3, web-4, web-5, ..."))
        #expect(said.text.contains("at the latest at 2027-01-15T08:00:00Z"))
        #expect(said == .waiting(said.text) && said.failure == nil)
        let ready = list { $0.nextStepAtUnixSeconds = 1_799_999_000 }
        #expect(ready.progress(of: Self.id).text.contains("begins to sign at 2027-01-15"))
        #expect(ready.progress(of: "ef") == .done("authority ef signs"))
    }

    /// What is said of the authority when it is so.
    private func progress(_ state: String, hasSigned: Bool = false) -> RotationProgress {
        list {
            $0.authorities[0].state = state
            if hasSigned { $0.authorities[0].activatedAtUnixSeconds = 1_799_999_000 }
            if ["tainted", "revoked"].contains(state) {
                $0.authorities[0].distrustReason = "laptop lost"
            }
        }
        .progress(of: Self.id)
    }

    @Test func `an authority that will not sign ends the wait for it, with status 1`() throws {
        let name = "authority abababababababab"
        #expect(
            progress("revoked")
                == .ended("\(name) was revoked before it signed (laptop lost); authority ef signs")
        )
        #expect(
            progress("tainted", hasSigned: true)
                == .ended(
                    "\(name) has signed, and is tainted since (laptop lost); authority ef signs"
                )
        )
        #expect(
            list { $0.authorities.removeFirst() }.progress(of: Self.id)
                == .ended("\(name) is not there any more; authority ef signs")
        )
        let failure = try #require(progress("revoked").failure)
        #expect(failure.status == .failed && failure.message.contains("was revoked"))
        // One that was replaced in its turn has done what was waited for.
        #expect(
            progress("old", hasSigned: true) == .done("\(name) has signed; authority ef signs")
        )
    }

    @Test func `a log is told of a change, and not more often than each ten seconds`() {
        var pace = ProgressPace()
        let told = [
            (0, "a"), (1, "a"), (2, "b"), (9, "c"), (10, "c"), (11, "b"), (60, "c"), (70, "b"),
        ]
        .filter { pace.isDue($0.1, at: .seconds($0.0)) }
        .map { "\($0.0)\($0.1)" }
        #expect(told == ["0a", "10c", "70b"])
    }

    @Test func `a program is told of whom it waits for, and that a server is away`() throws {
        let waiting = list {
            $0.waitingAgents = ["web-1"]
            $0.waitingAgentCount = 1
        }
        let told = try JSONEncoder().encode(RotationWaitView(Self.id, "waits", waiting))
        #expect(
            String(decoding: told, as: UTF8.self).contains("\"waitingAgents\":[\"web-1\"]")
        )
        let away = try JSONEncoder().encode(RotationWaitView(Self.id, "cannot reach", nil))
        #expect(!String(decoding: away, as: UTF8.self).contains("waitingAgents"))
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
