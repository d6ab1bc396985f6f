// SPDX-License-Identifier: Apache-2.0

/// An agent's end of its sync stream: what is in force, and what to say about it.
///
/// The shell reads one message at a time, performs the actions in order, and answers `.apply` with
/// `applied` before it reads the next message. What is applied stays in force whatever happens to
/// the stream: it changes only by a Delta that continues it or by a snapshot that is complete.
package struct SyncSubscriber: Sendable {
    /// What the shell has to do.
    package enum Action: Equatable, Sendable {
        /// Send the acknowledgement.
        case acknowledge(SyncAcknowledgement)
        /// Tell the operator.
        case alarm(Alarm)
        /// Bring the changes into force, as one, then call `applied`. They come in an order in
        /// which each may be applied alone: revocations, bundles, entries, documents.
        case apply(Revision, [ResourceChange])
        /// Open a stream, then call `connected` or `disconnected`.
        case connect
        /// End the stream, then call `disconnected`.
        case disconnect(SyncViolation?)
        /// Write `persisted` to disk. A failure is the operator's concern and stops nothing.
        case persist
        /// Wait, then call `reconnectDue`.
        case reconnect(after: Duration)
        /// Send the Hello on the stream that was opened.
        case sendHello(SyncHello)
    }

    /// What an operator must know.
    package enum Alarm: Hashable, Sendable {
        /// The publisher began a new epoch: its datastore was restored or replaced.
        case epochChanged(from: Epoch, to: Epoch)
        /// The publisher offers the state of an epoch that another one has followed: the machine of
        /// before a restore was started again. What is applied stays in force.
        case formerEpoch(applied: Revision, offered: Epoch)
        /// The publisher offers an older state of the same epoch: its datastore went back, or
        /// somebody else speaks for it. What is applied stays in force.
        case rollback(applied: Revision, offered: UInt64)
    }

    /// How often a watermark alone is written to disk: a restart before that costs an empty
    /// Delta, more often costs flash wear on every agent.
    package static let watermarkPersistInterval: Duration = .seconds(600)
    /// Most epochs that are remembered after they were left: one for each restore.
    package static let leftEpochsMax = 16

    private enum Phase: Equatable, Sendable {
        /// Before `started`.
        case new
        /// What was restored is being applied.
        case restoring
        /// The shell was told to connect.
        case connecting
        /// Messages come in.
        case streaming
        /// The shell was told to end the stream.
        case ending
        /// The shell waits to connect again.
        case waiting
    }

    /// Changes that the shell is bringing into force.
    private struct Application: Sendable {
        let revision: Revision
        let changes: [ResourceChange]
        /// Entries that there is no room for.
        let excess: Set<ResourceKey>
        /// A complete snapshot says of every resource what it is.
        let isComplete: Bool
        let retained: Set<ResourceKey>
    }

    /// What is applied; nil before the first snapshot is.
    package private(set) var revision: Revision?
    /// The last good state of each resource.
    package private(set) var resources: [ResourceKey: [UInt8]]
    /// When a valid message last came, as boot time.
    package private(set) var lastHeard: Duration?

    private let capabilities: Set<String>
    /// Those of them with which everything that is applied was told.
    private var toldWith: Set<String>
    private var refused: [ResourceKey: String] = [:]
    /// Of refused resources: the revision whose state of them is in force.
    private var lastGood: [ResourceKey: Revision] = [:]
    private var retained: Set<ResourceKey>
    /// The oldest first.
    private var leftEpochs: [Epoch]
    private var needsSnapshot: Bool
    private var phase = Phase.new
    private var assembly: SnapshotAssembly?
    private var application: Application?
    private var backoff = Backoff()
    private var watermarkPersistedAt: Duration?
    private var resourceBytes = 0
    private var entryRoom = EntryRoom()
    /// Entries were refused that may have room when a snapshot comes next.
    private var lacksRoom = false

    /// Begins with what was persisted, if all of it was read back intact.
    package init(restoring persisted: PersistedSync?, capabilities: Set<String>) {
        self.capabilities = capabilities
        let told = capabilities.intersection(persisted?.capabilities ?? [])
        toldWith = told
        revision = persisted?.revision
        resources = persisted?.resources ?? [:]
        retained = persisted?.retained ?? []
        leftEpochs = persisted?.leftEpochs ?? []
        let lacksNothing = persisted.map { $0.refused.isEmpty && told == capabilities }
        needsSnapshot = !(lacksNothing ?? true)
        resourceBytes = Self.sizeBytes(resources)
        for (key, payload) in resources where key.type == .entry {
            entryRoom.add(key.name.utf8.count + payload.count)
        }
    }

    /// What the shell writes when told `.persist`; nil before anything is applied.
    package var persisted: PersistedSync? {
        revision.map {
            PersistedSync(
                revision: $0,
                resources: resources,
                refused: Set(refused.keys),
                retained: retained,
                capabilities: toldWith,
                leftEpochs: leftEpochs
            )
        }
    }

    /// The newest revision whose state of a resource is in force: that of all, unless a newer state of
    /// it was refused.
    package func revision(of key: ResourceKey) -> Revision? {
        refused[key] == nil ? revision : lastGood[key] ?? revision
    }

    /// Whether messages come in.
    package var isStreaming: Bool { phase == .streaming }

    // MARK: Events

    /// The agent starts: what was restored comes into force first, then the stream is opened.
    package mutating func started() -> [Action] {
        guard phase == .new else { return [] }
        guard let revision else {
            phase = .connecting
            return [.connect]
        }
        phase = .restoring
        let changes = resources.map { ResourceChange.upsert($0, payload: $1) }
        return apply(revision, changes, isComplete: false, retained: retained)
    }

    /// The stream that `.connect` asked for is open.
    package mutating func connected() -> [Action] {
        guard phase == .connecting else { return [] }
        phase = .streaming
        return [
            .sendHello(
                SyncHello(
                    have: needsSnapshot || lacksRoom ? nil : revision,
                    capabilities: capabilities
                )
            )
        ]
    }

    /// The stream ended or could not be opened; a snapshot that was coming in is forgotten.
    package mutating func disconnected(
        using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        guard [.connecting, .streaming, .ending].contains(phase) else { return [] }
        phase = .waiting
        assembly = nil
        return [.reconnect(after: backoff.failed(using: &generator))]
    }

    /// The wait that `.reconnect` asked for is over.
    package mutating func reconnectDue() -> [Action] {
        guard phase == .waiting else { return [] }
        phase = .connecting
        return [.connect]
    }

    /// A message came in.
    package mutating func received(_ message: SyncMessage, now: Duration) -> [Action] {
        guard phase == .streaming else { return [] }
        do throws(SyncViolation) {
            guard application == nil else { throw .messageUnexpected }
            let actions =
                switch message {
                case .delta(let delta): try deltaReceived(delta)
                case .snapshotBegin(let revision): try snapshotBegun(revision)
                case .snapshotPage(let index, let page): try pageReceived(index, page)
                case .snapshotEnd(let count): try snapshotEnded(count)
                case .watermark(let revision): try watermarkReceived(revision, now: now)
                }
            if phase == .streaming {
                lastHeard = now
                // Half a snapshot proves nothing: a publisher that fails each time in the middle
                // of it must not be asked again at once.
                if assembly == nil { backoff.succeeded() }
            }
            return actions
        } catch {
            return end(error)
        }
    }

    /// The shell brought the changes of `.apply` into force, apart from those it refuses.
    ///
    /// - Parameters:
    ///   - refusals: What it refuses, and why.
    ///   - withdrawn: Of these, what it took out of force: the last good state may be wider than
    ///     what is to be.
    /// - Returns: What the shell has to do.
    package mutating func applied(
        refusing refusals: [ResourceRefusal],
        withdrawing withdrawn: Set<ResourceKey> = []
    ) -> [Action] {
        guard let application else { return [] }
        self.application = nil
        var reasons = Dictionary(refusals.map { ($0.key, $0.reason) }) { first, _ in first }
        // The first ones show what is wrong; there may be any number.
        let excess = application.excess.sorted().prefix(SyncLimits.refusalsReportedMax)
        for key in excess { reasons[key] = Self.noRoom }
        let refusedBefore = refused
        if application.isComplete { (refused, lacksRoom) = ([:], false) }
        lacksRoom = lacksRoom || !application.excess.isEmpty
        for key in application.changes.map(\.key) + excess {
            refused[key] = reasons[key]
            if refusedBefore[key] == nil { lastGood[key] = revision }
        }
        for change in application.changes {
            // A refused change leaves the last good state in force, here as in the shell.
            if withdrawn.contains(change.key) {
                drop(change.key)
            } else if reasons[change.key] == nil || application.excess.contains(change.key) {
                keep(change)
            }
        }
        lastGood = lastGood.filter { refused[$0.key] != nil }
        if phase == .restoring {
            // What this software cannot read any more must not be served after the next restart
            // either, and is asked for again.
            for key in refused.keys { drop(key) }
            needsSnapshot = needsSnapshot || !refused.isEmpty
            phase = .connecting
            return [.connect]
        }
        let previous = revision?.epoch
        revision = application.revision
        retained = application.retained
        needsSnapshot = needsSnapshot && !application.isComplete
        if application.isComplete { toldWith = capabilities }
        var actions: [Action] = [.persist]
        if let previous, previous != application.revision.epoch {
            leftEpochs = Array((leftEpochs + [previous]).suffix(Self.leftEpochsMax))
            actions.append(.alarm(.epochChanged(from: previous, to: application.revision.epoch)))
        }
        guard phase == .streaming else { return actions }
        return actions + [.acknowledge(acknowledgement(of: application.revision))]
    }

    // MARK: Messages

    private mutating func deltaReceived(_ delta: SyncDelta) throws(SyncViolation) -> [Action] {
        guard assembly == nil else { throw .snapshotOutOfOrder }
        guard let revision, !needsSnapshot, delta.epoch == revision.epoch else {
            throw .epochUnknown
        }
        guard delta.to >= revision.number else { return alarm(revision, delta.to) }
        guard delta.from == revision.number else { throw .deltaNotContinuous }
        try check(delta.changes)
        let applied = Revision(epoch: delta.epoch, number: delta.to)
        var changes = delta.changes
        // What the current epoch speaks of is its own again.
        var retained = retained.subtracting(delta.changes.map(\.key))
        for change in delta.changes where self.retained.contains(change.key) {
            guard change.key.type == .revocation, let old = resources[change.key],
                change != .upsert(change.key, payload: old),
                let kept = Self.kept(change.key, since: "\(delta.epoch).\(delta.to)")
            else { continue }
            changes.append(.upsert(kept, payload: old))
            retained.insert(kept)
        }
        return apply(applied, changes, isComplete: false, retained: retained)
    }

    /// The name of a revocation that a server which was restored does not know, or knows otherwise:
    /// what is known here stays in force beside it, under a name that no server uses.
    private static func kept(_ key: ResourceKey, since moment: String) -> ResourceKey? {
        let kept = ResourceKey(.revocation, "kept:\(moment):\(key.name)")
        return kept.name.utf8.count <= ResourceKey.nameBytesMax ? kept : nil
    }

    private mutating func snapshotBegun(_ offered: Revision) throws(SyncViolation) -> [Action] {
        guard assembly == nil else { throw .snapshotOutOfOrder }
        if let revision, offered.epoch == revision.epoch, offered.number < revision.number {
            return alarm(revision, offered.number)
        }
        if let revision, leftEpochs.contains(offered.epoch) {
            return [.alarm(.formerEpoch(applied: revision, offered: offered.epoch))] + end(nil)
        }
        assembly = SnapshotAssembly(revision: offered)
        return []
    }

    private mutating func pageReceived(
        _ index: Int,
        _ page: [Resource]
    ) throws(SyncViolation) -> [Action] {
        guard assembly != nil else { throw .snapshotOutOfOrder }
        try assembly?.received(page: index, page) { resources[$0] != nil }
        return []
    }

    private mutating func snapshotEnded(_ count: Int) throws(SyncViolation) -> [Action] {
        guard let assembly else { throw .snapshotOutOfOrder }
        let new = try assembly.finished(resourceCount: count)
        self.assembly = nil
        var changes = new.compactMap { key, payload in
            resources[key] == payload ? nil : ResourceChange.upsert(key, payload: payload)
        }
        var retained = retained.subtracting(new.keys)
        let isSameEpoch = revision?.epoch == assembly.revision.epoch
        if !isSameEpoch, let previous = revision?.epoch {
            for (key, payload) in resources
            where key.type == .revocation && new[key].map({ $0 != payload }) ?? false {
                guard let kept = Self.kept(key, since: "\(previous)") else { continue }
                changes.append(.upsert(kept, payload: payload))
                retained.insert(kept)
            }
        }
        for key in resources.keys where new[key] == nil {
            if key.type == .revocation, !isSameEpoch || retained.contains(key) {
                retained.insert(key)
            } else {
                changes.append(.remove(key))
            }
        }
        return apply(
            assembly.revision,
            changes,
            excess: assembly.excess,
            isComplete: true,
            retained: retained
        )
    }

    private mutating func watermarkReceived(
        _ offered: Revision,
        now: Duration
    ) throws(SyncViolation) -> [Action] {
        guard assembly == nil else { throw .snapshotOutOfOrder }
        guard let revision, !needsSnapshot, offered.epoch == revision.epoch else {
            throw .epochUnknown
        }
        guard offered.number >= revision.number else { return alarm(revision, offered.number) }
        guard offered.number > revision.number else { return [] }
        self.revision = offered
        let acknowledge = Action.acknowledge(acknowledgement(of: offered))
        if let last = watermarkPersistedAt, now < last + Self.watermarkPersistInterval {
            return [acknowledge]
        }
        watermarkPersistedAt = now
        return [.persist, acknowledge]
    }

    // MARK: Steps

    /// Why an entry is refused that there is no room for.
    private static let noRoom =
        "more than \(SyncLimits.entriesMax) entries, or \(SyncLimits.entryBytesMax) bytes of them, are "
        + "of this node; give them narrower node selectors. It is asked for again with the next stream"

    private mutating func apply(
        _ revision: Revision,
        _ changes: [ResourceChange],
        excess: Set<ResourceKey> = [],
        isComplete: Bool,
        retained: Set<ResourceKey>
    ) -> [Action] {
        let excess = excess.union(
            entryRoom.excess(of: changes) { key in
                resources[key].map { key.name.utf8.count + $0.count }
            }
        )
        // What there was may be wider than what is to be: it is withdrawn, not kept.
        let fitting = changes.compactMap { change -> ResourceChange? in
            guard excess.contains(change.key) else { return change }
            return resources[change.key] == nil ? nil : .remove(change.key)
        }
        let sorted = fitting.sorted { $0.key < $1.key }
        application = Application(
            revision: revision,
            changes: sorted,
            excess: excess,
            isComplete: isComplete,
            retained: retained
        )
        return [.apply(revision, sorted)]
    }

    private func check(_ changes: [ResourceChange]) throws(SyncViolation) {
        var keys: Set<ResourceKey> = []
        var messageBytes = 0
        var count = resources.count
        var bytes = resourceBytes
        for change in changes {
            guard change.key.name.utf8.count <= ResourceKey.nameBytesMax else {
                throw .resourceNameTooLong
            }
            guard keys.insert(change.key).inserted else { throw .resourceRepeated }
            messageBytes += change.sizeBytes
            if let old = resources[change.key], change.key.type != .entry {
                count -= 1
                bytes -= change.key.name.utf8.count + old.count
            }
            // For entries there is a limit of their own, above which they are refused one by one.
            if case .upsert = change, change.key.type != .entry {
                count += 1
                bytes += change.sizeBytes
            }
        }
        guard messageBytes <= SyncLimits.messageBytesMax else { throw .messageTooBig }
        guard count <= SyncLimits.resourcesMax, bytes <= SyncLimits.resourceBytesMax else {
            throw .resourcesTooMany
        }
    }

    private mutating func alarm(_ applied: Revision, _ offered: UInt64) -> [Action] {
        [.alarm(.rollback(applied: applied, offered: offered))] + end(nil)
    }

    private mutating func end(_ violation: SyncViolation?) -> [Action] {
        phase = .ending
        assembly = nil
        return [.disconnect(violation)]
    }

    private mutating func keep(_ change: ResourceChange) {
        drop(change.key)
        guard case .upsert(let key, let payload) = change else { return }
        resources[key] = payload
        resourceBytes += change.sizeBytes
        if key.type == .entry { entryRoom.add(change.sizeBytes) }
    }

    private mutating func drop(_ key: ResourceKey) {
        guard let old = resources.removeValue(forKey: key) else { return }
        let size = key.name.utf8.count + old.count
        resourceBytes -= size
        if key.type == .entry { entryRoom.release(size) }
    }

    private func acknowledgement(of revision: Revision) -> SyncAcknowledgement {
        let all = refused.map { ResourceRefusal(key: $0, reason: $1) }.sorted()
        return SyncAcknowledgement(
            applied: revision,
            refused: Array(all.prefix(SyncLimits.refusalsReportedMax))
        )
    }

    private static func sizeBytes(_ resources: [ResourceKey: [UInt8]]) -> Int {
        resources.reduce(0) { $0 + $1.key.name.utf8.count + $1.value.count }
    }
}
