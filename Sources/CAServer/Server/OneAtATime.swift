// SPDX-License-Identifier: Apache-2.0

package import ControlAPI
internal import Synchronization

/// Lets one act of a kind be under way at a time, as it costs a processor or a disk.
package final class OneAtATime: Sendable {
    private let name: String
    private let isBusy = Mutex(false)

    /// - Parameter name: The act's: a word, of which the reason of a refusal is made.
    init(_ name: String) {
        self.name = name
    }

    /// Begins one; `end` has to follow.
    ///
    /// - Throws: `APIError` (the name and `Running`) while another one is under way.
    package func begin() throws(APIError) {
        let isFree = isBusy.withLock { isBusy in
            defer { isBusy = true }
            return !isBusy
        }
        guard isFree else {
            throw APIError(
                .unavailable,
                "\(name)Running",
                "another \(name) is under way, and there is one at a time; retry when it has ended"
            )
        }
    }

    /// Lets the next one begin.
    package func end() { isBusy.withLock { $0 = false } }
}
