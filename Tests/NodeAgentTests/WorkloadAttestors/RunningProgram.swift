// SPDX-License-Identifier: Apache-2.0

import CLinux
import Foundation
import GRPCPeer
import NodeAgent

/// A real process that waits for its standard input to end.
///
/// Not Foundation's Process: that one waits for every process that holds what it handed down.
final class RunningProgram {
    struct NotStarted: Error {
        let errno: Int32
    }

    let pid: Int32
    private let input: FileHandle
    private let output: FileHandle
    private var hasEnded = false

    /// Starts a program; its error output goes where ours goes.
    init(_ path: String, _ arguments: [String] = []) throws {
        let (input, output) = (Pipe(), Pipe())
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(
            &actions,
            input.fileHandleForReading.fileDescriptor,
            STDIN_FILENO
        )
        unsafe posix_spawn_file_actions_adddup2(
            &actions,
            output.fileHandleForWriting.fileDescriptor,
            STDOUT_FILENO
        )
        // The threads of tests block signals, and a program that blocks them cannot be ended by an
        // alarm of its own.
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe posix_spawnattr_setsigmask(&attributes, &signals)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        let words = unsafe ([path] + arguments).map { unsafe strdup($0) }
        defer { unsafe words.forEach { unsafe free($0) } }
        var pid: pid_t = 0
        let error = unsafe posix_spawn(&pid, path, &actions, &attributes, words + [nil], environ)
        try input.fileHandleForReading.close()
        try output.fileHandleForWriting.close()
        self.input = input.fileHandleForWriting
        self.output = output.fileHandleForReading
        self.pid = pid
        guard error == 0 else {
            hasEnded = true
            throw NotStarted(errno: error)
        }
    }

    deinit { end() }

    /// Writes a line and waits for the answer, so that what the line causes has happened.
    func ask(_ line: String) throws -> String {
        try tell(line)
        return read()
    }

    /// Writes a line that is not answered.
    func tell(_ line: String) throws {
        try input.write(contentsOf: Data((line + "\n").utf8))
    }

    /// The next output.
    func read() -> String { String(decoding: output.availableData, as: UTF8.self) }

    /// Ends the program and waits until it is gone.
    func end() {
        guard !hasEnded else { return }
        hasEnded = true
        kill(pid, SIGKILL)
        while waitpid(pid, nil, 0) < 0, errno == EINTR {}
    }

    /// The process as the attestor takes it.
    func attested(
        uid: UInt32 = getuid(),
        gid: UInt32 = getgid(),
        executableAtConnect: ExecutableAtConnect? = nil,
        isAlive: @escaping @Sendable () -> Bool = { true }
    ) -> AttestedProcess {
        AttestedProcess(
            pid: pid,
            uid: uid,
            gid: gid,
            executableAtConnect: executableAtConnect,
            isAlive: isAlive
        )
    }
}

/// Whether this machine lets a test do something, asked once.
enum Machine {
    static let isRoot = geteuid() == 0

    /// Whether an unprivileged user may make user and mount namespaces here.
    static let allowsUserNamespaces = succeeds(
        "setpriv",
        [
            "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Urm", "true",
        ]
    )

    /// Whether the next pid can be chosen.
    static let choosesPIDs =
        isRoot && FileManager.default.isWritableFile(atPath: "/proc/sys/kernel/ns_last_pid")

    private static func succeeds(_ program: String, _ arguments: [String]) -> Bool {
        guard isRoot,
            let running = try? RunningProgram(
                "/bin/sh",
                ["-c", "\"$0\" \"$@\" 2>/dev/null && echo yes", program] + arguments
            )
        else { return false }
        return running.read() == "yes\n"
    }
}
