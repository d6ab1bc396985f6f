// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import ControlAPI
internal import GRPCCore

/// What the exit status of every command means; stated in `signet --help`.
enum ExitStatus: Int32 {
    case failed = 1
    case unconfirmed = 3
    case tampered = 4
    case unreachable = 6

    var code: ExitCode { ExitCode(rawValue) }
}

/// Why a command ended without success: one sentence, and what to do about it.
package struct CommandFailure: Error {
    let status: ExitStatus
    let message: String
    let remedy: String?

    init(_ message: String, remedy: String? = nil, status: ExitStatus = .failed) {
        self.status = status
        self.message = message
        self.remedy = remedy
    }

    /// What the server or agent at `address` answered, or that nobody did.
    init(_ error: RPCError, at address: String, peer: String) {
        let refusal = APIError(error)
        if refusal.reason == "transport", refusal.kind == .unavailable {
            let cause = error.cause.map { " (\($0))" } ?? ""
            self.init(
                "cannot reach the \(peer) at \(address): \(error.message)\(cause)",
                remedy: "Is it running? `signet dev` starts a server and an agent here.",
                status: .unreachable
            )
        } else {
            self.init(
                "\(refusal.message) [\(refusal.reason)]",
                remedy: Self.remedy(for: refusal, peer: peer)
            )
        }
    }

    /// What to do about a refusal whose sentence does not say it.
    private static func remedy(for refusal: APIError, peer: String) -> String? {
        switch refusal.kind {
        case .notFound where refusal.reason == "documentUnknown":
            "`signet get KIND -A` lists those there are."
        case .notFound where refusal.reason == "nodeUnknown": "`signet agent list` shows all."
        case .permissionDenied, .unauthenticated:
            peer == "agent"
                ? nil
                : "`signet get RoleBinding -A` shows who may do what; `admins` of server.yaml may do all."
        case .exhausted, .unavailable: "Try again later; `signet health` says what is wrong."
        case .fault: "The server's log has the detail under the reference above."
        case .conflict, .failedPrecondition, .invalidArgument, .notFound, .unimplemented: nil
        }
    }
}
