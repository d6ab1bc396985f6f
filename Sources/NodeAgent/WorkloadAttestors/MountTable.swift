// SPDX-License-Identifier: Apache-2.0

/// The mounts of /proc/self/mountinfo (proc_pid_mountinfo(5)): of what type the file systems are
/// that files lie on.
struct MountTable: Sendable {
    private var typesByID: [UInt64: String] = [:]
    private var typesByDevice: [UInt64: String] = [:]

    init(parsing text: String) {
        for line in text.split(separator: "\n") {
            // Fields of variable number end with a lone hyphen, which the type follows.
            let fields = line.split(separator: " ")
            guard fields.count > 2, let id = UInt64(fields[0]),
                let hyphen = fields.firstIndex(of: "-"), hyphen + 1 < fields.count,
                let device = Self.device(fields[2])
            else { continue }
            let type = String(fields[hyphen + 1])
            typesByID[id] = type
            typesByDevice[device] = type
        }
    }

    /// The type behind a mount; nil if there is none with this number here: it belongs to another
    /// namespace, or it was detached.
    func type(ofMount id: UInt64) -> String? { typesByID[id] }

    /// The type of the file system with a device number; nil if none that is mounted has it, as
    /// for the subvolumes of some file systems.
    func type(ofDevice device: UInt64) -> String? { typesByDevice[device] }

    /// Whether a program answers for what lies on the file system of this type.
    static func isServedByProgram(_ type: String) -> Bool { type.hasPrefix("fuse") }

    /// `major:minor`, encoded as `makedev` does (glibc, bits/sysmacros.h).
    private static func device(_ text: Substring) -> UInt64? {
        let parts = text.split(separator: ":")
        guard parts.count == 2, let major = UInt64(parts[0]), let minor = UInt64(parts[1]),
            major <= UInt32.max, minor <= UInt32.max
        else { return nil }
        return (major & 0xFFF) << 8 | (major & 0xFFFF_F000) << 32
            | minor & 0xFF | (minor & 0xFFFF_FF00) << 12
    }
}
