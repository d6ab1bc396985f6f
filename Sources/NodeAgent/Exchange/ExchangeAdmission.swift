// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// Decides which exchanges an agent asks its server for, so that one user takes neither all that the
/// server gives the node nor all of its places.
package struct ExchangeAdmission: Sendable {
    /// Exchanges of one user a second for long: the server gives the node twice as many.
    package static let perSecondMax: Double = 5
    /// The same at once; the server gives the node twice as many.
    package static let atOnceMax: Double = 50
    /// Exchanges of one user under way.
    package static let underWayPerUserMax = 8
    /// Exchanges under way, as many as the server keeps of one node in its line.
    package static let underWayMax = 16
    /// Most users whose rates are remembered; beyond it nobody new is served until somebody has
    /// rested, which takes ten seconds.
    package static let usersMax = 1_024

    /// Why an exchange is not asked for now.
    package enum Refusal: Hashable, Sendable {
        /// The user, or all together, have as many under way as they may.
        case underWay
        /// The user may ask again after this time.
        case rate(retryAfter: Duration)
    }

    private var budgets = CallerBudgets<UInt32>(
        perSecond: perSecondMax,
        atOnce: atOnceMax,
        callersMax: usersMax
    )
    private var underWay: [UInt32: Int] = [:]
    private var count = 0

    /// Nobody has asked yet.
    package init() {}

    /// Somebody asks; if nothing is returned, `left` has to follow.
    ///
    /// - Parameters:
    ///   - uid: The user.
    ///   - now: Time since boot.
    /// - Returns: Why the server is not asked.
    package mutating func entered(uid: UInt32, now: Duration) -> Refusal? {
        let own = underWay[uid, default: 0]
        guard own < Self.underWayPerUserMax, count < Self.underWayMax else { return .underWay }
        if let wait = budgets.take(from: uid, now: now) { return .rate(retryAfter: wait) }
        underWay[uid] = own + 1
        count += 1
        return nil
    }

    /// An exchange of a user is over.
    package mutating func left(uid: UInt32) {
        let own = underWay[uid, default: 1]
        underWay[uid] = own > 1 ? own - 1 : nil
        count -= 1
    }
}

/// The shell of `ExchangeAdmission`.
final class ExchangePlaces: Sendable {
    private let state = Mutex(ExchangeAdmission())

    /// Takes a place, to be given back by `leave`, unless something is returned.
    func enter(uid: UInt32, now: Duration) -> ExchangeAdmission.Refusal? {
        state.withLock { $0.entered(uid: uid, now: now) }
    }

    /// Gives back what `enter` took.
    func leave(uid: UInt32) { state.withLock { $0.left(uid: uid) } }
}
