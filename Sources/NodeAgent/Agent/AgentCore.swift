// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
package import Clocks
internal import ControlAPI
internal import FoundationEssentials
internal import GRPCPeer
package import Logging
package import NodeSync
internal import SPIFFE
internal import Synchronization
package import Telemetry

/// What the agent trusts and shows at one moment.
struct AgentTrust: Sendable {
    var identity: StoredIdentity
    var tls: TLSIdentity
    var verifier: PeerVerifier
}

/// What the open connection is told to send.
package struct ConnectionOutlets: Sendable {
    package let sync: AsyncStream<SyncOutgoing>.Continuation
    package let calls: AsyncStream<ServerCall>.Continuation
    package let end: Signal

    package init(
        sync: AsyncStream<SyncOutgoing>.Continuation,
        calls: AsyncStream<ServerCall>.Continuation,
        end: Signal
    ) {
        self.sync = sync
        self.calls = calls
        self.end = end
    }
}

/// An action that may wait for the disk, or must follow one that does, with the connection that
/// was open when it was decided.
private struct Deferred: Sendable {
    let action: AgentLogic.Action
    let outlets: ConnectionOutlets?
}

/// The shell around `AgentLogic`.
///
/// It holds the one value, its lock and everything that the actions touch. Services and streams tell
/// it what happened.
package final class AgentCore: Sendable {
    fileprivate struct State {
        var logic: AgentLogic
        var outlets: ConnectionOutlets?
        var streams: [SubscriberID: WorkloadStream] = [:]
        var nextSubscriber: UInt64 = 1
    }

    package let clock: any NodeClock
    package let logger: Logger
    package let metrics: MetricRegistry
    package let health: Health
    let disk: AgentDisk
    let key: NodeKey
    let name: String
    let trustDomain: TrustDomain
    /// One element for each `.connect`.
    let connects: AsyncStream<Void>
    /// One element for each readmission.
    let readmissions: AsyncStream<Void>
    let timer: DeadlineTimer
    let proxies: ProxyDesk
    /// JWT-SVIDs of this node.
    let tokenDesk = TokenDesk()
    let tokenVerifiers = TokenVerifiers()
    /// The decision log of this node.
    package let decisions: DecisionSpool
    private let connectOutlet: AsyncStream<Void>.Continuation
    private let readmissionOutlet: AsyncStream<Void>.Continuation
    private let deferred: AsyncStream<Deferred>
    private let deferredOutlet: AsyncStream<Deferred>.Continuation
    private let state: Mutex<State>
    private let trustState: Mutex<AgentTrust>

    /// What must be met before the agent is ready, as far as it is told here.
    package static let readyConditions =
        AgentLogic.Condition.allCases.map(\.rawValue) + [AgentDisk.condition]

    /// What an agent of this release understands beyond the first version of the protocol.
    ///
    /// - Parameter takesLists: Whether workloads are shown revocation lists.
    /// - Returns: Names of `SyncCapability`.
    package static func capabilities(takesLists: Bool) -> Set<String> {
        let all: Set = [
            SyncCapability.proxy, SyncCapability.observedEndpoints,
            SyncCapability.distrustedAuthorities, SyncCapability.revokedCertificates,
            SyncCapability.federation, SyncCapability.intermediates,
        ]
        return takesLists ? all.union([SyncCapability.revocationLists]) : all
    }

    /// Begins with what is on disk; `takesLists` says whether workloads are shown revocation lists.
    package init(
        _ stored: StoredAgent,
        directory: AgentDirectory,
        takesLists: Bool = true,
        clock: any NodeClock,
        logger: Logger,
        metrics: MetricRegistry,
        health: Health
    ) throws {
        self.clock = clock
        self.logger = logger
        self.metrics = metrics
        self.health = health
        disk = AgentDisk(directory, clock: clock, logger: logger, health: health)
        key = stored.key
        trustDomain = stored.identity.trustDomain
        name = stored.identity.id.agentName(in: stored.identity.trustDomain) ?? ""
        var generator = SystemRandomness()
        let logic = AgentLogic(
            stored,
            name: name,
            capabilities: Self.capabilities(takesLists: takesLists),
            now: clock.reading,
            using: &generator
        )
        state = Mutex(State(logic: logic))
        trustState = Mutex(try AgentTrust(stored.identity, key: stored.key))
        timer = DeadlineTimer(clock: clock)
        proxies = ProxyDesk(clock: clock, metrics: metrics)
        decisions = DecisionSpool(
            directory: directory.decisionsPath,
            clock: clock,
            logger: logger,
            metrics: metrics
        )
        (connects, connectOutlet) = AsyncStream.makeStream(of: Void.self)
        (readmissions, readmissionOutlet) = AsyncStream.makeStream(of: Void.self)
        (deferred, deferredOutlet) = AsyncStream.makeStream(of: Deferred.self)
        metrics.set(
            .agentSVIDNotAfter,
            to: stored.identity.notAfter.timeIntervalSince1970
        )
        // What it applied before a restart is in force from the start.
        metrics.set(.syncRevision, to: Double(logic.persistedSync?.revision.number ?? 0))
        metrics.set(.cachedEntries, to: Double(logic.cache.entryCount))
        metrics.set(.cachedSVIDs, to: 0)
        metrics.set(.cachedTokens, to: 0)
        metrics.set(.syncConnected, to: 0)
        metrics.set(.workloadStreams, to: 0)
        metrics.set(.agentProxies, to: 0)
    }

    var trust: AgentTrust { trustState.withLock { $0 } }

    /// A copy of the logic, for what takes long and so is done outside of the lock.
    package var logic: AgentLogic { state.withLock { $0.logic } }

    /// Asks the logic something that takes no time.
    package func ask<Answer: Sendable>(_ question: (borrowing AgentLogic) -> Answer) -> Answer {
        state.withLock { question($0.logic) }
    }

    // MARK: - Events

    /// Tells the logic what happened and does what it says.
    ///
    /// What is quick and calls nothing back is done at once, under the lock. What may wait for the
    /// disk, and what must follow it, is left to `run`, in the order of the events.
    package func transition(
        _ event: (
            inout AgentLogic, ClockReading, inout SystemRandomness
        ) -> [AgentLogic.Action]
    ) {
        state.withLock { state in
            var generator = SystemRandomness()
            for action in event(&state.logic, clock.reading, &generator)
            where !perform(action, &state) {
                deferredOutlet.yield(Deferred(action: action, outlets: state.outlets))
            }
        }
    }

    /// Does what events left to do, until cancelled; what was left before that is done still.
    package func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.disk.run() }
            group.addTask { await self.decisions.run() }
            for await next in deferred { await perform(next) }
            group.cancelAll()
        }
    }

    /// Tells the logic of the times it asked for, until cancelled.
    package func runTimer() async {
        await timer.run { self.transition { $0.timerFired(now: $1, using: &$2) } }
    }

    /// A connection is being made: actions reach it from here on.
    package func connecting(_ outlets: ConnectionOutlets) {
        state.withLock { $0.outlets = outlets }
    }

    /// The connection's stream is open.
    func connected() {
        transition { $0.connected(now: $1, using: &$2) }
    }

    /// The connection has ended: nothing reaches it any more.
    ///
    /// - Parameters:
    ///   - reason: Why, for the log.
    ///   - refusal: What the server said if it does not want this agent.
    ///   - isTurnedAway: Whether the server does not take the certificate it was shown.
    func disconnected(reason: String, refusal: AgentRefusal?, isTurnedAway: Bool) {
        logger.log(
            level: refusal == nil ? .info : .error,
            "connection to the server ended",
            metadata: ["reason": "\(reason)"]
        )
        let outlets = state.withLock { state in
            defer { state.outlets = nil }
            return state.outlets
        }
        // Not under the lock: what ends with them may take it.
        outlets?.sync.finish()
        outlets?.calls.finish()
        metrics.set(.syncConnected, to: 0)
        metrics.increment(.syncReconnects)
        transition {
            $0.disconnected(refusal: refusal, isTurnedAway: isTurnedAway, now: $1, using: &$2)
        }
    }

    /// Asks the server something beside the sync stream.
    ///
    /// - Returns: Whether there is a connection on which it may be asked.
    func callServer(_ call: ServerCall) -> Bool {
        state.withLock { state in
            guard let calls = state.outlets?.calls else { return false }
            if case .terminated = calls.yield(call) { return false }
            return true
        }
    }

    // MARK: - Workload streams

    /// Registers the stream of an attested workload.
    func subscribe(
        _ stream: WorkloadStream,
        selectors: Set<Selector>,
        interest: WorkloadInterest
    ) -> SubscriberID {
        let id = register(stream)
        metrics.adjust(.workloadStreams, by: 1)
        transition {
            $0.subscribed(id, selectors: selectors, interest: interest, now: $1, using: &$2)
        }
        return id
    }

    /// Gives a stream the number that wakes reach it by.
    func register(_ stream: WorkloadStream) -> SubscriberID {
        state.withLock { state in
            let id = SubscriberID(state.nextSubscriber)
            state.nextSubscriber += 1
            state.streams[id] = stream
            return id
        }
    }

    func unsubscribe(_ id: SubscriberID) {
        metrics.adjust(.workloadStreams, by: -1)
        forget(id)
    }

    /// A stream of a workload or a proxy ended.
    func forget(_ id: SubscriberID) {
        state.withLock { $0.streams[id] = nil }
        transition { $0.unsubscribed(id, now: $1, using: &$2) }
    }

    func answer(for id: SubscriberID, after shown: WorkloadView?) -> WorkloadAnswer {
        let now = clock.wallTime
        return state.withLock { $0.logic.answer(for: id, after: shown, now: now) }
    }

    /// Tells every workload stream to end.
    func endStreams() {
        let streams = state.withLock { Array($0.streams.values) }
        for stream in streams { stream.end() }
    }

    // MARK: - Trust

    /// A new SVID of the agent's own: used from the next connection on, and written to disk.
    func renewed(_ answer: AttestationAnswer) async throws {
        try changeTrust { trust in
            trust.identity.renew(answer.chain, issuedAt: answer.issuedAt, bundle: answer.bundle)
            trust.tls = try TLSIdentity(
                certificateChain: answer.chain.chain,
                privateKeyPKCS8: key.pkcs8
            )
        }
        await saveIdentity()
        metrics.increment(.svidRenewals, "renewed")
        metrics.set(.agentSVIDNotAfter, to: answer.chain.notAfter.timeIntervalSince1970)
        let validity = SVIDValidity(issuedAt: answer.issuedAt, notAfter: answer.chain.notAfter)
        transition {
            $0.ownSVIDRenewed(
                validity,
                authorityKeyID: answer.chain.authorityKeyID,
                bundle: answer.bundle,
                now: $1,
                using: &$2
            )
        }
    }

    /// Judges the chain of a server by the bundle, by its ID, and by what is known of the authorities
    /// of its path: whoever has a copy of a tainted one's key could be any server.
    ///
    /// - Throws: `PeerVerificationError`, `ServerRefusal`.
    func verifyServer(_ chain: [[UInt8]]) async throws -> VerifiedPeer {
        let peer = try await trust.verifyServer(chain, now: clock.wallTime)
        guard ask({ $0.cache.standing(ofPath: peer.path) }) == nil else {
            throw ServerRefusal.authorityDistrusted(peer.id)
        }
        return peer
    }

    func changeTrust<Failure: Error>(
        _ change: (inout AgentTrust) throws(Failure) -> Void
    ) throws(Failure) {
        try trustState.withLock { trust throws(Failure) in
            var new = trust
            try change(&new)
            trust = new
        }
    }

    private func believe(_ bundle: TrustBundle) {
        let verifier = PeerVerifier(bundles: [bundle.trustDomain: bundle])
        changeTrust { trust in
            trust.identity.bundle = bundle
            trust.verifier = verifier
        }
    }

    /// Whoever writes writes the newest, so that two who do so at once leave nothing older.
    func saveIdentity() async {
        await disk.save(.identity) { try self.trust.identity.encoded() }
    }

    // MARK: - Actions

    /// Does what may be done under the lock; false if something of the action is for later.
    private func perform(_ action: AgentLogic.Action, _ state: inout State) -> Bool {
        switch action {
        case .condition(let condition, nil): health.met(condition.rawValue)
        case .condition(let condition, let problem?):
            health.unmet(condition.rawValue, reason: problem)
        case .connect: connectOutlet.yield()
        case .renewOwnSVID(.readmit): readmissionOutlet.yield()
        case .renewOwnSVID(.renew): state.outlets?.calls.yield(.renew)
        case .scheduleTimer(let deadline): timer.schedule(at: deadline)
        case .sign(let batch): state.outlets?.calls.yield(.sign(batch))
        case .wake(let subscribers):
            for id in subscribers { state.streams[id]?.wake() }
        case .disconnect:
            state.outlets?.end.signal()
            return false
        case .trust(let bundle):
            believe(bundle)
            return false
        case .followLog, .persistSync, .recordAuditAlarm, .rememberCheckpoint, .report,
            .sendAcknowledgement, .sendHello:
            return false
        }
        return true
    }

    /// Does what may wait for the disk, or must follow it.
    private func perform(_ deferred: Deferred) async {
        switch deferred.action {
        case .disconnect(let reason):
            logger.notice("leaving the server", metadata: ["reason": "\(reason)"])
        case .followLog(let following): await follow(following)
        case .persistSync: await persistSync()
        case .recordAuditAlarm(let text, let note):
            let evidence = Array((text + "\n\n").utf8) + note
            await disk.save(.alarm) { evidence }
        case .rememberCheckpoint(let note): await disk.save(.checkpoint) { note }
        case .report(let report): self.report(report)
        case .sendAcknowledgement(let acknowledgement):
            deferred.outlets?.sync.yield(.acknowledgement(acknowledgement))
        case .sendHello(let hello, _):
            deferred.outlets?.sync.yield(.hello(hello, checkpointHave(withNote: true)))
        case .trust:
            for bad in trust.verifier.unusableAuthorities {
                logger.error(
                    "an authority of the bundle is unusable",
                    metadata: ["at": "\(bad.index)"]
                )
            }
            await saveIdentity()
        case .condition, .connect, .renewOwnSVID, .scheduleTimer, .sign, .wake: break
        }
    }

    /// Writes the newest synchronised state.
    ///
    /// It waits until the disk has it, so that nothing is acknowledged that a restart would forget
    /// (unless the disk fails, which health tells); it happens once for each change of the scope.
    private func persistSync() async {
        guard let persisted = ask({ $0.persistedSync }) else { return }
        metrics.set(.syncRevision, to: Double(persisted.revision.number))
        await disk.save(.sync) { persisted.encoded }
        let counts = ask { ($0.cache.entryCount, $0.cache.svidCount) }
        metrics.set(.cachedEntries, to: Double(counts.0))
        metrics.set(.cachedSVIDs, to: Double(counts.1))
    }

    private func report(_ report: AgentLogic.Report) {
        switch report {
        case .auditContradiction(let reason):
            metrics.increment(.auditAlarms, "contradiction")
            logger.critical("AUDIT LOG CONTRADICTS ITS PAST", metadata: ["reason": "\(reason)"])
        case .clockSkewed(let skew):
            logger.warning("the clock is off the server's", metadata: ["by": "\(skew)"])
        case .clockStepped(let step):
            metrics.increment(.clockSteps)
            logger.warning("the wall clock was stepped", metadata: ["by": "\(step)"])
        case .formerLog(let key): reportFormerLog(key)
        case .logFollowed(let following): self.report(following)
        case .discarded(let keys):
            logger.warning("signed, but not served", metadata: ["identities": "\(keys)"])
        case .resourcesRefused(let refusals):
            for refusal in refusals {
                metrics.increment(.syncAlarms, "resourceRefused")
                logger.error(
                    "a resource of the server is refused",
                    metadata: ["resource": "\(refusal.key)", "reason": "\(refusal.reason)"]
                )
            }
        case .signingProblem(let key, let reason):
            logger.warning(
                "no certificate for an identity",
                metadata: ["identity": "\(key)", "reason": "\(reason)"]
            )
        case .sync(.epochChanged(let old, let new)):
            metrics.increment(.syncAlarms, "epochChanged")
            logger.warning(
                "the server's datastore was restored or replaced",
                metadata: ["from": "\(old)", "to": "\(new)"]
            )
        case .sync(.formerEpoch(let applied, let offered)):
            metrics.increment(.syncAlarms, "formerEpoch")
            logger.critical(
                "the server of before a restore was started again; its state is not taken",
                metadata: ["applied": "\(applied)", "offered": "\(offered)"]
            )
        case .sync(.rollback(let applied, let offered)):
            metrics.increment(.syncAlarms, "rollback")
            logger.critical(
                "the server offers an older state than it had",
                metadata: ["applied": "\(applied)", "offered": "\(offered)"]
            )
        }
    }
}

extension AgentTrust {
    init(_ identity: StoredIdentity, key: NodeKey) throws {
        self.identity = identity
        tls = try TLSIdentity(
            certificateChain: identity.certificateChain,
            privateKeyPKCS8: key.pkcs8
        )
        verifier = PeerVerifier(bundles: [identity.trustDomain: identity.bundle])
    }

    /// Judges the chain of a server by the bundle and by its ID.
    func verifyServer(_ chain: [[UInt8]], now: Date) async throws -> VerifiedPeer {
        try await verifier.verifyServer(chain: chain, of: identity.trustDomain, now: now)
    }
}

extension NodeClock {
    /// Both clocks, read together.
    package var reading: ClockReading { ClockReading(wall: wallTime, boot: bootTime) }
}
