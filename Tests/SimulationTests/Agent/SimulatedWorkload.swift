// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE

/// A program on an agent's machine: it keeps the last view it was given and asks again when its
/// stream ends.
final class SimulatedWorkload {
    let name: String
    let selectors: Set<Selector>
    let selectorTexts: Set<String>
    /// What it authenticates and verifies with.
    private(set) var view: WorkloadView?
    /// Since when it wants an identity; nil while it is not running.
    private(set) var wantsSince: Duration?
    private(set) var subscriber: SubscriberID?

    init(name: String, selectors: Set<Selector>) {
        self.name = name
        self.selectors = selectors
        selectorTexts = Set(selectors.map(\.description))
    }

    /// How long it waits before it asks again after a refusal.
    static let retryMax: Duration = .seconds(40)

    func begin(on agent: SimulatedAgent) {
        wantsSince = agent.scheduler.now
        view = nil
        connect(to: agent, after: .zero)
    }

    func end(on agent: SimulatedAgent) async throws {
        wantsSince = nil
        view = nil
        guard let subscriber else { return }
        self.subscriber = nil
        try await agent.process?.unsubscribe(subscriber)
    }

    func processStarted(on agent: SimulatedAgent) {
        connect(to: agent, after: agent.random.duration(0.05...3))
    }

    func processEnded() { subscriber = nil }

    private func connect(to agent: SimulatedAgent, after delay: Duration) {
        guard wantsSince != nil else { return }
        agent.after(delay, "\(agent.name) \(name) connects") { [self] in
            guard wantsSince != nil, subscriber == nil, let process = agent.process else { return }
            try await process.subscribe(self)
        }
    }

    /// The stream shows something; after a refusal the workload comes back a little later.
    func shown(_ answer: WorkloadAnswer, on agent: SimulatedAgent) async throws {
        switch answer {
        case .view(let view):
            self.view = view
        case .wait: return
        case .denied, .withdrawn:
            view = nil
            try await reconnect(agent)
        case .unavailable: try await reconnect(agent)
        }
    }

    private func reconnect(_ agent: SimulatedAgent) async throws {
        guard let subscriber else { return }
        self.subscriber = nil
        try await agent.process?.unsubscribe(subscriber)
        connect(to: agent, after: agent.random.duration(1...Self.retryMax.seconds))
    }

    func accepted(_ subscriber: SubscriberID) { self.subscriber = subscriber }
}

extension AgentProcess {
    func subscribe(_ workload: SimulatedWorkload) async throws {
        subscriberNumber += 1
        let id = SubscriberID(subscriberNumber)
        subscribed[id] = workload
        workload.accepted(id)
        try await perform(
            logic.subscribed(
                id,
                selectors: workload.selectors,
                interest: .svids,
                now: now,
                using: &machine.random
            )
        )
        try await show(id)
    }

    func unsubscribe(_ id: SubscriberID) async throws {
        shown[id] = nil
        guard subscribed.removeValue(forKey: id) != nil else { return }
        try await perform(logic.unsubscribed(id, now: now, using: &machine.random))
    }

    /// Sends a workload what it is to see now.
    func show(_ id: SubscriberID) async throws {
        guard let workload = subscribed[id] else { return }
        let answer = logic.answer(for: id, after: shown[id], now: now.wall)
        if case .view(let view) = answer { shown[id] = view }
        try await workload.shown(answer, on: machine)
    }
}
