// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPI
internal import DurableFiles
internal import GRPCCore
internal import GRPCPeer

/// What the exit status of every command means; docs/command-line.md has the same table.
package enum ExitStatus: Int32, CaseIterable, Sendable {
    case done = 0
    case failed = 1
    case unconfirmed = 3
    case tampered = 4
    case denied = 5
    case unreachable = 6
    case proposed = 7
    case usage = 64

    var code: ExitCode { ExitCode(rawValue) }

    /// In the words of `signet --help`.
    package var meaning: String {
        switch self {
        case .done: "done"
        case .failed: "refused or failed"
        case .unconfirmed: "done, but not confirmed by everybody (--wait)"
        case .tampered: "the audit log or the decision log was changed"
        case .denied: "policies deny the request (explain request)"
        case .unreachable: "server or agent not reachable"
        case .proposed: "proposed: others have to approve"
        case .usage: "wrong usage"
        }
    }
}

/// Why a command ended without success: one sentence, and what to do about it.
package struct CommandFailure: Error {
    package let status: ExitStatus
    package let message: String
    package let remedy: String?
    /// Whether a server or agent answered that.
    private(set) var isAnswer = false

    init(_ message: String, remedy: String? = nil, status: ExitStatus = .failed) {
        self.status = status
        self.message = message
        self.remedy = remedy
    }

    /// What the server or agent at `address` answered, or that nobody did.
    init(_ error: RPCError, at address: String, peer: PeerName) {
        let refusal = APIError(error)
        switch (refusal.reason, refusal.kind) {
        case ("transport", .unavailable):
            self.init(
                "cannot reach the \(peer) at \(address): \(Self.reason(error))",
                remedy: "Is it running, and the address right? `signet dev` starts a server and an "
                    + "agent here.",
                status: .unreachable
            )
        case ("transport", .unimplemented):
            self.init(
                "what listens at \(address) is no \(peer) that knows this command",
                remedy: "Check the address: is it the \(peer)'s, and the \(peer) not older than "
                    + "this program?"
            )
        case ("transport", _):
            self.init(
                "the \(peer) at \(address) answered \(error.code): \(error.message)",
                remedy: "The \(peer)'s log may tell more."
            )
        default:
            self.init(
                "\(refusal.message) [\(refusal.reason)]",
                remedy: Self.remedy(for: refusal, peer: peer)
            )
        }
        isAnswer = status != .unreachable
    }

    /// Why there is no connection, without what the library says of its own settings.
    private static func reason(_ error: RPCError) -> String {
        if let cause = error.cause, let text = ConnectionReason.text(of: cause) { return text }
        let advice = "'wait for ready' isn't enabled. "
        let message = error.message.split(separator: advice).last.map(String.init) ?? ""
        return message + (error.cause.map { " (\($0))" } ?? "")
    }

    /// What was thrown on this machine.
    init(_ error: any Error) {
        switch error {
        case let failure as Self: self = failure
        case let error as FileError:
            self.init("\(error)", remedy: "Check the path and what this user may do there.")
        default: self.init("\(error)")
        }
    }

    /// What to do about a refusal whose sentence does not say it.
    private static func remedy(for refusal: APIError, peer: PeerName) -> String? {
        switch refusal.reason {
        case "adminDenied":
            "Rights come from a RoleBinding that names you, or `admins` of the server's "
                + "configuration; see docs/command-line.md, \"Rights\"."
        case "agentAway", "nodeUnknown": "`signet agent list` shows all and their state."
        case "port":
            "It is the port of `forward`, or workloadPort: `signet get Proxy -A -o yaml` shows it."
        case "proxyAway", "proxyUnknown", "proxyAmbiguous":
            "`signet proxy list -A` shows those that are there, and their nodes."
        case "proposalStale", "proposalUnknown", "proposalUnreadable":
            "`signet approval list` shows those that wait."
        case "conflict": "`signet get KIND NAME -o yaml` shows it as it is now."
        case "documentUnknown", "entryUnknown": "`signet get KIND -A` lists those there are."
        case "decisionUnknown":
            "`signet explain request` says what policies decide now; the proxy's log has what it "
                + "denied. An agent sends what it has within some 10 seconds."
        case "documentRefused": "Nothing was changed. Mend the places named, and apply again."
        case "identityUnknown": "`signet entry list -A` shows who may get which identity."
        case "orderEmpty": "The files named by -f hold no document."
        default:
            switch refusal.kind {
            case .permissionDenied, .unauthenticated:
                peer == .agent ? nil : "`signet get RoleBinding -A` shows who may do what."
            case .exhausted, .unavailable: "Try again later; `signet health` says what is wrong."
            case .fault: "The server's log has the detail."
            case .conflict, .failedPrecondition, .invalidArgument, .notFound, .unimplemented: nil
            }
        }
    }
}
