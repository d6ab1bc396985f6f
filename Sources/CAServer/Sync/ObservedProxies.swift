// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import NodeSync

/// How far a number has reached among the proxies that agents report; each list is sorted.
package struct ProxyProgress: Hashable, Sendable {
    /// A process on a machine, written `node/namespace/name`.
    package struct Place: Hashable, Sendable, Comparable, CustomStringConvertible {
        package let node: String
        /// `namespace/name`.
        package let proxy: String

        package var description: String { "\(node)/\(proxy)" }

        package static func < (lhs: Self, rhs: Self) -> Bool {
            (lhs.node, lhs.proxy) < (rhs.node, rhs.proxy)
        }
    }

    /// A state that a process could not take.
    package struct Refusal: Hashable, Sendable {
        package let place: Place
        package let reason: String
    }

    package internal(set) var applied: [Place] = []
    /// Attached, and has not.
    package internal(set) var waiting: [Place] = []
    /// Left without draining before it had.
    package internal(set) var unreachable: [Place] = []
    package internal(set) var refused: [Refusal] = []
}

/// What agents report of the proxies on their machines: observed, in memory, as long as the stream.
struct ObservedProxies: Sendable {
    /// Most proxies of one agent that are kept: far more than run on one machine.
    static let perAgentMax = 1_000
    /// Most proxies that are kept at a time, to bound memory (some 200 MB if each says the most).
    static let countMax = 100_000

    private struct Report {
        let session: SessionID
        let proxies: [AttachedProxy]
        /// Whether they are all that was reported.
        let isWhole: Bool
    }

    private var reports: [AgentName: Report] = [:]
    private var agents: [SessionID: AgentName] = [:]
    private(set) var count = 0

    /// An agent said which proxies it has, all of them.
    ///
    /// - Returns: false when there are too many, and the agent's are not kept.
    mutating func reported(
        _ proxies: [AttachedProxy],
        by agent: AgentName,
        on session: SessionID
    ) -> Bool {
        let others = count - (reports[agent]?.proxies.count ?? 0)
        let fits = proxies.count <= Self.perAgentMax && others + proxies.count <= Self.countMax
        let kept = fits ? proxies : []
        if let before = reports[agent] { agents[before.session] = nil }
        reports[agent] = Report(session: session, proxies: kept, isWhole: fits)
        agents[session] = agent
        count = others + kept.count
        return fits
    }

    /// A stream ended.
    ///
    /// - Returns: the agent whose proxies are not known any more.
    mutating func ended(_ session: SessionID) -> AgentName? {
        guard let agent = agents.removeValue(forKey: session) else { return nil }
        count -= reports.removeValue(forKey: agent)?.proxies.count ?? 0
        return agent
    }

    /// Scopes changed: what does not belong to its node any more is not known any more.
    ///
    /// - Parameters:
    ///   - affected: The agents that are looked at.
    ///   - isKept: Whether a proxy, `namespace/name`, is in the agent's scope.
    /// - Returns: The agents of which something was forgotten.
    mutating func narrow(
        among affected: AffectedAgents,
        isKept: (AgentName, String) -> Bool
    ) -> [AgentName] {
        reported(among: affected).filter { agent in
            guard let report = reports[agent] else { return false }
            let kept = report.proxies.filter { isKept(agent, $0.proxy) }
            guard kept.count < report.proxies.count else { return false }
            count -= report.proxies.count - kept.count
            reports[agent] = Report(
                session: report.session,
                proxies: kept,
                isWhole: report.isWhole
            )
            return true
        }
    }

    private func reported(among affected: AffectedAgents) -> [AgentName] {
        switch affected {
        case .all: reports.keys.sorted()
        case .agents(let set): set.filter { reports[$0] != nil }.sorted()
        }
    }

    /// What was reported on a stream; nil if nothing yet, or there was not room for it.
    func report(on session: SessionID) -> [AttachedProxy]? {
        guard let report = agents[session].flatMap({ reports[$0] }), report.isWhole else {
            return nil
        }
        return report.proxies
    }

    /// The proxies of one agent.
    func proxies(of agent: AgentName) -> [AttachedProxy] { reports[agent]?.proxies ?? [] }

    /// Every proxy of which `isMeant` is true, by node and name.
    func proxies(
        _ isMeant: (AttachedProxy) -> Bool
    ) -> [(node: AgentName, proxy: AttachedProxy)] {
        reports.flatMap { agent, report in
            report.proxies.filter(isMeant).map { (node: agent, proxy: $0) }
        }
        .sorted { ($0.node, $0.proxy.proxy) < ($1.node, $1.proxy.proxy) }
    }

    /// How far a number has reached among the proxies of some agents.
    ///
    /// - Parameters:
    ///   - revision: What they are to have applied.
    ///   - affected: The agents that are looked at.
    ///   - proxies: The Proxies that are, nil: all.
    /// - Returns: Each of their processes, in exactly one list.
    func progress(
        to revision: Revision,
        among affected: AffectedAgents,
        of proxies: Set<String>?
    ) -> ProxyProgress {
        var progress = ProxyProgress()
        for agent in reported(among: affected) {
            for proxy in self.proxies(of: agent).sorted(by: { $0.proxy < $1.proxy })
            where proxies?.contains(proxy.proxy) ?? true {
                let place = ProxyProgress.Place(node: agent.name, proxy: proxy.proxy)
                if proxy.applied.map({ $0.reaches(revision) }) ?? false {
                    progress.applied.append(place)
                } else if !proxy.isAttached {
                    progress.unreachable.append(place)
                } else if proxy.refused.map({ $0.reaches(revision) }) ?? false {
                    progress.refused.append(.init(place: place, reason: proxy.refusedReason))
                } else {
                    progress.waiting.append(place)
                }
            }
        }
        return progress
    }
}

extension Revision {
    /// Whether it is of the same epoch and not below.
    fileprivate func reaches(_ other: Self) -> Bool {
        epoch == other.epoch && number >= other.number
    }
}
