// SPDX-License-Identifier: Apache-2.0

package import AuditLog
package import NodeSync
package import SPIFFE

extension AgentLogic {
    /// What the shell has to do, in order.
    package enum Action: Equatable, Sendable {
        /// A condition of the agent's health changed; nil is met.
        case condition(Condition, problem: String?)
        /// Open a connection to the next server and the Sync stream on it, then call `connected`;
        /// when that fails or the stream ends, call `disconnected`.
        case connect
        /// End the stream, then call `disconnected`.
        case disconnect(reason: String)
        /// Write the last note of the log that ended, if it is not proved to be in it, as evidence;
        /// forget it otherwise, and write the identity with the key of the log that follows.
        case followLog(CheckpointMemory.Following)
        /// Write `persistedSync` to disk before anything that follows. A failure is the operator's
        /// concern and stops nothing.
        case persistSync
        /// Write the note that contradicts the audit log, and why, to disk.
        case recordAuditAlarm(String, note: [UInt8])
        /// Write the note to disk.
        case rememberCheckpoint(note: [UInt8])
        /// Ask for a new SVID of the agent's own, then call `ownSVIDRenewed` or
        /// `ownSVIDRenewalFailed`. After `disconnected` the answer to `.renew` is not needed.
        case renewOwnSVID(OwnSVID.Renewal)
        /// Tell the operator.
        case report(Report)
        /// Call `timerFired` at that boot time; replaces the timer set before.
        case scheduleTimer(at: Duration)
        /// Send on the stream.
        case sendAcknowledgement(SyncAcknowledgement)
        /// Send on the stream, as its first message.
        case sendHello(SyncHello, CheckpointMark?)
        /// Make a key and a request for each, send them as one, verify what comes back, and call
        /// `signed`. After `disconnected` the answer is not needed.
        case sign(SigningBatch)
        /// The bundle of the own trust domain changed: verify with it from now on, and write it to
        /// the identity file.
        case trust(TrustBundle)
        /// Ask `answer(for:)` again for these subscribers and send it if it differs.
        case wake([SubscriberID])
    }

    /// What must be met before the agent is ready.
    package enum Condition: String, CaseIterable, Hashable, Sendable {
        /// The audit log has never contradicted itself.
        case audit
        /// The wall clock is close to the server's.
        case clock
        /// The agent's own SVID is valid.
        case identity
        /// Entries and bundle were received, now or before a restart.
        case synced
    }

    /// What an operator should know.
    package enum Report: Equatable, Sendable {
        case auditContradiction(String)
        case clockSkewed(Duration)
        case clockStepped(Duration)
        /// Signed certificates that may not be served.
        case discarded([IdentityKey])
        /// The server of before a restore answers again, with the log that was left.
        case formerLog(NoteVerifierKey)
        /// The server was restored and has another audit log, whose key the former one has signed.
        case logFollowed(CheckpointMemory.Following)
        /// Resources of the server that this version cannot read, or that are not for this node.
        case resourcesRefused([ResourceRefusal])
        case signingProblem(IdentityKey, String)
        case sync(SyncSubscriber.Alarm)
    }
}

/// What to have signed in one request.
package struct SigningBatch: Hashable, Sendable {
    /// One certificate of the request.
    package struct Item: Hashable, Sendable {
        package let key: IdentityKey
        /// The template variables that the agent asserts.
        package let variables: [String: String]
        /// When the SVID that the new one replaces expires, in Unix time; nil for a first one.
        package let replacesNotAfter: Int64?

        package init(key: IdentityKey, variables: [String: String], replacesNotAfter: Int64?) {
            self.key = key
            self.variables = variables
            self.replacesNotAfter = replacesNotAfter
        }
    }

    package let id: SigningBatchID
    package let items: [Item]

    package init(id: SigningBatchID, items: [Item]) {
        self.id = id
        self.items = items
    }
}

/// What became of one item of a signing batch.
package enum SigningResult: Hashable, Sendable {
    /// Not signed, or what came back does not verify; worth another try.
    case failed(String)
    /// Signed and verified.
    case issued(NodeSync.IssuedSVID)
    /// The server said no.
    case refused(String)
}

/// What a workload's stream is to show.
package enum WorkloadAnswer: Equatable, Sendable {
    /// No entry means the workload: the stream ends with PERMISSION_DENIED.
    case denied
    /// Nothing can be shown for now, and not soon: the stream ends with UNAVAILABLE.
    case unavailable(String)
    /// A whole view.
    case view(WorkloadView)
    /// A wake follows.
    case wait
    /// What was shown is granted no longer, and nothing is there in its place yet: the stream ends
    /// with PERMISSION_DENIED, upon which a workload stops using it, and is opened again.
    case withdrawn
}
