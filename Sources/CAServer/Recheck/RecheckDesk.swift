// SPDX-License-Identifier: Apache-2.0

package import ControlAPI
internal import Synchronization

/// Lets one recheck run at a time: it costs a processor for as long as it takes.
package final class RecheckDesk: Sendable {
    private let isBusy = Mutex(false)

    /// Begins one; `end` has to follow.
    ///
    /// - Throws: `APIError` (`recheckRunning`) while another one is under way.
    package func begin() throws(APIError) {
        let isFree = isBusy.withLock { isBusy in
            defer { isBusy = true }
            return !isBusy
        }
        guard isFree else {
            throw APIError(
                .unavailable,
                "recheckRunning",
                "another recheck is under way, and there is one at a time; retry when it has ended"
            )
        }
    }

    /// Ends the one that has begun.
    package func end() { isBusy.withLock { $0 = false } }
}
