// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos

/// The answer to `signet ca recheck` as it comes in.
package struct RecheckReading {
    private var findings: [RecheckView.Finding] = []
    private var summary: Signet_Admin_V1alpha1_RecheckSummary?

    package init() {}

    /// Takes the next part that the server has sent.
    ///
    /// - Returns: How far it is, if the part says it.
    /// - Throws: `CommandFailure` for a part that cannot be where it is.
    package mutating func take(
        _ part: Signet_Admin_V1alpha1_RecheckPart
    ) throws -> String? {
        guard summary == nil else { throw Self.broken("more followed its end") }
        switch part.part {
        case .finding(let finding):
            findings.append(
                RecheckView.Finding(
                    name: finding.name,
                    serial: finding.serial,
                    spiffeID: finding.spiffeID,
                    record: finding.record,
                    detail: finding.detail
                )
            )
        case .progress(let progress):
            return "\(progress.recordsRead) of \(progress.records) records, "
                + "\(progress.certificates) certificates"
        case .summary(let summary): self.summary = summary
        case nil: throw Self.broken("it sent something that this program does not know")
        }
        return nil
    }

    /// What came out.
    ///
    /// - Throws: `CommandFailure` when the answer has no end.
    package func finish() throws -> RecheckView {
        guard let summary else { throw Self.broken("it ended early") }
        return RecheckView(
            firstRecord: summary.firstRecord,
            endRecord: summary.endRecord,
            certificates: summary.certificates,
            findings: summary.findings,
            notJudged: summary.notJudged,
            notJudgedReasons: summary.notJudgedReasons,
            found: findings
        )
    }

    private static func broken(_ what: String) -> CommandFailure {
        CommandFailure("the answer is not complete: \(what)", remedy: "Try again.")
    }
}

/// What was found, for programs.
package struct RecheckView: Encodable, Sendable {
    struct Finding: Encodable, Sendable {
        var name: String
        /// Hexadecimal, as `signet svid show` has it; empty for a record of the log as a whole.
        var serial: String
        var spiffeID: String
        /// The index of the record in the audit log.
        var record: UInt64
        var detail: String
    }

    /// The records of the log that were read, from this one on.
    var firstRecord: UInt64
    /// One more than the last of them.
    var endRecord: UInt64
    var certificates: UInt64
    /// Those that were not listed are among them.
    package var findings: UInt64
    /// Certificates of which something could not be judged.
    var notJudged: UInt64
    var notJudgedReasons: [String: UInt64]
    var found: [Finding]

    package var table: Table {
        Table(
            empty: "nothing found",
            headings: ["FINDING", "SERIAL", "SPIFFE ID", "RECORD", "DETAIL"],
            rows: found.map {
                [
                    $0.name, $0.serial.isEmpty ? "-" : $0.serial,
                    $0.spiffeID.isEmpty ? "-" : $0.spiffeID, String($0.record), $0.detail,
                ]
            }
        )
    }

    /// The numbers in one sentence.
    package var summary: String {
        var text = "\(certificates) certificates of records \(firstRecord) to below "
        text += "\(endRecord): \(findings) findings"
        let listed = UInt64(found.count)
        if findings > listed { text += ", of which \(findings - listed) are not listed" }
        text += ", \(notJudged) not judged"
        guard !notJudgedReasons.isEmpty else { return text }
        let reasons = notJudgedReasons.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        return text + " (\(reasons.joined(separator: ", ")))"
    }
}
