// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Authorization
import CAServer
import ControlAPI
import Crypto
import Datastore
import DurableFiles
import FoundationEssentials
import Issuance
import Logging
import NodeSync
import SPIFFE
import SwiftASN1
import Telemetry
import TestSeeds
import X509

/// One process of the server: the same cores, transactions and files as the real one, driven by
/// events in place of tasks.
final class ServerProcess {
    static let trustDomainName = "simulation.test"
    static let serverID = "5e0d"

    /// What the server signs with and trusts at one moment.
    struct Trust {
        let issuer: Issuer
        let signer: any Signer
        let bundle: TrustBundle
        let verifier: PeerVerifier
    }

    let machine: SimulatedServer
    let datastore: ServerStore
    let keys: KeyVault
    let logic: ServerLogic
    let audit: AuditPublisher
    var publisher: SyncPublisher
    var rotation: AuthorityRotation?
    var trust: Trust?
    /// The key IDs of revoked authorities.
    private(set) var revokedAuthorities: Set<[UInt8]> = []
    var random: SeededGenerator
    let signingLimiter = SourceLimiter(rate: 500, burst: 2000)
    let attestationLimiter = SourceLimiter(rate: 1, burst: 20)
    private(set) var isStopped = false
    private(set) var commitCount = 0

    // What the shells of sync, rotation and audit remember; their code is in the extensions.
    var streams: [SessionID: ServerStream] = [:]
    var sessions: [ObjectIdentifier: SessionID] = [:]
    var sessionNumber: UInt64 = 0
    var isPublishPlanned = false
    var isAuditPlanned = false
    var auditPublishedAt: Duration = .seconds(-3600)
    var previousNote: [UInt8]?
    var isCheckpointShown = false
    var ownChain: [[UInt8]] = []
    private(set) var ownAuthorityID: String?
    var ownRenewAt: Date?
    /// Nil in worlds without revocations.
    var lists: ListMemory?
    let listTimer: VirtualTimer
    /// Nil in worlds without partners.
    var federation: FederationMemory?
    let federationTimer: VirtualTimer
    let publisherTimer: VirtualTimer
    let rotationTimer: VirtualTimer

    var scheduler: Scheduler { machine.scheduler }
    var clock: SimulatedClock { machine.clock }
    var ledger: Ledger { machine.ledger }
    var presentedChain: [[UInt8]] { ownChain }
    static let admins = [ActorPattern.localUser(uid: 0, host: nil)]
    static let admin = Actor.localUser(uid: 0, host: "simulation")

    /// Opens what is on disk, as `Server.init` does.
    init(_ machine: SimulatedServer) throws {
        self.machine = machine
        random = machine.scheduler.random.fork()
        listTimer = VirtualTimer(machine.scheduler, "server lists")
        federationTimer = VirtualTimer(machine.scheduler, "server federation")
        publisherTimer = VirtualTimer(machine.scheduler, "server publisher timer")
        rotationTimer = VirtualTimer(machine.scheduler, "server rotation")
        try DurableFile.makeDirectory(machine.directory, mode: 0o700)
        datastore = try ServerStore(path: machine.databasePath)
        keys = try KeyVault(
            directory: machine.keyDirectory,
            form: .plain,
            place: .files,
            keyType: .p256
        )
        let isNew = try Self.establish(datastore, now: machine.clock.wallTime, using: &random)
        let trustDomain = try TrustDomain(Self.trustDomainName)
        logic = ServerLogic(
            trustDomain: trustDomain,
            serverID: Self.serverID,
            lifetimes: machine.lifetimes,
            hold: machine.hold
        )
        let revision = try datastore.readNow { try $0.revision() }
        let auditIsNew = try datastore.readNow { try $0.auditSize() } == 0
        audit = try AuditPublisher(
            origin: "\(trustDomain)/audit/\(Self.serverID)",
            directory: machine.auditDirectory,
            signer: try keys.auditKey(isNew: isNew || auditIsNew),
            datastore: datastore,
            clock: machine.clock,
            logger: Logger(label: "simulation") { _ in SwiftLogNoOpLogHandler() },
            metrics: MetricRegistry(),
            health: Health(ready: ["audit"])
        )
        publisher = SyncPublisher(epoch: revision.epoch, committedNumber: revision.number)
    }

    private static func establish(
        _ datastore: ServerStore,
        now: Date,
        using random: inout SeededGenerator
    ) throws -> Bool {
        guard try datastore.readNow({ try $0.identity() }) == nil else { return false }
        let identity = StoreIdentity(
            trustDomain: try TrustDomain(trustDomainName),
            serverID: serverID,
            epoch: Epoch(using: &random),
            createdAt: now
        )
        try datastore.writeNow { try $0.establish(identity) }
        return true
    }

    /// What `Server.run` does before it serves.
    func open() async throws {
        try await startRotation()
        let (logic, now) = (logic, clock.wallTime)
        try write { transaction in
            let revision = try transaction.revision()
            let start = ServerStart(
                epoch: revision.epoch.bytes,
                revision: revision.number,
                serverID: logic.serverID,
                version: "simulation"
            )
            _ = try transaction.append(.serverStarted(start), by: .system("server"), at: now)
        }
        let liveMin = clock.wallTime.addingTimeInterval(
            -(SyncPublisher.livenessDuration / .seconds(1))
        )
        for node in try datastore.readNow({ try $0.nodes(after: "", limit: 500) })
        where node.ban == nil {
            publisher.remembered(
                AgentName(node.name),
                selectors: node.selectors,
                lastSeen: node.notAfter > liveMin ? clock.bootTime : nil
            )
        }
        try renewOwn()
        try startLists()
        startFederation()
        try await rotationTick()
        planOwnRenewal()
        planMaintenance()
        planAudit()
    }

    func stop() {
        isStopped = true
        listTimer.cancel()
        federationTimer.cancel()
        publisherTimer.cancel()
        rotationTimer.cancel()
    }

    /// Plans something that this process does unless it is gone by then.
    func after(
        _ delay: Duration,
        _ label: String,
        _ action: @escaping () async throws -> Void
    ) {
        scheduler.after(delay, label) { [self] in
            guard !isStopped else { return }
            do { try await action() } catch is ServerGone {}
        }
    }

    /// The pause of real work: between a few microseconds and a busy moment.
    func workTime() -> Duration {
        random.chance(0.1) ? random.duration(0.02...0.4) : random.duration(0.0001...0.01)
    }

    // MARK: - Transactions

    /// Runs one act.
    ///
    /// `claiming` tells the ledger what the server now says is done.
    ///
    /// The process may crash just before the commit, or after it and before anybody is answered.
    @discardableResult
    func write<Value: Sendable>(
        isDroppable: Bool = false,
        claiming claim: (Value) -> Void = { _ in },
        _ body: @escaping @Sendable (Transaction) throws -> Value
    ) throws -> Value {
        if let problem = audit.problem {
            throw APIError(.unavailable, "auditBlocked", problem)
        }
        try mayCrash()
        let value: Value
        if machine.sabotage == .droppedWrite, isDroppable, random.chance(0.3) {
            value = try rehearse(body)
        } else {
            value = try datastore.writeNow(body)
        }
        claim(value)
        commitCount += 1
        planPublish()
        planAudit()
        try mayCrash()
        return value
    }

    private func mayCrash() throws {
        guard random.chance(machine.crashProbability) else { return }
        let machine = machine
        try machine.crash()
        scheduler.after(random.duration(1...120), "server is started again") {
            try await machine.start()
        }
        throw ServerGone()
    }

    private struct Rehearsed<Value: Sendable>: Error {
        let value: Value
    }

    private func rehearse<Value: Sendable>(
        _ body: @escaping @Sendable (Transaction) throws -> Value
    ) throws -> Value {
        do {
            return try datastore.writeNow { throw Rehearsed(value: try body($0)) }
        } catch let rehearsed as Rehearsed<Value> {
            return rehearsed.value
        }
    }

    /// Reads authorities and bundle again, as `ServerCore.reloadTrust` does.
    func reloadTrust() throws {
        let (authorities, bundle) = try datastore.readNow { transaction in
            (
                try transaction.authorities().map { try Authority($0, in: transaction) },
                try SyncContent.bundle(in: transaction)
            )
        }
        revokedAuthorities = Set(
            authorities.filter { $0.state == .revoked }.compactMap { Hexadecimal.bytes($0.id) }
        )
        guard let bundle,
            let active = authorities.first(where: {
                $0.state == .active && $0.serverID == logic.serverID
            }),
            let signer = try keys.signer(authorityID: active.id)
        else { return }
        trust = Trust(
            issuer: try Issuer(
                trustDomain: logic.trustDomain,
                lifetimes: logic.lifetimes,
                authority: active
            ),
            signer: signer,
            bundle: bundle,
            verifier: PeerVerifier(bundles: [logic.trustDomain: bundle])
        )
    }

    func requireTrust() throws -> Trust {
        guard let trust else {
            throw APIError(.unavailable, "noAuthority", "there is no active authority yet")
        }
        return trust
    }

    func verify(_ chain: [[UInt8]]) async -> VerifiedPeer? {
        guard let trust else { return nil }
        return try? await trust.verifier.verify(chain: chain, now: clock.wallTime)
    }

    // MARK: - The server's own SVID

    /// As `ServerIdentity.renew`.
    func renewOwn() throws {
        let trust = try requireTrust()
        let now = clock.wallTime
        var batch = IssuanceBatch(issuer: trust.issuer)
        let warrant = try trust.issuer.approveServer(
            CertificateRequest(der: try SimulatedKey(using: &random).certificateRequest()),
            serverID: logic.serverID,
            atAuthorityEnd: .cut,
            now: now
        )
        let prepared = try batch.prepare(warrant, using: &random)
        let logic = logic
        try write { transaction in
            try logic.recordOwn(prepared, now: now, in: transaction)
        }
        let issued = try batch.sign(with: trust.signer)
        note(issued, node: "")
        ownChain = issued.map(\.der)
        ownAuthorityID = prepared.authorityID
        ownRenewAt = renewalTime(issuedAt: now, notAfter: prepared.notAfter, jitter: &random)
    }

    /// As `ServerIdentity.run`.
    func planOwnRenewal() {
        let left = (ownRenewAt ?? clock.wallTime).timeIntervalSince(clock.wallTime)
        let pause = min(Duration.seconds(max(left, 0)), RotationService.checkInterval)
        after(pause, "server looks at its own SVID") { [self] in
            guard let ownRenewAt, ownRenewAt <= clock.wallTime else { return planOwnRenewal() }
            do {
                try renewOwn()
                planOwnRenewal()
            } catch let gone as ServerGone {
                throw gone
            } catch {
                after(.seconds(5), "server retries its own SVID") { [self] in planOwnRenewal() }
            }
        }
    }

    /// As `ServerIdentity.run` when it hears that the authority is distrusted: what fails, as with a
    /// clock that went back behind the next authority, is tried again until it succeeds.
    func renewOwnAtOnce() throws {
        do {
            try renewOwn()
        } catch let gone as ServerGone {
            throw gone
        } catch {
            ownRenewAt = .distantPast
            after(.seconds(5), "server retries its own SVID") { [self] in
                guard let ownRenewAt, ownRenewAt <= clock.wallTime else { return }
                try renewOwnAtOnce()
            }
        }
    }

    /// Rows whose time is over are deleted, seldom enough not to fill the run.
    private func planMaintenance() {
        after(.seconds(900), "server trims") { [self] in
            let now = clock.wallTime
            while try datastore.writeNow({ try $0.trim(now: now) }) {}
            planMaintenance()
        }
    }

    /// Tells the ledger what leaves the server.
    func note(_ issued: [IssuedCertificate], node: String) {
        for certificate in issued {
            let prepared = certificate.prepared
            ledger.issued(
                IssuedFact(
                    serial: prepared.serial.bytes,
                    spiffeID: prepared.id.description,
                    entryID: prepared.entry?.id,
                    node: node,
                    notBefore: prepared.notBefore,
                    notAfter: prepared.notAfter,
                    authorityID: prepared.authorityID,
                    tbsSHA256: prepared.tbsSHA256,
                    der: certificate.der
                )
            )
        }
    }
}
