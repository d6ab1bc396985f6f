// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import Backup
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import DurableFiles
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
internal import Logging
internal import SPIFFE
internal import SwiftProtobuf

/// Backups.
extension AdministrationService {
    /// How long a reader may take for one piece of a backup; then it is ended, so that others may be
    /// made.
    static let backupPieceDuration: Duration = .seconds(30)

    func backup(
        request: Signet_Admin_V1alpha1_BackupRequest,
        response: RPCWriter<Signet_Admin_V1alpha1_BackupPart>,
        context: ServerContext
    ) async throws {
        let question = AdminQuestion.exactly(.serverBackup)
        // What is not the caller's to ask for costs nothing.
        try await gate.read(question, context)
        let (core, desk) = (core, core.backupDesk)
        try desk.begin()
        defer { desk.end() }
        let source = try await copy()
        // What is left over of one that cannot be removed goes at the next start.
        defer { try? DurableFile.remove(source.path) }
        let stream = try await prepared {
            try BackupStream(
                source,
                passphrase: try core.configuration.readBackupPassphrase(),
                cost: core.configuration.keyFileCost
            )
        }
        while let piece = try await prepared({ try stream.next() }) {
            // Rights may end while it is read.
            try await gate.read(question, context)
            let part = Signet_Admin_V1alpha1_BackupPart.with { $0.content = Data(piece) }
            try await send(part, response, context.stream)
        }
        let making = stream.making
        try await gate.write(question, context) { transaction, standing in
            _ = try transaction.append(.backupMade(making), by: standing.actor, at: standing.now)
        }
        core.logger.notice(
            "a backup was made",
            metadata: ["backup": "\(Hexadecimal.text(making.id))", "bytes": "\(making.bytes)"]
        )
        try await response.write(
            .with {
                $0.summary = .with {
                    $0.id = Hexadecimal.text(making.id)
                    $0.bytes = making.bytes
                    $0.sha256 = Data(making.sha256)
                    $0.revision = making.revision
                }
            }
        )
    }

    private func copy() async throws -> BackupSource {
        var generator = core.randomness
        let id = (0..<BackupManifest.idCount).map { _ in
            UInt8.random(in: .min ... .max, using: &generator)
        }
        let core = core
        return try await prepared {
            // Before the copy, which is in vain without it.
            _ = try core.configuration.readBackupPassphrase()
            return try BackupSource(of: core, id: id)
        }
    }

    /// Does what waits for the disk, and says what of it has failed.
    private func prepared<Value: Sendable>(
        _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        do {
            return try await core.backupDesk.apart(body)
        } catch let error as APIError {
            throw error
        } catch {
            core.logger.error("a backup failed", metadata: ["error": "\(error)"])
            throw APIError(.unavailable, "backupFailed", "no backup was made: \(error)")
        }
    }

    private func send(
        _ part: Signet_Admin_V1alpha1_BackupPart,
        _ response: RPCWriter<Signet_Admin_V1alpha1_BackupPart>,
        _ stream: RequestStream?
    ) async throws {
        let clock = core.clock
        let end = clock.bootTime + Self.backupPieceDuration
        let isTaken = try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await response.write(part)
                await stream?.drained()
                return true
            }
            group.addTask {
                try await clock.sleep(untilBoot: end)
                return false
            }
            defer { group.cancelAll() }
            let isTaken = try await group.next() ?? false
            if !isTaken { stream?.end() }
            return isTaken
        }
        guard isTaken else {
            throw APIError(
                .unavailable,
                "backupSlow",
                "nothing of the backup was taken for \(Self.backupPieceDuration.components.seconds) s"
            )
        }
    }
}
