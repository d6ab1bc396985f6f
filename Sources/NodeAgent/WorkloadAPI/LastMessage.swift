// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// What a stream of the Workload API has sent last: a view may change in what a profile does not
/// show, and nothing is said twice.
final class LastMessage<Message: Equatable & Sendable>: Sendable {
    private let last = Mutex<Message?>(nil)

    /// Notes a message; whether it is to be sent, because it says something else than the last.
    func replace(by message: Message) -> Bool {
        last.withLock { last in
            guard last != message else { return false }
            last = message
            return true
        }
    }
}
