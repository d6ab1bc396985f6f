// SPDX-License-Identifier: Apache-2.0

internal import Clocks
package import ControlAPI
internal import FoundationEssentials
internal import GRPCPeer
internal import NodeSync
internal import SPIFFE
internal import Synchronization
internal import Telemetry

/// The shell around `ProxyRoster`: which process has which Proxy, and whom to ask and to end.
final class ProxyDesk: Sendable {
    private struct State {
        var roster = ProxyRoster()
        var sessions: [SubscriberID: ProxySession] = [:]
    }

    /// Signalled when the server is to hear of the proxies again.
    let changed = Signal()

    private let clock: any NodeClock
    private let metrics: MetricRegistry
    /// Of those that left without draining.
    private let exits = ExitWatch()
    private let state = Mutex(State())

    init(clock: any NodeClock, metrics: MetricRegistry) {
        self.clock = clock
        self.metrics = metrics
    }

    deinit { exits.keep(only: []) }

    /// Gives a Proxy to a process, unless another one has it that is there.
    ///
    /// A process that has exited, or runs another program, may have left its connection to a child;
    /// it has the Proxy no more, and its stream is ended.
    func attach(
        _ id: SubscriberID,
        _ session: ProxySession,
        as process: ProxyRoster.Attached
    ) throws(ProxyRefusal) {
        let ended: ProxySession? = try state.withLock { state throws(ProxyRefusal) in
            guard !state.roster.isInstanceTaken(process) else { throw .instanceTaken }
            var ended: ProxySession?
            if let holder = state.roster.holder(of: process.proxy) {
                guard let other = state.sessions[holder.id], !other.isThere else {
                    throw .alreadyServed(proxy: process.proxy, pid: holder.pid)
                }
                ended = other
                leave(holder.id, &state)
            }
            state.roster.attach(id, process)
            state.sessions[id] = session
            watchNobodyElse(state)
            return ended
        }
        ended?.stream.end()
        tellServer()
    }

    /// A stream ended; the place may have been given to another one already.
    func detach(_ id: SubscriberID) {
        state.withLock { leave(id, &$0) }
        tellServer()
    }

    /// Whoever leaves without draining counts until its process has exited, at most until its last
    /// SVID ends: after its stream it may do anything, but not without being there.
    private func leave(_ id: SubscriberID, _ state: inout State) {
        let session = state.sessions.removeValue(forKey: id)
        state.roster.detach(id, now: clock.wallTime)
        // The descriptor of one that had to make room is free before the next is asked for.
        watchNobodyElse(state)
        guard let peer = session?.peer, state.roster.departures.contains(id) else { return }
        let outcome = exits.watch(peer.pid, as: id.number, standing: { peer.standing }) {
            [weak self] in
            self?.exited(id)
        }
        if outcome == .exited { _ = state.roster.exited(id) }
    }

    private func exited(_ id: SubscriberID) {
        guard state.withLock({ $0.roster.exited(id) }) else { return }
        tellServer()
    }

    /// Lets go of the processes that are not told of any more.
    private func watchNobodyElse(_ state: borrowing State) {
        exits.keep(only: Set(state.roster.departures.map(\.number)))
    }

    /// What a process made of its states changed.
    func changed(_ id: SubscriberID, _ standing: ProxyStanding, isDraining: Bool) {
        state.withLock { $0.roster.changed(id, standing, isDraining: isDraining) }
        tellServer()
    }

    /// The process of a stream; nil once it has ended.
    func process(_ id: SubscriberID) -> ProxyRoster.Attached? {
        state.withLock { $0.roster.process(id) }
    }

    /// The process that has a Proxy now.
    func session(of proxy: String) -> ProxySession? {
        state.withLock { state in
            state.roster.holder(of: proxy).flatMap { state.sessions[$0.id] }
        }
    }

    /// All that the server is told.
    func report(mayListen: (String, ProxyListening) -> Bool) -> [AttachedProxy] {
        let now = clock.wallTime
        return state.withLock { state in
            defer { watchNobodyElse(state) }
            return state.roster.report(now: now, mayListen: mayListen)
        }
    }

    /// When the server is to hear of them again though nothing happened; boot time.
    var nextReport: Duration? {
        let (boot, wall) = (clock.bootTime, clock.wallTime)
        // A second later, so that it has passed by whatever clock rounds it.
        return state.withLock { $0.roster.nextEnd }
            .map { boot + .seconds(max(0, $0.timeIntervalSince(wall)) + 1) }
    }

    /// Tells every proxy's stream to end.
    func endStreams() {
        for session in state.withLock({ Array($0.sessions.values) }) { session.stream.end() }
    }

    private func tellServer() {
        metrics.set(.agentProxies, to: Double(state.withLock { $0.roster.count }))
        changed.signal()
    }
}

extension AgentCore {
    /// Longest that changes of proxies are gathered before the server is told of them.
    static let proxyReportInterval: Duration = .milliseconds(100)

    /// Gives a process the Proxy that it attested to, and registers its stream.
    ///
    /// - Throws: `ProxyRefusal` naming what stands against it.
    func attach(
        _ session: ProxySession,
        _ hello: ProxyHello,
        pid: Int32,
        attestation: WorkloadAttestation
    ) throws(ProxyRefusal) -> SubscriberID {
        let proxy = try proxy(of: hello, attestation)
        let selectors = attestation.selectors
        let process = ProxyRoster.Attached(
            proxy: proxy.reference,
            hello: hello,
            pid: pid,
            attachedAt: clock.wallTime
        )
        let id = register(session.stream)
        do throws(ProxyRefusal) {
            try proxies.attach(id, session, as: process)
        } catch {
            forget(id)
            throw error
        }
        transition {
            $0.proxyAttached(
                id,
                proxy: proxy.reference,
                selectors: selectors,
                now: $1,
                using: &$2
            )
        }
        return id
    }

    private func proxy(
        of hello: ProxyHello,
        _ attestation: WorkloadAttestation
    ) throws(ProxyRefusal) -> NodeProxy {
        let all = ask { $0.proxiesInForce }
        do throws(ProxyRefusal) {
            return try ProxyMatch.proxy(
                named: hello.proxy,
                meaning: all.filter { $0.matches(attestation.selectors) }
            )
        } catch .noProxy {
            let isInPart = all.contains {
                (hello.proxy.isEmpty || hello.proxy == $0.reference)
                    && ProxyMatch.isInPart(
                        $0,
                        attestation.selectors,
                        without: attestation.omitted
                    )
            }
            throw isInPart ? .attestedInPart(attestation.omissions) : .noProxy
        }
    }

    /// A proxy's stream ended.
    func detach(_ id: SubscriberID) {
        proxies.detach(id)
        forget(id)
    }

    /// All that the server is told of the proxies here.
    package func proxyReport() -> [AttachedProxy] {
        let named = ask { logic in
            logic.proxyIdentities
        }
        return proxies.report { proxy, listening in
            named[proxy]?.contains(listening.identity) ?? false
        }
    }

    /// Tells the server of the proxies here, at first and whenever something of them changes, until
    /// cancelled.
    package func reportProxies(_ outlets: ConnectionOutlets) async {
        let timer = DeadlineTimer(clock: clock)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await timer.run { self.proxies.changed.signal() } }
            var told: [AttachedProxy]?
            while !Task.isCancelled {
                await proxies.changed.wait()
                guard !Task.isCancelled, ask({ $0.isOnline }) else { continue }
                let report = proxyReport()
                if let next = proxies.nextReport { timer.schedule(at: next) }
                guard report != told else { continue }
                told = report
                outlets.sync.yield(.proxies(report))
                try? await clock.sleep(untilBoot: clock.bootTime + Self.proxyReportInterval)
            }
            group.cancelAll()
        }
    }
}
