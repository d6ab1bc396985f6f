// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// Decides which requests of servers below an agent hands on, so that one of them takes neither the
/// agent's connection nor the server above.
package struct DownstreamAdmission: Sendable {
    /// Requests of one entry a minute for long: a server asks again each 10 s after a failure.
    package static let perMinuteMax: Double = 12
    /// The same at once.
    package static let atOnceMax: Double = 12
    /// Requests under way, of as many entries: each waits for the server above, 30 s at most.
    package static let underWayMax = 8
    /// Most entries whose rates are remembered; beyond it nobody new is served until somebody has
    /// rested, which takes a minute.
    package static let entriesMax = 256
    /// Streams of what is above for one user: a server has one, and two while it begins another.
    package static let watchesPerUserMax = 8
    /// The same for all users.
    package static let watchesMax = 64

    private var budgets = CallerBudgets<String>(
        perSecond: perMinuteMax / 60,
        atOnce: atOnceMax,
        callersMax: entriesMax
    )
    private var underWay: Set<String> = []
    private var watches: [UInt32: Int] = [:]
    private var watchCount = 0

    /// Nobody has asked yet.
    package init() {}

    /// The server of an entry asks for a certificate; if nothing is returned, `left` has to follow.
    ///
    /// - Parameters:
    ///   - entry: The entry's ID.
    ///   - now: Time since boot.
    /// - Returns: Why the server above is not asked.
    package mutating func entered(entry: String, now: Duration) -> DownstreamRefusal? {
        guard !underWay.contains(entry), underWay.count < Self.underWayMax else {
            return .underWay
        }
        if let wait = budgets.take(from: entry, now: now) { return .rate(retryAfter: wait) }
        underWay.insert(entry)
        return nil
    }

    /// The request of an entry is over.
    package mutating func left(entry: String) { underWay.remove(entry) }

    /// A process opens a stream of what is above; if nothing is returned, `closed` has to follow.
    ///
    /// - Parameter uid: Its user.
    /// - Returns: Why it is not served.
    package mutating func opened(uid: UInt32) -> DownstreamRefusal? {
        let own = watches[uid, default: 0]
        guard own < Self.watchesPerUserMax, watchCount < Self.watchesMax else { return .watches }
        watches[uid] = own + 1
        watchCount += 1
        return nil
    }

    /// A stream of a user has ended.
    package mutating func closed(uid: UInt32) {
        let own = watches[uid, default: 1]
        watches[uid] = own > 1 ? own - 1 : nil
        watchCount -= 1
    }
}

/// The shell of `DownstreamAdmission`.
final class DownstreamPlaces: Sendable {
    private let state = Mutex(DownstreamAdmission())

    /// Takes a place, to be given back by `leave`.
    func enter(entry: String, now: Duration) throws(DownstreamRefusal) {
        if let refusal = state.withLock({ $0.entered(entry: entry, now: now) }) { throw refusal }
    }

    /// Gives back what `enter` took.
    func leave(entry: String) { state.withLock { $0.left(entry: entry) } }

    /// Takes a place of a stream, to be given back by `close`.
    func open(uid: UInt32) throws(DownstreamRefusal) {
        if let refusal = state.withLock({ $0.opened(uid: uid) }) { throw refusal }
    }

    /// Gives back what `open` took.
    func close(uid: UInt32) { state.withLock { $0.closed(uid: uid) } }
}
