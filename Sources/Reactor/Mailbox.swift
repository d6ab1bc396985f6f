// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// Messages for one loop, from any thread: plain values, a bounded number, in their order.
///
/// The loop looks once for each turn, which costs one load when nothing came.
package final class Mailbox<Message: Sendable>: Sendable {
    /// Most messages that wait; the loop is stuck if they are more, and then posting fails.
    package static var messagesMax: Int { 1024 }

    private struct State: ~Copyable {
        var messages: [Message] = []
        var isClosed = false
    }

    private let state = Mutex(State())
    private let posted = Atomic<Int>(0)
    /// For the loop's poller.
    package let wakeUp: WakeUp

    /// - Throws: What the kernel says.
    package init() throws(SystemError) { wakeUp = try WakeUp() }

    /// Adds a message and wakes the loop.
    ///
    /// - Returns: Whether there was room for it, and the mailbox is open.
    @discardableResult
    package func post(_ message: Message) -> Bool {
        let isTaken = state.withLock { state in
            guard !state.isClosed, state.messages.count < Self.messagesMax else { return false }
            state.messages.append(message)
            return true
        }
        guard isTaken else { return false }
        posted.add(1, ordering: .releasing)
        wakeUp.signal()
        return true
    }

    /// How many messages were ever posted: the loop compares it with what it saw last.
    package var postedCount: Int { posted.load(ordering: .acquiring) }

    /// Takes all messages, if there are new ones since `seen`.
    package func take(ifNewerThan seen: inout Int) -> [Message] {
        let count = postedCount
        guard count != seen else { return [] }
        seen = count
        wakeUp.clear()
        return takeAll(closing: false)
    }

    /// Takes no more messages.
    ///
    /// - Returns: Those that were not taken yet.
    package func close() -> [Message] { takeAll(closing: true) }

    private func takeAll(closing: Bool) -> [Message] {
        state.withLock { state in
            let messages = state.messages
            state.messages = []
            if closing { state.isClosed = true }
            return messages
        }
    }
}
