// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// The server's end of the sync streams of all agents: who is sent what, and when.
///
/// It holds numbers, never resources: the shell reads the change log when an action says so. Per
/// stream the shell performs actions in the order given, and reports each message with `sent`.
/// Nothing is polled: a quiet stream has no timer, a change of k agents costs O(k log n), and a
/// watermark round visits only streams that are behind.
package struct SyncPublisher: Sendable {
    /// What the shell has to do.
    package enum Action: Equatable, Sendable {
        /// End the stream; the publisher has forgotten it already.
        case close(SessionID, CloseReason)
        /// Answer who waited: no live agent is missing any more.
        case converged(WaitID, AppliedState)
        /// Call `timerFired` at that boot time; replaces the timer set before.
        case scheduleTimer(at: Duration)
        /// Read the changes in the agent's scope after `from`, send them as one Delta (or, if they
        /// are not kept so far back or too big, a snapshot), then call `sent`.
        case sendDelta(SessionID, from: UInt64)
        /// Read everything in the agent's scope, send it, then call `sent`.
        case sendSnapshot(SessionID)
        /// Send a Watermark; it is not reported by `sent`.
        case sendWatermark(SessionID, to: UInt64)
    }

    /// Why a stream is ended.
    package enum CloseReason: Hashable, Sendable {
        /// The acknowledgement went back behind an earlier one.
        case acknowledgementBackwards
        /// The acknowledgement is of another epoch.
        case acknowledgementOfOtherEpoch
        /// Something was acknowledged that was never sent.
        case acknowledgementUnsent
        /// No acknowledgement for `acknowledgementDurationMax`.
        case acknowledgementOverdue
        /// `agentsMax` is reached.
        case agentsTooMany
        /// The agent has applied a higher number of this epoch than the server ever wrote: the
        /// datastore went back without a new epoch. The server's operator must know.
        case aheadOfServer
        /// The agent was evicted or banned.
        case removed
        /// The agent opened another stream.
        case replaced
        /// The peer did not take a message for `writeDuration`.
        case writeOverdue
    }

    /// How long a stream may owe an acknowledgement (design section 6).
    package static let acknowledgementDurationMax: Duration = .seconds(30)
    /// How long reading and writing one message may take: a snapshot of the greatest size over
    /// 40 Mbit/s.
    package static let writeDuration: Duration = .seconds(60)
    /// How often a stream is told at most that nothing in its scope changed (design section 6).
    package static let watermarkInterval: Duration = .seconds(10)
    /// How long an agent without a stream is still waited for (design section 5).
    package static let livenessDuration: Duration = .seconds(15 * 60)
    /// Most unacknowledged messages of a stream when revocations overtake; later ones merge.
    package static let unacknowledgedUrgentMax = 4
    /// Most agents known at a time, to bound memory (some 100 MB).
    package static let agentsMax = 100_000

    package let epoch: Epoch
    /// The newest number reported by `committed`.
    package private(set) var committedNumber: UInt64
    /// Which known agents show which node selectors, connected or not.
    package private(set) var scope = ScopeIndex()

    var agents: [AgentName: SyncAgent] = [:]
    var waits: [WaitID: ConvergenceWait] = [:]
    var deadlines = DeadlineQueue<Duration, PublisherDeadline>()
    private(set) var sessions: [SessionID: SyncSession] = [:]
    /// The streams by what they were told, so that a watermark round finds those behind.
    private var sessionsByTold: [UInt64: Set<SessionID>] = [:]
    /// The newest number known to exist; may be ahead of `committedNumber` for a moment, when a
    /// stream's message was read just after a commit and before its report.
    private var highestNumber: UInt64
    /// The highest number a watermark named: what is reported at or below comes late.
    private var watermarkNumber: UInt64
    private var timerAt: Duration?

    /// Begins at the number that the datastore holds.
    package init(epoch: Epoch, committedNumber: UInt64) {
        self.epoch = epoch
        self.committedNumber = committedNumber
        highestNumber = committedNumber
        watermarkNumber = committedNumber
    }

    /// How many streams are open.
    package var sessionCount: Int { sessions.count }

    // MARK: Streams

    /// A verified agent opened a stream and said Hello.
    ///
    /// - Parameters:
    ///   - agent: The verified name.
    ///   - session: A number never used before.
    ///   - have: From the Hello.
    ///   - selectors: The agent's node selectors, as verified by the server.
    ///   - capabilities: From the Hello.
    ///   - scopeChangedAt: The number of the last change of the agent's selectors, 0 if unknown:
    ///     whoever has less gets a snapshot, because a Delta holds only what itself changed.
    ///   - now: The boot time.
    /// - Returns: The first message of the stream, or its end; the end of an older stream.
    package mutating func connected(
        _ agent: AgentName,
        session: SessionID,
        have: Revision?,
        selectors: Set<Selector>,
        capabilities: Set<String>,
        scopeChangedAt: UInt64 = 0,
        now: Duration
    ) -> [Action] {
        precondition(sessions[session] == nil, "session numbers are never used again")
        guard agents[agent] != nil || agents.count < Self.agentsMax else {
            return [.close(session, .agentsTooMany)]
        }
        var actions: [Action] = []
        if let old = agents[agent]?.session {
            actions += close(old, .replaced, now: now)
        }
        let applied = have.flatMap { $0.epoch == epoch ? $0.number : nil }
        scope.insert(agent, selectors: selectors)
        agents[agent, default: SyncAgent()].lastSeen = now
        agents[agent]?.capabilities = capabilities
        if let applied, applied > highestNumber {
            // The watermark shows the agent why, so that it raises its own alarm.
            actions.append(.sendWatermark(session, to: committedNumber))
            actions.append(.close(session, .aheadOfServer))
            waitForReturn(of: agent)
            return actions + timerActions()
        }
        agents[agent]?.applied = applied
        agents[agent]?.session = session
        deadlines.set(.liveness(agent), to: nil)
        var opened = SyncSession(agent: agent, told: applied ?? 0)
        if applied == nil || opened.told < scopeChangedAt {
            opened.needsSnapshot = true
        } else if opened.told < committedNumber {
            opened.pendingNumber = committedNumber
        } else if opened.told == committedNumber {
            opened.watermarkedAt = now
            watermarkNumber = committedNumber
            actions.append(.sendWatermark(session, to: committedNumber))
        }
        sessionsByTold[opened.told, default: []].insert(session)
        sessions[session] = opened
        return actions + write(session, now: now) + progress(of: agent, now: now) + timerActions()
    }

    /// The stream ended, whoever ended it.
    package mutating func disconnected(_ session: SessionID, now: Duration) -> [Action] {
        guard let agent = forget(session) else { return [] }
        agents[agent]?.session = nil
        agents[agent]?.lastSeen = now
        waitForReturn(of: agent)
        return timerActions()
    }

    /// The shell wrote a Delta or a whole snapshot that ends at `to`.
    package mutating func sent(_ session: SessionID, to: UInt64, now: Duration) -> [Action] {
        guard var current = sessions[session], current.writeDeadline != nil else { return [] }
        current.writeDeadline = nil
        highestNumber = max(highestNumber, to)
        current.unacknowledged.append(
            SyncSession.Unacknowledged(to: to, deadline: now + Self.acknowledgementDurationMax)
        )
        if let pending = current.pendingNumber, pending <= to {
            current.pendingNumber = nil
            current.isUrgent = current.needsSnapshot && current.isUrgent
        }
        let early = current.earlyAcknowledgement
        current.earlyAcknowledgement = nil
        tell(session, &current, to)
        sessions[session] = current
        if let early {
            return acknowledge(session, early, now: now) + timerActions()
        }
        return write(session, now: now) + timerActions()
    }

    /// The agent said what it has applied.
    package mutating func acknowledged(
        _ session: SessionID,
        _ acknowledgement: SyncAcknowledgement,
        now: Duration
    ) -> [Action] {
        guard let current = sessions[session] else { return [] }
        guard acknowledgement.applied.epoch == epoch else {
            return close(session, .acknowledgementOfOtherEpoch, now: now) + timerActions()
        }
        agents[current.agent]?.refused = acknowledgement.refused
        agents[current.agent]?.lastSeen = now
        return acknowledge(session, acknowledgement.applied.number, now: now) + timerActions()
    }

    // MARK: Changes

    /// A transaction was committed that changed something subscribers hold.
    ///
    /// Numbers are reported in order; the parts of one number may come one after the other. A late
    /// one is safe, but costs whom it concerns a snapshot.
    ///
    /// - Parameters:
    ///   - number: The number that the transaction wrote.
    ///   - affected: Whose scope held the changed things before or holds them now.
    ///   - urgent: Whether the change overtakes unacknowledged messages: it takes something away.
    ///   - now: The boot time.
    /// - Returns: One message for each stream concerned that owes no acknowledgement.
    package mutating func committed(
        _ number: UInt64,
        affected: AffectedAgents,
        urgent: Bool,
        now: Duration
    ) -> [Action] {
        let isLate = number <= watermarkNumber
        committedNumber = max(committedNumber, number)
        highestNumber = max(highestNumber, number)
        var actions: [Action] = []
        for session in affectedSessions(affected) {
            guard var current = sessions[session] else { continue }
            if current.told < number {
                current.pendingNumber = max(current.pendingNumber ?? 0, number)
            } else if isLate {
                // A watermark may have passed the number by without its changes.
                current.needsSnapshot = true
            } else {
                continue
            }
            current.isUrgent = current.isUrgent || urgent
            sessions[session] = current
            actions += write(session, now: now)
        }
        if deadlines[.watermarks] == nil, !sessions.isEmpty {
            deadlines.set(.watermarks, to: now + Self.watermarkInterval)
        }
        return actions + timerActions()
    }

    /// The server gave a known agent other node selectors.
    package mutating func selectorsChanged(
        _ agent: AgentName,
        to selectors: Set<Selector>,
        now: Duration
    ) -> [Action] {
        guard let known = agents[agent] else { return [] }
        scope.insert(agent, selectors: selectors)
        guard let session = known.session else { return [] }
        sessions[session]?.needsSnapshot = true
        // A narrower scope takes something away.
        sessions[session]?.isUrgent = true
        return write(session, now: now) + timerActions()
    }

    // MARK: Agents without a stream

    /// An agent is known from the datastore, so that it is named when a change cannot reach it.
    ///
    /// - Parameters:
    ///   - agent: The agent's name.
    ///   - selectors: Its node selectors.
    ///   - lastSeen: When it was last seen, as boot time of this machine; nil if long ago.
    package mutating func remembered(
        _ agent: AgentName,
        selectors: Set<Selector>,
        lastSeen: Duration?
    ) {
        guard agents[agent] == nil, agents.count < Self.agentsMax else { return }
        scope.insert(agent, selectors: selectors)
        agents[agent] = SyncAgent(lastSeen: lastSeen)
    }

    /// An agent was evicted or banned: its stream ends and nobody waits for it.
    package mutating func removed(_ agent: AgentName, now: Duration) -> [Action] {
        guard let known = agents[agent] else { return [] }
        var actions: [Action] = []
        if let session = known.session { actions += close(session, .removed, now: now) }
        deadlines.set(.liveness(agent), to: nil)
        scope.remove(agent)
        agents[agent] = nil
        return actions + settle(agent, known.waits, now: now) + timerActions()
    }

    // MARK: Time

    /// The scheduled boot time has come; firing early or twice does no harm.
    package mutating func timerFired(now: Duration) -> [Action] {
        timerAt = nil
        var actions: [Action] = []
        while let deadline = deadlines.popDue(at: now) {
            switch deadline {
            case .liveness(let agent):
                actions += stopWaiting(for: agent, now: now)
            case .session(let session):
                let isWriting = sessions[session]?.writeDeadline.map { $0 <= now } ?? false
                let reason: CloseReason = isWriting ? .writeOverdue : .acknowledgementOverdue
                actions += close(session, reason, now: now)
            case .watermarks:
                actions += sendWatermarks(now: now)
            }
        }
        return actions + timerActions()
    }

    // MARK: Steps

    /// Starts the next message of a stream, if one is pending and may be sent.
    private mutating func write(_ session: SessionID, now: Duration) -> [Action] {
        guard var current = sessions[session] else { return [] }
        var actions: [Action] = []
        if current.mayWrite {
            if current.needsSnapshot {
                current.needsSnapshot = false
                actions = [.sendSnapshot(session)]
            } else {
                actions = [.sendDelta(session, from: current.told)]
            }
            current.isUrgent = current.pendingNumber != nil && current.isUrgent
            current.writeDeadline = now + Self.writeDuration
            sessions[session] = current
        }
        deadlines.set(.session(session), to: current.deadline)
        return actions
    }

    private mutating func acknowledge(
        _ session: SessionID,
        _ number: UInt64,
        now: Duration
    ) -> [Action] {
        guard var current = sessions[session] else { return [] }
        if number > current.told {
            // The answer to a message may come before the shell reports it as sent.
            guard current.writeDeadline != nil else {
                return close(session, .acknowledgementUnsent, now: now)
            }
            current.earlyAcknowledgement = max(current.earlyAcknowledgement ?? 0, number)
            sessions[session] = current
            return []
        }
        if let applied = agents[current.agent]?.applied, number < applied {
            return close(session, .acknowledgementBackwards, now: now)
        }
        current.unacknowledged.removeAll { $0.to <= number }
        sessions[session] = current
        agents[current.agent]?.applied = number
        return write(session, now: now) + progress(of: current.agent, now: now)
    }

    private mutating func sendWatermarks(now: Duration) -> [Action] {
        watermarkNumber = committedNumber
        var behind: [SessionID] = []
        for (told, sessions) in sessionsByTold where told < committedNumber { behind += sessions }
        var actions: [Action] = []
        var isAnyLeft = false
        for session in behind.sorted() {
            guard var current = sessions[session] else { continue }
            let isTooSoon = current.watermarkedAt.map { now < $0 + Self.watermarkInterval } ?? false
            guard current.isQuiet, !isTooSoon else {
                isAnyLeft = true
                continue
            }
            current.watermarkedAt = now
            tell(session, &current, committedNumber)
            sessions[session] = current
            actions.append(.sendWatermark(session, to: committedNumber))
        }
        if isAnyLeft { deadlines.set(.watermarks, to: now + Self.watermarkInterval) }
        return actions
    }

    private mutating func close(
        _ session: SessionID,
        _ reason: CloseReason,
        now: Duration
    ) -> [Action] {
        guard let agent = forget(session) else { return [] }
        agents[agent]?.session = nil
        agents[agent]?.lastSeen = now
        waitForReturn(of: agent)
        return [.close(session, reason)]
    }

    private mutating func forget(_ session: SessionID) -> AgentName? {
        guard let old = sessions.removeValue(forKey: session) else { return nil }
        sessionsByTold[old.told]?.remove(session)
        if sessionsByTold[old.told]?.isEmpty == true { sessionsByTold[old.told] = nil }
        deadlines.set(.session(session), to: nil)
        return old.agent
    }

    private mutating func tell(_ session: SessionID, _ current: inout SyncSession, _ to: UInt64) {
        guard to > current.told else { return }
        sessionsByTold[current.told]?.remove(session)
        if sessionsByTold[current.told]?.isEmpty == true { sessionsByTold[current.told] = nil }
        current.told = to
        sessionsByTold[to, default: []].insert(session)
    }

    private func affectedSessions(_ affected: AffectedAgents) -> [SessionID] {
        switch affected {
        case .all: sessions.keys.sorted()
        case .agents(let names): names.compactMap { agents[$0]?.session }.sorted()
        }
    }

    mutating func timerActions() -> [Action] {
        guard let earliest = deadlines.earliest, earliest < timerAt ?? .seconds(Int64.max) else {
            return []
        }
        timerAt = earliest
        return [.scheduleTimer(at: earliest)]
    }
}
