// SPDX-License-Identifier: Apache-2.0

internal import Reactor
internal import Synchronization

/// What a loop is told, or asked.
enum LoopMessage: Sendable {
    /// Everything is done by it from now on; the listeners are those of the snapshot.
    case snapshot(ProxySnapshot, [OpenListener], Countdown)
    /// Finish what there is and take nothing more.
    case drain(Countdown)
    /// End at once.
    case stop
    /// With `handsOver` the aggregates of requests are not counted here any more.
    case counters(handsOver: Bool, Answer<ProxyCounters>)
    case connections(limit: Int, Answer<[ConnectionStatus]>)

    /// Answers in the place of a loop that has ended, so that nobody waits for it.
    func answer(inPlaceOf queue: RecordQueue) {
        switch self {
        case .snapshot(_, _, let countdown), .drain(let countdown): countdown.arrive()
        case .stop: break
        case .counters(let handsOver, let answer):
            answer.give(queue.lastCounters(handsOver: handsOver))
        case .connections(_, let answer): answer.give([])
        }
    }
}

/// Tells somebody when all loops are done with something.
final class Countdown: Sendable {
    private let left: Mutex<Int>
    private let done: @Sendable () -> Void

    /// - Parameters:
    ///   - count: How many loops there are.
    ///   - done: Called once, on the thread of the last of them.
    init(_ count: Int, _ done: @escaping @Sendable () -> Void) {
        left = Mutex(count)
        self.done = done
    }

    /// One of them is done.
    func arrive() {
        let isLast = left.withLock { left in
            left -= 1
            return left == 0
        }
        if isLast { done() }
    }
}

/// Gathers one answer of each loop.
final class Answer<Value: Sendable>: Sendable {
    private let values = Mutex<[Value]>([])
    private let count: Int
    private let done: @Sendable ([Value]) -> Void

    /// - Parameters:
    ///   - count: How many loops there are.
    ///   - done: Called once with all answers, on the thread of the last loop.
    init(_ count: Int, _ done: @escaping @Sendable ([Value]) -> Void) {
        self.count = count
        self.done = done
    }

    /// Gives one loop's answer.
    func give(_ value: Value) {
        let all: [Value]? = values.withLock { values in
            values.append(value)
            return values.count == count ? values : nil
        }
        if let all { done(all) }
    }
}

/// A listening socket that loops and the engine share; closed when the last of them lets go.
final class OpenListener: Sendable {
    let address: ListenAddress
    let socket: Socket
    /// What it made in the file system, and may remove again; nil for TCP.
    let file: SocketFile?

    init(_ address: ListenAddress, _ socket: consuming Socket, file: SocketFile? = nil) {
        self.address = address
        self.socket = socket
        self.file = file
    }
}
