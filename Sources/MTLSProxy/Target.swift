// SPDX-License-Identifier: Apache-2.0

internal import Reactor
internal import Routing

/// What a listener's connections lead to.
struct Target {
    /// The shortest rest of a target that could not be reached, in milliseconds; it doubles.
    private static let restMin: UInt64 = 1_000
    /// The longest rest: how late it may be noticed that a target is back.
    private static let restMax: UInt64 = 30_000

    /// Nil for the application.
    let address: Routing.SocketAddress?
    /// By which connections name it, while its place changes.
    let id: UInt32
    var idle: [Key] = []
    /// Until when it is asked only if all others rest too.
    private(set) var restsUntil: UInt64 = 0
    private var failures: UInt64 = 0
    /// Whether somebody is finding out if it is back.
    private var isProbed = false

    init(address: Routing.SocketAddress?, id: UInt32) {
        self.address = address
        self.id = id
    }

    /// It could not be reached, or is not who it should be.
    mutating func rest(now: UInt64) {
        // Those that began together fail together, which says no more than one of them.
        guard isProbed || restsUntil <= now else { return }
        isProbed = false
        restsUntil = now &+ min(Self.restMax, Self.restMin << min(failures, 10))
        failures += 1
    }

    /// It is asked; if it has failed before, nobody else is to wait for it meanwhile.
    mutating func probe(now: UInt64, for milliseconds: UInt64) {
        guard failures > 0 else { return }
        isProbed = true
        restsUntil = now &+ milliseconds
    }

    /// A connection stands.
    mutating func stood() { (restsUntil, failures, isProbed) = (0, 0, false) }
}
