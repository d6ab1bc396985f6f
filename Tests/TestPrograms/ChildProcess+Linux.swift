// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import Glibc
internal import Synchronization

/// A child process whose end the kernel tells, by waitid.
///
/// Not Foundation's Process: that one takes a descriptor which the child inherits for its sign of
/// life, so a child that leaves a child of its own behind never ends for it.
final class ChildProcess: Sendable {
    /// What it is given as its standard streams.
    struct Streams {
        /// A file or device to read from; nil for a pipe that `closeInput` ends.
        var input: String?
        /// Files, made anew.
        var output: String
        var errors: String
    }

    private enum State {
        case running(waiters: [CheckedContinuation<Int32, Never>])
        case ended(status: Int32)
    }

    let pid: Int32
    private let state = Mutex(State.running(waiters: []))
    /// Our end of the pipe to its standard input.
    private let input: Mutex<FileHandle?>

    private init(pid: Int32, input: FileHandle?) {
        self.pid = pid
        self.input = Mutex(input)
    }

    /// Starts a program that inherits no descriptor but its standard streams, and no signal mask.
    ///
    /// - Throws: `ProgramFailure` when it cannot be started.
    static func start(
        _ executable: String,
        _ arguments: [String],
        environment: [String: String],
        directory: String,
        streams: Streams
    ) throws -> ChildProcess {
        let pipe = streams.input == nil ? Pipe() : nil
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        if let path = streams.input {
            unsafe posix_spawn_file_actions_addopen(&actions, 0, path, O_RDONLY, 0)
        } else if let pipe {
            let end = pipe.fileHandleForReading.fileDescriptor
            unsafe posix_spawn_file_actions_adddup2(&actions, end, 0)
        }
        let writing = O_WRONLY | O_CREAT | O_TRUNC
        unsafe posix_spawn_file_actions_addopen(&actions, 1, streams.output, writing, 0o600)
        unsafe posix_spawn_file_actions_addopen(&actions, 2, streams.errors, writing, 0o600)
        try unsafe SpawnExtension.closeFrom(&actions, 3)
        try unsafe SpawnExtension.changeDirectory(&actions, directory)
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        unsafe sigfillset(&signals)
        unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
        let flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
        unsafe posix_spawnattr_setflags(&attributes, Int16(flags))
        var pid: pid_t = 0
        let error = unsafe withCStrings([executable] + arguments) { argv in
            unsafe withCStrings(environment.map { "\($0)=\($1)" }) { envp in
                unsafe posix_spawn(&pid, executable, &actions, &attributes, argv, envp)
            }
        }
        try pipe?.fileHandleForReading.close()
        guard error == 0 else {
            throw ProgramFailure("\(executable) cannot be started: errno \(error)")
        }
        let child = ChildProcess(pid: pid, input: pipe?.fileHandleForWriting)
        // A thread for each, as waiting blocks; it ends with the program.
        Thread { child.reap() }.start()
        return child
    }

    var isRunning: Bool { endIfEnded == nil }

    /// The exit status, or minus the signal that ended it; nil while it runs.
    var endIfEnded: Int32? {
        state.withLock { state in
            if case .ended(let status) = state { return status }
            return nil
        }
    }

    /// Sends a signal, unless it has ended: its pid is then not ours any more.
    func send(_ signal: Int32) {
        state.withLock { state in
            if case .running = state { kill(pid, signal) }
        }
    }

    /// Ends what it reads on its standard input.
    func closeInput() {
        input.withLock { input in
            try? input?.close()
            input = nil
        }
    }

    /// Waits for its end.
    ///
    /// - Returns: The exit status, or minus the signal that ended it.
    func end() async -> Int32 {
        await withCheckedContinuation { continuation in
            let status: Int32? = state.withLock { state in
                switch state {
                case .ended(let status): return status
                case .running(let waiters):
                    state = .running(waiters: waiters + [continuation])
                    return nil
                }
            }
            if let status { continuation.resume(returning: status) }
        }
    }

    private func reap() {
        var info = unsafe siginfo_t()
        // The zombie stays until the lock is held, so that `send` never meets a pid in new hands.
        while unsafe waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) < 0, errno == EINTR {}
        typealias Waiters = [CheckedContinuation<Int32, Never>]
        let (status, waiters) = state.withLock { state -> (Int32, Waiters) in
            var raw: Int32 = 0
            while unsafe waitpid(pid, &raw, 0) < 0, errno == EINTR {}
            let signal = raw & 0x7F
            let status = signal == 0 ? (raw >> 8) & 0xFF : -signal
            guard case .running(let waiters) = state else { return (status, []) }
            state = .ended(status: status)
            return (status, waiters)
        }
        for waiter in waiters { waiter.resume(returning: status) }
    }
}

/// What glibc adds to posix_spawn and Swift's module of it leaves out.
private enum SpawnExtension {
    typealias Actions = UnsafeMutablePointer<posix_spawn_file_actions_t>

    /// The child inherits no descriptor from `first` on.
    static func closeFrom(_ actions: Actions, _ first: Int32) throws {
        typealias Call = @convention(c) (Actions, Int32) -> Int32
        let call = try unsafe symbol("posix_spawn_file_actions_addclosefrom_np", as: Call.self)
        _ = unsafe call(actions, first)
    }

    /// The child begins in a directory.
    static func changeDirectory(_ actions: Actions, _ path: String) throws {
        typealias Call = @convention(c) (Actions, UnsafePointer<CChar>) -> Int32
        let call = try unsafe symbol("posix_spawn_file_actions_addchdir_np", as: Call.self)
        _ = unsafe call(actions, path)
    }

    private static func symbol<Call>(_ name: String, as type: Call.Type) throws -> Call {
        guard let symbol = unsafe dlsym(nil, name) else {
            throw ProgramFailure("this C library has no \(name)")
        }
        return unsafe unsafeBitCast(symbol, to: type)
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
