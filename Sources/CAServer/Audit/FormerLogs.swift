// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import DurableFiles
internal import FoundationEssentials

/// The logs of before each restore, and how one leads to the next
/// (docs/decisions/0022-backup-and-restore.md, "Agents").
///
/// Nothing here is believed by anybody: agents verify what they are sent.
package struct FormerLogs: Sendable {
    /// Most logs that an agent is led over: one for each restore that it has missed.
    package static let successionsMax = 16

    /// A log that has ended.
    struct Log: Sendable {
        let succession: LogSuccession
        let directory: String
    }

    /// By their names.
    private let logs: [String: Log]

    /// Reads the successions below a directory; what cannot be read leads nowhere.
    init(in directory: String) {
        var logs: [String: Log] = [:]
        for name in (try? RestorePlace.names(in: directory)) ?? [] {
            let log = "\(directory)/\(name)"
            let note = try? DurableFile.read(
                "\(log)/\(LogSuccession.file)",
                bytesMax: SignedCheckpoint.bytesMax
            )
            guard let note, let succession = try? LogSuccession(unverified: note) else { continue }
            logs[succession.former.origin] = Log(succession: succession, directory: log)
        }
        self.logs = logs
    }

    /// How a log leads to another one.
    ///
    /// - Returns: The successions in order; nil if it does not, or over too many.
    func path(from origin: String, to present: String) -> [Log]? {
        var path: [Log] = []
        var next = origin
        while next != present {
            guard path.count < Self.successionsMax, let log = logs[next] else { return nil }
            path.append(log)
            next = log.succession.newKey.name
        }
        return path
    }

    /// The proof that a log, as it ended, continues what it was at a size; empty if it does not, or
    /// its files are not there.
    static func proof(in log: Log, from size: UInt64) -> [[UInt8]] {
        var tree = TiledTree(size: log.succession.former.size) {
            try AuditPublisher.read($0, in: log.directory)
        }
        return ((try? tree.proveConsistency(from: size)) ?? nil)?.path.map(\.bytes) ?? []
    }
}
