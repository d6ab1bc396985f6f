// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import Datastore
import FoundationEssentials
import NodeSync
import SPIFFE

/// The server's end of one agent's stream.
final class ServerStream {
    let session: SessionID
    let peer: VerifiedPeer
    let connection: Connection
    let lane: Int
    /// Hands a message to the agent at the other end.
    let deliver: (SyncMessage) async throws -> Void
    var commands: [SyncPublisher.Action] = []
    var isWriting = false

    init(
        session: SessionID,
        peer: VerifiedPeer,
        connection: Connection,
        lane: Int,
        deliver: @escaping (SyncMessage) async throws -> Void
    ) {
        self.session = session
        self.peer = peer
        self.connection = connection
        self.lane = lane
        self.deliver = deliver
    }
}

/// What `SyncHub` and `SyncStream` do.
extension ServerProcess {
    /// The Hello of a stream: it is answered by a Welcome, unless the agent may not speak.
    func hello(
        _ hello: SyncHello,
        from peer: VerifiedPeer,
        on connection: Connection,
        lane: Int,
        welcome: @escaping (Date, Set<Selector>) async throws -> Void,
        deliver: @escaping (SyncMessage) async throws -> Void
    ) {
        let logic = logic
        guard believes(peer) else { return connection.close(from: .server) }
        let read = try? datastore.readNow { transaction in
            let node = try logic.standing(of: peer, in: transaction)
            return (node, try transaction.scopeChangedAt(ofNode: node.name) ?? 0)
        }
        guard let (node, scopeChangedAt) = read else {
            return connection.close(from: .server)
        }
        sessionNumber += 1
        let session = SessionID(sessionNumber)
        streams[session] = ServerStream(
            session: session,
            peer: peer,
            connection: connection,
            lane: lane,
            deliver: deliver
        )
        sessions[ObjectIdentifier(connection)] = session
        connection.onClose(.server) { [self] in
            guard !isStopped else { return }
            disconnected(session)
        }
        let time = clock.wallTime
        connection.send(to: .agent, on: lane, "welcome") {
            try await welcome(time, node.selectors)
        }
        perform(
            publisher.connected(
                AgentName(node.name),
                session: session,
                have: hello.have,
                selectors: node.selectors,
                capabilities: hello.capabilities,
                scopeChangedAt: scopeChangedAt,
                now: clock.bootTime
            )
        )
    }

    func acknowledged(on connection: Connection, _ acknowledgement: SyncAcknowledgement) {
        guard let session = sessions[ObjectIdentifier(connection)] else { return }
        perform(publisher.acknowledged(session, acknowledgement, now: clock.bootTime))
    }

    func disconnected(_ session: SessionID) {
        if let stream = streams.removeValue(forKey: session) {
            sessions[ObjectIdentifier(stream.connection)] = nil
        }
        perform(publisher.disconnected(session, now: clock.bootTime))
    }

    /// Tells the streams what was committed, after the commits' tasks have had their turn.
    func planPublish() {
        guard !isPublishPlanned else { return }
        isPublishPlanned = true
        after(workTime(), "server publishes changes") { [self] in
            isPublishPlanned = false
            try publish()
        }
    }

    /// As `SyncHub.publish`.
    private func publish() throws {
        let last = publisher.committedNumber
        let (revision, changes) = try datastore.readNow { transaction in
            try SyncContent.committed(after: last, in: transaction)
        }
        guard revision.number > last else { return }
        if changes.contains(where: \.concernsLists) { listsMayChange() }
        for change in changes {
            perform(
                publisher.committed(
                    change.number,
                    affected: change.agents(in: publisher.scope),
                    urgent: change.isUrgent,
                    now: clock.bootTime
                )
            )
        }
        if publisher.committedNumber < revision.number {
            perform(
                publisher.committed(
                    revision.number,
                    affected: .agents([]),
                    urgent: false,
                    now: clock.bootTime
                )
            )
        }
    }

    func perform(_ actions: [SyncPublisher.Action]) {
        for action in actions {
            switch action {
            case .converged: break
            case .scheduleTimer(let deadline):
                publisherTimer.set(at: clock.trueTime(ofBoot: deadline)) { [self] in
                    guard !isStopped else { return }
                    perform(publisher.timerFired(now: clock.bootTime))
                }
            case .close(let session, _), .sendDelta(let session, _), .sendSnapshot(let session),
                .sendWatermark(let session, _):
                guard let stream = streams[session] else { continue }
                stream.commands.append(action)
                pump(stream)
            }
        }
    }

    /// Writes one command after the other, each after some work.
    private func pump(_ stream: ServerStream) {
        guard !stream.isWriting, !stream.commands.isEmpty else { return }
        stream.isWriting = true
        let command = stream.commands.removeFirst()
        after(workTime(), "server writes to \(stream.connection.name)") { [self] in
            guard streams[stream.session] != nil else { return }
            let reached: UInt64?
            do {
                reached = try write(command, to: stream)
            } catch {
                // Banned or evicted meanwhile, or told to close: the stream ends.
                stream.connection.close(from: .server)
                return disconnected(stream.session)
            }
            guard let reached else { return done(stream) }
            // The task that wrote may report later than the agent answers.
            after(workTime(), "server has written to \(stream.connection.name)") { [self] in
                perform(publisher.sent(stream.session, to: reached, now: clock.bootTime))
                if machine.sabotage == .earlyAcknowledgement { presume(reached, of: stream) }
                done(stream)
            }
        }
    }

    /// Sabotage: what was sent counts as applied.
    private func presume(_ number: UInt64, of stream: ServerStream) {
        let presumed = SyncAcknowledgement(
            applied: Revision(epoch: publisher.epoch, number: number),
            refused: []
        )
        perform(publisher.acknowledged(stream.session, presumed, now: clock.bootTime))
    }

    private func done(_ stream: ServerStream) {
        stream.isWriting = false
        pump(stream)
    }

    private struct StreamEnded: Error {}

    /// Sends what a command asks for.
    ///
    /// - Returns: the number to report as sent.
    private func write(
        _ command: SyncPublisher.Action,
        to stream: ServerStream
    ) throws -> UInt64? {
        let logic = logic
        var messages: [SyncMessage] = []
        switch command {
        case .sendDelta(_, let from):
            messages = try datastore.readNow { transaction in
                let node = try logic.standing(of: stream.peer, in: transaction)
                return try SyncContent.delta(
                    from: from,
                    node: node.selectors,
                    in: transaction
                )
            }
        case .sendSnapshot:
            messages = try datastore.readNow { transaction in
                let node = try logic.standing(of: stream.peer, in: transaction)
                return try SyncContent.snapshot(node: node.selectors, in: transaction)
            }
        case .sendWatermark(_, let number):
            messages = [.watermark(Revision(epoch: publisher.epoch, number: number))]
        case .close: throw StreamEnded()
        case .converged, .scheduleTimer: break
        }
        var reached: UInt64?
        for message in messages.map(sabotaged) {
            stream.connection.send(to: .agent, on: stream.lane, message.label) {
                try await stream.deliver(message)
            }
            switch message {
            case .delta(let delta): reached = delta.to
            case .snapshotBegin(let revision): reached = revision.number
            case .snapshotEnd, .snapshotPage, .watermark: break
            }
        }
        return reached
    }

    private func sabotaged(_ message: SyncMessage) -> SyncMessage {
        guard let sabotage = machine.sabotage, case .delta(let delta) = message else {
            return message
        }
        let kept = delta.changes.filter { change in
            switch (sabotage, change) {
            case (.lostRemoval, .remove): false
            case (.deafToTaint, .upsert(let key, _)): !isTaint(key)
            default: true
            }
        }
        return .delta(
            SyncDelta(epoch: delta.epoch, from: delta.from, to: delta.to, changes: kept)
        )
    }

    private func isTaint(_ key: ResourceKey) -> Bool {
        guard key.type == .revocation, let id = AuthorityRecord.authority(ofRevocation: key.name)
        else { return false }
        return ledger.tainted[id] != nil && ledger.revokedAuthorities[id] == nil
    }
}

extension SyncMessage {
    var label: String {
        switch self {
        case .delta(let delta): "delta \(delta.from)-\(delta.to) of \(delta.changes.count)"
        case .snapshotBegin(let revision): "snapshot \(revision.number)"
        case .snapshotPage(_, let resources): "page of \(resources.count)"
        case .snapshotEnd: "snapshot end"
        case .watermark(let revision): "watermark \(revision.number)"
        }
    }
}
