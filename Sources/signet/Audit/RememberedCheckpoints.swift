// SPDX-License-Identifier: Apache-2.0

package import AuditLog
internal import DurableFiles

/// Checkpoints of a log that were kept elsewhere, and the files they came from.
package struct RememberedCheckpoints: Sendable {
    private let checkpoints: [(path: String, note: [UInt8], size: UInt64)]

    /// The signed notes.
    package var notes: [[UInt8]] { checkpoints.map { $0.note } }

    /// Reads checkpoints as published, or as an agent keeps them.
    ///
    /// - Throws: `CommandFailure` naming the file that is no checkpoint of this log.
    package init(files paths: [String], key: NoteVerifierKey) throws(CommandFailure) {
        var checkpoints: [(path: String, note: [UInt8], size: UInt64)] = []
        for path in paths {
            let (note, size) = try Self.read(path, key)
            checkpoints.append((path: path, note: note, size: size))
        }
        self.checkpoints = checkpoints
    }

    private static func read(
        _ path: String,
        _ key: NoteVerifierKey
    ) throws(CommandFailure) -> ([UInt8], UInt64) {
        let file: [UInt8]
        do throws(FileError) {
            file = try DurableFile.read(
                path,
                bytesMax: AgentFileFrame.headerBytesMax + SignedCheckpoint.bytesMax
            )
        } catch {
            throw CommandFailure(
                "--checkpoint cannot be read: \(error)",
                remedy: "Check the path and what this user may read."
            )
        }
        let note = try AgentFileFrame.content(file, path: path)
        do throws(CheckpointError) {
            let signed = try SignedCheckpoint(parsing: note, key: key)
            return (note, signed.checkpoint.size)
        } catch {
            throw CommandFailure(
                "\(path) is no checkpoint of the log of this --key: \(error)",
                remedy: "Check that both are of the same server, and that the file is whole."
            )
        }
    }

    /// What a defect means, where the remembered checkpoints tell more than the defect does.
    ///
    /// - Parameters:
    ///   - defect: What the walk over the log found.
    ///   - size: How many records the log's own checkpoint has; nil if it cannot be read.
    /// - Returns: The sentence, with both sizes for a log that is shorter than a checkpoint.
    package func sentence(for defect: AuditDefect, size: UInt64?) -> String {
        guard case .recordsCutOff(let remembered) = defect.kind, let size,
            let path = checkpoints.first(where: { $0.size == remembered })?.path
        else { return "the audit log was changed: \(defect)" }
        return "the log has \(size) records, the checkpoint in \(path) \(remembered): records were "
            + "cut off, or this copy is older than that checkpoint; export again and compare"
    }
}
