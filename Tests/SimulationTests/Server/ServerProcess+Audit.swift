// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import DurableFiles
import FoundationEssentials

extension ServerProcess {
    /// As `AuditPublisher.run`: soon after a commit, but not more often than it allows.
    func planAudit() {
        guard !isAuditPlanned else { return }
        isAuditPlanned = true
        let earliest = auditPublishedAt + AuditPublisher.checkpointInterval
        // A busy machine gives the task its turn late, which also keeps the run short.
        let delay = max(random.duration(0.001...15), earliest - scheduler.now)
        after(delay, "server publishes the audit log") { [self] in
            isAuditPlanned = false
            auditPublishedAt = scheduler.now
            previousNote = audit.checkpoint?.note
            isCheckpointShown = false
            while try await audit.publish() {}
            // Once the database remembers a checkpoint, no crash is one before it was written.
            if audit.checkpoint?.checkpoint.size.isMultiple(of: 2) == true {
                try await audit.remember()
                isCheckpointShown = true
            }
        }
    }

    /// As if the crash had come just before the newest checkpoint was written, unless somebody
    /// has been shown it: the tiles are then newer than the checkpoint.
    func loseCheckpoint() {
        guard let previousNote, !isCheckpointShown, random.chance(0.5) else { return }
        let path = "\(machine.auditDirectory)/\(TilePath.checkpoint)"
        try? DurableFile.write(previousNote, to: path, mode: 0o600)
    }
}
