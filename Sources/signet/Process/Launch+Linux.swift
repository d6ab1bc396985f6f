// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Clocks
internal import Foundation
internal import Glibc
internal import Synchronization

/// How a program is started.
struct Launch: Sendable {
    var executable: String
    var arguments: [String]
    /// Added to this process's environment.
    var environment: [String: String] = [:]
    /// Takes standard output and standard error; nil leaves both as they are here.
    var outputFile: String?
    /// Whether what `outputFile` holds stays; it is emptied otherwise.
    var keepsOutput = false
    /// Sent to the program when this process dies, however it dies.
    var signalIfOrphaned: Int32
}

/// How a program ended.
enum ProgramEnd: Hashable, Sendable, CustomStringConvertible {
    case exited(status: Int32)
    case killed(signal: Int32)

    var description: String {
        switch self {
        case .exited(let status): "ended with status \(status)"
        case .killed(let signal): "was killed by signal \(signal)"
        }
    }

    /// As a shell reports it.
    var shellStatus: Int32 {
        switch self {
        case .exited(let status): status
        case .killed(let signal): 128 + signal
        }
    }
}

/// A program that was not started.
struct LaunchError: Error, CustomStringConvertible {
    let executable: String
    let number: Int32

    var description: String {
        "cannot start \(executable): \(SystemCalls.text(ofErrno: number))"
    }
}

/// A running program that dies with this process.
///
/// The thread that starts it waits for its end. That is more than convenience: the kernel sends
/// the signal for orphans when the starting *thread* ends (prctl(2), PR_SET_PDEATHSIG), so no
/// thread of a pool may do it.
final class ChildProcess: Sendable {
    private enum State {
        case running(waiters: [CheckedContinuation<ProgramEnd, Never>])
        case ended(ProgramEnd)
    }

    let pid: Int32
    private let told = Mutex(false)
    private let state = Mutex(State.running(waiters: []))

    private init(pid: Int32) {
        self.pid = pid
    }

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - launch: What and how.
    ///   - onEnd: Called once, on a thread that may block, after the program has ended.
    /// - Returns: The running program.
    /// - Throws: `LaunchError`. A program that does not exist is started and ends at once with
    ///   status 1: only the step that becomes it can tell.
    static func start(
        _ launch: Launch,
        onEnd: @escaping @Sendable (ProgramEnd) -> Void = { _ in }
    ) async throws -> ChildProcess {
        let path = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        return try await withCheckedThrowingContinuation { continuation in
            let thread = Thread {
                switch spawn(launch, launcher: path) {
                case .failure(let error): continuation.resume(throwing: error)
                case .success(let pid):
                    let child = ChildProcess(pid: pid)
                    continuation.resume(returning: child)
                    onEnd(child.reap())
                }
            }
            thread.start()
        }
    }

    /// Returns when the program has ended.
    func end() async -> ProgramEnd {
        await withCheckedContinuation { continuation in
            let end: ProgramEnd? = state.withLock { state in
                switch state {
                case .ended(let end): return end
                case .running(let waiters):
                    state = .running(waiters: waiters + [continuation])
                    return nil
                }
            }
            if let end { continuation.resume(returning: end) }
        }
    }

    /// How it ended; nil while it runs.
    var endIfEnded: ProgramEnd? {
        state.withLock { state in
            if case .ended(let end) = state { return end }
            return nil
        }
    }

    /// Whether `stop` was called before it ended.
    var wasToldToEnd: Bool { told.withLock { $0 } }

    /// Sends a signal, unless the program has ended; its pid is then not ours any more.
    func send(_ signal: Int32) {
        state.withLock { state in
            if case .running = state { kill(pid, signal) }
        }
    }

    /// As `send`, to the program and those it started (its process group).
    private func sendToGroup(_ signal: Int32) {
        state.withLock { state in
            if case .running = state { kill(-pid, signal) }
        }
    }

    /// Asks the program to end, and ends it if it has not after `grace`.
    @discardableResult
    func stop(grace: Duration, clock: SystemClock) async -> ProgramEnd {
        if endIfEnded == nil { told.withLock { $0 = true } }
        sendToGroup(SIGTERM)
        return await withTaskGroup(of: Void.self) { group in
            group.addTask { [self] in
                try? await clock.sleep(untilBoot: clock.bootTime + grace)
                if !Task.isCancelled { sendToGroup(SIGKILL) }
            }
            let end = await end()
            group.cancelAll()
            return end
        }
    }

    /// Waits on the thread that started the program.
    private func reap() -> ProgramEnd {
        var info = unsafe siginfo_t()
        // The zombie stays until the lock is held, so that `send` never meets a pid in new hands.
        while unsafe waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) < 0, errno == EINTR {}
        var status: Int32 = 0
        typealias Waiters = [CheckedContinuation<ProgramEnd, Never>]
        let (end, waiters) = state.withLock { state -> (ProgramEnd, Waiters) in
            while unsafe waitpid(pid, &status, 0) < 0, errno == EINTR {}
            let signal = status & 0x7F
            let end: ProgramEnd =
                signal == 0 ? .exited(status: (status >> 8) & 0xFF) : .killed(signal: signal)
            guard case .running(let waiters) = state else { return (end, []) }
            state = .ended(end)
            return (end, waiters)
        }
        for waiter in waiters { waiter.resume(returning: end) }
        return end
    }

    /// Starts `signet launch`, which becomes the program.
    private static func spawn(
        _ launch: Launch,
        launcher: String
    ) -> Result<Int32, LaunchError> {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        if let file = launch.outputFile {
            let emptying = launch.keepsOutput ? 0 : O_TRUNC
            let flags = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | emptying
            unsafe posix_spawn_file_actions_addopen(&actions, 1, file, flags, 0o600)
            unsafe posix_spawn_file_actions_adddup2(&actions, 1, 2)
        }
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        // What this process blocks or ignores must not be inherited, and a key pressed at the
        // terminal must reach this process alone, which then ends its programs in order.
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        unsafe sigfillset(&signals)
        unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        let flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP
        unsafe posix_spawnattr_setflags(&attributes, Int16(flags))
        var environment = ProcessInfo.processInfo.environment
        environment.merge(launch.environment) { _, new in new }
        let arguments =
            [
                launcher, "launch", "--parent", "\(getpid())", "--signal",
                "\(launch.signalIfOrphaned)", "--", launch.executable,
            ] + launch.arguments
        var pid: pid_t = 0
        let error = unsafe withCStrings(arguments) { argv in
            unsafe withCStrings(environment.map { "\($0)=\($1)" }) { envp in
                unsafe posix_spawn(&pid, launcher, &actions, &attributes, argv, envp)
            }
        }
        guard error == 0 else {
            return .failure(LaunchError(executable: launch.executable, number: error))
        }
        return .success(pid)
    }
}

/// What `signet launch` does: the step between fork and exec that posix_spawn cannot do.
enum Launcher {
    /// Becomes the program, and dies with the parent from now on.
    ///
    /// - Returns: why it did not.
    static func become(
        _ executable: String,
        arguments: [String],
        parent: Int32,
        signal: Int32
    ) -> LaunchError {
        let number = clinux_die_with_parent(parent, signal)
        guard number == 0 else { return LaunchError(executable: executable, number: number) }
        return become(executable, arguments: arguments)
    }

    /// Becomes the program.
    ///
    /// - Returns: why it did not.
    static func become(_ executable: String, arguments: [String]) -> LaunchError {
        _ = unsafe withCStrings([executable] + arguments) { unsafe execvp(executable, $0) }
        return LaunchError(executable: executable, number: errno)
    }
}

/// Calls `body` with a null-terminated list of C strings.
private func withCStrings<Result>(
    _ strings: [String],
    _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    var pointers = unsafe strings.map { unsafe strdup($0) } + [nil]
    defer { unsafe pointers.forEach { unsafe free($0) } }
    return unsafe pointers.withUnsafeMutableBufferPointer { buffer in
        guard let base = buffer.baseAddress else {
            preconditionFailure("the list holds at least its end")
        }
        return unsafe body(base)
    }
}
