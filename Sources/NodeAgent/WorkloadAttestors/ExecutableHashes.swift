// SPDX-License-Identifier: Apache-2.0

internal import GRPCPeer
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

    /// Most files of one user that are read at a time: who starts many large programs at once
    /// waits for himself, not the others for him.
    static let readingPerUserMax = 4

    private struct State {
        var known: [Version: [UInt8]] = [:]
        var reading: [UInt32: Int] = [:]
    }

    private let state = Mutex(State())

    subscript(version: Version) -> [UInt8]? { state.withLock { $0.known[version] } }

    /// Begins to read a file of a user's process; false if too many are being read.
    func begin(uid: UInt32) -> Bool {
        state.withLock { state in
            let count = state.reading[uid, default: 0]
            guard count < Self.readingPerUserMax else { return false }
            state.reading[uid] = count + 1
            return true
        }
    }

    /// Ends what `begin` allowed.
    func end(uid: UInt32) {
        state.withLock { state in
            let count = state.reading[uid, default: 0]
            state.reading[uid] = count > 1 ? count - 1 : nil
        }
    }

    /// Remembers a hash, unless the file may have changed within the same tick.
    ///
    /// - Parameters:
    ///   - hash: SHA-256 of the content.
    ///   - version: The file's state before and after it was read.
    ///   - wallSeconds: The wall clock before it was read, in Unix time.
    func remember(_ hash: [UInt8], of version: Version, wallSeconds: Int64) {
        guard version.changedSeconds + Self.settlingSeconds < wallSeconds else { return }
        state.withLock { state in
            if state.known.count >= Self.entriesMax { state.known.removeAll(keepingCapacity: true) }
            state.known[version] = hash
        }
    }
}
