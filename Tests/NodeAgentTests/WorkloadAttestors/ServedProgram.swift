// SPDX-License-Identifier: Apache-2.0

import Foundation
import NodeAgent

/// A running copy of /bin/cat whose file system is served by a program (FUSE).
final class ServedProgram {
    /// What the server does once the program runs.
    enum Trick: String, Sendable {
        /// It leaves every question without an answer.
        case answersNoMore
        /// It goes on serving, but its mount is in nobody's table any more.
        case detached
    }

    struct NotStarted: Error {
        let output: String
    }

    static let isPossible =
        Machine.isRoot && FileManager.default.isWritableFile(atPath: "/dev/fuse")
        && FileManager.default.isExecutableFile(atPath: python)
    private static let python = "/usr/bin/python3"

    private let server: RunningProgram
    private let pid: Int32

    init(in directory: String, _ trick: Trick) throws {
        server = try RunningProgram(
            Self.python,
            ["-c", Self.script, directory, trick.rawValue, "/bin/cat"]
        )
        let output = server.read()
        guard let pid = Int32(output.trimmingCharacters(in: .newlines)) else {
            throw NotStarted(output: output)
        }
        self.pid = pid
    }

    var attested: AttestedProcess {
        AttestedProcess(
            pid: pid,
            uid: getuid(),
            gid: getgid(),
            executableAtConnect: nil,
            isAlive: { true }
        )
    }

    /// Ends server and program; who waits for an answer gets an error.
    func end() {
        kill(pid, SIGKILL)
        server.end()
    }

    /// One directory with one file, `program`, of which nothing may be cached.
    ///
    /// So each look at it is a question. The protocol is that of fuse(4), version 7.31.
    private static let script = """
        import ctypes, os, select, signal, struct, sys
        mountpoint, trick, original = sys.argv[1:]
        signal.alarm(40)
        content = open(original, "rb").read()
        libc = ctypes.CDLL(None, use_errno=True)
        fuse = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={fuse},rootmode=40755,user_id=0,group_id=0,allow_other"
        if libc.mount(b"test", mountpoint.encode(), b"fuse", 0, options.encode()):
            sys.exit(f"no mount: {ctypes.get_errno()}")

        def attributes(node):
            mode, size = (0o40755, 0) if node == 1 else (0o100755, len(content))
            return struct.pack(
                "<6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

        def answer(unique, body=b"", error=0):
            os.write(fuse, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)

        def serve():
            request = os.read(fuse, 1 << 18)
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            body = request[40:]
            if opcode == 26:  # INIT
                answer(unique, struct.pack(
                    "<IIIIHHIIHHI28x", 7, 31, 65536, 0, 12, 9, 65536, 1, 16, 0, 0))
            elif opcode == 1 and body == b"program\\0":  # LOOKUP
                answer(unique, struct.pack("<4QII", 2, 0, 0, 0, 0, 0) + attributes(2))
            elif opcode == 3:  # GETATTR
                answer(unique, struct.pack("<QII", 0, 0, 0) + attributes(node))
            elif opcode in (14, 27):  # OPEN, OPENDIR
                answer(unique, struct.pack("<QII", 1, 0, 0))
            elif opcode == 15:  # READ
                _, offset, size = struct.unpack_from("<QQI", body)
                answer(unique, content[offset:offset + size])
            elif opcode in (18, 25, 29):  # RELEASE, FLUSH, RELEASEDIR
                answer(unique)
            elif opcode not in (2, 36, 42):  # FORGET, INTERRUPT, BATCH_FORGET
                answer(unique, error=2 if opcode == 1 else 38)

        from_child, child_out = os.pipe()
        child_in, to_child = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(child_in, 0)
            os.dup2(child_out, 1)
            os.closerange(3, 64)
            os.execv(f"{mountpoint}/program", ["program"])
        os.write(to_child, b"ready\\n")
        while True:
            ready = select.select([fuse, from_child], [], [])[0]
            if from_child in ready:
                break
            serve()
        if trick == "detached":
            libc.umount2(mountpoint.encode(), 2)
        print(child, flush=True)
        while True:
            asked = [fuse] if trick == "detached" else []
            ready = select.select([sys.stdin] + asked, [], [])[0]
            if sys.stdin in ready:
                break
            serve()
        """
}
