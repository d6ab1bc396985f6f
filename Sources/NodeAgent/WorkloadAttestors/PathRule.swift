// SPDX-License-Identifier: Apache-2.0

internal import CLinux

/// When the path of an executable says something: only if the caller could not have put a program
/// of its own there.
enum PathRule {
    private static let typeMask: UInt32 = 0o170000
    private static let directory: UInt32 = 0o040000
    private static let sticky: UInt32 = 0o1000
    private static let writableByOthers: UInt32 = 0o022
    /// What /proc appends to the path of a file that was removed.
    private static let deletedMark = " (deleted)"

    /// Why neither path nor content says anything; nil if they may.
    ///
    /// Behind FUSE a program answers for the content, so what is read need not be what was run, and
    /// it may never answer. A mount that the agent does not see may be one, unless the process has
    /// a mount namespace of its own and the file system is mounted here too.
    static func objection(
        mountID: UInt64?,
        device: UInt64,
        sharesNamespaces: Bool?,
        mounts: MountTable
    ) -> String? {
        var type = mountID.flatMap(mounts.type(ofMount:))
        if type == nil, sharesNamespaces != true { type = mounts.type(ofDevice: device) }
        guard let type else {
            return "the executable lies on a file system that the agent does not see"
        }
        return MountTable.isServedByProgram(type)
            ? "the executable lies on a file system that a program serves (\(type))" : nil
    }

    /// Why the path says nothing; nil if it does.
    ///
    /// - Parameters:
    ///   - path: The text of /proc/PID/exe.
    ///   - sharesNamespaces: Whether the caller sees the same files and users; nil if unknown.
    ///   - executable: The status of the running file.
    ///   - caller: Whose process it is.
    ///   - mounts: What is mounted where.
    /// - Returns: A sentence for people.
    static func objection(
        path: String?,
        sharesNamespaces: Bool?,
        executable: clinux_file_status,
        caller: ProcessCredentials,
        mounts: MountTable
    ) -> String? {
        guard let path, let sharesNamespaces else { return "the agent may not read it" }
        guard sharesNamespaces else {
            return "the process lives in another mount or user namespace, where it may name files"
        }
        guard caller.uid != 0 else { return "root may write any file" }
        guard path.hasPrefix("/"), !path.hasSuffix(deletedMark) else { return notNamed }
        // From the root down, and no further than to the first objection: below a directory that
        // the caller may replace, whoever is asked for a file may be a program of the caller's.
        for ancestor in ancestors(of: path) {
            guard let status = ProcessReading.status(of: ancestor),
                status.mode & typeMask == directory
            else { return "\(ancestor) cannot be looked at" }
            if let type = mounts.type(ofDevice: status.device),
                MountTable.isServedByProgram(type)
            {
                return "\(ancestor) lies on a file system that a program serves (\(type))"
            }
            if mayReplace(in: status, by: caller) {
                return "the process may replace files in \(ancestor)"
            }
        }
        guard let named = ProcessReading.status(of: path), named.device == executable.device,
            named.inode == executable.inode
        else { return notNamed }
        return isWritable(executable, by: caller) ? "the process may write the file" : nil
    }

    private static let notNamed = "the path does not name the running file any more"

    /// An access control list shows in the bits of the group, so those count whatever the group.
    private static func isWritable(
        _ file: clinux_file_status,
        by caller: ProcessCredentials
    ) -> Bool {
        file.uid == caller.uid || file.mode & writableByOthers != 0
    }

    /// In a directory with the sticky bit nobody replaces what belongs to others.
    private static func mayReplace(
        in directory: clinux_file_status,
        by caller: ProcessCredentials
    ) -> Bool {
        directory.uid == caller.uid
            || (directory.mode & writableByOthers != 0 && directory.mode & sticky == 0)
    }

    private static func ancestors(of path: String) -> [String] {
        var result = ["/"]
        var prefix = ""
        for component in path.split(separator: "/").dropLast() {
            prefix += "/\(component)"
            result.append(prefix)
        }
        return result
    }
}
