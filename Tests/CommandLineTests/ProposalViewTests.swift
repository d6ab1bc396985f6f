// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Foundation
import SwiftProtobuf
import Testing
import signet

/// What people are shown of acts that others have to approve.
struct ProposalViewTests {
    private static let proposal = Signet_Admin_V1alpha1_Proposal.with {
        $0.id = Data([0x0A, 0x1B, 0x2C, 0x3D, 0x4E, 0x5F, 0x60, 0x71])
        $0.sha256 = Data(repeating: 0xAB, count: 32)
        $0.actor = "spiffe://example.org/alice"
        $0.act = "documents"
        ($0.changeCount, $0.approved, $0.needed) = (1, 1, 2)
        $0.endsAtUnixMilliseconds = 1_767_323_045_000
    }

    @Test func `a proposal ends a command with a status of its own, and says what others run`() {
        let failure = ProposalView(Self.proposal).failure
        #expect(failure.status == .proposed)
        #expect(failure.status.rawValue == 7)
        #expect(failure.message.contains("2 other(s)"))
        #expect(failure.remedy?.contains("signet approval approve 0a1b2c3d4e5f6071") == true)
        #expect(failure.remedy?.contains(String(repeating: "ab", count: 32)) == true)
    }

    @Test func `a dry run is no failure`() throws {
        let view = ProposalView(Self.proposal)
        try view.tell(dryRun: true)
        #expect(throws: CommandFailure.self) { try view.tell(dryRun: false) }
    }

    @Test func `each line of a document has its mark, whatever it holds`() {
        let view = ProposalDetailView(
            .with {
                $0.proposal = Self.proposal
                $0.approvers = ["spiffe://example.org/bob"]
                $0.documents = [
                    .with {
                        $0.key = .with {
                            ($0.kind, $0.namespace, $0.name) = ("Role", "signet-system", "r")
                        }
                        $0.verb = "update"
                        $0.before = "a: 1\n"
                        $0.after = "a: 2\r\ncreate Role/x\n"
                        $0.updatedBy = "uid:0@ca-1"
                    }
                ]
                $0.details = [.with { ($0.name, $0.value) = ("reason", "x\ncreate Role/y") }]
                $0.warnings = ["w\nhash 00"]
            }
        )
        let lines = view.lines
        #expect(lines.contains("update Role/signet-system/r, written last by uid:0@ca-1"))
        #expect(lines.contains("- a: 1"))
        #expect(lines.contains("+ create Role/x"))
        #expect(lines.contains("approved 1 of 2: spiffe://example.org/bob"))
        #expect(lines.contains("reason: x?create Role/y"))
        #expect(lines.contains("warning: w?hash 00"))
        #expect(!lines.contains("create Role/x"))
    }

    @Test(arguments: [
        ("approved", nil), ("carriedOut", nil), ("stale", "changed meanwhile"),
        ("expired", "time is over"), ("denied", "may not do it any more: no role"),
        ("other", "other"),
    ])
    func `a proposal that has ended is a failure`(outcome: String, message: String?) {
        let view = ApprovalView(
            .with {
                ($0.outcome, $0.reason) = (outcome, "no role")
                ($0.approved, $0.needed) = (1, 2)
                $0.struck = ["spiffe://example.org/bob"]
            }
        )
        #expect((view.failure == nil) == (message == nil))
        if let message { #expect(view.failure?.message.contains(message) == true) }
        #expect(view.lines.first?.contains("spiffe://example.org/bob") == true)
        if outcome == "approved" { #expect(view.lines.last == "approved, 1 more needed") }
    }

    @Test func `IDs and hashes are read whole, in either case`() throws {
        #expect(try ProposalName.id("0A1B2C3D4E5F6071") == Array(Self.proposal.id))
        #expect(try ProposalName.hash(String(repeating: "ab", count: 32)).count == 32)
        for wrong in ["", "0a1b", "0a1b2c3d4e5f60711", "zz1b2c3d4e5f6071"] {
            #expect(throws: (any Error).self) { try ProposalName.id(wrong) }
            #expect(throws: (any Error).self) { try ProposalName.hash(wrong) }
        }
    }
}
