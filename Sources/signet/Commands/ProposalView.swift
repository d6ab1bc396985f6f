// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
internal import Foundation
internal import SPIFFE
internal import SwiftProtobuf

/// An act that others have to approve, for people and programs.
package struct ProposalView: Encodable, Sendable {
    /// Empty of a dry run.
    var id: String
    /// Of its content; whoever approves it says that he has seen this.
    var hash: String
    var by: String
    var act: String
    var changes: UInt32
    var approved: UInt32
    var needed: UInt32
    var endsAt: String

    package init(_ proposal: Signet_Admin_V1alpha1_Proposal) {
        id = Hexadecimal.text(proposal.id)
        hash = Hexadecimal.text(proposal.sha256)
        by = proposal.actor
        act = proposal.act
        changes = proposal.changeCount
        approved = proposal.approved
        needed = proposal.needed
        endsAt = Terminal.time(unixMilliseconds: proposal.endsAtUnixMilliseconds)
    }

    /// Says on standard error that nothing was changed, and what others have to do.
    ///
    /// - Parameter dryRun: Whether nobody wanted more than to know.
    /// - Throws: `CommandFailure` with the status `proposed`, unless it was a dry run.
    package func tell(dryRun: Bool) throws {
        guard dryRun else {
            throw failure
        }
        Terminal.error("others have to approve this: \(needed)")
    }

    /// That nothing was done, and who has to do what.
    package var failure: CommandFailure {
        CommandFailure(
            "proposed, and not done: \(needed) other(s) have to approve it until \(endsAt)",
            remedy: "They run: signet approval approve \(id)    (hash \(hash))",
            status: .proposed
        )
    }

    static func table(_ proposals: [Self]) -> Table {
        Table(
            empty: "nothing waits for approval that you could know of",
            headings: ["ID", "ACT", "CHANGES", "BY", "APPROVED", "UNTIL"],
            rows: proposals.map {
                [
                    $0.id, $0.act, "\($0.changes)", $0.by, "\($0.approved) of \($0.needed)",
                    $0.endsAt,
                ]
            }
        )
    }
}

/// All of a proposal.
package struct ProposalDetailView: Encodable, Sendable {
    struct Document: Encodable {
        var document: String
        var verb: String
        /// YAML; nil where there is none.
        var before: String?
        var after: String?
        /// Who wrote it last; nil for a new one.
        var updatedBy: String?
    }

    var proposal: ProposalView
    var approvers: [String]
    var documents: [Document]
    /// What an act that is not about documents is about.
    var details: [Detail]
    /// What whoever does it would be warned of.
    var warnings: [String]

    struct Detail: Encodable {
        var name: String
        var value: String
    }

    package init(_ response: Signet_Admin_V1alpha1_GetProposalResponse) {
        proposal = ProposalView(response.proposal)
        approvers = response.approvers
        documents = response.documents.map { document in
            Document(
                document: document.key.text,
                verb: document.verb,
                before: document.before.isEmpty ? nil : document.before,
                after: document.after.isEmpty ? nil : document.after,
                updatedBy: document.updatedBy.isEmpty ? nil : document.updatedBy
            )
        }
        warnings = response.warnings
        details = response.details.map { Detail(name: $0.name, value: $0.value) }
    }

    /// The whole of it for people, line by line, with marks before the lines of documents: `-` as it
    /// is, `+` as it would be.
    package var lines: [String] {
        var lines = [
            "proposal \(proposal.id) (\(proposal.act)) by \(proposal.by), until \(proposal.endsAt)",
            "hash \(proposal.hash)",
            "approved \(proposal.approved) of \(proposal.needed)"
                + (approvers.isEmpty ? "" : ": \(approvers.joined(separator: ", "))"),
        ]
        // A line feed in what somebody wrote must not look like a line of ours.
        lines += details.map { Terminal.printable("\($0.name): \($0.value)") }
        for document in documents {
            let writer = document.updatedBy.map { ", written last by \($0)" } ?? ""
            lines += ["", "\(document.verb) \(document.document)\(writer)"]
            lines += Self.marked("-", document.before) + Self.marked("+", document.after)
        }
        if !warnings.isEmpty { lines.append("") }
        lines += warnings.map { Terminal.printable("warning: \($0)") }
        return lines
    }

    private static func marked(_ mark: String, _ text: String?) -> [String] {
        guard let text else { return [] }
        // By scalars: CR and LF together are one character that is no line feed.
        var lines = text.unicodeScalars.split(
            separator: "\n",
            omittingEmptySubsequences: false
        ).map(String.init)
        if lines.last == "" { lines.removeLast() }
        return lines.map { "\(mark) \($0)" }
    }
}

/// What became of a proposal that somebody approved.
package struct ApprovalView: Encodable, Sendable {
    /// `approved`: others are needed still; `carriedOut`; else why it has ended.
    var outcome: String
    var approved: UInt32
    var needed: UInt32
    /// Who had approved it and counts no more.
    var struck: [String]
    /// What became of its documents, if they were changed.
    var applied: ApplyCommand.View?
    private var reason: String

    private enum CodingKeys: CodingKey {
        case outcome
        case approved
        case needed
        case struck
        case applied
    }

    package init(_ response: Signet_Admin_V1alpha1_ApproveProposalResponse) {
        outcome = response.outcome
        approved = response.approved
        needed = response.needed
        struck = response.struck
        applied = response.hasApplied ? ApplyCommand.View(response.applied) : nil
        reason = response.reason
    }

    /// Nil if it counts, or was done.
    package var failure: CommandFailure? {
        let (what, remedy): (String, String)
        switch outcome {
        case "approved", "carriedOut": return nil
        case "stale":
            what = "what it changes was changed meanwhile"
            remedy = "Who proposed it may do so again, from what is there now."
        case "expired":
            what = "its time is over"
            remedy = "Who proposed it may do so again."
        case "denied":
            what = "who proposed it may not do it any more: \(reason)"
            remedy = "Somebody who may can propose it."
        default:
            what = outcome
            remedy = "The server is newer than this program, and says more to one of its version."
        }
        return CommandFailure(
            "the proposal has ended, nothing was changed: \(what)",
            remedy: remedy
        )
    }

    /// What to say of it.
    package var lines: [String] {
        var lines = struck.map { "\($0) may not do it any more, and counts no longer" }
        switch outcome {
        case "approved": lines.append("approved, \(needed - min(approved, needed)) more needed")
        case "carriedOut": lines.append("approved by all who are needed, and done")
        default: break
        }
        return lines
    }
}
