// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Dispatch
internal import Logging
internal import Synchronization
internal import Telemetry

/// Writes the files of a running agent, one after the other, on a thread that may wait for the disk.
///
/// A disk that fails stops nothing: what could not be written is tried again, health says so until
/// it is written, and only a restart meanwhile would begin with something older.
final class AgentDisk: Sendable {
    typealias Content = @Sendable () throws -> [UInt8]

    /// The condition of the agent's health that tells of it.
    static let condition = "disk"
    /// Pause before what could not be written is tried again.
    static let retryInterval: Duration = .seconds(5)

    private struct State {
        /// What the disk does not have, with its newest content.
        var unsaved: [AgentFile: Content] = [:]
        /// Why it has not.
        var problem: String?
    }

    private let directory: AgentDirectory
    private let clock: any NodeClock
    private let logger: Logger
    private let health: Health
    /// Not the pool of the tasks, in which a wait for the disk would keep others from running.
    private let queue = DispatchQueue(label: "signet.agent.disk")
    private let retry: DeadlineTimer
    private let state = Mutex(State())

    init(
        _ directory: AgentDirectory,
        clock: any NodeClock,
        logger: Logger,
        health: Health
    ) {
        self.directory = directory
        self.clock = clock
        self.logger = logger
        self.health = health
        retry = DeadlineTimer(clock: clock)
        health.met(Self.condition)
    }

    /// Why the disk does not have what it should; nil when it has.
    var problem: String? { state.withLock { $0.problem } }

    /// Writes a file; returns when the disk has it or has refused it.
    ///
    /// Calls that begin one after the other are carried out in that order.
    func save(_ file: AgentFile, _ content: @escaping Content) async {
        await onQueue { self.write(file, content) }
    }

    /// Removes a file, and forgets what was to be written into it; what cannot be removed is emptied
    /// later, which says the same.
    func remove(_ file: AgentFile) async {
        await onQueue {
            do {
                try self.directory.remove(file)
                self.written(file)
            } catch {
                self.failed(file, { [] }, "\(error)")
            }
        }
    }

    /// Tries again to write what the disk refused, until cancelled.
    func run() async {
        await retry.run { await self.onQueue { self.writeUnsaved() } }
    }

    private func onQueue(_ body: @escaping @Sendable () -> Void) async {
        await withCheckedContinuation { continuation in
            queue.async {
                body()
                continuation.resume()
            }
        }
    }

    private func writeUnsaved() {
        for (file, content) in state.withLock({ $0.unsaved }) { write(file, content) }
    }

    private func write(_ file: AgentFile, _ content: @escaping Content) {
        do {
            try directory.write(try content(), to: file)
            written(file)
        } catch {
            failed(file, content, "\(error)")
        }
    }

    private func written(_ file: AgentFile) {
        let isMended = state.withLock { state in
            guard state.unsaved.removeValue(forKey: file) != nil, state.unsaved.isEmpty else {
                return false
            }
            state.problem = nil
            return true
        }
        guard isMended else { return }
        health.met(Self.condition)
        logger.notice("every file of the agent is written again")
    }

    private func failed(_ file: AgentFile, _ content: @escaping Content, _ problem: String) {
        let isNew = state.withLock { state in
            state.unsaved[file] = content
            let isNew = state.problem == nil
            state.problem = problem
            return isNew
        }
        health.unmet(Self.condition, reason: problem)
        retry.schedule(at: clock.bootTime + Self.retryInterval)
        guard isNew else { return }
        logger.error(
            "a file of the agent cannot be written; after a restart it would be older",
            metadata: ["file": "\(directory.path(of: file))", "error": "\(problem)"]
        )
    }
}
