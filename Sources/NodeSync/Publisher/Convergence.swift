// SPDX-License-Identifier: Apache-2.0

/// What the publisher waits for in time.
enum PublisherDeadline: Hashable, Comparable, Sendable {
    /// The agent, gone since a while, is no longer waited for.
    case liveness(AgentName)
    /// The stream owes an acknowledgement, or does not take a message.
    case session(SessionID)
    case watermarks
}

/// How far a number has reached, by agent; each list is sorted.
package struct AppliedState: Hashable, Sendable {
    package let number: UInt64
    /// Has applied the number or a higher one, whether it is connected or not.
    package let applied: [AgentName]
    /// Live, and has not: its stream is open, or it was seen in the last 15 minutes.
    package let waiting: [AgentName]
    /// Gets the change before anything else when it comes back; nobody waits for it.
    package let unreachable: [AgentName]

    package init(
        number: UInt64,
        applied: [AgentName],
        waiting: [AgentName],
        unreachable: [AgentName]
    ) {
        self.number = number
        self.applied = applied
        self.waiting = waiting
        self.unreachable = unreachable
    }
}

/// Somebody who waits for a number.
struct ConvergenceWait: Sendable {
    let number: UInt64
    /// Fixed when the wait began.
    let agents: AffectedAgents
    var outstanding: Set<AgentName>
}

extension SyncPublisher {
    /// How far a number has reached.
    ///
    /// - Parameters:
    ///   - number: A number of this epoch.
    ///   - affected: Whom it concerns; unknown names count as unreachable.
    ///   - now: The boot time.
    /// - Returns: Every agent concerned, in exactly one list.
    package func appliedState(
        of number: UInt64,
        among affected: AffectedAgents = .all,
        now: Duration
    ) -> AppliedState {
        var applied: [AgentName] = []
        var waiting: [AgentName] = []
        var unreachable: [AgentName] = []
        let names: [AgentName] =
            switch affected {
            case .all: Array(agents.keys)
            case .agents(let set): Array(set)
            }
        for name in names.sorted() {
            guard let agent = agents[name] else {
                unreachable.append(name)
                continue
            }
            if let reached = agent.applied, reached >= number {
                applied.append(name)
            } else if agent.isLive(at: now) {
                waiting.append(name)
            } else {
                unreachable.append(name)
            }
        }
        return AppliedState(
            number: number,
            applied: applied,
            waiting: waiting,
            unreachable: unreachable
        )
    }

    /// What the agent could not take of what it was sent; empty for unknown agents.
    package func refusals(of agent: AgentName) -> [ResourceRefusal] {
        agents[agent]?.refused ?? []
    }

    /// The agents among `affected` that did not say they have a capability; sorted.
    ///
    /// An agent that has not connected since the server started has said nothing yet.
    package func agents(
        lacking capability: String,
        among affected: AffectedAgents = .all
    ) -> [AgentName] {
        agents.filter { name, agent in
            switch affected {
            case .all: break
            case .agents(let names): guard names.contains(name) else { return false }
            }
            return !agent.capabilities.contains(capability)
        }.keys.sorted()
    }

    /// The agents with an open stream that did not say they have a capability; sorted.
    package func connectedAgents(lacking capability: String) -> [AgentName] {
        agents.filter { $0.value.session != nil && !$0.value.capabilities.contains(capability) }
            .keys.sorted()
    }

    /// The agents that said they have a capability.
    package func agents(having capability: String) -> Set<AgentName> {
        Set(agents.filter { $0.value.capabilities.contains(capability) }.keys)
    }

    /// Somebody wants to know when every live agent concerned has applied a number.
    ///
    /// - Returns: `.converged` at once, or later, when the last one missing has applied it, was
    ///   removed or is no longer live.
    package mutating func waitStarted(
        _ id: WaitID,
        for number: UInt64,
        among affected: AffectedAgents,
        now: Duration
    ) -> [Action] {
        let state = appliedState(of: number, among: affected, now: now)
        guard !state.waiting.isEmpty else { return [.converged(id, state)] }
        waits[id] = ConvergenceWait(
            number: number,
            agents: affected,
            outstanding: Set(state.waiting)
        )
        for name in state.waiting {
            agents[name]?.waits.insert(id)
            if agents[name]?.session == nil { waitForReturn(of: name) }
        }
        return timerActions()
    }

    /// Who waited does not want to know any more.
    package mutating func waitEnded(_ id: WaitID) {
        guard let wait = waits.removeValue(forKey: id) else { return }
        for name in wait.outstanding { agents[name]?.waits.remove(id) }
    }

    /// Answers whoever waited only for this agent to apply what it now has.
    mutating func progress(of name: AgentName, now: Duration) -> [Action] {
        guard let agent = agents[name], let applied = agent.applied else { return [] }
        let reached = agent.waits.filter { id in
            waits[id].map { $0.number <= applied } ?? true
        }
        return settle(name, reached, now: now)
    }

    /// Nobody waits for this agent any more.
    mutating func stopWaiting(for name: AgentName, now: Duration) -> [Action] {
        settle(name, agents[name]?.waits ?? [], now: now)
    }

    /// Keeps waiting for an agent whose stream ended, as long as it counts as live.
    mutating func waitForReturn(of name: AgentName) {
        guard let agent = agents[name], let lastSeen = agent.lastSeen, !agent.waits.isEmpty else {
            return
        }
        deadlines.set(.liveness(name), to: lastSeen + Self.livenessDuration)
    }

    /// Strikes an agent off the waits it holds up, and answers those that are complete.
    mutating func settle(
        _ name: AgentName,
        _ ids: Set<WaitID>,
        now: Duration
    ) -> [Action] {
        var actions: [Action] = []
        for id in ids.sorted() {
            agents[name]?.waits.remove(id)
            waits[id]?.outstanding.remove(name)
            guard let wait = waits[id], wait.outstanding.isEmpty else { continue }
            waits[id] = nil
            actions.append(
                .converged(id, appliedState(of: wait.number, among: wait.agents, now: now))
            )
        }
        return actions
    }
}
