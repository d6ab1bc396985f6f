// SPDX-License-Identifier: Apache-2.0

/// What the publisher knows of one agent at this moment.
package struct AgentPresence: Hashable, Sendable {
    /// The open stream; nil while the agent is away.
    package let session: SessionID?
    /// The number the agent said it has applied, if it is of this epoch.
    package let applied: UInt64?
    /// When its stream was open last, in time since boot; nil if it was not since the server started.
    package let lastSeen: Duration?

    package var isConnected: Bool { session != nil }
}

extension SyncPublisher {
    /// Whose open stream a session is; nil when it has ended.
    package func agent(of session: SessionID) -> AgentName? { sessions[session]?.agent }

    /// Whether an agent is connected and what it has applied; unknown agents are neither.
    package func presence(of agent: AgentName) -> AgentPresence {
        AgentPresence(
            session: agents[agent]?.session,
            applied: agents[agent]?.applied,
            lastSeen: agents[agent]?.lastSeen
        )
    }
}
