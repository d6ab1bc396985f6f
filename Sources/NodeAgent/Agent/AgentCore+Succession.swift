// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import ControlAPIProtos
internal import FoundationEssentials
internal import Logging
internal import SwiftProtobuf
internal import Telemetry

/// What the agent says of the audit log that it knows, and how it goes over to the one that follows
/// (docs/decisions/0022-backup-and-restore.md, "Agents").
extension AgentCore {
    /// What to say of the audit log that is remembered, with each request.
    ///
    /// - Parameter withNote: Whether the signed note goes with it, by which the server may find that
    ///   it was set back.
    /// - Returns: The message.
    func checkpointHave(withNote: Bool = false) -> Signet_Node_V1alpha1_CheckpointHave {
        let (origin, mark, note) = ask { ($0.audit.key.name, $0.audit.mark, $0.audit.note) }
        return .with {
            $0.origin = origin
            guard let mark else { return }
            $0.size = mark.size
            $0.root = Data(mark.root.bytes)
            if withNote, let note { $0.note = String(decoding: note, as: UTF8.self) }
        }
    }

    /// Writes that the audit log is another one.
    ///
    /// Killed in between, the agent follows again from what it still remembers of the former log; a
    /// loss is written down before that is forgotten.
    func follow(_ following: CheckpointMemory.Following) async {
        if let last = following.last, !following.isProved {
            await disk.save(.lostCheckpoint) { last.note }
        }
        await disk.remove(.checkpoint)
        let former = ask { $0.audit.formerKeys.map(\.description) }
        changeTrust {
            $0.identity.auditKey = following.succession.newKey.description
            $0.identity.formerAuditKeys = former
        }
        await saveIdentity()
    }

    /// The machine that was restored elsewhere runs still, or again: nobody follows it, and it is no
    /// contradiction of the log that is remembered.
    func reportFormerLog(_ key: NoteVerifierKey) {
        metrics.increment(.auditAlarms, "formerLog")
        logger.critical(
            "THE SERVER OF BEFORE A RESTORE ANSWERS",
            metadata: ["log": "\(key.name)", "remedy": "stop the former machine"]
        )
    }

    func report(_ following: CheckpointMemory.Following) {
        let (former, newKey) = (following.succession.former, following.succession.newKey)
        guard let last = following.last?.checkpoint, !following.isProved else {
            metrics.increment(.auditAlarms, "newLog")
            logger.warning(
                "the server was restored and has a new audit log, which continues the former one",
                metadata: ["before": "\(former.origin)", "now": "\(newKey.name)"]
            )
            return
        }
        metrics.increment(.auditAlarms, "recordsLost")
        logger.critical(
            "THE SERVER WAS RESTORED AND HAS LOST RECORDS OF ITS AUDIT LOG",
            metadata: [
                "before": "\(former.origin)", "now": "\(newKey.name)",
                "seen": "\(last.size)", "restored": "\(former.size)",
                "evidence": "\(AgentFile.lostCheckpoint.rawValue)",
            ]
        )
    }
}
