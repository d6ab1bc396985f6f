// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// Who shares one allowance of connections.
package enum ConnectionOrigin: Hashable, Sendable {
    /// An IPv4 address, or the first 64 bits of an IPv6 one: a host chooses among 2^64 addresses
    /// of its network (RFC 4291 section 2.5.1).
    case address(high: UInt64, low: UInt64)
    /// A Unix socket: the web server before it is everybody.
    case local

    /// Whom an IP address speaks for; text that is no address is an address of its own.
    package init(host: String) {
        guard let address = IPAddress(String(host.prefix { $0 != "%" })) else {
            self = .address(high: .max, low: .max)
            return
        }
        self = .address(high: address.high, low: address.isIPv4 ? address.low : 0)
    }
}

/// Why a connection is closed before anything is read from it.
package enum AdmissionRefusal: String, Error, CaseIterable, Hashable, Sendable {
    /// There are as many as there may be.
    case tooMany
    /// One address has as many as it may have.
    case tooManyOfAddress
    /// One address opens them faster than it may.
    case tooOften
}

/// Decides which connections are taken.
package struct ConnectionAdmission: Sendable {
    /// Most connections at once: each costs a TLS state and a piece of a document, 64 MiB in all.
    package static let connectionsMax = 1024
    /// Most of them from one address (IPv6: one /64 network), so that no address holds all places.
    package static let connectionsPerAddressMax = 64
    /// Most new connections of one address a second for long: a handshake is what is dear.
    package static let connectionsPerSecondMax = 20
    /// Most new connections of one address at once: verifiers behind one address translator.
    package static let connectionsAtOnceMax = 200
    /// Most addresses whose rates are remembered; beyond it those that have rested are forgotten,
    /// which refuses nobody wrongly.
    package static let addressesMax = 10_000
    /// Least time between two searches for addresses to forget: each looks at all of them.
    package static let searchInterval: Duration = .seconds(1)

    private struct Budget {
        var left: Double
        var at: Duration

        mutating func fill(_ now: Duration) {
            let earned = max((now - at) / .seconds(1), 0) * Double(connectionsPerSecondMax)
            left = min(left + earned, Double(connectionsAtOnceMax))
            at = now
        }
    }

    /// Those that are open.
    package private(set) var count = 0
    private var counts: [ConnectionOrigin: Int] = [:]
    private var budgets: [ConnectionOrigin: Budget] = [:]
    private var searchedAt: Duration?

    package init() {}

    /// Somebody has connected.
    ///
    /// - Parameters:
    ///   - origin: Who.
    ///   - now: A clock that never steps.
    /// - Returns: Why the connection is to be closed; nil if it counts from now on.
    package mutating func opened(
        _ origin: ConnectionOrigin,
        now: Duration
    ) -> AdmissionRefusal? {
        guard count < Self.connectionsMax else { return .tooMany }
        if origin != .local {
            guard counts[origin, default: 0] < Self.connectionsPerAddressMax else {
                return .tooManyOfAddress
            }
            guard spends(origin, now: now) else { return .tooOften }
            counts[origin, default: 0] += 1
        }
        count += 1
        return nil
    }

    /// A connection that counted is closed.
    package mutating func closed(_ origin: ConnectionOrigin) {
        count -= 1
        guard let left = counts[origin] else { return }
        counts[origin] = left > 1 ? left - 1 : nil
    }

    private mutating func spends(_ origin: ConnectionOrigin, now: Duration) -> Bool {
        if budgets[origin] == nil, budgets.count >= Self.addressesMax {
            forget(now)
            guard budgets.count < Self.addressesMax else { return false }
        }
        var budget = budgets[origin] ?? Budget(left: Double(Self.connectionsAtOnceMax), at: now)
        budget.fill(now)
        let isEnough = budget.left >= 1
        if isEnough { budget.left -= 1 }
        budgets[origin] = budget
        return isEnough
    }

    private mutating func forget(_ now: Duration) {
        guard searchedAt.map({ now - $0 >= Self.searchInterval }) ?? true else { return }
        searchedAt = now
        budgets = budgets.filter { entry in
            var budget = entry.value
            budget.fill(now)
            return budget.left < Double(Self.connectionsAtOnceMax)
        }
    }
}
