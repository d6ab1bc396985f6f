// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import DurableFiles
internal import FoundationEssentials
internal import Logging

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

    /// Reads the successions below a directory; one that cannot be read leads nowhere, and the log
    /// says so.
    ///
    /// - Throws: What keeps the directory from being read: every agent that knows a former log would
    ///   raise an alarm.
    init(in directory: String, logger: Logger) throws {
        var logs: [String: Log] = [:]
        for name in try RestorePlace.names(in: directory) {
            let log = "\(directory)/\(name)"
            do {
                guard let succession = try Self.succession(in: log) else { continue }
                logs[succession.former.origin] = Log(succession: succession, directory: log)
            } catch {
                logger.error(
                    "agents are not led on from a former audit log",
                    metadata: ["directory": "\(log)", "error": "\(error)"]
                )
            }
        }
        self.logs = logs
    }

    /// Nil where nothing says what follows, as the log's key was lost.
    private static func succession(in log: String) throws -> LogSuccession? {
        let note: [UInt8]
        do throws(FileError) {
            note = try DurableFile.read(
                "\(log)/\(LogSuccession.file)",
                bytesMax: SignedCheckpoint.bytesMax
            )
        } catch {
            if error.isNotFound { return nil }
            throw error
        }
        return try LogSuccession(unverified: note)
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
