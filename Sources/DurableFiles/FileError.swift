// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// A file operation that the system refused, or a file that must not be used as it is.
package struct FileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Why the operation failed.
    package enum Reason: Hashable, Sendable {
        /// Somebody other than its owner may read or write a file that holds a secret.
        case exposed(mode: UInt32)
        /// Neither this process's user nor root owns a file that holds a secret.
        case foreignOwner(uid: UInt32)
        case notRegularFile
        case system(errno: Int32)
        case tooLarge(bytesMax: Int)
        /// Others than its owner may put files into a directory whose files are believed, or write
        /// a file that is run.
        case writableByOthers(mode: UInt32)
    }

    /// What was tried: `open`, `write`, `rename` ...
    package let operation: String
    package let path: String
    package let reason: Reason

    package var isNotFound: Bool { reason == .system(errno: ENOENT) }

    /// Whether another process holds the lock.
    package var isLocked: Bool { operation == "lock" && reason == .system(errno: EWOULDBLOCK) }

    package var description: String {
        switch reason {
        case .exposed(let mode):
            "\(path) holds a secret but has mode \(String(mode, radix: 8)): run chmod 600 on it"
        case .foreignOwner(let uid):
            "\(path) holds a secret but belongs to uid \(uid): run chown on it"
        case .notRegularFile: "\(path) is not a regular file"
        case .system where isLocked: "cannot lock \(path): another process holds the lock"
        case .system(let number): "cannot \(operation) \(path): \(text(ofErrno: number))"
        case .tooLarge(let bytesMax): "\(path) is larger than \(bytesMax) bytes"
        case .writableByOthers(let mode):
            "\(path) has mode \(String(mode, radix: 8)), so others may change it: run chmod go-w on "
                + "it"
        }
    }
}
