// SPDX-License-Identifier: Apache-2.0

/// How large a file system is, and how much of it is free.
package struct FileSystemRoom: Hashable, Sendable {
    /// All there is.
    package let bytes: UInt64
    /// What a process without privileges may still take.
    package let freeBytes: UInt64

    package init(bytes: UInt64, freeBytes: UInt64) {
        self.bytes = bytes
        self.freeBytes = freeBytes
    }
}
