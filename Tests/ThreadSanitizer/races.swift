// SPDX-License-Identifier: Apache-2.0
//
// What .ci/sanitize runs before it believes ThreadSanitizer: `locked` is correct and has to be
// silent, `unlocked` is a race and has to be reported.

import Dispatch
import Synchronization

final class Counters: Sendable {
    let arrived = Atomic(0)
    let locked = Mutex(0)
    nonisolated(unsafe) var unlocked = 0
}

let counters = Counters()
let isLocked = CommandLine.arguments.dropFirst() == ["locked"]
let workers = DispatchGroup()
for number in 0..<2 {
    DispatchQueue(label: "worker \(number)").async(group: workers) {
        counters.arrived.add(1, ordering: .relaxed)
        while counters.arrived.load(ordering: .relaxed) < 2 {}
        for _ in 0..<500_000 {
            if isLocked {
                counters.locked.withLock { $0 += 1 }
            } else {
                counters.unlocked += 1
            }
        }
    }
}
workers.wait()
