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
            // Of one task alone the sanitizer orders more than the runtime does.
            await withTaskGroup(of: Void.self) { group in
                for task in 0..<4 {
                    group.addTask { await resume(on: DispatchQueue(label: "\(task)")) }
                }
            }
        default: fatalError("locked, unlocked or resumed")
        }
    }

    private static func resume(on queue: DispatchQueue) async {
        for number in 0..<2000 {
            let isBefore = number % 3 == 0
            let made = await resumed(number, on: queue, beforeWaiting: isBefore)
            let checked = await checked(number, on: queue, beforeWaiting: isBefore)
            guard made.value + checked.value == 2 * number else { fatalError("another value") }
        }
    }

    /// Resumed before the task waits, meanwhile or after, where the wait stands in this code.
    private static func resumed(
        _ number: Int,
        on queue: DispatchQueue,
        beforeWaiting: Bool
    ) async -> Unprotected {
        await withUnsafeContinuation { continuation in
            make(number, on: queue, beforeWaiting) { continuation.resume(returning: $0) }
        }
    }

    /// The same where the wait stands in the runtime.
    private static func checked(
        _ number: Int,
        on queue: DispatchQueue,
        beforeWaiting: Bool
    ) async -> Unprotected {
        await withCheckedContinuation { continuation in
            make(number, on: queue, beforeWaiting) { continuation.resume(returning: $0) }
        }
    }

    private static func make(
        _ number: Int,
        on queue: DispatchQueue,
        _ beforeWaiting: Bool,
        resume: @escaping @Sendable (Unprotected) -> Void
    ) {
        let resumed = Resumed()
        queue.async {
            let made = Unprotected()
            made.value = number
            resume(made)
            resumed.flag.store(true, ordering: .relaxed)
        }
        // The flag is relaxed: it is to order nothing that the resumption does not.
        while beforeWaiting && !resumed.flag.load(ordering: .relaxed) {}
    }
}

final class Unprotected: @unchecked Sendable {
    var value = 0
}

final class Resumed: Sendable {
    let flag = Atomic(false)
}
