// SPDX-License-Identifier: Apache-2.0

/// How a datastore is opened.
package struct DatastoreOptions: Hashable, Sendable {
    /// What the opener may do with the file.
    package enum Access: Hashable, Sendable {
        /// An existing file is read and never touched, not even to migrate it.
        case readOnly
        /// The file is created or migrated as needed.
        case readWrite
    }

    package var access = Access.readWrite
    /// How long to wait for a lock held by another process.
    ///
    /// A backup tool holds it for milliseconds; more means that somebody works on the file.
    package var busyTimeout: Duration = .seconds(5)
    /// Reads every page before the first use.
    ///
    /// Costs about one second per gigabyte, so it is for inspections rather than for every start.
    package var checksIntegrity = false
    /// Size at which the database counts as full, in pages of 4,096 bytes; nil is no limit.
    package var pagesMax: Int?
    /// Writes that may wait for a commit.
    ///
    /// At some 40,000 writes per second this is a wait of a quarter of a second; whoever comes
    /// later is better told at once.
    package var queuedWritesMax = 10_000
    /// Writes in one physical transaction: more gains no throughput and delays the first.
    package var batchedWritesMax = 256
    /// Read connections, each with its own page cache.
    package var readersMax = 4

    package init() {}
}
