// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import Logging
internal import SPIFFE
internal import SwiftProtobuf
internal import Synchronization
internal import Telemetry

/// That the machine was set back, and the process has to end.
final class SetBackAlarm: Sendable {
    private let reason = Mutex<String?>(nil)
    private let raised = Signal()

    func raise(_ reason: String) {
        self.reason.withLock { $0 = $0 ?? reason }
        raised.signal()
    }

    /// Returns when the task is cancelled.
    ///
    /// - Throws: `ServerStartError.setBack` once it is raised.
    func wait() async throws {
        while !Task.isCancelled {
            if let reason = reason.withLock({ $0 }) { throw ServerStartError.setBack(reason) }
            await raised.wait()
        }
    }
}

/// What agents are told of the audit log, and what they tell
/// (docs/decisions/0022-backup-and-restore.md, "Agents").
extension ServerCore {
    /// The newest checkpoint, and how it continues the one that an agent has.
    ///
    /// - Parameter have: What the agent has; nil: nothing, and it is told the log's key.
    /// - Returns: Nothing if there is nothing newer. An agent of a release that does not say which log
    ///   it has is told nothing of a log that follows another one, as it would not follow.
    func checkpointUpdate(
        for have: Signet_Node_V1alpha1_CheckpointHave?
    ) -> Signet_Node_V1alpha1_CheckpointUpdate {
        let present = audit.key.name
        guard let have, have.origin != present else { return newest(since: have?.size ?? 0) }
        let first = "\(logic.trustDomain)/audit/\(logic.serverID)"
        guard !have.origin.isEmpty else {
            return present == first ? newest(since: have.size) : .init()
        }
        guard let path = formerLogs.path(from: have.origin, to: present) else {
            return newest(since: 0)
        }
        var update = newest(since: 0)
        update.consistencyProof = []
        update.successions = path.enumerated().map { place, log in
            .with {
                $0.note = String(decoding: log.succession.note, as: UTF8.self)
                // Of the logs after it the agent has seen nothing.
                guard place == 0 else { return }
                $0.consistencyProof = FormerLogs.proof(in: log, from: have.size).map { Data($0) }
            }
        }
        return update
    }

    private func newest(since size: UInt64) -> Signet_Node_V1alpha1_CheckpointUpdate {
        guard let update = audit.update(since: size) else { return .init() }
        return .with {
            $0.note = String(decoding: update.note, as: UTF8.self)
            $0.consistencyProof = update.proof.map { Data($0) }
        }
    }

    /// What health says of the audit log's files, as far as somebody had to look at them; the server
    /// is ready without it.
    static let filesCondition = "auditFiles"

    /// Looks whether a checkpoint that an agent has seen is one that this server has forgotten: nobody
    /// but the log's key can have made it.
    ///
    /// - Parameters:
    ///   - note: The agent's signed note; empty without one.
    ///   - agent: Whose it is.
    /// - Throws: `APIError` (`setBack`) if so: the server is held from its next start on, and ends.
    func requireRemembered(_ note: String, of agent: SPIFFEID) async throws {
        guard !note.isEmpty, note.utf8.count <= SignedCheckpoint.bytesMax,
            let seen = try? SignedCheckpoint(parsing: Array(note.utf8), key: audit.key).checkpoint
        else { return }
        let committed = try await read { try $0.auditSize() }
        guard seen.size > committed || contradicts(seen) else { return }
        let proof = SetBackProof(
            agent: agent,
            seenSize: seen.size,
            seenRoot: seen.root,
            size: committed
        )
        let now = clock.wallTime
        let hold = HoldRecord(
            logOrigin: audit.key.name,
            logSize: committed,
            lastRecordAt: nil,
            restoredAt: now,
            reason: .rollbackProved
        )
        do {
            try await datastore.write { transaction in
                guard try transaction.hold() == nil else { return }
                _ = try transaction.append(.rollbackProved(proof), by: .spiffe(agent), at: now)
                try transaction.put(hold, documents: [], authorities: [], nodes: [])
            }
        } catch {
            logger.critical("it cannot be recorded", metadata: ["error": "\(error)"])
        }
        let reason =
            "agent \(agent) has seen \(seen.size) records of the audit log, and there are "
            + "\(committed), or others"
        logger.critical("THE SERVER WAS SET BACK", metadata: ["reason": "\(reason)"])
        setBack.raise(reason)
        throw APIError(.unavailable, "setBack", "this server was set back, and ends")
    }

    /// Whether the published log does not continue what was seen; false while that cannot be judged.
    ///
    /// Tiles are files that nobody has looked at since they were written. Only if those of the size
    /// that was seen lead to what was signed are they the published log, and their root its own.
    private func contradicts(_ seen: Checkpoint) -> Bool {
        guard let published = audit.checkpoint?.checkpoint, published.size >= seen.size else {
            return false
        }
        if published.size == seen.size { return published.root != seen.root }
        let directory = audit.directory
        var tree = TiledTree(size: published.size) {
            try AuditPublisher.read($0, in: directory)
        }
        do throws(TileError) {
            let own = try tree.root(of: 0..<seen.size)
            guard own != seen.root, let proof = try tree.proveConsistency(from: seen.size) else {
                return false
            }
            if proof.joins(oldRoot: own, newRoot: published.root) { return true }
            tell(damaged: "some hold other hashes than were signed")
        } catch {
            // Partial tiles go when full ones take their place: then the next note is judged.
            guard audit.checkpoint?.checkpoint == published else { return false }
            tell(damaged: "\(error)")
        }
        return false
    }

    /// Says, once until the next start, that checkpoints which agents have seen cannot be compared
    /// with the log's files.
    private func tell(damaged reason: String) {
        guard tilesTold.isNews("damaged") else { return }
        health.unmet(Self.filesCondition, reason: "files of the audit log are damaged: \(reason)")
        logger.critical(
            "files of the audit log are damaged; signet audit verify --dir names them",
            metadata: [
                "directory": "\(audit.directory)", "reason": "\(reason)",
                "remedy": "put them back and restart, or start once with --rebuild-audit-log",
            ]
        )
    }
}
