// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
package import Clocks
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
struct ConnectionOutlets: Sendable {
    let sync: AsyncStream<SyncOutgoing>.Continuation
    let calls: AsyncStream<ServerCall>.Continuation
    let end: Signal
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
    let directory: AgentDirectory
    let key: NodeKey
    let name: String
    /// One element for each `.connect`.
    let connects: AsyncStream<Void>
    /// One element for each readmission.
    let readmissions: AsyncStream<Void>
    let timer: DeadlineTimer
    private let connectOutlet: AsyncStream<Void>.Continuation
    private let readmissionOutlet: AsyncStream<Void>.Continuation
    private let state: Mutex<State>
    private let trustState: Mutex<AgentTrust>
    /// Held while a file is written, so that what is newer is written later.
    private let disk = Mutex(())

    /// Begins with what is on disk.
    package init(
        _ stored: StoredAgent,
        directory: AgentDirectory,
        clock: any NodeClock,
        logger: Logger,
        metrics: MetricRegistry,
        health: Health
    ) throws {
        self.clock = clock
        self.logger = logger
        self.metrics = metrics
        self.health = health
        self.directory = directory
        key = stored.key
        name = stored.identity.id.agentName(in: stored.identity.trustDomain) ?? ""
        var generator = SystemRandomness()
        let logic = AgentLogic(stored, name: name, now: clock.reading, using: &generator)
        state = Mutex(State(logic: logic))
        trustState = Mutex(try AgentTrust(stored.identity, key: stored.key))
        timer = DeadlineTimer(clock: clock)
        (connects, connectOutlet) = AsyncStream.makeStream(of: Void.self)
        (readmissions, readmissionOutlet) = AsyncStream.makeStream(of: Void.self)
        metrics.set(
            .agentSVIDNotAfter,
            to: stored.identity.notAfter.timeIntervalSince1970
        )
        // What it applied before a restart is in force from the start.
        metrics.set(.syncRevision, to: Double(logic.persistedSync?.revision.number ?? 0))
        metrics.set(.cachedEntries, to: Double(logic.cache.entryCount))
        metrics.set(.cachedSVIDs, to: 0)
        metrics.set(.syncConnected, to: 0)
        metrics.set(.workloadStreams, to: 0)
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
    /// What must keep its order among concurrent events is done under the lock: it is quick and
    /// calls nothing back. Files and log lines follow, in the order of the actions.
    package func transition(
        _ event: (
            inout AgentLogic, ClockReading, inout SystemRandomness
        ) -> [AgentLogic.Action]
    ) {
        let deferred = state.withLock { state in
            var generator = SystemRandomness()
            let actions = event(&state.logic, clock.reading, &generator)
            return actions.filter { !perform($0, &state) }
        }
        for action in deferred { performUnlocked(action) }
    }

    /// A connection is being made: actions reach it from here on.
    func connecting(_ outlets: ConnectionOutlets) {
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
    func disconnected(reason: String, refusal: String?) {
        logger.info("connection to the server ended", metadata: ["reason": "\(reason)"])
        state.withLock { state in
            state.outlets?.sync.finish()
            state.outlets?.calls.finish()
            state.outlets = nil
        }
        metrics.set(.syncConnected, to: 0)
        metrics.increment(.syncReconnects)
        transition { $0.disconnected(refusal: refusal, now: $1, using: &$2) }
    }

    // MARK: - Workload streams

    /// Registers the stream of an attested workload.
    func subscribe(
        _ stream: WorkloadStream,
        selectors: Set<Selector>,
        interest: WorkloadInterest
    ) -> SubscriberID {
        let id = state.withLock { state in
            let id = SubscriberID(state.nextSubscriber)
            state.nextSubscriber += 1
            state.streams[id] = stream
            return id
        }
        metrics.adjust(.workloadStreams, by: 1)
        transition {
            $0.subscribed(id, selectors: selectors, interest: interest, now: $1, using: &$2)
        }
        return id
    }

    func unsubscribe(_ id: SubscriberID) {
        state.withLock { $0.streams[id] = nil }
        metrics.adjust(.workloadStreams, by: -1)
        transition { $0.unsubscribed(id, now: $1, using: &$2) }
    }

    func answer(for id: SubscriberID) -> WorkloadAnswer {
        state.withLock { $0.logic.answer(for: id) }
    }

    /// Tells every workload stream to end.
    func endStreams() {
        let streams = state.withLock { Array($0.streams.values) }
        for stream in streams { stream.end() }
    }

    // MARK: - Trust

    /// A new SVID of the agent's own: used from the next connection on, and written to disk.
    func renewed(_ answer: AttestationAnswer) throws {
        try changeTrust { trust in
            trust.identity.renew(answer.chain, issuedAt: answer.issuedAt, bundle: answer.bundle)
            trust.tls = try TLSIdentity(
                certificateChain: answer.chain.chain,
                privateKeyPKCS8: key.pkcs8
            )
        }
        metrics.increment(.svidRenewals, "renewed")
        metrics.set(.agentSVIDNotAfter, to: answer.chain.notAfter.timeIntervalSince1970)
        let validity = SVIDValidity(issuedAt: answer.issuedAt, notAfter: answer.chain.notAfter)
        transition {
            $0.ownSVIDRenewed(validity, bundle: answer.bundle, now: $1, using: &$2)
        }
    }

    private func changeTrust(_ change: (inout AgentTrust) throws -> Void) throws {
        try disk.withLock { _ in
            let identity = try trustState.withLock { trust in
                var new = trust
                try change(&new)
                trust = new
                return new.identity
            }
            save(.identity) { try identity.encoded() }
        }
    }

    // MARK: - Actions

    /// Does what may be done under the lock; false if the action is for later.
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
        case .disconnect, .persistSync, .recordAuditAlarm, .rememberCheckpoint, .report,
            .sendAcknowledgement, .sendHello, .trust:
            return false
        }
        return true
    }

    /// Does what may block, or must follow it.
    private func performUnlocked(_ action: AgentLogic.Action) {
        switch action {
        case .disconnect(let reason):
            logger.notice("leaving the server", metadata: ["reason": "\(reason)"])
            state.withLock { $0.outlets }?.end.signal()
        case .persistSync: persistSync()
        case .recordAuditAlarm(let text, let note):
            let evidence = Array((text + "\n\n").utf8) + note
            disk.withLock { _ in save(.alarm) { evidence } }
        case .rememberCheckpoint(let note):
            disk.withLock { _ in save(.checkpoint) { note } }
        case .report(let report): self.report(report)
        case .sendAcknowledgement(let acknowledgement):
            state.withLock { $0.outlets }?.sync.yield(.acknowledgement(acknowledgement))
        case .sendHello(let hello, let mark):
            state.withLock { $0.outlets }?.sync.yield(.hello(hello, mark))
        case .trust(let bundle): trustChanged(bundle)
        case .condition, .connect, .renewOwnSVID, .scheduleTimer, .sign, .wake: break
        }
    }

    private func trustChanged(_ bundle: TrustBundle) {
        let verifier = PeerVerifier(bundles: [bundle.trustDomain: bundle])
        for bad in verifier.unusableAuthorities {
            logger.error("an authority of the bundle is unusable", metadata: ["at": "\(bad.index)"])
        }
        do {
            try changeTrust { trust in
                trust.identity.bundle = bundle
                trust.verifier = verifier
            }
        } catch {
            logger.error("the bundle cannot be taken", metadata: ["error": "\(error)"])
        }
    }

    /// Writes the newest synchronised state.
    ///
    /// It blocks until the disk has it, so that nothing is acknowledged that a restart would
    /// forget; it happens once for each change of the agent's scope.
    private func persistSync() {
        disk.withLock { _ in
            guard let persisted = ask({ $0.persistedSync }) else { return }
            metrics.set(.syncRevision, to: Double(persisted.revision.number))
            save(.sync) { persisted.encoded }
        }
        let counts = ask { ($0.cache.entryCount, $0.cache.svidCount) }
        metrics.set(.cachedEntries, to: Double(counts.0))
        metrics.set(.cachedSVIDs, to: Double(counts.1))
    }

    private func save(_ file: AgentFile, _ content: () throws -> [UInt8]) {
        do {
            try directory.write(try content(), to: file)
        } catch {
            logger.error(
                "a file of the agent cannot be written; after a restart it would be older",
                metadata: ["file": "\(directory.path(of: file))", "error": "\(error)"]
            )
        }
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
