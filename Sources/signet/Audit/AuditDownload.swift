// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import SwiftProtobuf

/// Copies a server's audit log into a directory.
struct AuditDownload {
    /// How long the server may take for one answer, of at most 16 MiB: a copy may take days, and a
    /// server that has gone silent must not hold up every later one.
    private static let answerDuration: Duration = .seconds(300)

    let directory: AuditDirectory
    /// Whether the log is judged before it is taken in; else its caller does so.
    var isJudged = true

    /// What was copied.
    struct Result: Sendable {
        /// As the server tells it.
        var key: NoteVerifierKey
        var checkpoint: Checkpoint
        /// Those that were not there before.
        var files: Int
        /// Records that are committed and not yet under a checkpoint.
        var unsigned: UInt64
    }

    /// Copies the log as of its newest checkpoint, which is written last.
    ///
    /// What a former run left in the directory is not fetched again, also if it was interrupted; the
    /// log has to continue it. Nothing of the former copy is replaced before that is proved.
    func run(_ server: ServerOptions) async throws -> Result {
        let (directory, isJudged) = (directory, isJudged)
        let lock = try AuditDirectoryLock(directory)
        defer { withExtendedLifetime(lock) {} }
        return try await server.withClient { client in
            let service = Signet_Admin_V1alpha1_Audit.Client(wrapping: client)
            let head = try await service.getCheckpoint(.init(), options: Self.options)
            let key = try NoteVerifierKey(parsing: head.verifierKey)
            let note = Array(head.note.utf8)
            guard !note.isEmpty else {
                throw CommandFailure(
                    "the server has not signed a checkpoint yet",
                    remedy: "It does within a second of its first record; try again."
                )
            }
            // A wrong signature would otherwise show as a size that nobody can copy.
            let checkpoint = try Self.checkpoint(note, key)
            let former = try directory.formerCheckpoint(key: key)
            try directory.requireNotShorter(checkpoint, than: former)
            let (files, fetched) = try await Self.fetch(checkpoint, into: directory, service)
            if isJudged {
                try directory.requireContinuation(note, key: key, of: former, taking: files)
            }
            try directory.takeIn(files, signedBy: note)
            return Result(
                key: key,
                checkpoint: checkpoint,
                files: fetched + 1,
                unsigned: head.committedSize - min(head.committedSize, checkpoint.size)
            )
        }
    }

    private static var options: CallOptions {
        var options = CallOptions.defaults
        options.timeout = answerDuration
        return options
    }

    /// Brings all tiles that the copy lacks into its incoming directory.
    ///
    /// - Returns: These tiles, and how many of them were not there yet.
    private static func fetch(
        _ checkpoint: Checkpoint,
        into directory: AuditDirectory,
        _ service: Signet_Admin_V1alpha1_Audit.Client<HTTP2ClientTransport.Posix>
    ) async throws -> (files: [TilePath], fetched: Int) {
        let incoming = directory.incoming
        var files: [TilePath] = []
        var fetched = 0
        defer { Terminal.endProgress() }
        try await AuditTiles.forEach(ofSize: checkpoint.size) { tile in
            if directory.has(tile) { return }
            files.append(tile)
            // A full tile never changes: that of an interrupted run is judged as one of this run.
            if incoming.has(tile) { return }
            try incoming.write(try await fetch(tile, service), to: tile.description)
            fetched += 1
            if fetched.isMultiple(of: 16) {
                Terminal.progress("\(fetched) files of \(checkpoint.size) records copied")
            }
        }
        return (files, fetched)
    }

    private static func checkpoint(
        _ note: [UInt8],
        _ key: NoteVerifierKey
    ) throws -> Checkpoint {
        do {
            return try SignedCheckpoint(parsing: note, key: key).checkpoint
        } catch {
            throw CommandFailure(
                "the server's checkpoint is not signed by its own key: \(error)",
                remedy: "See docs/audit.md, \"After an alarm\".",
                status: .tampered
            )
        }
    }

    /// One tile, or as much of the full one that has taken its place since the checkpoint.
    private static func fetch(
        _ tile: TilePath,
        _ service: Signet_Admin_V1alpha1_Audit.Client<HTTP2ClientTransport.Posix>
    ) async throws -> [UInt8] {
        let candidates =
            tile.isPartial ? [tile, TilePath(tile.content, index: tile.index)] : [tile]
        for path in candidates {
            do {
                let file = try await service.getFile(
                    .with { $0.path = path.description },
                    options: options
                )
                let content = Array(file.content)
                if path == tile { return content }
                if let bytes = AuditDirectory.beginning(content, of: tile) { return bytes }
            } catch let error as RPCError where error.code == .notFound {
                continue
            }
        }
        throw CommandFailure(
            "the server has no \(tile), which its checkpoint covers: records "
                + "\(tile.index * 256) and after cannot be proved",
            remedy: "See docs/audit.md, \"After an alarm\".",
            status: .tampered
        )
    }
}
