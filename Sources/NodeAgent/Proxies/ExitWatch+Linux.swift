// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Dispatch
package import GRPCPeer
internal import Synchronization

/// Tells when processes have exited that left without draining.
///
/// One thread waits in the kernel for all of them, and only while there are any.
package final class ExitWatch: Sendable {
    /// Most processes watched at a time, each with a descriptor: as many as the roster remembers.
    package static let watchedMax = ProxyRoster.departedMax

    /// What became of a request.
    package enum Outcome: Hashable, Sendable {
        /// The process has exited already; nothing is told of it.
        case exited
        /// Nothing will be told: the kernel does not say, or there are too many.
        case notWatched
        case watched
    }

    private struct Watched {
        /// A pidfd of its own: it becomes readable when the process has exited.
        let descriptor: Int32
        let onExit: @Sendable () -> Void
    }

    private struct State {
        var watched: [UInt64: Watched] = [:]
        /// Whether the thread waits, or will.
        var isWaiting = false
    }

    /// Nobody's key: it tells the thread to look whether there is still something to wait for.
    private static let wakeKey = UInt64.max

    private let epoll = clinux_epoll_create()
    private let wake = clinux_eventfd()
    /// Not the pool of the tasks: it waits in the kernel for as long as somebody is watched.
    private let queue = DispatchQueue(label: "signet.agent.exits")
    private let state = Mutex(State())

    /// One that watches nobody yet.
    ///
    /// It never will if there are no descriptors left for it.
    package init() {
        _ = clinux_epoll_add(epoll, wake, Self.wakeKey, false)
    }

    // The thread keeps the object as long as somebody is watched, so nobody waits here.
    deinit {
        clinux_close(epoll)
        clinux_close(wake)
    }

    /// Watches a process until it exits or is not kept.
    ///
    /// - Parameters:
    ///   - pid: What the process was called when it was known to be there.
    ///   - key: Names the watch; none is given twice.
    ///   - standing: What the kernel says of the process now.
    ///   - onExit: Called once when it has exited, on a thread that may block.
    /// - Returns: What became of it.
    package func watch(
        _ pid: Int32,
        as key: UInt64,
        standing: () -> ProcessStanding,
        onExit: @escaping @Sendable () -> Void
    ) -> Outcome {
        let descriptor = clinux_pidfd_open(pid)
        // Asked afterwards: if it runs still, then the PID was its own when it was opened.
        let standing = standing()
        guard standing == .running, descriptor >= 0 else {
            clinux_close(descriptor)
            return standing == .exited ? .exited : .notWatched
        }
        let (isWatched, isFirst) = state.withLock { state in
            guard state.watched.count < Self.watchedMax, state.watched[key] == nil,
                clinux_epoll_add(epoll, descriptor, key, false) == 0
            else { return (false, false) }
            state.watched[key] = Watched(descriptor: descriptor, onExit: onExit)
            defer { state.isWaiting = true }
            return (true, !state.isWaiting)
        }
        guard isWatched else {
            clinux_close(descriptor)
            return .notWatched
        }
        if isFirst { queue.async { self.wait() } }
        return .watched
    }

    /// Watches nobody else any more.
    package func keep(only keys: Set<UInt64>) {
        let isIdle = state.withLock { state in
            for (key, watched) in state.watched where !keys.contains(key) {
                state.watched[key] = nil
                forget(watched)
            }
            return state.isWaiting && state.watched.isEmpty
        }
        if isIdle { clinux_eventfd_signal(wake) }
    }

    /// How many are watched.
    package var count: Int { state.withLock { $0.watched.count } }

    /// Waits until nobody is watched any more.
    private func wait() {
        while true {
            var event = clinux_event()
            let found = unsafe clinux_epoll_wait(epoll, &event, 1, -1)
            let key = found == 1 ? event.key : nil
            let (onExit, isLast) = state.withLock { state in
                if key == Self.wakeKey { clinux_eventfd_clear(wake) }
                // One that was let go after the kernel told of it is nobody's any more.
                let exited = key.flatMap { state.watched.removeValue(forKey: $0) }
                if let exited { forget(exited) }
                let isLast = state.watched.isEmpty || found < 0
                if isLast { state.isWaiting = false }
                return (exited?.onExit, isLast)
            }
            onExit?()
            if isLast { return }
        }
    }

    private func forget(_ watched: Watched) {
        _ = clinux_epoll_remove(epoll, watched.descriptor)
        clinux_close(watched.descriptor)
    }
}
