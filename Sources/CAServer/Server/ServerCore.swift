// SPDX-License-Identifier: Apache-2.0

package import Clocks
package import ControlAPI
package import Datastore
internal import FoundationEssentials
internal import GRPCPeer
package import Issuance
package import Logging
internal import NodeSync
package import SPIFFE
internal import Synchronization
package import Telemetry

internal import Authorization

/// What the server signs with and trusts at one moment; replaced whole by each rotation step.
package struct ServerTrust: Sendable {
    package let issuer: Issuer
    package let signer: any Signer
    package let bundle: TrustBundle
    /// What the paths of what it signs end in.
    package let anchor: PublishedAnchor
    /// DER of the published authorities of this store, whoever certified them: what join tokens pin,
    /// and whom the server believes in its own handshakes.
    package let authorities: [[UInt8]]
    /// Believes what these authorities signed.
    ///
    /// Other servers below the same root have agents and admins of the same names.
    package let verifier: PeerVerifier
    /// Or why none are signed: the active authority has no key for them, or it cannot be used.
    package let tokens: Result<TokenTrust, APIError>
}

/// What the server signs JWT-SVIDs with.
package struct TokenTrust: Sendable {
    package let authorityID: String
    package let issuer: TokenIssuer
    package let signer: any Signer
}

/// Thrown out of a transaction that is to leave nothing behind.
private struct Rehearsed<Value: Sendable>: Error {
    let value: Value
}

/// Everything the services of one server share.
///
/// It adds time, waiting and reporting to `ServerLogic`; decisions are made there.
package final class ServerCore: Sendable {
    /// Batches between preparation and answer: enough to fill the cores while others wait for the
    /// disk.
    static let batchesAtOnceMax = 8
    /// Batches in the line, each of at most 500 requests; beyond it the least urgent is refused.
    static let batchesWaitingMax = 256

    package let logic: ServerLogic
    package let configuration: ServerConfiguration
    package let datastore: ServerStore
    package let keys: KeyVault
    package let clock: any NodeClock
    package let logger: Logger
    package let metrics: MetricRegistry
    package let health: Health
    package let hub: SyncHub
    package let audit: AuditPublisher
    let formerLogs: FormerLogs
    package let decisions: DecisionKeeper
    package let anonymous: AnonymousCounters
    let signingLine: SigningLine
    /// What waits for agents to read it.
    let largeMessages = LargeMessages(
        atOnceMax: SyncStream.largeMessagesMax,
        perSourceMax: SyncStream.largeMessagesMax
    )
    let attestationLimiter: SourceLimiter
    /// Refusals recorded one by one for each caller; what is beyond it is counted.
    let refusalLimiter = SourceLimiter(rate: 1, burst: 20)
    /// Renewals of one agent: it renews every two hours, and tries again when an answer is lost.
    let renewalLimiter = SourceLimiter(rate: 0.2, burst: 20)
    /// Bundles fetched from one address: one for each machine that joins.
    let bundleLimiter = SourceLimiter(rate: 10, burst: 200)
    /// Documents that one admin asks to change or rehearses: each costs the only writer time.
    let documentLimiter = SourceLimiter(
        rate: DocumentsService.documentsPerSecondMax,
        burst: DocumentsService.documentsAtOnceMax
    )
    /// What the task that fetches other trust domains' bundles is told, and tells.
    package let federation = FederationDesk()
    let clockGuard: ClockGuard
    let clockReport = ClockReport()
    /// The datastore has refused an act.
    let datastoreTrouble = Signal()
    /// The authority's key did not sign.
    let signerTrouble = SignerTrouble()
    /// Its second key did not.
    let tokenTrouble = SignerTrouble()
    let tokenLine: SigningLine
    /// Of entries outside the workload's profile.
    let profilesTold = LastTold()
    /// The revision whose entries were compared with it last.
    let profilesReviewed = Mutex<UInt64?>(nil)
    let exchangeLine: SigningLine
    /// What verifies tokens that are to be exchanged.
    let subjectKeys = SubjectKeys()
    /// Until when verifiers outside may not know the key that signs.
    let unheldUntil = Mutex<Date?>(nil)
    /// The authority whose key a start did not find, until it has left the bundle.
    let lostKey = Mutex<String?>(nil)
    private let accessState = Mutex<(number: UInt64, access: AdminAccess)?>(nil)
    private let authoritySeries = Mutex<Set<[String]>>([])
    private let trustStaleness = Mutex(false)
    private let trustState: Mutex<ServerTrust?>
    /// Numbers of reads of authorities and bundle: the newest begun, and those that are shown, so that
    /// a slow one does not replace what a later one found.
    private let trustReads = Mutex<(begun: Int, distrust: Int, trust: Int)>((0, 0, 0))
    /// Makes backups.
    package let backupDesk = BackupDesk()
    /// Makes again what was issued.
    package let recheck = OneAtATime("recheck")
    private let startState = Mutex<RecheckStart?>(nil)
    private let federationPortState = Mutex<UInt16?>(nil)
    /// What admins ask of the rotation.
    let rotationDesk = RotationDesk()
    /// What certifies authorities; nil: they are self-signed.
    package let upstream: (any UpstreamAuthority)?
    /// Keys that wait for its certificate.
    let upstreamDesk = UpstreamDesk()
    /// Authorities of servers below that wait for it.
    package let downstreamDesk = DownstreamDesk()
    /// Requests of one agent for such: its server asks each day, and again while it is refused.
    let downstreamLimiter = SourceLimiter(rate: 0.2, burst: 10)
    /// Leaves of why one agent is refused for one reason: its server asks again every few seconds,
    /// until somebody has changed its entry.
    let downstreamRefusalLimiter = SourceLimiter(rate: 1 / 600, burst: 3)
    /// Keys of servers below that were certified and could not be recorded, with their ends: whatever
    /// counts certificates above counts them.
    let downstreamUncommitted = Mutex<[String: Date]>([:])
    /// By the upstream's first word chains are judged.
    let firstWord = FirstWord()
    /// What is above by its last word; nil before the first.
    let upstreamTrust: Mutex<UpstreamTrust?>
    /// The IDs of keys that it has revoked by its last word; nil before the first since the start.
    let upstreamNamed = Mutex<Set<String>?>(nil)
    /// It has named others, or another authority signs.
    let revocationsNamed = Signal()
    /// Of revocations that cannot be done.
    let revocationsTold = LastTold()
    /// What it has revoked and signs still, or is above what does.
    let waitingRevocations = Mutex<[String]>([])
    /// Of roots that cannot be published or removed.
    let rootsTold = LastTold()
    /// How authorities are distrusted, by their key identifiers.
    let distrustState = Mutex<[[UInt8]: AuthorityStanding]>([:])
    /// Serial numbers of certificates that are refused.
    let revokedSerials = Mutex<Set<[UInt8]>>([])
    /// An authority is distrusted that was not before.
    let distrustChanged = Signal()
    /// Whether it waits after a restore.
    let holdGate = HoldGate()
    /// It was found that the machine was set back.
    let setBack = SetBackAlarm()
    /// Of tiles that are not what was signed.
    let tilesTold = LastTold()
    /// The server's own certificate is to be made anew, whatever its times say.
    let identityDue = Mutex(false)
    private let connectionsState = Mutex<PeerConnections?>(nil)
    private let rotationState = Mutex(RotationStatus(text: "starting", at: nil))

    init(
        logic: ServerLogic,
        configuration: ServerConfiguration,
        datastore: ServerStore,
        keys: KeyVault,
        clock: any NodeClock,
        logger: Logger,
        metrics: MetricRegistry,
        health: Health,
        hub: SyncHub,
        audit: AuditPublisher,
        upstream: (any UpstreamAuthority)? = nil,
        trust: UpstreamTrust? = UpstreamTrust(roots: [])
    ) throws {
        self.logic = logic
        self.configuration = configuration
        self.datastore = datastore
        self.keys = keys
        self.clock = clock
        self.logger = logger
        self.metrics = metrics
        self.health = health
        self.hub = hub
        self.audit = audit
        formerLogs = try FormerLogs(
            in: RestorePlace(dataDirectory: configuration.dataDirectory).logs,
            logger: logger
        )
        self.upstream = upstream
        upstreamTrust = Mutex(trust)
        decisions = DecisionKeeper(
            configuration,
            clock: clock,
            logger: logger,
            metrics: metrics,
            health: health
        )
        anonymous = AnonymousCounters(clock: clock)
        clockGuard = ClockGuard(wall: clock.wallTime, boot: clock.bootTime)
        signingLine = SigningLine(
            limits: SigningAdmission.Limits(
                agentRate: configuration.signingPerSecond,
                agentBurst: configuration.signingBurst,
                signingMax: Self.batchesAtOnceMax,
                waitingMax: Self.batchesWaitingMax
            )
        )
        tokenLine = SigningLine(
            limits: SigningAdmission.Limits(
                agentRate: Self.tokensPerSecondMax,
                agentBurst: Self.tokensAtOnceMax,
                signingMax: Self.tokenBatchesAtOnceMax,
                waitingMax: Self.tokenBatchesWaitingMax
            )
        )
        exchangeLine = SigningLine(limits: Self.exchangeLimits)
        attestationLimiter = SourceLimiter(
            rate: configuration.attestationsPerSecond,
            burst: configuration.attestationBurst
        )
        trustState = Mutex(nil)
    }

    /// The leaf of this process's start; nil before it is written.
    var ownStart: RecheckStart? {
        get { startState.withLock { $0 } }
        set { startState.withLock { $0 = newValue } }
    }

    /// Where partners fetch the bundle; nil while the endpoint is closed.
    package internal(set) var federationPort: UInt16? {
        get { federationPortState.withLock { $0 } }
        set { federationPortState.withLock { $0 = newValue } }
    }

    /// What the server signs with now.
    ///
    /// - Throws: `APIError` (`unavailable`) before the first authority is active.
    package var trust: ServerTrust {
        get throws(APIError) {
            guard let trust = trustState.withLock({ $0 }) else {
                throw APIError(
                    .unavailable,
                    "noAuthority",
                    "the server has no active authority yet; retry"
                )
            }
            return trust
        }
    }

    /// Reads authorities and bundle again, after a step of rotation.
    package func reloadTrust() async throws {
        let logic = logic
        // Whoever begins to read later knows all that whoever began before knew.
        let turn = trustReads.withLock { reads in
            reads.begun += 1
            return reads.begun
        }
        let (authorities, above, bundle, serials) = try await datastore.read { transaction in
            (
                try transaction.authorities().map { try Authority($0, in: transaction) },
                (try transaction.upstreams(), try transaction.upstreamRevocations()),
                try SyncContent.bundle(in: transaction),
                try transaction.revokedCertificates().map(\.serial)
            )
        }
        trustReads.withLock { reads in
            guard turn > reads.distrust else { return }
            reads.distrust = turn
            distrust(of: authorities, above: above.0, refusing: above.1)
        }
        // What was committed while this was read is not taken back; what has expired does no harm.
        revokedSerials.withLock { $0.formUnion(serials) }
        guard let bundle,
            let active = authorities.first(where: {
                $0.state == .active && $0.serverID == logic.serverID
            }),
            let signer = try await keys.apart({ try $0.signer(authorityID: active.id) })
        else { return }
        let issuer = try Issuer(
            trustDomain: logic.trustDomain,
            lifetimes: logic.lifetimes,
            profiles: logic.profiles,
            authority: active
        )
        let own = authorities.filter(\.state.isPublished).map(\.certificateDER)
        let verifier = PeerVerifier(bundles: [
            logic.trustDomain: TrustBundle(
                trustDomain: logic.trustDomain,
                x509Authorities: own,
                x509Intermediates: [],
                sequenceNumber: bundle.sequenceNumber,
                refreshHintSeconds: bundle.refreshHintSeconds
            )
        ])
        let trust = ServerTrust(
            issuer: issuer,
            signer: signer,
            bundle: bundle,
            anchor: PublishedAnchor(of: active, among: above.0),
            authorities: own,
            verifier: verifier,
            tokens: await tokenTrust(of: active)
        )
        trustReads.withLock { reads in
            guard turn > reads.trust else { return }
            reads.trust = turn
            trustState.withLock { $0 = trust }
        }
        for unusable in verifier.unusableAuthorities {
            logger.error("an authority cannot be used", metadata: ["authority": "\(unusable)"])
        }
        report(authorities)
        trustStaleness.withLock { $0 = false }
        if !signerTrouble.isPresent { health.met("authority") }
    }

    /// Reads authorities and bundle again after a step that has been committed; a failure is made
    /// good later and does not undo the step.
    func refreshTrust() async {
        do {
            try await reloadTrust()
        } catch {
            trustStaleness.withLock { $0 = true }
            logger.error("authorities cannot be read", metadata: ["error": "\(error)"])
        }
    }

    /// Whether the last `refreshTrust` failed.
    var isTrustStale: Bool { trustStaleness.withLock { $0 } }

    private func report(_ authorities: [Authority]) {
        let series = Set(authorities.map { [$0.id, $0.state.rawValue] })
        let gone = authoritySeries.withLock { known in
            let gone = known.subtracting(series)
            known = series
            return gone
        }
        for labels in gone { metrics.remove(.authorityNotAfter, labels[0], labels[1]) }
        for authority in authorities {
            metrics.set(
                .authorityNotAfter,
                to: authority.notAfter.timeIntervalSince1970,
                authority.id,
                authority.state.rawValue
            )
        }
    }

    /// What a caller may do as the transaction sees it.
    func standing(
        of actor: Actor,
        now: Date,
        in transaction: ReadTransaction
    ) throws -> AdminStanding {
        AdminStanding(actor: actor, access: try access(in: transaction), now: now)
    }

    /// The roles and bindings of the moment, read again only after a change.
    private func access(in transaction: ReadTransaction) throws -> AdminAccess {
        // Documents change only with the number, inside the transaction that takes it.
        let number = try transaction.revision().number
        if let known = accessState.withLock({ $0 }), known.number == number {
            return known.access
        }
        let access = try AdminAccess(stored: transaction, admins: configuration.admins)
        // What a write sees may yet be taken back, and its number be given to something else.
        if !(transaction is Transaction) { accessState.withLock { $0 = (number, access) } }
        return access
    }

    /// Runs one act; its audit leaf is part of it.
    ///
    /// - Throws: `APIError`; then nothing has happened.
    package func write<Value: Sendable>(
        _ body: @escaping @Sendable (Transaction) throws -> Value
    ) async throws(APIError) -> Value {
        guard let problem = audit.problem else {
            let start = clock.bootTime
            do {
                let value = try await datastore.write(body)
                metrics.observe(.commitDuration, clock.bootTime - start)
                metrics.increment(.commitTransactions)
                hub.poke()
                audit.poke()
                return value
            } catch {
                let error = report(error)
                if error.reason == APIError.clockBehind { await judgeClock() }
                throw error
            }
        }
        throw APIError(
            .unavailable,
            "auditBlocked",
            "nothing is issued or changed while the audit log cannot be written: \(problem)"
        )
    }

    /// Runs an act and takes everything back: what it returns is what would have happened.
    ///
    /// - Throws: `APIError`, as the act itself would.
    package func rehearse<Value: Sendable>(
        _ body: @escaping @Sendable (Transaction) throws -> Value
    ) async throws(APIError) -> Value {
        do {
            return try await datastore.write { transaction -> Value in
                throw Rehearsed(value: try body(transaction))
            }
        } catch let rehearsed as Rehearsed<Value> {
            return rehearsed.value
        } catch {
            throw report(error)
        }
    }

    /// Reads one consistent view.
    package func read<Value: Sendable>(
        _ body: @escaping @Sendable (ReadTransaction) throws -> Value
    ) async throws(APIError) -> Value {
        do {
            return try await datastore.read(body)
        } catch {
            throw report(error)
        }
    }

    /// What the caller is told; faults are logged and shown in health.
    private func report(_ error: any Error) -> APIError {
        switch error {
        case let error as APIError: return error
        // Both pass by themselves: a server that is busy still serves.
        case DatastoreError.conflict, DatastoreError.tooManyWrites: break
        case let error as DatastoreError:
            health.unmet("datastore", reason: error.description)
            datastoreTrouble.signal()
            logger.error("the datastore refused", metadata: ["error": "\(error)"])
        // Whoever waited for it is gone, or the server ends: nothing failed.
        case is CancellationError: break
        default:
            logger.error("an act failed", metadata: ["error": "\(error)"])
        }
        return APIError(datastore: error)
    }

    /// Ends the network connections of one peer now, for bans and evictions.
    package func disconnect(_ id: SPIFFEID) { disconnect { $0.id == id } }

    /// Ends the network connections of every verified peer that is meant, now.
    ///
    /// - Returns: how many there were.
    @discardableResult
    func disconnect(where isMeant: (VerifiedPeer) -> Bool) -> Int {
        let connections = connectionsState.withLock { $0 }
        return connections?.close { peer in
            guard case .remote(_, let verified?) = peer else { return false }
            return isMeant(verified)
        } ?? 0
    }

    /// The listener for agents and admins has been made.
    func serve(_ connections: PeerConnections) {
        connectionsState.withLock { $0 = connections }
    }

    /// What rotation does next, for `signet authority show`.
    package var rotationStatus: RotationStatus {
        get { rotationState.withLock { $0 } }
        set { rotationState.withLock { $0 = newValue } }
    }

    var randomness: SystemRandomness { SystemRandomness() }
}
