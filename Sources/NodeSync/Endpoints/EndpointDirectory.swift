// SPDX-License-Identifier: Apache-2.0

/// Where the proxies of observed Services listen, and which stream is to hear of it
/// (docs/decisions/0010-observed-endpoints.md).
///
/// A machine without clock: the shell says what agents report and when their streams begin and end,
/// calls `timerFired` at `deadline`, and takes what the streams are told that it names.
package struct EndpointDirectory: Sendable {
    /// How long an endpoint that was lost sight of is in use: agents come back sooner from a restart,
    /// their own or the server's.
    package static let lease: Duration = .seconds(30)
    /// How long lost endpoints may stand in for others: the SVIDs there have ended by then.
    package static let lostMax: Duration = .seconds(3_600)
    /// How long changes are gathered before streams are told of them.
    package static let gatheringTime: Duration = .milliseconds(100)
    /// An endpoint that has been there or gone for so long does not flap.
    package static let calmTime: Duration = .seconds(60)
    /// The shortest wait of an endpoint that comes back; it doubles each time.
    package static let returnDelayMin: Duration = .seconds(1)
    /// The longest wait of an endpoint that comes back.
    package static let returnDelayMax: Duration = .seconds(60)
    /// How long after the server's start it waits for agents that may have been live: as long as an
    /// authority does.
    package static let startingMax: Duration = .seconds(900)
    /// Most endpoints in one list.
    package static let listMax = 256
    /// Most endpoints of one agent: far more than run on one machine.
    package static let perAgentMax = 1_000
    /// Most endpoints of one namespace, so that nobody fills the place of others.
    package static let perNamespaceMax = 20_000
    /// Most endpoints in all, to bound memory (some 40 MB).
    package static let countMax = 100_000
    /// Most ports that one agent is told of.
    package static let portsMax = 1_024

    private struct Subscriber {
        let agent: AgentName
        var rules: [ObservedPort: ObservedPortRule] = [:]
        /// Of which it has not taken the newest list.
        var due: Set<ObservedPort> = []
        /// Whether it was asked to take, and has not.
        var isAsked = false
        /// What it was told last of each port, as a hash.
        var told: [ObservedPort: Int] = [:]
    }

    private struct Need: Hashable {
        let port: ObservedPort
        let rule: ObservedPortRule
    }

    private struct Endpoint {
        let agent: AgentName
        let address: EndpointAddress
    }

    /// What a need came to, for all who have it.
    private struct List {
        var used: [Endpoint]
        var lost: [Endpoint]
        /// The same for everybody; nil if each gets another part of it.
        var shared: [String]?
    }

    private var nodes: [AgentName: EndpointNode] = [:]
    private var agents: [SessionID: AgentName] = [:]
    private var deadlines = DeadlineQueue<Duration, AgentName>()
    private var holders: [ListenerKind: Set<AgentName>] = [:]
    private var namespaces: [String: Int] = [:]
    private var subscribers: [SessionID: Subscriber] = [:]
    private var needs: [Need: Set<SessionID>] = [:]
    private var needsByKind: [ListenerKind: Set<Need>] = [:]
    /// While nothing of them changed.
    private var lists: [Need: List] = [:]
    private var gatheredAt: Duration?
    /// Agents that may have been live before the server started and were not heard yet.
    private var awaited: Set<AgentName>
    /// When they are waited for no more; nil: lists are whole.
    private var startingUntil: Duration?
    /// Endpoints that are known, those out of use included.
    package private(set) var count = 0

    /// Knows nothing yet.
    ///
    /// - Parameters:
    ///   - now: When the server started, as boot time.
    ///   - awaited: The agents that may have been live before.
    package init(startedAt now: Duration, awaiting awaited: Set<AgentName> = []) {
        self.awaited = awaited
        startingUntil = awaited.isEmpty ? nil : now + Self.startingMax
    }

    // MARK: What agents say

    /// A stream of an agent was opened; an earlier one of it may not have ended yet.
    ///
    /// - Parameters:
    ///   - session: The stream.
    ///   - agent: Whose.
    ///   - reports: Whether the agent says at once which listeners are up, even if none are: who
    ///     does not is not waited for.
    ///   - now: The boot time.
    package mutating func opened(
        _ session: SessionID,
        by agent: AgentName,
        reports: Bool = true,
        now: Duration
    ) {
        agents[session] = agent
        subscribers[session] = Subscriber(agent: agent)
        if !reports { hear(agent, now: now) }
        // Two that are opened at a time may come in the wrong order.
        if let newest = nodes[agent]?.session, session < newest { return }
        change(agent, now: now) { $0.begin(session, now: now) }
    }

    /// Whether a stream is the one by which its agent is known.
    package func isOpen(_ session: SessionID) -> Bool {
        agents[session].map { nodes[$0]?.session == session } ?? false
    }

    /// What an agent's report comes to; said again whenever it comes to something else.
    ///
    /// - Returns: how many endpoints there was no room for.
    package mutating func reported(
        _ report: ListenerReport,
        on session: SessionID,
        now: Duration
    ) -> Int {
        guard let agent = agents[session], nodes[agent]?.session == session else { return 0 }
        hear(agent, now: now)
        var report = report
        var full = fit(&report, of: agent)
        let others = count - (nodes[agent]?.count ?? 0)
        let room = min(Self.perAgentMax, Self.countMax - others)
        change(agent, now: now) { full += $0.say(report, room: room, now: now) }
        return full
    }

    /// A stream ended.
    package mutating func ended(_ session: SessionID, now: Duration) {
        forget(session)
        guard let agent = agents.removeValue(forKey: session), nodes[agent]?.session == session
        else { return }
        change(agent, now: now) { $0.end(now: now) }
    }

    /// An agent was banned or evicted: nothing of it is an endpoint any more.
    package mutating func removed(_ agent: AgentName, now: Duration) {
        hear(agent, now: now)
        change(agent, now: now) { $0.clear() }
    }

    /// Every endpoint of a namespace that is known, by agent and place.
    package func statuses(namespace: String) -> [EndpointStatus] {
        nodes.flatMap { agent, node in
            node.statuses(of: agent).filter { $0.kind.namespace == namespace }
        }
        .sorted { ($0.agent, $0.place) < ($1.agent, $1.place) }
    }

    /// Leaves out what a namespace has no room for; what is known of an agent has its place.
    ///
    /// - Returns: how many.
    private func fit(_ report: inout ListenerReport, of agent: AgentName) -> Int {
        let mine = nodes[agent]?.counts ?? [:]
        var full = 0
        let byNamespace = Dictionary(grouping: report.up.keys) {
            report.permitted[$0]?.namespace ?? ""
        }
        for (namespace, places) in byNamespace {
            let others = (namespaces[namespace] ?? 0) - (mine[namespace] ?? 0)
            let surplus = places.count - max(0, Self.perNamespaceMax - others)
            guard surplus > 0 else { continue }
            let new = places.filter { nodes[agent]?.knows($0) != true }.sorted()
            for place in new.suffix(surplus) { report.up[place] = nil }
            full += min(surplus, new.count)
        }
        return full
    }

    private mutating func hear(_ agent: AgentName, now: Duration) {
        awaited.remove(agent)
        if startingUntil != nil, awaited.isEmpty { startingUntil = now }
    }

    // MARK: Who is told

    /// A stream needs the lists of these ports, all of them.
    ///
    /// - Returns: false when there are too many; the first by name are told.
    package mutating func needs(
        _ rules: [ObservedPort: ObservedPortRule],
        on session: SessionID,
        now: Duration
    ) -> Bool {
        guard let subscriber = subscribers[session] else { return true }
        var kept = rules
        if rules.count > Self.portsMax {
            for port in rules.keys.sorted().dropFirst(Self.portsMax) { kept[port] = nil }
        }
        for (port, rule) in subscriber.rules where kept[port] != rule {
            drop(Need(port: port, rule: rule), of: session)
            if kept[port] == nil { subscribers[session]?.told[port] = nil }
        }
        for (port, rule) in kept where subscriber.rules[port] != rule {
            let need = Need(port: port, rule: rule)
            needs[need, default: []].insert(session)
            for kind in rule.kinds(of: port) { needsByKind[kind, default: []].insert(need) }
            subscribers[session]?.due.insert(port)
            gatheredAt = gatheredAt ?? now + Self.gatheringTime
        }
        subscribers[session]?.rules = kept
        subscribers[session]?.due.formIntersection(kept.keys)
        return kept.count == rules.count
    }

    /// What a stream is to be told next, by name of the port.
    ///
    /// - Parameters:
    ///   - session: Which.
    ///   - bytesMax: How large the lists may be together; the first is taken whatever it has.
    /// - Returns: The lists, and whether the stream is to take more at once.
    package mutating func take(
        _ session: SessionID,
        bytesMax: Int = .max
    ) -> (lists: [ObservedEndpoints], isMore: Bool) {
        guard let subscriber = subscribers[session] else { return ([], false) }
        var lists: [ObservedEndpoints] = []
        var bytes = 0
        var left = subscriber.due
        for port in subscriber.due.sorted() {
            guard let rule = subscriber.rules[port] else {
                left.remove(port)
                continue
            }
            let list = ObservedEndpoints(
                port: port,
                addresses: addresses(of: Need(port: port, rule: rule), for: subscriber.agent),
                isPartial: startingUntil != nil
            )
            guard subscriber.told[port] != list.hashValue else {
                left.remove(port)
                continue
            }
            bytes += list.sizeBytes
            guard lists.isEmpty || bytes <= bytesMax else { break }
            lists.append(list)
            left.remove(port)
            subscribers[session]?.told[port] = list.hashValue
        }
        subscribers[session]?.due = left
        subscribers[session]?.isAsked = !left.isEmpty
        return (lists, !left.isEmpty)
    }

    // MARK: Time

    /// When `timerFired` is to be called next; nil: not before something happens.
    package var deadline: Duration? {
        [deadlines.earliest, gatheredAt, startingUntil].compactMap(\.self).min()
    }

    /// A time has come; firing early or twice does no harm.
    ///
    /// - Returns: the streams that are to take what they are told.
    package mutating func timerFired(now: Duration) -> [SessionID] {
        while let agent = deadlines.popDue(at: now) {
            change(agent, now: now) { $0.expire(now: now) }
        }
        if let time = startingUntil, time <= now {
            startingUntil = nil
            awaited = []
            for (session, subscriber) in subscribers where !subscriber.rules.isEmpty {
                subscribers[session]?.due = Set(subscriber.rules.keys)
                gatheredAt = now
            }
        }
        guard let time = gatheredAt, time <= now else { return [] }
        gatheredAt = nil
        var asked: [SessionID] = []
        for (session, subscriber) in subscribers
        where !subscriber.due.isEmpty && !subscriber.isAsked {
            subscribers[session]?.isAsked = true
            asked.append(session)
        }
        return asked.sorted()
    }

    // MARK: Lists

    private mutating func addresses(of need: Need, for agent: AgentName) -> [String] {
        let list = lists[need] ?? list(of: need)
        lists[need] = list
        if let shared = list.shared { return shared }
        // A loopback address is another machine's own.
        func reached(_ endpoints: [Endpoint]) -> Set<String> {
            Set(
                endpoints.filter { !$0.address.isLoopback || $0.agent == agent }
                    .map(\.address.text)
            )
        }
        let mine = Self.named(reached(list.used), reached(list.lost)).sorted()
        guard mine.count > Self.listMax else { return mine }
        let viewer = Self.mixed(agent.name.utf8, into: Self.mixBasis)
        return mine.map { (Self.mixed($0.utf8, into: viewer), $0) }
            .sorted { $0 < $1 }
            .prefix(Self.listMax)
            .map(\.1)
            .sorted()
    }

    /// Those in use; if they are fewer than half, all that were lost as well.
    private static func named(_ used: Set<String>, _ lost: Set<String>) -> Set<String> {
        let others = lost.subtracting(used)
        return used.count < others.count ? used.union(others) : used
    }

    private func list(of need: Need) -> List {
        var list = List(used: [], lost: [])
        for kind in need.rule.kinds(of: need.port) {
            for agent in holders[kind] ?? [] {
                guard let node = nodes[agent] else { continue }
                for listener in node.used where listener.kind == kind {
                    list.used.append(Endpoint(agent: agent, address: listener.address))
                }
                for listener in node.lost where listener.kind == kind {
                    list.lost.append(Endpoint(agent: agent, address: listener.address))
                }
            }
        }
        guard !(list.used + list.lost).contains(where: \.address.isLoopback) else { return list }
        let named = Self.named(
            Set(list.used.map(\.address.text)),
            Set(list.lost.map(\.address.text))
        )
        if named.count <= Self.listMax { list.shared = named.sorted() }
        return list
    }

    /// FNV-1a, which is the same in every process, with its bits stirred (the last step of
    /// MurmurHash3) so that sorting by it says nothing of the bytes' order.
    private static func mixed(_ bytes: some Sequence<UInt8>, into basis: UInt64) -> UInt64 {
        var hash = bytes.reduce(basis) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        hash = (hash ^ hash >> 33) &* 0xff51_afd7_ed55_8ccd
        hash = (hash ^ hash >> 33) &* 0xc4ce_b9fe_1a85_ec53
        return hash ^ hash >> 33
    }

    private static let mixBasis: UInt64 = 0xcbf2_9ce4_8422_2325

    // MARK: Steps

    private mutating func change(
        _ agent: AgentName,
        now: Duration,
        _ body: (inout EndpointNode) -> Void
    ) {
        var node = nodes[agent] ?? EndpointNode()
        let before = Counted(node)
        body(&node)
        let after = Counted(node)
        nodes[agent] = node.isEmpty ? nil : node
        deadlines.set(agent, to: node.deadline)
        guard before != after else { return }
        count += after.total - before.total
        for namespace in Set(before.namespaces.keys).union(after.namespaces.keys) {
            let total =
                (namespaces[namespace] ?? 0) + (after.namespaces[namespace] ?? 0)
                - (before.namespaces[namespace] ?? 0)
            namespaces[namespace] = total == 0 ? nil : total
        }
        var concerned: Set<Need> = []
        for kind in Set(before.kinds.keys).union(after.kinds.keys)
        where before.kinds[kind] != after.kinds[kind] {
            concerned.formUnion(needsByKind[kind] ?? [])
            if after.kinds[kind] != nil {
                holders[kind, default: []].insert(agent)
            } else {
                holders[kind]?.remove(agent)
                if holders[kind]?.isEmpty == true { holders[kind] = nil }
            }
        }
        for need in concerned {
            lists[need] = nil
            for session in needs[need] ?? [] { subscribers[session]?.due.insert(need.port) }
            gatheredAt = gatheredAt ?? now + Self.gatheringTime
        }
    }

    /// What lists are made from, of one agent.
    private struct Counted: Equatable {
        /// By kind, with whether it is in use.
        var kinds: [ListenerKind: [EndpointAddress: Bool]] = [:]
        var namespaces: [String: Int]
        var total: Int

        init(_ node: EndpointNode) {
            total = node.count
            namespaces = node.counts
            for listener in node.lost {
                kinds[listener.kind, default: [:]][listener.address] = false
            }
            for listener in node.used {
                kinds[listener.kind, default: [:]][listener.address] = true
            }
        }
    }

    private mutating func forget(_ session: SessionID) {
        guard let subscriber = subscribers.removeValue(forKey: session) else { return }
        for (port, rule) in subscriber.rules { drop(Need(port: port, rule: rule), of: session) }
    }

    private mutating func drop(_ need: Need, of session: SessionID) {
        needs[need]?.remove(session)
        guard needs[need]?.isEmpty == true else { return }
        needs[need] = nil
        lists[need] = nil
        for kind in need.rule.kinds(of: need.port) {
            needsByKind[kind]?.remove(need)
            if needsByKind[kind]?.isEmpty == true { needsByKind[kind] = nil }
        }
    }
}
