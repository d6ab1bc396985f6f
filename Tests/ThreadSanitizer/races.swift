// SPDX-License-Identifier: Apache-2.0
//
// What .ci/sanitize runs before it believes ThreadSanitizer: `locked` and `resumed` are correct and
// have to be silent, `unlocked` is a race and has to be reported.

import Dispatch
import Synchronization

@main
enum Races {
    static func main() async {
        switch CommandLine.arguments.dropFirst().first {
        case "locked":
            let count = Mutex(0)
            DispatchQueue.concurrentPerform(iterations: 2) { _ in
                for _ in 0..<500_000 { count.withLock { $0 += 1 } }
            }
        case "unlocked":
            let count = Unprotected()
            DispatchQueue.concurrentPerform(iterations: 2) { _ in
                for _ in 0..<500_000 { count.value += 1 }
            }
        case "resumed":
            for number in 0..<2000 { _ = await resumed(number, beforeWaiting: number % 3 == 0) }
        default: fatalError("locked, unlocked or resumed")
        }
    }

    /// Resumed before the task waits, or after.
    private static func resumed(_ number: Int, beforeWaiting: Bool) async -> Int {
        let resumed = Resumed()
        return await withUnsafeContinuation { continuation in
            queue.async {
                continuation.resume(returning: number)
                resumed.flag.store(true, ordering: .relaxed)
            }
            // The flag is relaxed: it is to order nothing that the resumption does not.
            while beforeWaiting && !resumed.flag.load(ordering: .relaxed) {}
        }
    }

    private static let queue = DispatchQueue(label: "resumes")
}

final class Unprotected: @unchecked Sendable {
    var value = 0
}

final class Resumed: Sendable {
    let flag = Atomic(false)
}
