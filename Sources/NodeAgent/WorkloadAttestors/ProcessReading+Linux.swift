// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Crypto
internal import GRPCPeer
internal import Glibc

/// Who a process is, as /proc/PID/status says.
struct ProcessCredentials: Hashable, Sendable {
    /// Effective, as SO_PEERCRED reports.
    var uid: UInt32
    var gid: UInt32
    var groups: Set<UInt32>
}

/// A read of /proc or of an executable that failed.
struct ReadingFailure: Error, Hashable, CustomStringConvertible {
    let what: String
    let errno: Int32

    /// The executable changed while it was hashed.
    static let fileChanged = ReadingFailure(what: "executable changed", errno: EAGAIN)

    /// Too many executables of the same user are being hashed.
    static let tooManyFiles = ReadingFailure(what: "other programs of the user", errno: EAGAIN)

    /// Worth another try: this process or the machine is out of something.
    var isTemporary: Bool { [EAGAIN, EINTR, EMFILE, ENFILE, ENOMEM, EIO].contains(errno) }

    var description: String {
        "\(what): \(unsafe strerror(errno).map { unsafe String(cString: $0) } ?? "error \(errno)")"
    }
}

/// What the kernel tells of a process.
///
/// A pid names a process only as long as that one lives: whoever reads asks afterwards whether it
/// still does.
enum ProcessReading {
    /// A /proc/PID/status is 1.5 KiB and 11 bytes for each group.
    static let statusBytesMax = 1024 * 1024
    /// Room for some thousands of mounts, as on hosts of many containers.
    static let mountInfoBytesMax = 4 * 1024 * 1024

    static func credentials(of pid: Int32) throws(ReadingFailure) -> ProcessCredentials {
        let path = "/proc/\(pid)/status"
        let text = String(decoding: try bytes(of: path, max: statusBytesMax), as: UTF8.self)
        func numbers(_ name: String) -> [UInt32]? {
            let line = text.split(separator: "\n").first { $0.hasPrefix(name + ":") }
            return line?.dropFirst(name.count + 1).split { $0 == "\t" || $0 == " " }
                .compactMap { UInt32($0) }
        }
        // Real, effective, saved and file system ID.
        guard let uids = numbers("Uid"), uids.count == 4, let gids = numbers("Gid"),
            gids.count == 4, let groups = numbers("Groups")
        else { throw ReadingFailure(what: path, errno: EINVAL) }
        return ProcessCredentials(uid: uids[1], gid: gids[1], groups: Set(groups))
    }

    /// The text of the link to the running executable.
    static func executablePath(of pid: Int32) throws(ReadingFailure) -> String {
        let path = "/proc/\(pid)/exe"
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX) + 1)
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe bytes.withMemoryRebound(to: CChar.self) { text in
                guard let start = text.baseAddress else { return -1 }
                return unsafe readlink(path, start, text.count)
            }
        }
        guard count >= 0 else { throw ReadingFailure(what: path, errno: errno) }
        guard count <= Int(PATH_MAX), let text = String(validating: buffer[..<count], as: UTF8.self)
        else { throw ReadingFailure(what: path, errno: ENAMETOOLONG) }
        return text
    }

    /// Whether a process sees the files and users that this one sees.
    static func sharesNamespaces(_ pid: Int32) throws(ReadingFailure) -> Bool {
        for kind in [clinux_namespace_mount, clinux_namespace_user] {
            let other = clinux_namespace_of(pid, kind)
            guard other.error == 0 else {
                throw ReadingFailure(what: "/proc/\(pid)/ns", errno: other.error)
            }
            let own = clinux_namespace_of(getpid(), kind)
            guard own.error == 0, own.device == other.device, own.inode == other.inode else {
                return false
            }
        }
        return true
    }

    /// The mounts that this process sees.
    static func mounts() throws(ReadingFailure) -> MountTable {
        let path = "/proc/self/mountinfo"
        return MountTable(
            parsing: String(decoding: try bytes(of: path, max: mountInfoBytesMax), as: UTF8.self)
        )
    }

    /// The status of a path itself, or nil if there is none.
    static func status(of path: String) -> clinux_file_status? {
        let status = unsafe clinux_status_of_path(path)
        return status.error == 0 ? status : nil
    }

    /// The user this process runs as.
    static var ownUID: UInt32 { geteuid() }

    /// An absolute path for one that may be relative to the working directory.
    static func absolutePath(_ path: String) -> String {
        guard !path.hasPrefix("/") else { return path }
        guard let directory = unsafe getcwd(nil, 0) else { return path }
        defer { unsafe free(directory) }
        return unsafe String(cString: directory) + "/" + path
    }

    /// The name of a user; nil if nobody has the number.
    ///
    /// It asks the system's name service, as `id` does.
    ///
    /// - Throws: if the name service does not answer, which is not to say that there is no name.
    static func userName(_ uid: UInt32) throws(ReadingFailure) -> String? {
        try name("of user \(uid)") { buffer in
            var entry = unsafe passwd()
            var found: UnsafeMutablePointer<passwd>?
            let error = unsafe getpwuid_r(uid, &entry, &buffer, buffer.count, &found)
            guard error == 0, unsafe found != nil else { return (error, nil) }
            return (0, unsafe String(cString: entry.pw_name))
        }
    }

    /// The name of a group; nil if none has the number.
    ///
    /// - Throws: if the name service does not answer.
    static func groupName(_ gid: UInt32) throws(ReadingFailure) -> String? {
        try name("of group \(gid)") { buffer in
            var entry = unsafe group()
            var found: UnsafeMutablePointer<group>?
            let error = unsafe getgrgid_r(gid, &entry, &buffer, buffer.count, &found)
            guard error == 0, unsafe found != nil else { return (error, nil) }
            return (0, unsafe String(cString: entry.gr_name))
        }
    }

    private static func name(
        _ what: String,
        _ look: (inout [CChar]) -> (error: Int32, name: String?)
    ) throws(ReadingFailure) -> String? {
        var size = nameBufferBytes
        while true {
            var buffer = [CChar](repeating: 0, count: size)
            let (error, name) = look(&buffer)
            switch error {
            // What some systems say of a number that nobody has (getpwuid_r(3), NOTES).
            case 0, ENOENT, ESRCH, EBADF, EPERM: return name
            case ERANGE where size < nameBufferBytesMax: size *= 8
            default: throw ReadingFailure(what: "the name \(what)", errno: error)
            }
        }
    }

    /// The group with a name; nil if there is none.
    static func groupID(_ name: String) -> UInt32? {
        var entry = unsafe group()
        var found: UnsafeMutablePointer<group>?
        var buffer = [CChar](repeating: 0, count: nameBufferBytes)
        let error = unsafe getgrnam_r(name, &entry, &buffer, buffer.count, &found)
        guard error == 0, unsafe found != nil else { return nil }
        return unsafe entry.gr_gid
    }

    /// Room for a group with thousands of members.
    private static let nameBufferBytes = 256 * 1024
    /// Most room for one answer of the name service: some hundred thousand members, and little enough
    /// for every caller at a time.
    private static let nameBufferBytesMax = 16 * 1024 * 1024

    private static func bytes(of path: String, max: Int) throws(ReadingFailure) -> [UInt8] {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw ReadingFailure(what: path, errno: errno) }
        defer { close(descriptor) }
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 * 1024)
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes {
                unsafe read(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw ReadingFailure(what: path, errno: errno) }
            if count == 0 { return content }
            content += chunk[..<count]
            guard content.count <= max else { throw ReadingFailure(what: path, errno: EFBIG) }
        }
    }
}

/// The running executable of a process, held: as long as it is, its inode is not used again.
///
/// Nothing is asked of a program that may serve its file system before `opened`.
struct ExecutableFile: ~Copyable {
    let identity: FileIdentity
    /// Through which mount the process runs it; nil if the kernel does not tell.
    let mountID: UInt64?
    private let descriptor: Int32

    init(of pid: Int32) throws(ReadingFailure) {
        let descriptor = clinux_open_executable(pid)
        guard descriptor >= 0 else {
            throw ReadingFailure(what: "/proc/\(pid)/exe", errno: -descriptor)
        }
        let file = clinux_file_of_descriptor(descriptor)
        guard file.error == 0 else {
            clinux_close(descriptor)
            throw ReadingFailure(what: "/proc/\(pid)/exe", errno: file.error)
        }
        self.descriptor = descriptor
        identity = FileIdentity(device: file.device, inode: file.inode)
        mountID = UInt64(exactly: clinux_mount_of_descriptor(descriptor))
    }

    deinit { clinux_close(descriptor) }

    /// Opens the file, once it is known that no program of somebody else answers for it.
    func opened() throws(ReadingFailure) -> ExecutableContent {
        try ExecutableContent(of: descriptor)
    }
}

/// An executable open for reading.
struct ExecutableContent: ~Copyable {
    let status: clinux_file_status
    private let descriptor: Int32

    fileprivate init(of file: Int32) throws(ReadingFailure) {
        let descriptor = clinux_open_for_reading(file)
        guard descriptor >= 0 else {
            throw ReadingFailure(what: "executable", errno: -descriptor)
        }
        let status = clinux_status_of_descriptor(descriptor)
        guard status.error == 0 else {
            clinux_close(descriptor)
            throw ReadingFailure(what: "executable", errno: status.error)
        }
        self.descriptor = descriptor
        self.status = status
    }

    deinit { clinux_close(descriptor) }

    /// The status as it is now.
    var currentStatus: clinux_file_status { clinux_status_of_descriptor(descriptor) }

    /// SHA-256 of the whole content, read in pieces; other tasks run between them.
    func sha256() async throws(ReadingFailure) -> [UInt8] {
        var hasher = SHA256()
        var chunk = [UInt8](repeating: 0, count: 256 * 1024)
        var offset: off_t = 0
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes {
                unsafe pread(descriptor, $0.baseAddress, $0.count, offset)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw ReadingFailure(what: "executable", errno: errno) }
            if count == 0 { return Array(hasher.finalize()) }
            hasher.update(data: chunk[..<count])
            offset += off_t(count)
            guard offset <= off_t(ExecutableHashes.fileBytesMax) else {
                throw ReadingFailure(what: "executable", errno: EFBIG)
            }
            await Task.yield()
        }
    }
}
