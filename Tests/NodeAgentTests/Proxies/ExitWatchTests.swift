// SPDX-License-Identifier: Apache-2.0

import Clocks
import Foundation
import GRPCPeer
import NodeAgent
import Synchronization
import Testing

/// Processes that are waited for until they have exited.
@Suite(.timeLimit(.minutes(1)))
struct ExitWatchTests {
    /// What a watch has told, in order.
    final class Told: Sendable {
        private let keys = Mutex<[UInt64]>([])
        private let signal = Signal()

        func tell(_ key: UInt64) {
            keys.withLock { $0.append(key) }
            signal.signal()
        }

        /// All so far, once there are so many.
        func first(_ count: Int) async -> [UInt64] {
            while true {
                let all = keys.withLock { $0 }
                if all.count >= count { return all }
                await signal.wait()
            }
        }
    }

    private func watch(
        _ pid: Int32,
        as key: UInt64,
        by watch: ExitWatch,
        _ told: Told,
        standing: ProcessStanding = .running
    ) -> ExitWatch.Outcome {
        watch.watch(pid, as: key, standing: { standing }) { told.tell(key) }
    }

    @Test func `a process that exits is told of, and one that runs on is not`() async throws {
        let (exits, told) = (ExitWatch(), Told())
        let programs = try (1...3).map { _ in try RunningProgram("/bin/cat") }
        for (index, program) in programs.enumerated() {
            #expect(watch(program.pid, as: UInt64(index), by: exits, told) == .watched)
        }
        programs[1].end()
        #expect(await told.first(1) == [1])
        programs[2].end()
        #expect(await told.first(2) == [1, 2])
        #expect(exits.count == 1)
        exits.keep(only: [])
    }

    @Test func `a watch that ended begins again with the next process`() async throws {
        let (exits, told) = (ExitWatch(), Told())
        for key in 1...3 as ClosedRange<UInt64> {
            let program = try RunningProgram("/bin/cat")
            #expect(watch(program.pid, as: key, by: exits, told) == .watched)
            program.end()
            #expect(await told.first(Int(key)).last == key)
        }
        #expect(exits.count == 0)
    }

    @Test func `who is not kept is not told of`() async throws {
        let (exits, told) = (ExitWatch(), Told())
        let (first, second) = (try RunningProgram("/bin/cat"), try RunningProgram("/bin/cat"))
        #expect(watch(first.pid, as: 1, by: exits, told) == .watched)
        #expect(watch(second.pid, as: 2, by: exits, told) == .watched)
        exits.keep(only: [2])
        first.end()
        second.end()
        #expect(await told.first(1) == [2])
    }

    @Test func `who has exited already is said to have, and of whom nothing is known is not`() {
        let (exits, told) = (ExitWatch(), Told())
        #expect(watch(getpid(), as: 1, by: exits, told, standing: .exited) == .exited)
        #expect(watch(getpid(), as: 2, by: exits, told, standing: .unknown) == .notWatched)
        // Beyond the largest pid_max of Linux (2^22): there is nothing to wait for.
        #expect(watch(1 << 22 + 1, as: 3, by: exits, told) == .notWatched)
        #expect(exits.count == 0)
    }

    @Test func `those that are watched are bounded`() {
        let (exits, told) = (ExitWatch(), Told())
        for key in 0..<UInt64(ExitWatch.watchedMax) {
            #expect(watch(getpid(), as: key, by: exits, told) == .watched)
        }
        let next = UInt64(ExitWatch.watchedMax)
        #expect(watch(getpid(), as: next, by: exits, told) == .notWatched)
        exits.keep(only: [0])
        #expect(exits.count == 1)
        #expect(watch(getpid(), as: next, by: exits, told) == .watched)
        // No key is given twice.
        #expect(watch(getpid(), as: next, by: exits, told) == .notWatched)
        exits.keep(only: [])
        #expect(exits.count == 0)
    }
}
