// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Authorization
internal import Backup
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import DurableFiles
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
internal import Logging
internal import SPIFFE
internal import SwiftProtobuf
internal import Synchronization

/// One backup on its way: how much of it was sent, and whether it is waited for.
final class BackupRun: Sendable {
    let interruption = BackupInterruption()
    private let bytes = Mutex<UInt64>(0)
    private let ended = Signal()

    /// How many bytes of the file were taken.
    var bytesSent: UInt64 { bytes.withLock { $0 } }

    func sent(_ count: Int) { bytes.withLock { $0 += UInt64(count) } }

    /// Its caller is gone, or the server ends.
    func end() {
        interruption.end()
        ended.signal()
    }

    /// Returns at the end, or when the task is cancelled.
    func wait() async {
        while !interruption.isEnded, !Task.isCancelled { await ended.wait() }
    }

    /// - Throws: `APIError` (`backupEnded`) after the end.
    func check() throws(APIError) {
        if interruption.isEnded { throw Self.noReader }
    }

    static let noReader = APIError(
        .unavailable,
        "backupEnded",
        "nobody waits for the backup any more, or the server ends; make another one"
    )
}

/// Backups.
extension AdministrationService {
    /// How long a reader may take for one part of a backup; then it is ended, so that others may be
    /// made.
    static let backupPartDuration: Duration = .seconds(30)
    /// Most bytes of a part: a slow reader takes it in that time, at 2 KiB/s.
    static let backupPartBytesMax = 64 * 1024

    func backup(
        request: Signet_Admin_V1alpha1_BackupRequest,
        response: RPCWriter<Signet_Admin_V1alpha1_BackupPart>,
        context: ServerContext
    ) async throws {
        let question = AdminQuestion.exactly(.serverBackup)
        // What is not the caller's to ask for costs nothing.
        let actor = try await gate.read(question, context) { _, standing in standing.actor }
        let turn = core.backupDesk.turn
        try turn.begin()
        defer { turn.end() }
        let run = BackupRun()
        do {
            try await send(question, run, response, context)
        } catch {
            // The log has no record of it, though somebody may have most of it.
            core.logger.warning(
                "a backup broke off",
                metadata: [
                    "actor": "\(actor)", "bytes": "\(run.bytesSent)", "error": "\(error)",
                ]
            )
            throw error
        }
    }

    /// Apart from its caller: Swift 6.3 crashes on a cancellation handler within `do` and `catch`.
    private func send(
        _ question: AdminQuestion,
        _ run: BackupRun,
        _ response: RPCWriter<Signet_Admin_V1alpha1_BackupPart>,
        _ context: ServerContext
    ) async throws {
        try await withRPCCancellationHandler {
            let stream = try await prepare(run)
            while let piece = try await prepared({ try stream.next() }) {
                try run.check()
                // Rights may end while it is read.
                try await gate.read(question, context)
                try await send(piece, run, response, context.stream)
            }
            try await finish(stream.making, question, response, context)
        } onCancelRPC: {
            run.end()
        }
    }

    private func finish(
        _ making: BackupMaking,
        _ question: AdminQuestion,
        _ response: RPCWriter<Signet_Admin_V1alpha1_BackupPart>,
        _ context: ServerContext
    ) async throws {
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

    private func prepare(_ run: BackupRun) async throws -> BackupStream {
        var generator = core.randomness
        let id = (0..<BackupManifest.idCount).map { _ in
            UInt8.random(in: .min ... .max, using: &generator)
        }
        let core = core
        return try await prepared {
            // Before the copy, which is in vain without it.
            let passphrase = try core.configuration.readBackupPassphrase()
            let source = try BackupSource(of: core, id: id, until: run.interruption)
            // Its name is gone already, unless it could not be opened.
            defer { try? DurableFile.remove(source.path) }
            return try BackupStream(
                source,
                passphrase: passphrase,
                cost: core.configuration.keyFileCost
            )
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
        } catch DatastoreError.interrupted {
            throw BackupRun.noReader
        } catch {
            throw APIError(.unavailable, "backupFailed", "no backup was made: \(error)")
        }
    }

    private func send(
        _ piece: [UInt8],
        _ run: BackupRun,
        _ response: RPCWriter<Signet_Admin_V1alpha1_BackupPart>,
        _ stream: RequestStream?
    ) async throws {
        var rest = piece[...]
        while !rest.isEmpty {
            let content = rest.prefix(Self.backupPartBytesMax)
            rest = rest.dropFirst(content.count)
            let part = Signet_Admin_V1alpha1_BackupPart.with { $0.content = Data(content) }
            try await send(part, run, response, stream)
            run.sent(content.count)
        }
    }

    private enum PartEnd {
        case ended
        case late
        case taken
    }

    private func send(
        _ part: Signet_Admin_V1alpha1_BackupPart,
        _ run: BackupRun,
        _ response: RPCWriter<Signet_Admin_V1alpha1_BackupPart>,
        _ stream: RequestStream?
    ) async throws {
        let clock = core.clock
        let end = clock.bootTime + Self.backupPartDuration
        let partEnd = try await withThrowingTaskGroup(of: PartEnd.self) { group in
            group.addTask {
                try await response.write(part)
                await stream?.drained()
                return .taken
            }
            group.addTask {
                try await clock.sleep(untilBoot: end)
                return .late
            }
            group.addTask {
                await run.wait()
                return .ended
            }
            defer { group.cancelAll() }
            let first = try await group.next() ?? .late
            // What waits for its reader would go on to wait.
            if first != .taken { stream?.end() }
            return first
        }
        switch partEnd {
        case .taken: return
        case .ended: throw BackupRun.noReader
        case .late:
            throw APIError(
                .unavailable,
                "backupSlow",
                "nothing of the backup was taken for \(Self.backupPartDuration.components.seconds) s"
            )
        }
    }
}
