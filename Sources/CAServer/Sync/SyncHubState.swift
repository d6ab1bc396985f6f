// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import FoundationEssentials
internal import NodeSync
internal import SwiftProtobuf

/// What `SyncHub` keeps under its lock: the machine, and who is to be told what it decides.
struct SyncHubState {
    var publisher: SyncPublisher
    var nextNumber: UInt64 = 1
    var outlets: [SessionID: Outlet] = [:]
    var waits: [WaitID: CheckedContinuation<AppliedState, Never>] = [:]
    /// How many callers wait, also those that are not in `waits` yet.
    var waiters = 0
    /// Waits for numbers that were committed but not yet read by `publish`.
    var early: [(id: WaitID, number: UInt64)] = []
    var queries: [UInt64: PendingQuery] = [:]
    var recent: [(number: UInt64, agents: AffectedAgents, proxies: Set<String>?)] = []
    var observed = ObservedProxies()
    /// Streams that are told already to look at their agent's report.
    var observing: Set<SessionID> = []
    var proxyWatches: [WaitID: ProxyWatch] = [:]
    /// Who waited for proxies and is to be told that it is over.
    var watchesOver: [CheckedContinuation<Void, Never>] = []
    /// The last published number that changed a Proxy.
    var proxiesChangedAt: UInt64 = 0
    /// The first number whose audience is known, if it has one.
    var recentFrom: UInt64
    /// When something was committed that is not published yet.
    var pokedAt: Duration?
    /// Commits on their way to the agents, and when that began.
    var measured: [WaitID: Duration] = [:]
    var versions: [AgentName: String] = [:]
    /// When the streams of agents ended that nobody has noted yet.
    var departed: [String: Date] = [:]

    struct Outlet {
        let commands: AsyncStream<StreamCommand>.Continuation
        let closing: AsyncStream<SyncPublisher.CloseReason>.Continuation

        func finish() {
            commands.finish()
            closing.finish()
        }
    }

    struct PendingQuery {
        let session: SessionID
        let answer: CheckedContinuation<Signet_Node_V1alpha1_QueryReply?, Never>
    }
}

extension SyncHubState {
    /// Numbers whose audience is remembered for `--wait`; older ones concern everybody.
    private static var recentMax: Int { 1024 }
    /// Commits whose way to the agents is measured at a time; more are not.
    private static var measuredMax: Int { 64 }

    /// Whom a change concerns; lists alone only those who take them.
    func affected(by change: CommittedChange) -> AffectedAgents {
        guard change.isListAlone else { return change.agents(in: publisher.scope) }
        return .agents(publisher.agents(having: SyncCapability.revocationLists))
    }

    /// What transitions have brought to an end.
    struct Settled {
        var waits: [(CheckedContinuation<AppliedState, Never>, AppliedState)] = []
        var watches: [CheckedContinuation<Void, Never>] = []
        var measured: [Duration] = []
    }

    mutating func note(_ number: UInt64, _ agents: AffectedAgents, _ proxies: Set<String>?) {
        recent.append((number, agents, proxies))
        let surplus = recent.count - Self.recentMax
        guard surplus > 0 else { return }
        recentFrom = recent[surplus - 1].number + 1
        recent.removeFirst(surplus)
    }

    /// Begins to measure how long a commit is on its way to the agents that it concerns.
    mutating func measure(
        _ number: UInt64,
        _ agents: AffectedAgents,
        since: Duration,
        now: Duration
    ) -> [SyncPublisher.Action] {
        guard !agents.isNobody, measured.count < Self.measuredMax else { return [] }
        nextNumber += 1
        let id = WaitID(nextNumber)
        measured[id] = since
        return publisher.waitStarted(id, for: number, among: agents, now: now)
    }

    /// Begins the waits whose number has been published: only then it is known whom it concerns.
    mutating func startEarlyWaits(now: Duration) -> [SyncPublisher.Action] {
        let due = early.filter { $0.number <= publisher.committedNumber }
        early.removeAll { $0.number <= publisher.committedNumber }
        return due.flatMap { wait in
            publisher.waitStarted(
                wait.id,
                for: wait.number,
                among: concerned(by: wait.number),
                now: now
            )
        }
    }

    /// Whom a number concerns; everybody when that is forgotten or not known yet.
    func concerned(by number: UInt64) -> AffectedAgents {
        guard number >= recentFrom, number <= publisher.committedNumber else { return .all }
        return recent.filter { $0.number == number }.map(\.agents)
            .reduce(.agents([])) { $0.union($1) }
    }

    /// The Proxies whose state a number changed; nil when that is forgotten or not known yet.
    func proxiesConcerned(by number: UInt64) -> Set<String>? {
        guard number >= recentFrom, number <= publisher.committedNumber else { return nil }
        var found: Set<String> = []
        for change in recent where change.number == number {
            guard let proxies = change.proxies else { return nil }
            found.formUnion(proxies)
        }
        return found
    }

    /// Hands commands to the streams in order; returns who is to be told of convergence.
    mutating func perform(
        _ actions: [SyncPublisher.Action],
        timer: DeadlineTimer,
        now: Duration
    ) -> Settled {
        var settled = Settled()
        for action in actions {
            switch action {
            case .close(let session, let reason):
                outlets[session]?.closing.yield(reason)
                outlets[session]?.finish()
                // Its agent is out of the scope, or comes back with another one.
                watchesOver += forgetProxies(of: session)
            case .converged(let id, let applied):
                if let waiter = waits.removeValue(forKey: id) {
                    settled.waits.append((waiter, applied))
                }
                // Without a live agent there was nothing to wait for.
                if let since = measured.removeValue(forKey: id), !applied.applied.isEmpty {
                    settled.measured.append(now - since)
                }
            case .scheduleTimer(let deadline): timer.schedule(at: deadline)
            case .sendDelta(let session, let from):
                outlets[session]?.commands.yield(.delta(from: from))
            case .sendSnapshot(let session): outlets[session]?.commands.yield(.snapshot)
            case .sendWatermark(let session, let to):
                outlets[session]?.commands.yield(.watermark(to: to))
            }
        }
        (settled.watches, watchesOver) = (watchesOver, [])
        return settled
    }
}
