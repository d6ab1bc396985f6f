// SPDX-License-Identifier: Apache-2.0

package import ControlAPI

/// Why a server below is not answered; each as a sentence that its log can show.
package enum DownstreamRefusal: Error, Hashable, Sendable {
    /// The server above does not do it, in its words.
    case above(APIError)
    /// What the server above signed is given to nobody, by this rule.
    case answerRefused(String)
    /// The entry changed while the server above was asked.
    case entryChanged
    /// The caller runs another program by now, or has ended.
    case executableReplaced
    /// The request breaks this rule.
    case invalid(rule: String, String)
    /// The bundle has no root that may have authorities below it.
    case noRoot
    /// No entry says that the caller is a server below.
    case notDownstream(pid: Int32)
    case rate(retryAfter: Duration)
    /// More than one entry says so.
    case severalEntries(Int, pid: Int32)
    /// More is to be told than a message takes.
    case tooMuch(String)
    /// It cannot be known yet, or nobody can be asked.
    case unavailable(APIError)
    /// A request of this server below was not answered yet, or too many of all were not.
    case underWay
    /// As many streams of the caller's user, or of all, are open as may be.
    case watches

    /// As it goes to the caller.
    package var error: APIError {
        switch self {
        case .above(let error): Self.told(error)
        case .answerRefused, .noRoot, .tooMuch: APIError(.failedPrecondition, reason, sentence)
        case .entryChanged: APIError(.unavailable, reason, sentence)
        case .executableReplaced, .notDownstream, .severalEntries:
            APIError(.permissionDenied, reason, sentence)
        case .invalid: APIError(.invalidArgument, reason, sentence)
        case .rate(let wait): APIError(.exhausted, reason, sentence, retryAfter: wait)
        case .unavailable(let error): error
        case .underWay, .watches: APIError(.exhausted, reason, sentence)
        }
    }

    /// What the server above said, as the server below reads it.
    private static func told(_ error: APIError) -> APIError {
        guard error.kind != .unimplemented else {
            return APIError(
                .failedPrecondition,
                "serverOlder",
                "the server above is of a release that certifies no servers below it; renew it"
            )
        }
        // No server said it: the connection failed, or the time was over.
        guard error.reason != "transport" else {
            let words = "no answer of the server above: \(error.message)"
            return APIError(.unavailable, error.reason, words)
        }
        return APIError(
            error.kind,
            error.reason,
            "the server above: \(error.description)",
            retryAfter: error.retryAfter
        )
    }

    /// The rule's name.
    private var reason: String {
        switch self {
        case .above(let error), .unavailable(let error): error.reason
        case .answerRefused: "answerRefused"
        case .entryChanged: "entryChanged"
        case .executableReplaced: "executableReplaced"
        case .invalid(let rule, _): rule
        case .noRoot: "noRootAbove"
        case .notDownstream: "notDownstream"
        case .rate: "certifyRate"
        case .severalEntries: "severalDownstream"
        case .tooMuch: "trustTooLarge"
        case .underWay: "certifyUnderWay"
        case .watches: "watchesOpen"
        }
    }

    private var sentence: String {
        switch self {
        case .above(let error), .unavailable(let error): error.message
        case .answerRefused(let rule):
            "what the server above signed is not what it was asked for: \(rule)"
        case .entryChanged: "the entry has just changed; ask again"
        case .executableReplaced: WorkloadAttestationError.executableReplaced.description
        case .invalid(_, let text): text
        case .noRoot:
            "the server above has no root: its upstream is none, or its roots were revoked; see "
                + "signet authority show there"
        case .notDownstream(let pid):
            "no registration entry with downstream: true means this process; an admin can ask "
                + "signet explain workload --pid \(pid)"
        case .rate: "this server asks for certificates more often than it is given any; wait"
        case .severalEntries(let count, let pid):
            "\(count) registration entries with downstream: true mean this process, and one may; "
                + "signet explain workload --pid \(pid) names them"
        case .tooMuch(let what):
            "\(what), which is more than a server below is told; what it knew before stays"
        case .underWay:
            "a request of this server, or as many of others as may be, is not answered; wait"
        case .watches: "as many streams of what is above are open as may be; close some of them"
        }
    }

    /// The label of a metric.
    package var label: String {
        switch self {
        case .above: "above"
        case .answerRefused: "badAnswer"
        case .executableReplaced, .notDownstream, .severalEntries: "denied"
        case .invalid: "invalid"
        case .noRoot: "noRoot"
        case .rate, .underWay, .watches: "refused"
        case .tooMuch: "tooMuch"
        case .entryChanged, .unavailable: "unavailable"
        }
    }
}
