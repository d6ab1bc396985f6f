// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Synchronization

/// Where it is told that revocations or the set of authorities have changed, and who signs lists
/// waits for it.
package final class RevocationListDesk: Sendable {
    private let hasChanged = Mutex(false)
    private let wake = Signal()

    /// A change was committed that lists may have to tell of.
    func changed() {
        hasChanged.withLock { $0 = true }
        wake.signal()
    }

    /// Whether anything has changed since the last call.
    func take() -> Bool {
        hasChanged.withLock { changed in
            defer { changed = false }
            return changed
        }
    }

    /// Returns when something has changed, or at `deadline`, in time since boot.
    func wait(until deadline: Duration, _ clock: any NodeClock) async {
        await wake.wait(until: deadline, clock)
    }
}
