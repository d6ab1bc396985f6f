// SPDX-License-Identifier: Apache-2.0

import CLinux
import Clocks
import Crypto
import Foundation
import GRPCPeer
import NodeAgent
import SPIFFE
import Synchronization
import Testing

/// A clock that is read in the middle of an attestation, where a test does what an attacker would.
private struct HookedClock: NodeClock {
    private let hook: @Sendable () -> Void

    init(_ hook: @escaping @Sendable () -> Void) { self.hook = hook }

    var wallTime: Date {
        hook()
        return SystemClock().wallTime
    }

    var bootTime: Duration { SystemClock().bootTime }

    func sleep(untilBoot deadline: Duration) async throws {
        try await SystemClock().sleep(untilBoot: deadline)
    }
}

/// Whether a process is gone, as its pidfd would say.
private final class Gone: Sendable {
    private let state = Mutex(false)

    var isSet: Bool { state.withLock { $0 } }

    func set() { state.withLock { $0 = true } }
}

private func runs(_ pid: Int32, _ program: String) -> Bool {
    let files = FileManager.default
    let running = try? files.destinationOfSymbolicLink(atPath: "/proc/\(pid)/exe")
    return running == URL(fileURLWithPath: program).resolvingSymlinksInPath().path
}

/// The attestor against real processes; docs/attestation.md has a row for each attack.
@Suite(.timeLimit(.minutes(1)))
struct UnixWorkloadAttestorTests {
    private static let nobody: UInt32 = 65534
    private let attestor = UnixWorkloadAttestor(clock: SystemClock())

    private func sha256(_ path: String) throws -> String {
        let content = try Data(contentsOf: URL(fileURLWithPath: path))
        return "unix:sha256:"
            + SHA256.hash(data: content).map {
                String($0 >> 4, radix: 16) + String($0 & 15, radix: 16)
            }
            .joined()
    }

    private func texts(_ attestation: WorkloadAttestation) -> Set<String> {
        Set(attestation.selectors.map(\.description))
    }

    private func paths(_ attestation: WorkloadAttestation) -> Set<String> {
        texts(attestation).filter { $0.hasPrefix("unix:path:") }
    }

    /// A directory that nobody but its owner may write.
    private func withDirectory(
        owner: UInt32 = getuid(),
        _ body: (String) async throws -> Void
    ) async throws {
        let path = "/tmp/signet-attest-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: path,
            withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o755, .ownerAccountID: owner]
        )
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await body(path)
    }

    private func copyOfCat(in directory: String, owner: UInt32, mode: Int = 0o755) throws -> String
    {
        let path = directory + "/program"
        try FileManager.default.copyItem(atPath: "/bin/cat", toPath: path)
        try FileManager.default.setAttributes(
            [.posixPermissions: mode, .ownerAccountID: owner],
            ofItemAtPath: path
        )
        return path
    }

    /// A program run by somebody without rights, who is in two more groups.
    private func asNobody(_ program: String) throws -> RunningProgram {
        let running = try RunningProgram(
            "/usr/bin/setpriv",
            [
                "--reuid=65534", "--regid=65534", "--groups=100,4242", "--", "/bin/sh", "-c",
                "echo ready; exec \"$0\"", program,
            ]
        )
        _ = running.read()
        try running.waitUntilRuns(program)
        return running
    }

    // MARK: - What is attested

    @Test func `a process attests to its user, its groups and its program`() async throws {
        let cat = try RunningProgram("/bin/cat")
        _ = try cat.ask("ready")
        let found = texts(try await attestor.attest(cat.attested()))
        #expect(found.contains("unix:uid:\(getuid())"))
        #expect(found.contains("unix:gid:\(getgid())"))
        #expect(found.contains(try sha256("/bin/cat")))
        if getuid() == 0 {
            #expect(found.contains("unix:user:root"))
            #expect(found.contains("unix:group:root"))
        }
    }

    @Test(.enabled(if: Machine.isRoot, "runs programs as another user"))
    func `supplementary groups are attested by number and by name`() async throws {
        let cat = try asNobody("/bin/cat")
        let process = cat.attested(uid: Self.nobody, gid: Self.nobody)
        let found = texts(try await attestor.attest(process))
        #expect(found.contains("unix:supplementary_gid:100"))
        #expect(found.contains("unix:supplementary_group:users"))
        #expect(found.contains("unix:supplementary_gid:4242"))
        #expect(found.contains("unix:user:nobody"))
        #expect(!found.contains("unix:gid:100"))
    }

    @Test(.enabled(if: Machine.isRoot, "runs programs as another user"))
    func `a program that its caller cannot replace attests to its path`() async throws {
        let cat = try asNobody("/bin/cat")
        let process = cat.attested(uid: Self.nobody, gid: Self.nobody)
        let real = URL(fileURLWithPath: "/bin/cat").resolvingSymlinksInPath().path
        #expect(paths(try await attestor.attest(process)) == ["unix:path:\(real)"])
    }

    @Test func `a file that is hashed again has changed`() async throws {
        try await withDirectory { directory in
            let path = try copyOfCat(in: directory, owner: getuid())
            let first = try RunningProgram(path)
            _ = try first.ask("ready")
            let one = texts(try await attestor.attest(first.attested()))
            #expect(one.contains(try sha256(path)))
            first.end()
            var content = try Data(contentsOf: URL(fileURLWithPath: path))
            content[content.count - 1] ^= 0xFF
            // Same file, same size: only the times of its change tell.
            let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
            try handle.write(contentsOf: content)
            try handle.close()
            let second = try RunningProgram(path)
            _ = try second.ask("ready")
            let two = texts(try await attestor.attest(second.attested()))
            #expect(two.contains(try sha256(path)))
            #expect(one != two)
        }
    }

    // MARK: - What is not

    @Test func `root has no path, because it may write any file`() async throws {
        let cat = try RunningProgram("/bin/cat")
        _ = try cat.ask("ready")
        let attestation = try await attestor.attest(cat.attested())
        guard getuid() == 0 else { return }
        #expect(paths(attestation).isEmpty)
        #expect(attestation.omissions.contains { $0.contains("root may write any file") })
    }

    struct Placement: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var directoryOwner: UInt32 = 0
        var directoryMode = 0o755
        var fileOwner: UInt32 = 0
        var fileMode = 0o755
        var hasPath = false
    }

    @Test(
        .enabled(if: Machine.isRoot, "makes files of several users"),
        arguments: [
            Placement(testDescription: "nobody else may write it", hasPath: true),
            Placement(testDescription: "the caller's own file", fileOwner: 65534),
            Placement(testDescription: "a file for everybody", fileMode: 0o777),
            Placement(testDescription: "a file for its group", fileMode: 0o775),
            Placement(testDescription: "the caller's directory", directoryOwner: 65534),
            Placement(testDescription: "everybody's directory", directoryMode: 0o777),
            Placement(
                testDescription: "everybody's sticky directory",
                directoryMode: 0o1777,
                hasPath: true
            ),
        ]
    )
    func `a path counts only where the caller could not have put the program`(
        _ placement: Placement
    ) async throws {
        try await withDirectory { directory in
            let path = try copyOfCat(
                in: directory,
                owner: placement.fileOwner,
                mode: placement.fileMode
            )
            try FileManager.default.setAttributes(
                [
                    .posixPermissions: placement.directoryMode,
                    .ownerAccountID: placement.directoryOwner,
                ],
                ofItemAtPath: directory
            )
            let program = try asNobody(path)
            let attestation = try await attestor.attest(
                program.attested(uid: Self.nobody, gid: Self.nobody)
            )
            #expect(paths(attestation) == (placement.hasPath ? ["unix:path:\(path)"] : []))
            #expect(texts(attestation).contains(try sha256("/bin/cat")))
        }
    }

    @Test(
        .enabled(
            if: Machine.allowsUserNamespaces,
            "the kernel lets nobody make user namespaces here"
        )
    )
    func `a bind mount in a user namespace of one's own names nothing`() async throws {
        // The attacker's view: the trusted program's path, with a program of his own behind it.
        let script = "mount --bind /bin/cat /bin/ls && echo ready && exec /bin/ls"
        let attack = try RunningProgram(
            "/usr/bin/setpriv",
            [
                "--reuid=65534", "--regid=65534", "--clear-groups", "--", "unshare", "-Urm",
                "/bin/sh", "-c", script,
            ]
        )
        #expect(attack.read().contains("ready"))
        try attack.waitUntilRuns("/bin/ls")
        let attestation = try await attestor.attest(
            attack.attested(uid: Self.nobody, gid: Self.nobody)
        )
        #expect(paths(attestation).isEmpty)
        #expect(attestation.omissions.contains { $0.contains("namespace") })
        // The content does not lie: it is that of the program that runs.
        #expect(texts(attestation).contains(try sha256("/bin/cat")))
        #expect(!texts(attestation).contains(try sha256("/bin/ls")))
    }

    @Test func `a removed program has no path`() async throws {
        try await withDirectory { directory in
            let path = try copyOfCat(in: directory, owner: getuid())
            let program = try RunningProgram(path)
            _ = try program.ask("ready")
            try FileManager.default.removeItem(atPath: path)
            let attestation = try await attestor.attest(program.attested())
            #expect(paths(attestation).isEmpty)
            #expect(texts(attestation).contains(try sha256("/bin/cat")))
        }
    }

    // MARK: - Races

    @Test func `a program started after the connection does not speak for itself`() async throws {
        let program = try RunningProgram("/bin/sh", ["-c", "echo ready; read x; exec cat"])
        #expect(program.read() == "ready\n")
        let before = try await attestor.attest(program.attested())
        #expect(texts(before).contains(try sha256("/bin/sh")))
        let shell = try #require(before.executable)
        try program.tell("go")
        try program.waitUntilRuns("/bin/cat")
        await #expect(throws: WorkloadAttestationError.executableReplaced) {
            try await attestor.attest(program.attested(executableAtConnect: .file(shell)))
        }
    }

    @Test func `a program started while it is looked at is noticed`() async throws {
        let shell = "trap 'exec cat' USR1; echo ready; while :; do sleep 0.01; done"
        let program = try RunningProgram("/bin/sh", ["-c", shell])
        #expect(program.read() == "ready\n")
        let pid = program.pid
        let attestor = UnixWorkloadAttestor(
            clock: HookedClock {
                // Its executable is open and its facts were read; the hash is not made yet.
                kill(pid, SIGUSR1)
                while !runs(pid, "/bin/cat") { sched_yield() }
            }
        )
        await #expect(throws: WorkloadAttestationError.changedMeanwhile) {
            try await attestor.attest(program.attested())
        }
        // Another try is about the program that runs now.
        let attestation = try await self.attestor.attest(program.attested())
        #expect(texts(attestation).contains(try sha256("/bin/cat")))
        #expect(!texts(attestation).contains(try sha256("/bin/sh")))
    }

    @Test func `whether it still is the same process is asked last`() async throws {
        let cat = try RunningProgram("/bin/cat")
        _ = try cat.ask("ready")
        let isGone = Gone()
        let attestor = UnixWorkloadAttestor(clock: HookedClock { isGone.set() })
        // Its pid may name another process by now, of which everything was read that was read last.
        await #expect(throws: WorkloadAttestationError.processGone) {
            try await attestor.attest(cat.attested(isAlive: { !isGone.isSet }))
        }
    }

    @Test func `a program that could not be read at connect says nothing later`() async throws {
        let cat = try RunningProgram("/bin/cat")
        _ = try cat.ask("ready")
        let process = cat.attested(executableAtConnect: .unreadable(errno: EACCES))
        let attestation = try await attestor.attest(process)
        #expect(texts(attestation).contains("unix:uid:\(getuid())"))
        #expect(!texts(attestation).contains { $0.hasPrefix("unix:sha256:") })
        #expect(paths(attestation).isEmpty)
        #expect(attestation.executable == nil)
        #expect(attestation.omissions.contains { $0.contains("when it connected") })
    }

    // MARK: - File systems that a program serves

    @Test(
        .enabled(if: ServedProgram.isPossible, "needs root, /dev/fuse and python3"),
        arguments: [ServedProgram.Trick.answersNoMore, .detached]
    )
    func `a program behind FUSE has neither path nor hash, and delays nobody`(
        _ trick: ServedProgram.Trick
    ) async throws {
        try await withDirectory { directory in
            let served = try ServedProgram(in: directory, trick)
            let attestation = try await attestor.attest(served.attested)
            #expect(attestation.selectors.allSatisfy { !$0.value.hasPrefix("sha256:") })
            #expect(paths(attestation).isEmpty)
            #expect(attestation.omissions.contains { $0.contains("file system") })
            #expect(attestation.executable != nil)
            served.end()
        }
    }

    @Test(.enabled(if: Machine.isRoot, "changes the user of a process"))
    func `a process that changed its user since it connected is refused`() async throws {
        let cat = try asNobody("/bin/cat")
        await #expect(throws: WorkloadAttestationError.credentialsChanged) {
            try await attestor.attest(cat.attested(uid: 0, gid: 0))
        }
    }

    @Test func `a process that is gone is refused`() async throws {
        let cat = try RunningProgram("/bin/cat")
        _ = try cat.ask("ready")
        let process = cat.attested(isAlive: { false })
        await #expect(throws: WorkloadAttestationError.processGone) {
            try await attestor.attest(process)
        }
        cat.end()
        await #expect(throws: WorkloadAttestationError.processGone) {
            try await attestor.attest(process)
        }
    }

    @Test(
        .enabled(if: Machine.choosesPIDs, "the next pid cannot be chosen here"),
        arguments: [true, false]
    )
    func `a reused pid is not the process that connected`(byPIDFD: Bool) async throws {
        let first = try RunningProgram("/bin/cat")
        _ = try first.ask("ready")
        let pid = first.pid
        let pidfd = clinux_pidfd_open(pid)
        defer { clinux_close(pidfd) }
        let start = clinux_start_time_of(pid)
        try #require(start.error == 0 && pidfd >= 0)
        first.end()
        // Start times count hundredths of a second: within one of them they tell nothing apart.
        while currentTick <= start.ticks {}
        let second = try #require(try program(withPID: pid))
        let isAlive: @Sendable () -> Bool = {
            // The second form is what kernels without SO_PEERPIDFD leave.
            guard !byPIDFD else { return clinux_pidfd_exited(pidfd) == 0 }
            let now = clinux_start_time_of(pid)
            return now.error == 0 && now.ticks == start.ticks
        }
        await #expect(throws: WorkloadAttestationError.processGone) {
            try await attestor.attest(second.attested(isAlive: isAlive))
        }
        #expect(try await attestor.attest(second.attested()).selectors.count > 2)
    }

    private var currentTick: UInt64 {
        let now = clinux_boot_time()
        return UInt64(now.seconds * 100 + now.nanoseconds / 10_000_000)
    }

    /// A program that got a pid used before; nil if others were always quicker.
    private func program(withPID pid: Int32) throws -> RunningProgram? {
        for _ in 0..<200 {
            try Data("\(pid - 1)".utf8).write(
                to: URL(fileURLWithPath: "/proc/sys/kernel/ns_last_pid")
            )
            let program = try RunningProgram("/bin/cat")
            if program.pid == pid {
                _ = try program.ask("ready")
                return program
            }
        }
        return nil
    }
}

extension RunningProgram {
    struct NeverRan: Error {}

    /// Returns once the process runs the program, by whatever it was started through.
    func waitUntilRuns(_ program: String) throws {
        let wanted = unsafe clinux_status_of_path(
            URL(fileURLWithPath: program).resolvingSymlinksInPath().path
        )
        for _ in 0..<100_000 {
            let running = clinux_executable_of(pid)
            guard running.error == 0 else { continue }
            // A bind mount shows another path, never another file.
            if running.inode == wanted.inode { return }
            if program == "/bin/ls", running.inode == Self.inode(of: "/bin/cat") { return }
        }
        throw NeverRan()
    }

    private static func inode(of path: String) -> UInt64 {
        unsafe clinux_status_of_path(
            URL(fileURLWithPath: path).resolvingSymlinksInPath().path
        ).inode
    }
}
