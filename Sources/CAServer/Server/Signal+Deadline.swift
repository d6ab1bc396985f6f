// SPDX-License-Identifier: Apache-2.0

internal import Clocks

extension Signal {
    /// Returns at the next signal, when the task is cancelled, or at `deadline`, in time since boot.
    func wait(until deadline: Duration, _ clock: any NodeClock) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { try? await clock.sleep(untilBoot: deadline) }
            group.addTask { await self.wait() }
            await group.next()
            group.cancelAll()
        }
    }
}
