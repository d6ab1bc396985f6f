// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// How many requests of the Workload API are open, so that the processes of one user cannot fill
/// the agent's memory: a connection carries many requests, so limits on connections do not bound
/// them.
package final class WorkloadPlaces: Sendable {
    /// Most requests open at once for one user: a few for each of some hundred workloads.
    package static let perUserMax = 1024
    /// Most requests open at once on the machine, each some 20 KiB, and up to 64 KiB of lists that nobody reads.
    package static let allMax = 8192

    private struct State {
        var count = 0
        var byUser: [UInt32: Int] = [:]
    }

    private let perUser: Int
    private let all: Int
    private let state = Mutex(State())

    /// Places within the given limits.
    package init(perUser: Int = perUserMax, all: Int = allMax) {
        self.perUser = perUser
        self.all = all
    }

    /// Takes a place, to be given back by `leave`; false if there is none.
    package func enter(uid: UInt32) -> Bool {
        state.withLock { state in
            let own = state.byUser[uid, default: 0]
            guard own < perUser, state.count < all else { return false }
            state.byUser[uid] = own + 1
            state.count += 1
            return true
        }
    }

    /// Gives back what `enter` took.
    package func leave(uid: UInt32) {
        state.withLock { state in
            let own = state.byUser[uid, default: 1]
            state.byUser[uid] = own > 1 ? own - 1 : nil
            state.count -= 1
        }
    }
}
