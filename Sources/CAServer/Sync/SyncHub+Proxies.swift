// SPDX-License-Identifier: Apache-2.0

internal import Clocks
package import ControlAPI
package import NodeSync
package import SPIFFE
internal import Synchronization
internal import Telemetry

/// Somebody who waits for proxies.
struct ProxyWatch: Sendable {
    let revision: Revision
    let agents: AffectedAgents
    /// Whether only a refusal ends the wait.
    let forRefusal: Bool
    /// The agents with proxies that have not applied the revision.
    var waiting: Set<AgentName>
    let continuation: CheckedContinuation<Void, Never>
}

/// What is connected and of a release that knows no authorities below another
/// (docs/decisions/0020-authorities-under-another.md, "What happens when").
package struct OutdatedPeers: Hashable, Sendable {
    /// Agents, which give out no JWT-SVIDs by such an authority; sorted.
    package let agents: [String]
    /// Nodes with attached proxies that miss what is revoked between signer and root; sorted.
    package let proxyNodes: [String]

    package init(agents: [String] = [], proxyNodes: [String] = []) {
        (self.agents, self.proxyNodes) = (agents, proxyNodes)
    }

    /// Whom an authority below another would hurt, in one sentence; nil: nobody.
    var objection: String? {
        var parts: [String] = []
        if !agents.isEmpty {
            parts.append(
                "\(agents.count) connected agent(s) know no authority below another and give out no "
                    + "JWT-SVIDs by it"
            )
        }
        if !proxyNodes.isEmpty {
            parts.append(
                "proxies on \(proxyNodes.count) node(s) miss what is revoked between it and its root"
            )
        }
        guard !parts.isEmpty else { return nil }
        return parts.joined(separator: ", and ")
            + "; signet authority show names them: renew them first"
    }
}

/// What the hub knows of the proxies on the machines of its agents.
extension SyncHub {
    /// What became of a report.
    package enum ReportOutcome: Hashable, Sendable {
        case kept
        /// A scope has changed since it was judged: judge it again.
        case outdated
        /// There are too many to be kept.
        case tooMany
    }

    /// An agent said which proxies it has; of them those of its scope.
    ///
    /// - Parameters:
    ///   - proxies: What is of its scope.
    ///   - number: The number of the revision by which that was judged.
    ///   - session: The stream.
    /// - Returns: What became of it; a stream that has ended tells nothing.
    package func reported(
        _ proxies: [AttachedProxy],
        asOf number: UInt64,
        on session: SessionID
    ) -> ReportOutcome {
        var done: [CheckedContinuation<Void, Never>] = []
        let outcome: ReportOutcome = state.withLock { state in
            guard let agent = state.publisher.agent(of: session) else { return .kept }
            guard number >= state.proxiesChangedAt else { return .outdated }
            let fits = state.observed.reported(proxies, by: agent, on: session)
            if fits, state.observing.insert(session).inserted {
                state.outlets[session]?.commands.yield(.observe)
            }
            metrics.set(.proxiesAttached, to: Double(state.observed.count))
            done = state.settleWatches(for: agent)
            return fits ? .kept : .tooMany
        }
        for watch in done { watch.resume() }
        return outcome
    }

    /// What an agent reported last on a stream, which is about to be looked at; nil if nothing yet.
    func takeReport(of session: SessionID) -> [AttachedProxy]? {
        state.withLock { state in
            state.observing.remove(session)
            return state.observed.report(on: session)
        }
    }

    /// The proxies of which `isMeant` is true, by node and name.
    package func proxies(
        _ isMeant: (AttachedProxy) -> Bool
    ) -> [(node: AgentName, proxy: AttachedProxy)] {
        state.withLock { $0.observed.proxies(isMeant) }
    }

    /// How far a number has reached among the proxies whose state it changed.
    package func proxyProgress(to number: UInt64) -> ProxyProgress {
        let revision = Revision(epoch: epoch, number: number)
        return state.withLock { state in
            state.observed.progress(
                to: revision,
                among: state.concerned(by: number),
                of: state.proxiesConcerned(by: number)
            )
        }
    }

    /// The connected agents that show `selectors` and did not say that they have a capability.
    package func connectedAgents(
        showing selectors: [Selector],
        lacking capability: String
    ) -> [String] {
        state.withLock { state in
            let shown = state.publisher.scope.agents(matching: selectors)
            return state.publisher.agents(lacking: capability, among: .agents(shown))
                .filter { state.publisher.presence(of: $0).isConnected }
                .map(\.name)
        }
    }

    /// What is connected and knows no authorities below another.
    package var outdatedPeers: OutdatedPeers {
        let capability = SyncCapability.intermediates
        let outdated = proxies { $0.isAttached && !$0.capabilities.contains(capability) }
        return OutdatedPeers(
            agents: agents(lacking: capability).map(\.name),
            proxyNodes: Set(outdated.map(\.node)).sorted().map(\.name)
        )
    }

    /// What connected agents and proxies can do, as documents are judged by it.
    var documentPeers: DocumentPeers {
        // Read once for an order, which may ask for each of a thousand Proxies.
        let attached = Mutex<[String: [(place: String, capabilities: Set<String>)]]?>(nil)
        return DocumentPeers(
            agentsLacking: { [self] in connectedAgents(showing: $0, lacking: $1) },
            proxiesLacking: { [self] reference, needed in
                attached.withLock { known in
                    let all = known ?? attachedProxies()
                    known = all
                    return (all[reference] ?? []).filter { !needed.isSubset(of: $0.capabilities) }
                        .map(\.place)
                }
            },
            nobodyShows: { [self] selectors in
                state.withLock { state in
                    let scope = state.publisher.scope
                    return !scope.isEmpty && scope.agents(matching: selectors).isEmpty
                }
            }
        )
    }

    private func attachedProxies() -> [String: [(place: String, capabilities: Set<String>)]] {
        var found: [String: [(place: String, capabilities: Set<String>)]] = [:]
        for (node, proxy) in proxies(\.isAttached) {
            found[proxy.proxy, default: []].append(
                ("\(node)/\(proxy.proxy)", Set(proxy.capabilities))
            )
        }
        return found
    }

    /// Returns when every live agent concerned has applied `number` and every attached proxy that it
    /// changed, when one of those has refused it, or at the deadline.
    ///
    /// - Parameters:
    ///   - number: What they must have applied.
    ///   - deadline: When to return at the latest, in time since boot.
    ///   - gone: Ends when nobody wants to know any more.
    /// - Returns: Who has applied it, when it returns.
    /// - Throws: `APIError` (`exhausted`) when too many wait already.
    package func waitUntilInForce(
        _ number: UInt64,
        deadline: Duration,
        gone: AsyncStream<Void>? = nil
    ) async throws(APIError) -> (agents: AppliedState, proxies: ProxyProgress) {
        let refused = await withTaskGroup(of: APIError?.self) { group in
            group.addTask { [self] in
                do throws(APIError) {
                    _ = try await waitUntilApplied(number, deadline: deadline)
                } catch {
                    return error
                }
                await watch(number, forRefusal: false)
                return nil
            }
            group.addTask { [self] in
                await watch(number, forRefusal: true)
                return nil
            }
            group.addTask { [self] in
                try? await clock.sleep(untilBoot: deadline)
                return nil
            }
            if let gone {
                group.addTask {
                    for await _ in gone {}
                    return nil
                }
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first
        }
        if let refused { throw refused }
        return (appliedState(of: number), proxyProgress(to: number))
    }

    /// Returns when no proxy is waited for any more, or, `forRefusal`, when one has refused.
    private func watch(_ number: UInt64, forRefusal: Bool) async {
        let id = state.withLock { state in
            state.nextNumber += 1
            return WaitID(state.nextNumber)
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                let isDone = state.withLock { state in
                    // Cancellation is told before this lock was taken, or finds the watch.
                    guard !Task.isCancelled else { return true }
                    return !state.begin(
                        id,
                        Revision(epoch: epoch, number: number),
                        forRefusal: forRefusal,
                        continuation
                    )
                }
                if isDone { continuation.resume() }
            }
        } onCancel: {
            let watch = state.withLock { $0.proxyWatches.removeValue(forKey: id) }
            watch?.continuation.resume()
        }
    }
}

extension SyncHubState {
    /// A stream ended: its agent's proxies are not known any more.
    ///
    /// - Returns: who waited for them alone.
    mutating func forgetProxies(
        of session: SessionID
    ) -> [CheckedContinuation<Void, Never>] {
        observing.remove(session)
        return observed.ended(session).map { settleWatches(for: $0) } ?? []
    }

    /// A change was published: proxies that it took out of their node's scope are not known any
    /// more, and nobody waits for them.
    mutating func narrow(to change: CommittedChange, among agents: AffectedAgents) {
        guard change.proxies != [] else { return }
        proxiesChangedAt = change.number
        let scope = publisher.scope
        let narrowed = observed.narrow(among: agents) { agent, proxy in
            change.keeps(proxy, on: scope.selectors(of: agent) ?? [])
        }
        for agent in narrowed { watchesOver += settleWatches(for: agent) }
    }

    /// Begins a watch.
    ///
    /// - Returns: false when there is nothing to wait for.
    mutating func begin(
        _ id: WaitID,
        _ revision: Revision,
        forRefusal: Bool,
        _ continuation: CheckedContinuation<Void, Never>
    ) -> Bool {
        let (agents, proxies) = (
            concerned(by: revision.number), proxiesConcerned(by: revision.number)
        )
        let progress = observed.progress(to: revision, among: agents, of: proxies)
        let isDone =
            forRefusal
            ? isPublished(revision.number) && !progress.refused.isEmpty : progress.waiting.isEmpty
        guard !isDone else { return false }
        proxyWatches[id] = ProxyWatch(
            revision: revision,
            agents: agents,
            forRefusal: forRefusal,
            waiting: Set(progress.waiting.map { AgentName($0.node) }),
            continuation: continuation
        )
        return true
    }

    /// Whether it is known whom a number concerns; before, nobody can have refused it.
    private func isPublished(_ number: UInt64) -> Bool { number <= publisher.committedNumber }

    /// Looks again at the watches that an agent's report may end.
    mutating func settleWatches(
        for agent: AgentName
    ) -> [CheckedContinuation<Void, Never>] {
        var done: [CheckedContinuation<Void, Never>] = []
        for (id, watch) in proxyWatches
        where watch.concerns(agent) && isPublished(watch.revision.number) {
            let progress = observed.progress(
                to: watch.revision,
                among: .agents([agent]),
                of: proxiesConcerned(by: watch.revision.number)
            )
            var current = watch
            if progress.waiting.isEmpty {
                current.waiting.remove(agent)
            } else {
                current.waiting.insert(agent)
            }
            proxyWatches[id] = current
            let isDone = watch.forRefusal ? !progress.refused.isEmpty : current.waiting.isEmpty
            guard isDone else { continue }
            proxyWatches[id] = nil
            done.append(watch.continuation)
        }
        return done
    }
}

extension ProxyWatch {
    fileprivate func concerns(_ agent: AgentName) -> Bool {
        switch agents {
        case .all: true
        case .agents(let names): names.contains(agent)
        }
    }
}
