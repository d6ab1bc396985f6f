// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import Synchronization

/// The HTTP/2 stream of one request: whether its peer takes what is written, and its end.
///
/// Writing returns when a message is handed over, not when it is taken: until then a copy of it
/// waits here.
package final class RequestStream: Sendable {
    private struct State {
        var hasEnded = false
        var next: UInt64 = 0
        var waiting: [UInt64: CheckedContinuation<Void, Never>] = [:]

        mutating func takeWaiting() -> [CheckedContinuation<Void, Never>] {
            defer { waiting = [:] }
            return Array(waiting.values)
        }
    }

    private let channel: any Channel
    private let state = Mutex(State())

    init(_ channel: any Channel) {
        self.channel = channel
    }

    /// The channel may take more than before, or has ended.
    func changed(hasEnded: Bool) {
        let waiting = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.hasEnded = state.hasEnded || hasEnded
            return state.hasEnded || channel.isWritable ? state.takeWaiting() : []
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Returns when the peer has taken what was written but for some KiB, when the stream has ended,
    /// or when the task is cancelled.
    package func drained() async {
        // What was written is on its way to the event loop, in order.
        try? await channel.eventLoop.submit {}.get()
        let id = state.withLock { state in
            state.next += 1
            return state.next
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if state.hasEnded || channel.isWritable || Task.isCancelled { return true }
                    state.waiting[id] = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiting.removeValue(forKey: id) }?.resume()
        }
    }

    /// Ends the request at once, with whatever its peer has not taken.
    package func end() { channel.close(promise: nil) }
}
