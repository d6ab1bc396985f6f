// SPDX-License-Identifier: Apache-2.0

package import AuditLog
package import Clocks
package import Datastore
internal import Dispatch
internal import DurableFiles
internal import Foundation
package import Logging
internal import Synchronization
package import Telemetry

/// Turns committed leaves into tiles and signed checkpoints, after each commit.
///
/// The leaves themselves are committed with their acts; this only publishes them. While it cannot,
/// `problem` says so and nothing more is issued or changed.
package final class AuditPublisher: Sendable {
    /// Most leaves between two checkpoints.
    package static let leavesPerCheckpointMax = 256
    /// Least time between two checkpoints, so that a busy log costs a bounded number of syncs.
    package static let checkpointInterval: Duration = .milliseconds(200)
    /// How long publishing may fail before acts are refused.
    package static let failureGrace: Duration = .seconds(30)

    struct State {
        var frontier: MerkleFrontier
        var checkpoint: SignedCheckpoint?
        /// Whether the database remembers a checkpoint of this run.
        var isRemembered = false
        /// Why nothing is published; a contradiction stops acts without grace, as waiting does not
        /// mend it.
        var failure: (reason: String, since: Duration, isContradiction: Bool)?
        var followers: [UInt64: AsyncStream<Void>.Continuation] = [:]
        var nextFollower: UInt64 = 0
    }

    package let key: NoteVerifierKey
    package let directory: String
    private let datastore: ServerStore
    private let signer: AuditKey
    private let clock: any NodeClock
    private let logger: Logger
    private let metrics: MetricRegistry
    private let health: Health
    private let changed = Signal()
    private let queue = DispatchQueue(label: "signet.audit")
    private let state: Mutex<State>

    /// Opens the log and checks that files, checkpoint and database agree.
    ///
    /// - Parameters:
    ///   - origin: The log's name.
    ///   - directory: Where its files are.
    ///   - rebuilds: Whether an operator wants files that were lost made again from the database.
    ///   - signer: The log's key.
    ///   - datastore: Where its leaves are.
    ///   - clock: For the pace of checkpoints.
    ///   - logger: Where failures are told.
    ///   - metrics: Where the log's size is told.
    ///   - health: Gets the condition `audit`.
    /// - Throws: `AuditPublisherError`, `FileError`, `DatastoreError`.
    package init(
        origin: String,
        directory: String,
        rebuilds: Bool = false,
        signer: AuditKey,
        datastore: ServerStore,
        clock: any NodeClock,
        logger: Logger,
        metrics: MetricRegistry,
        health: Health
    ) throws {
        key = try NoteVerifierKey(name: origin, publicKey: signer.publicKey)
        self.directory = directory
        self.signer = signer
        self.datastore = datastore
        self.clock = clock
        self.logger = logger
        self.metrics = metrics
        self.health = health
        state = Mutex(
            try Self.reopen(directory, key: key, datastore: datastore, rebuilds: rebuilds)
        )
        changed.signal()
    }

    /// Tells that leaves may have been committed; never blocks.
    package func poke() { changed.signal() }

    /// Why nothing may be issued or changed at the moment; nil when all is well.
    package var problem: String? {
        guard let failure = state.withLock({ $0.failure }),
            failure.isContradiction || clock.bootTime - failure.since > Self.failureGrace
        else { return nil }
        return failure.reason
    }

    /// The newest published checkpoint.
    package var checkpoint: SignedCheckpoint? { state.withLock { $0.checkpoint } }

    /// Publishes until cancelled; waits without cost while nothing is committed.
    package func run() async {
        while !Task.isCancelled {
            await changed.wait()
            guard !Task.isCancelled else { return }
            let start = clock.bootTime
            do {
                while try await publish() {}
                recovered()
            } catch {
                failed(error)
                changed.signal()
            }
            // A datastore that refuses says so itself; the next checkpoint is another chance.
            try? await remember()
            try? await clock.sleep(untilBoot: start + Self.checkpointInterval)
        }
    }

    /// Publishes one piece of the backlog.
    ///
    /// - Returns: whether more may be waiting.
    package func publish() async throws -> Bool {
        let frontier = state.withLock { $0.frontier }
        let leaves = try await datastore.read {
            try $0.leaves(from: frontier.size, limit: Self.leavesPerCheckpointMax)
        }
        guard !leaves.isEmpty else { return false }
        let (extended, signed) = try await onQueue { try self.write(leaves, after: frontier) }
        let followers = state.withLock { state in
            state.frontier = extended
            state.checkpoint = signed
            return Array(state.followers.values)
        }
        for follower in followers { follower.yield() }
        metrics.set(.auditTreeSize, to: Double(extended.size))
        metrics.set(.auditCheckpointTime, to: clock.wallTime.timeIntervalSince1970)
        metrics.increment(.auditLeaves, by: leaves.count)
        return leaves.count == Self.leavesPerCheckpointMax
    }

    /// Lets the database remember, once in each run, what was published: after that a log whose
    /// files are gone is missed at the next start.
    package func remember() async throws {
        let (frontier, isDone) = state.withLock { ($0.frontier, $0.isRemembered) }
        guard !isDone, frontier.size > 0 else { return }
        let saved = AuditFrontier(size: frontier.size, bytes: frontier.encoded)
        try await datastore.write { try $0.saveAuditFrontier(saved) }
        state.withLock { $0.isRemembered = true }
    }

    /// The tree over what is published.
    package var frontier: MerkleFrontier { state.withLock { $0.frontier } }

    /// What an agent that remembers a checkpoint of `size` is sent: the newest one and the proof.
    ///
    /// - Returns: nil when there is nothing newer.
    package func update(since size: UInt64) -> (note: [UInt8], proof: [[UInt8]])? {
        guard let newest = checkpoint, newest.checkpoint.size != size else { return nil }
        let directory = directory
        var tree = TiledTree(size: newest.checkpoint.size) { try Self.read($0, in: directory) }
        let proof = (try? tree.proveConsistency(from: size)) ?? nil
        return (newest.note, proof?.path.map(\.bytes) ?? [])
    }

    /// A stream that yields after each checkpoint, until `unfollow`.
    package func follow() -> (id: UInt64, published: AsyncStream<Void>) {
        let (stream, continuation) = AsyncStream.makeStream(
            of: Void.self,
            bufferingPolicy: .bufferingNewest(1)
        )
        let id = state.withLock { state in
            state.nextFollower += 1
            state.followers[state.nextFollower] = continuation
            return state.nextFollower
        }
        return (id, stream)
    }

    /// Ends a stream of `follow`.
    package func unfollow(_ id: UInt64) {
        state.withLock { $0.followers.removeValue(forKey: id) }?.finish()
    }

    // MARK: - Files

    /// Reads a file of the log.
    package static func read(_ path: String, in directory: String) throws -> [UInt8] {
        try DurableFile.read("\(directory)/\(path)", bytesMax: 16 * 1024 * 1024)
    }

    /// Waits for the disk outside of the pool of the tasks, in which others would wait with it.
    private func onQueue<Value: Sendable>(
        _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result { try body() }) }
        }
    }

    /// Writes the tiles that the leaves change, and then the checkpoint over them.
    private func write(
        _ leaves: [StoredLeaf],
        after frontier: MerkleFrontier
    ) throws -> (MerkleFrontier, SignedCheckpoint) {
        let directory = directory
        let integration = try TileIntegration(
            appending: leaves.map(\.bytes),
            to: frontier
        ) { try Self.read($0, in: directory) }
        for file in integration.files { try write(file.bytes, to: file.path.description) }
        let signed = try SignedCheckpoint(
            signing: Checkpoint(origin: key.name, frontier: integration.frontier),
            key: key
        ) { try self.signer.signature(for: $0) }
        try DurableFile.write(
            signed.note,
            to: "\(directory)/\(TilePath.checkpoint)",
            mode: 0o600
        )
        removeSuperseded(by: integration)
        return (integration.frontier, signed)
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        let full = "\(directory)/\(path)"
        let parent = full.lastIndex(of: "/").map { String(full[..<$0]) } ?? directory
        try DurableFile.makeDirectory(parent, mode: 0o700)
        try DurableFile.write(bytes, to: full, mode: 0o600)
    }

    /// Deletes the partial forms of tiles that are full now and covered by the checkpoint.
    ///
    /// A crash before only leaves files that nobody asks for.
    private func removeSuperseded(by integration: TileIntegration) {
        for file in integration.files where !file.path.isPartial {
            try? FileManager.default.removeItem(
                atPath: "\(directory)/\(file.path.partialsDirectory)"
            )
        }
    }

    // MARK: - State

    private func recovered() {
        state.withLock { $0.failure = nil }
        health.met("audit")
    }

    private func failed(_ error: any Error) {
        var (reason, isContradiction) = ("\(error)", false)
        if case TileIntegrationError.partialTileDiffers = error {
            reason += "; see docs/audit.md, \"After an alarm\""
            isContradiction = true
        }
        let (what, isSerious, now) = (reason, isContradiction, clock.bootTime)
        let isNew = state.withLock { state in
            let before = state.failure
            state.failure = (what, before?.since ?? now, isSerious)
            return before?.reason != what
        }
        health.unmet("audit", reason: what)
        // It is tried again several times a second, and told once.
        guard isNew else { return }
        logger.error("the audit log cannot be published", metadata: ["error": "\(what)"])
    }
}
