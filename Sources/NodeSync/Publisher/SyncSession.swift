// SPDX-License-Identifier: Apache-2.0

/// What the publisher knows of one open stream.
struct SyncSession: Sendable {
    /// A message sent and not yet acknowledged.
    struct Unacknowledged: Sendable {
        let to: UInt64
        let deadline: Duration
    }

    let agent: AgentName
    /// Up to here everything in scope was sent, or the stream was told there is nothing.
    var told: UInt64
    /// The shell reads and writes a message until then at the latest; nil if it does not.
    var writeDeadline: Duration?
    /// What was acknowledged while the message was still being written.
    var earlyAcknowledgement: UInt64?
    /// Oldest first.
    var unacknowledged: [Unacknowledged] = []
    /// The newest change in scope that was not sent.
    var pendingNumber: UInt64?
    /// The scope itself changed, so changes alone do not tell everything.
    var needsSnapshot = false
    /// Whether what is pending may overtake an unacknowledged message.
    var isUrgent = false
    var watermarkedAt: Duration?

    init(agent: AgentName, told: UInt64) {
        self.agent = agent
        self.told = told
    }

    var hasPending: Bool { needsSnapshot || pendingNumber != nil }

    /// Nothing is under way in either direction.
    var isQuiet: Bool { writeDeadline == nil && unacknowledged.isEmpty && !hasPending }

    /// Whether what is pending may be sent now.
    var mayWrite: Bool {
        guard hasPending, writeDeadline == nil else { return false }
        let limit = isUrgent ? SyncPublisher.unacknowledgedUrgentMax : 1
        return unacknowledged.count < limit
    }

    /// When the stream has failed unless something happens before.
    var deadline: Duration? {
        [writeDeadline, unacknowledged.first?.deadline].compactMap(\.self).min()
    }
}

/// What the publisher knows of one agent, with or without a stream.
struct SyncAgent: Sendable {
    var session: SessionID?
    var capabilities: Set<String> = []
    /// Nil until the agent said what it has, or if that is of another epoch.
    var applied: UInt64?
    var refused: [ResourceRefusal] = []
    /// Nil if the agent is known but was not seen since this server started.
    var lastSeen: Duration?
    /// Who waits for this agent.
    var waits: Set<WaitID> = []

    /// Whether the agent is waited for: its stream is open, or it was seen lately.
    func isLive(at now: Duration) -> Bool {
        if session != nil { return true }
        guard let lastSeen else { return false }
        return now - lastSeen < SyncPublisher.livenessDuration
    }
}
