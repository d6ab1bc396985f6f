// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import GRPCCore

/// Why a stream to the agent ended, and what that means for this process.
package struct StreamEnd: Hashable, Sendable {
    /// Who ended it, and whether it may be had again.
    package enum Kind: Hashable, Sendable {
        /// Nobody answers, or the connection broke off.
        case away
        /// The agent is there and ended it, for the moment.
        case ended
        /// The agent is there and has no place for this process.
        case refused
        /// What the agent says cannot be read, so this process ended it.
        case unreadable
        /// The agent has no Proxy for this process any more: nothing of it may be served.
        case withdrawn
    }

    package let kind: Kind
    /// For people.
    package let reason: String

    /// The agent ended it as one ends a stream in which nothing is wrong.
    package static let byAgent = StreamEnd(.ended, "the agent ended the stream")

    private init(_ kind: Kind, _ reason: String) { (self.kind, self.reason) = (kind, reason) }

    /// Reads why it failed.
    package init(_ error: any Error) {
        switch error {
        case let error as RPCError:
            let refusal = APIError(error)
            self.init(Self.kind(of: refusal.reason), refusal.description)
        case is WireError, is ConfigurationGate.Violation: self.init(.unreadable, "\(error)")
        default: self.init(.away, "\(error)")
        }
    }

    /// What happened, for the log.
    package var headline: String {
        switch kind {
        case .away: "the agent is away"
        case .ended: "the agent has ended the stream"
        case .refused, .withdrawn: "the agent refuses this process"
        case .unreadable: "the agent cannot be understood"
        }
    }

    /// By the name of the rule; whatever an agent says, it is there.
    private static func kind(of rule: String) -> Kind {
        if withdrawing.contains(rule) { return .withdrawn }
        if refusing.contains(rule) { return .refused }
        return rule == "transport" ? .away : .ended
    }

    private static let refusing: Set<String> = [
        "alreadyServed", "ambiguous", "attestedInPart", "executableReplaced", "instanceTaken",
        "notAttested", "severalProxies", "wire",
    ]

    /// Other ends of streams withdraw nothing, because the last state stays.
    private static let withdrawing: Set<String> = ["noProxy", "proxyGone", "selectorsChanged"]
}
