// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import Synchronization

/// What the Workload API says to this process, over one connection after the other.
struct WorkloadStream: Sendable {
    enum Event: Sendable {
        /// Nothing is to be gained by trying again.
        case failed(CommandFailure)
        /// Every identity of the process now, in the agent's order.
        case identities([WorkloadIdentity])
        /// The agent cannot answer now, or answered something that is not used.
        case interrupted(CommandFailure, retryIn: Duration)
        /// The process is entitled to nothing.
        case refused(CommandFailure, retryIn: Duration)
    }

    /// Without it an agent refuses every call: a browser cannot be made to send it (Workload
    /// Endpoint section 5).
    static let header: Metadata = ["workload.spiffe.io": "true"]

    let path: String
    let clock = SystemClock()

    /// Reports every change until the task is cancelled or trying again is in vain.
    func run(_ report: @escaping @Sendable (Event) -> Void) async {
        let failures = Mutex(0)
        while !Task.isCancelled {
            let failure: CommandFailure
            var kind = APIError.Kind.unavailable
            do {
                try await follow {
                    failures.withLock { $0 = 0 }
                    report(.identities($0))
                }
                failure = CommandFailure("the agent closed the stream")
            } catch let error as RPCError {
                kind = APIError(error).kind
                failure = Self.failure(error, at: path)
            } catch {
                failure = error as? CommandFailure ?? CommandFailure("\(error)")
            }
            guard !Task.isCancelled else { return }
            // What was typed wrongly stays so.
            if failure.status == .usage {
                report(.failed(failure))
                return
            }
            let count = failures.withLock {
                $0 += 1; return $0 - 1
            }
            let delay = Backoff.delay(afterFailures: count)
            switch kind {
            case .invalidArgument, .unimplemented:
                report(.failed(failure))
                return
            case .permissionDenied: report(.refused(failure, retryIn: delay))
            default: report(.interrupted(failure, retryIn: delay))
            }
            try? await clock.sleep(untilBoot: clock.bootTime + delay)
        }
    }

    /// The first message of the stream.
    func once() async throws -> [WorkloadIdentity] {
        try SocketPath.checkListener(path, peer: .agent)
        do {
            return try await SocketPath.connect(path) { client in
                try await SpiffeWorkloadAPI.Client(wrapping: client).fetchX509SVID(
                    X509SVIDRequest(),
                    metadata: Self.header
                ) { response in
                    for try await message in response.messages {
                        return try WorkloadIdentity.all(of: message)
                    }
                    throw CommandFailure(
                        "the agent closed the stream without an answer",
                        remedy: "Try again."
                    )
                }
            }
        } catch let error as RPCError {
            throw Self.failure(error, at: path)
        } catch let error as WorkloadIdentityError {
            throw CommandFailure("\(error)", remedy: "Nothing was used of the agent's answer.")
        }
    }

    /// Reads one stream to its end.
    private func follow(
        _ report: @escaping @Sendable ([WorkloadIdentity]) -> Void
    ) async throws {
        try SocketPath.checkListener(path, peer: .agent)
        try await SocketPath.connect(path) { client in
            try await SpiffeWorkloadAPI.Client(wrapping: client).fetchX509SVID(
                X509SVIDRequest(),
                metadata: Self.header
            ) { response in
                for try await message in response.messages {
                    report(try WorkloadIdentity.all(of: message))
                }
            }
        }
    }

    static func failure(_ error: RPCError, at path: String) -> CommandFailure {
        // An answer of the agent, who was reached, and not what the library says of a connection.
        if error.code == .unavailable, error.cause == nil {
            return CommandFailure(
                "the agent cannot answer now: \(error.message)",
                remedy: "Try again in a moment; `signet health` says what is wrong."
            )
        }
        guard error.code == .permissionDenied else {
            return CommandFailure(error, at: path, peer: .agent)
        }
        return CommandFailure(
            "PermissionDenied: \(error.message)",
            remedy: "`signet explain workload --pid N` tells why, for a process that runs."
        )
    }
}

/// How long a client waits before it tries again (Workload Endpoint section 6).
package enum Backoff {
    /// A refusal may be about an entry that is just being made.
    package static let firstMax = Duration.milliseconds(500)
    /// Long enough to spare an agent with thousands of workloads, short against an SVID's life.
    package static let delayMax = Duration.seconds(30)

    /// Between half and the whole of a bound that doubles with each failure, so that workloads
    /// which were refused together do not come back together.
    package static func delay(afterFailures failures: Int) -> Duration {
        let bound = min(firstMax * (1 << min(failures, 10)), delayMax)
        return bound * Double.random(in: 0.5...1)
    }
}
