// SPDX-License-Identifier: Apache-2.0

/// Physical commits and the writes that shared them, since the opening.
package struct CommitCounts: Hashable, Sendable {
    /// Physical commits that succeeded.
    package private(set) var commits: UInt64 = 0
    /// Physical commits that failed, and all their writes with them.
    package private(set) var failedCommits: UInt64 = 0
    /// Writes that took part in a commit, those included that were rolled back alone.
    package private(set) var writes: UInt64 = 0

    package init() {}

    mutating func finished(_ batchCount: Int, failed: Bool) {
        writes += UInt64(batchCount)
        if failed { failedCommits += 1 } else { commits += 1 }
    }
}
