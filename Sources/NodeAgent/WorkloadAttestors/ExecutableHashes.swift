// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// SHA-256 of executables, remembered as long as the file is the same.
final class ExecutableHashes: Sendable {
    /// Largest executable that is hashed; reading more would keep the caller waiting for seconds.
    static let fileBytesMax = 512 * 1024 * 1024
    /// Most hashes remembered; a machine runs fewer different programs that ask for identities.
    static let entriesMax = 1024
    /// A file changed less than this long ago is hashed again: two changes within one tick of the
    /// file system's clock look the same.
    static let settlingSeconds: Int64 = 2

    /// What changes whenever the content does.
    struct Version: Hashable, Sendable {
        let file: FileIdentity
        let size: Int64
        let modifiedSeconds: Int64
        let modifiedNanoseconds: Int64
        let changedSeconds: Int64
        let changedNanoseconds: Int64
    }

    private let known = Mutex<[Version: [UInt8]]>([:])

    subscript(version: Version) -> [UInt8]? { known.withLock { $0[version] } }

    /// Remembers a hash, unless the file may have changed within the same tick.
    ///
    /// - Parameters:
    ///   - hash: SHA-256 of the content.
    ///   - version: The file's state before and after it was read.
    ///   - wallSeconds: The wall clock before it was read, in Unix time.
    func remember(_ hash: [UInt8], of version: Version, wallSeconds: Int64) {
        guard version.changedSeconds + Self.settlingSeconds < wallSeconds else { return }
        known.withLock { known in
            if known.count >= Self.entriesMax { known.removeAll(keepingCapacity: true) }
            known[version] = hash
        }
    }
}
