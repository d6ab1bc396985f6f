// SPDX-License-Identifier: Apache-2.0

package import DurableFiles

/// How much of its file system the decision store leaves free.
///
/// The server's own database is there too: traffic that filled the disk would stop issuance.
package enum DecisionRoom {
    /// Least free bytes: what the database, its journal and logs take in days without anybody
    /// looking.
    package static let freeBytesMin: UInt64 = 1 << 30
    /// Least free part in percent of a file system that is so small that it is less.
    package static let freePercentMin: UInt64 = 10

    /// How many bytes may be taken before the rest is left to the server itself.
    package static func spare(_ room: FileSystemRoom) -> UInt64 {
        let least = least(room)
        return room.freeBytes > least ? room.freeBytes - least : 0
    }

    private static func least(_ room: FileSystemRoom) -> UInt64 {
        // One that does not tell its size may be of any.
        let part = room.bytes / 100 * freePercentMin
        return part == 0 ? freeBytesMin : min(freeBytesMin, part)
    }

    /// Why the store must not grow; nil if it may.
    package static func shortage(_ room: FileSystemRoom) -> String? {
        let least = least(room)
        guard room.freeBytes < least else { return nil }
        return "its file system has \(room.freeBytes >> 20) MiB free, and \(least >> 20) MiB are "
            + "left to the server itself"
    }
}
