// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import SwiftProtobuf
import Testing
import signet

/// What `signet federation show` says.
struct FederationViewTests {
    private typealias Response = Signet_Admin_V1alpha1_ListFederationResponse
    private typealias Bundle = Signet_Admin_V1alpha1_FederatedBundle

    private func view(_ change: (inout Bundle) -> Void = { _ in }) -> FederationView {
        var bundle = Bundle.with { $0.trustDomain = "partner.example" }
        change(&bundle)
        return FederationView(Response.with { $0.bundles = [bundle] })
    }

    @Test func `a state says what workloads are given`() {
        #expect(view().table.rows[0][1] == "not fetched")
        let believed = view { $0.confirmedAtUnixSeconds = 1_800_000_000 }
        #expect(believed.table.rows[0][1] == "believed")
        let withheld = view { ($0.confirmedAtUnixSeconds, $0.withheld) = (1_800_000_000, true) }
        #expect(withheld.table.rows[0][1] == "withheld")
    }

    @Test func `a refresh of which nothing came says what workloads have`() {
        typealias Answer = Signet_Admin_V1alpha1_RefreshFederationResponse
        func consequence(_ state: String) -> String {
            Answer.with { $0.state = state }.consequence
        }
        #expect(consequence("believed") == "; what was fetched before stays in force")
        #expect(consequence("withheld") == "; what was fetched before is withheld")
        #expect(consequence("notFetched") == "; nothing was fetched before")
        // A server of the release before does not say it.
        #expect(consequence("") == "")
    }

    @Test func `a sequence of 0 is another thing than none`() {
        #expect(view().table.rows[0][2] == "-")
        #expect(view { $0.hasSequence_p = true }.table.rows[0][2] == "0")
        let most = view { ($0.hasSequence_p, $0.sequence) = (true, .max) }
        #expect(most.table.rows[0][2] == "18446744073709551615")
    }

    @Test func `one trust domain is shown with all that is known of it`() {
        let rows = view { ($0.problem, $0.failuresInRow) = ("the status is 404", 2) }.details.rows
        #expect(rows.contains(["problem", "the status is 404"]))
        #expect(rows.contains(["failures in a row", "2"]))
        #expect(rows.contains(["next fetch", "-"]))
    }
}
