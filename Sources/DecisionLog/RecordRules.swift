// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
internal import FoundationEssentials
internal import HTTPSemantics
internal import SPIFFE
internal import SwiftProtobuf

/// What a record may say, whoever wrote it; an agent asks before it keeps one, a server when it
/// reads a segment.
package enum RecordRules {
    /// Bytes of a process's instance.
    package static let instanceBytes = 5
    /// Bytes of the epoch of a revision.
    private static let epochBytes = 16
    /// Most counts of one record: with two IDs of the usual length they have some 200 KiB.
    package static let countsMax = 1_000

    /// Whether a decision keeps to the form and the limits of records.
    ///
    /// - Parameters:
    ///   - decision: What is recorded.
    ///   - instance: Of the process that made it.
    /// - Returns: Whether it may be kept.
    package static func admits(
        _ decision: Signet_Node_V1alpha1_DecisionExplanation,
        ofInstance instance: some Sequence<UInt8>
    ) -> Bool {
        guard let id = DecisionID(decision.id),
            id.instance == instance.reduce(0, { $0 << 8 | UInt64($1) }),
            decision.rules.isEmpty, !decision.hasLogged, !decision.hasToldBy,
            decision.timeUnixMilliseconds >= 0, decision.rule >= -1,
            decision.port <= UInt16.max,
            decision.revision.epoch.count == epochBytes,
            isIdentity(decision.identity), decision.peer.isEmpty || isIdentity(decision.peer),
            IPAddress(decision.peerAddress) != nil
        else { return false }
        return isName(decision.policyNamespace) && isName(decision.policy)
            && isName(decision.listener)
            && decision.shadowPolicy.utf8.count <= DecisionText.referenceBytesMax
            && decision.reason.utf8.count <= DecisionText.wordBytesMax
            && decision.method.utf8.count <= DecisionText.methodBytesMax
            && decision.path.utf8.count <= DecisionText.pathBytesMax
            && decision.nearestMiss.utf8.count <= DecisionText.nearestMissBytesMax
    }

    /// Whether a count keeps to the form and the limits of records.
    package static func admits(_ count: Signet_Proxy_V1alpha1_DecisionCount) -> Bool {
        isName(count.listener) && isName(count.policyNamespace) && isName(count.policy)
            && isIdentity(count.identity) && (count.peer.isEmpty || isIdentity(count.peer))
            && count.rule >= -1 && count.count > 0
    }

    /// Whether a whole record does.
    static func admits(_ record: Signet_Decisions_V1alpha1_SegmentRecord) -> Bool {
        guard record.instance.count == instanceBytes, record.heardAtUnixMilliseconds >= 0,
            record.proxy.utf8.count <= DecisionText.referenceBytesMax,
            record.proxy.utf8.count(where: { $0 == UInt8(ascii: "/") }) == 1
        else { return false }
        switch record.content {
        case .decision(let decision): return admits(decision, ofInstance: record.instance)
        case .counts(let counts):
            return (1...countsMax).contains(counts.counts.count)
                && counts.counts.allSatisfy { admits($0) }
        case nil: return false
        }
    }

    private static func isName(_ text: String) -> Bool {
        text.utf8.count <= DecisionText.nameBytesMax
    }

    private static func isIdentity(_ text: String) -> Bool { (try? SPIFFEID(text)) != nil }
}
