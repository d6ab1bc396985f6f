// SPDX-License-Identifier: Apache-2.0

import CAServer
import FoundationEssentials

extension ServerProcess {
    /// As `AuditPublisher.run`: soon after a commit, but not more often than it allows.
    func planAudit() {
        guard !isAuditPlanned else { return }
        isAuditPlanned = true
        let earliest = auditPublishedAt + AuditPublisher.checkpointInterval
        // A busy machine gives the task its turn late, which also keeps the run short.
        let delay = max(random.duration(0.001...4), earliest - scheduler.now)
        after(delay, "server publishes the audit log") { [self] in
            isAuditPlanned = false
            auditPublishedAt = scheduler.now
            while try await audit.publish() {}
        }
    }
}
