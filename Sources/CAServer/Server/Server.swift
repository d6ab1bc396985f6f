// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import CLinux
package import Clocks
internal import Datastore
internal import DurableFiles
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
internal import Issuance
package import Logging
internal import NodeSync
internal import SPIFFE
internal import Synchronization
internal import Telemetry

/// One server process: it opens its data, makes sure that it can sign, and serves until told to
/// stop.
package struct Server: Sendable {
    /// How often rows whose time is over are deleted, and the datastore is tried.
    package static let maintenanceInterval: Duration = .seconds(60)
    /// How often a datastore that refused an act is tried until it takes writes again.
    package static let datastoreRetryInterval: Duration = .seconds(5)
    /// Largest database of which every page is read before a start.
    ///
    /// A million entries, which are bigger, would be read for five seconds before anybody is
    /// served; damage in a larger file ends writing when it is met.
    package static let checkedDatabaseBytesMax = 256 << 20

    /// Conditions that must be met before the server is ready.
    package static let readyConditions = [
        "audit", "authority", "clock", "datastore", ServerCore.heldCondition, "identity",
    ]

    /// What an operator should look at while the server serves.
    static let notedConditions = [
        DecisionKeeper.condition, FederationService.condition, RevocationListService.condition,
        ServerCore.authorityKeyCondition, ServerCore.tokenCondition, ServerCore.profileCondition,
        ServerCore.filesCondition,
    ]

    package let core: ServerCore
    let profiles: ServerProfiles
    let identity: ServerIdentity
    private let lock: ServerLock

    /// Opens or creates everything below the data directory.
    ///
    /// - Parameters:
    ///   - configuration: Checked values.
    ///   - clock: The system's, or a simulation's.
    ///   - logger: Where the server reports.
    ///   - rebuildsAuditLog: Whether the audit log's files are made again from the database.
    ///   - resealsKeysFrom: How key files were written before, if they are to be written anew.
    /// - Throws: an error that says what to mend; nothing is served then.
    package init(
        _ configuration: ServerConfiguration,
        clock: any NodeClock,
        logger: Logger,
        rebuildsAuditLog: Bool = false,
        resealsKeysFrom: KeyFileForm? = nil
    ) throws {
        _ = clinux_raise_descriptor_limit()
        // What cannot be read is said before anything is changed.
        profiles = try configuration.readProfiles()
        let roots = try configuration.readUpstreamRoots(now: clock.wallTime)
        try DurableFile.makeDirectory(configuration.dataDirectory, mode: 0o700)
        lock = try ServerLock(configuration.lockPath)
        try RestorePlace(dataDirectory: configuration.dataDirectory).requireNone()
        BackupDesk.removeLeftOver(in: configuration.backupDirectory, logger: logger)
        // Before databases and keys are opened, which takes seconds.
        try configuration.listen.requireListenable()
        let datastore = try Self.openDatastore(configuration.databasePath)
        let metrics = MetricRegistry(of: .server)
        let health = Self.health(of: configuration)
        let (stored, isNew) = try Self.establish(configuration, datastore, now: clock.wallTime)
        let keys = try configuration.openKeys(
            serverID: stored.serverID,
            clock: clock,
            metrics: metrics,
            health: health
        )
        for path in try resealsKeysFrom.map({ try keys.reseal(from: $0) }) ?? [] {
            logger.notice("a key file was written anew", metadata: ["file": "\(path)"])
        }
        let logic = Self.logic(configuration, profiles, of: stored)
        let revision = try datastore.readNow { try $0.revision() }
        let auditIsNew = try datastore.readNow { try $0.auditSize() } == 0
        let audit = try AuditPublisher(
            origin: try datastore.readNow { try $0.auditOrigin() } ?? stored.firstLogOrigin,
            directory: configuration.auditDirectory,
            rebuilds: rebuildsAuditLog,
            signer: try keys.auditKey(isNew: isNew || auditIsNew),
            datastore: datastore,
            clock: clock,
            logger: logger,
            metrics: metrics,
            health: health
        )
        let hub = SyncHub(
            datastore: datastore,
            revision: revision,
            clock: clock,
            logger: logger,
            metrics: metrics
        )
        core = try ServerCore(
            logic: logic,
            configuration: configuration,
            datastore: datastore,
            keys: keys,
            clock: clock,
            logger: logger,
            metrics: metrics,
            health: health,
            hub: hub,
            audit: audit,
            upstream: configuration.upstream(roots: roots, logic: logic, keys: keys, clock: clock),
            trust: configuration.firstTrust(
                roots,
                stored: try datastore.readNow { try $0.bundleRoots() }
            )
        )
        identity = ServerIdentity(core: core)
    }

    /// Serves until the task is cancelled.
    ///
    /// - Parameter ready: Called with the TCP port once agents can connect.
    /// - Throws: why the server could not start, or why it ended.
    package func run(ready: @escaping @Sendable (UInt16) -> Void = { _ in }) async throws {
        let core = core
        defer {
            core.decisions.close()
            try? core.datastore.close()
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            let isHeld = try await beginHold()
            try await serveTelemetry(&group)
            if isHeld {
                serveAdmins(&group)
                try await waitWhileHeld(&group)
            }
            // What cannot be listened on is said before anything is changed.
            let publication = try Publication(core)
            let endpoint = try FederationEndpoint(core)
            // Else once the clock is believed: the leaves would be dated before others.
            if await core.isClockBelieved() { try await core.settleRoots() }
            await core.recordAbove()
            let keysProblem = await reportUpstreamKeys()
            // The start may wait for it.
            if let upstream = core.upstream {
                let service = UpstreamService(core: core, upstream: upstream)
                group.addTask { await service.run() }
            } else {
                // What an upstream of before has named is forgotten in time.
                core.upstreamNamed.withLock { $0 = [] }
            }
            let (rotation, machine, lists, listMemory) = try await begin()
            if let keysProblem { tellUpstreamKeys(keysProblem) }
            if !isHeld { serveAdmins(&group) }
            let remote = remoteTransport()
            core.serve(remote.connections)
            group.addTask { await core.hub.run() }
            group.addTask { await core.decisions.run(core) }
            group.addTask { await rotation.run(machine) }
            group.addTask { await lists.run(listMemory) }
            group.addTask { await core.pursueRevocations() }
            group.addTask { await FederationService(core: core).run() }
            group.addTask { await DownstreamService(core: core).run() }
            group.addTask { await identity.run() }
            group.addTask { await maintain() }
            group.addTask { await core.watchSigner() }
            group.addTask { await core.watchTokenSigner() }
            group.addTask { await summarize() }
            group.addTask { try await core.setBack.wait() }
            if let publication { group.addTask { await publication.run() } }
            if let endpoint { group.addTask { await endpoint.run() } }
            group.addTask { try await serve(remote, services: nodeServices + adminServices) }
            // Why there is none is told by what serves.
            group.addTask { if let port = try? await remote.boundPort { ready(port) } }
            try await waitForEnd(&group)
        }
    }

    /// Makes sure that everything is there to sign with, and says so.
    private func begin() async throws -> (
        RotationService, AuthorityRotation, RevocationListService, RevocationListService.Memory
    ) {
        // Who ordered something while it started is told that nobody will do it.
        var hasBegun = false
        defer { if !hasBegun { core.rotationDesk.close() } }
        let rotation = RotationService(core: core)
        let machine = try await rotation.start()
        try await recordStart()
        try await core.beginApprovals(now: core.clock.wallTime)
        let lists = RevocationListService(core: core)
        let listMemory = await lists.start()
        try await core.refreshProxies()
        try await rememberNodes()
        try await beginIdentity()
        core.health.met("datastore")
        // Else the rotation, which looks at it at once, says what is wrong with it.
        if await core.isClockBelieved() { core.health.met("clock") }
        try await reportStart()
        hasBegun = true
        return (rotation, machine, lists, listMemory)
    }

    /// The task that announces the port ends early; any other end ends the server.
    private func waitForEnd(_ group: inout ThrowingTaskGroup<Void, any Error>) async throws {
        try await group.next()
        try await group.next()
        group.cancelAll()
    }

    private var nodeServices: [any RegistrableRPCService] {
        [NodeAttestationService(core: core), NodeService(core: core)]
    }

    var adminServices: [any RegistrableRPCService] {
        [
            DocumentsService(core: core), AdministrationService(core: core),
            ApprovalsService(core: core), AuditService(core: core),
        ]
    }

    private func remoteTransport() -> PeerServerTransport {
        let (core, identity) = (core, identity)
        return .tls(
            address: core.configuration.listen,
            identity: { try identity.current() },
            verify: { chain in
                let peer = try await core.trust.verifier.verify(
                    chain: chain,
                    now: core.clock.wallTime
                )
                // What was committed counts before the bundle without it is read again.
                guard core.believes(peer) else { throw PeerVerificationError.noPath }
                return peer
            },
            now: { core.clock.wallTime },
            onEvent: { core.observe($0) }
        )
    }

    func localTransport() -> PeerServerTransport {
        let core = core
        return .unixSocket(
            path: core.configuration.adminSocket,
            mode: 0o600,
            limits: .admin,
            now: { core.clock.wallTime },
            onEvent: { core.observe($0) }
        )
    }

    func serve(
        _ transport: PeerServerTransport,
        services: [any RegistrableRPCService]
    ) async throws {
        let server = GRPCServer(
            transport: transport,
            services: services,
            interceptors: [
                transport.interceptor(believes: { core.believes($0) }), core.observer, core.faults,
            ]
        )
        do {
            try await Self.run(server)
        } catch let error as RuntimeError {
            // It was ended before it had begun, which the library takes for a fault.
            guard !Task.isCancelled else { return }
            // The library's words around it say nothing to an operator.
            if let cause = error.cause as? ListenerError { throw cause }
            throw error
        }
    }

    /// Apart from its caller: Swift 6.3 crashes on a cancellation handler within `do` and `catch`.
    private static func run(_ server: GRPCServer<PeerServerTransport>) async throws {
        try await withTaskCancellationHandler {
            try await server.serve()
        } onCancel: {
            server.beginGracefulShutdown()
        }
    }

    func telemetryEndpoint() async throws -> TelemetryEndpoint {
        try await TelemetryEndpoint.bind(
            host: "127.0.0.1",
            port: core.configuration.telemetryPort,
            metrics: core.metrics,
            health: core.health
        )
    }

    /// The metrics that only change with what happens later begin with what is there.
    private func reportStart() async throws {
        let metrics = core.metrics
        let (revision, nodes, entries) = try await core.read { transaction in
            (
                try transaction.revision().number, try transaction.nodeCount(),
                try transaction.entryCount()
            )
        }
        let (proxies, revocations, certificates) = try await core.read { transaction in
            (
                try transaction.proxyCount(), try transaction.revocationCount(),
                try transaction.revokedCertificateCount()
            )
        }
        metrics.set(.agentsConnected, to: 0)
        metrics.set(.agentsKnown, to: Double(nodes))
        metrics.set(.buildInfo, to: 1, SignetVersion.current)
        metrics.set(.entries, to: Double(entries))
        metrics.set(.proxies, to: Double(proxies))
        metrics.set(.proxiesAttached, to: 0)
        metrics.set(.revision, to: Double(revision))
        metrics.set(.revocations, to: Double(revocations))
        metrics.set(.revokedCertificates, to: Double(certificates))
        metrics.set(.authoritySVIDsNotReplaced, to: 0)
        if core.upstream == nil { metrics.set(.upstreamNotAfter, to: 0) }
        await core.countDownstream()
        metrics.set(.rotationAgentsMissing, to: 0)
        metrics.set(.startTime, to: core.clock.wallTime.timeIntervalSince1970)
        core.report(nil)
        try await core.reviewProfiles()
        for file in profiles.digests {
            core.logger.notice(
                "certificates are narrowed by a profile file",
                metadata: ["file": "\(file.name).json"]
            )
        }
        for warning in core.configuration.publicWarnings { core.logger.warning("\(warning)") }
    }

    /// Tells the hub of the nodes in the datastore.
    ///
    /// So agents which are away are named when a change cannot reach them, and those that were
    /// connected lately are waited for. A connection ends with its certificate, so whose certificate
    /// ended before that time was not.
    private func rememberNodes() async throws {
        let liveMin = core.clock.wallTime.addingTimeInterval(
            -(SyncPublisher.livenessDuration / .seconds(1))
        )
        var after = ""
        var live: Set<AgentName> = []
        while true {
            let from = after
            let page = try await core.read { try $0.nodes(after: from, limit: 500) }
            for node in page where node.ban == nil {
                let agent = AgentName(node.name)
                let mayBeLive = node.notAfter > liveMin
                if mayBeLive { live.insert(agent) }
                core.hub.remembered(agent, selectors: node.selectors, mayBeLive: mayBeLive)
            }
            guard page.count == 500, let last = page.last else { break }
            after = last.name
        }
        core.hub.endpoints.begin(awaiting: live)
    }

    private func maintain() async {
        while !Task.isCancelled {
            try? await core.clock.sleep(
                untilBoot: core.clock.bootTime + Self.maintenanceInterval
            )
            guard !Task.isCancelled else { return }
            let now = core.clock.wallTime
            do {
                try await noteDepartures()
                if await core.isClockBelieved() {
                    while try await core.datastore.write({ try $0.trim(now: now) }) {}
                    try await core.endRevocations(now: now)
                    try await core.endProposals(now: now)
                    try await core.forgetDownstream(now: now)
                    try await core.forgetUpstreams(now: now)
                    try await core.refreshExpiredProxies(now: now)
                }
                try await core.datastore.probeWritable()
                core.health.met("datastore")
            } catch {
                core.health.unmet("datastore", reason: "\(error)")
                core.datastoreTrouble.signal()
            }
            await core.settleRootsOrTell()
            await core.reviewProfilesAgain()
        }
    }

    /// When agents were seen last: told here, not at each end of a stream, because many end at once.
    private func noteDepartures() async throws {
        let departed = core.hub.takeDeparted()
        guard !departed.isEmpty else { return }
        try await core.datastore.write { transaction in
            for (name, time) in departed { try transaction.markNodesSeen([name], at: time) }
        }
    }

    /// After a refusal, tries until the datastore takes writes again.
    func watchDatastore() async {
        while !Task.isCancelled {
            await core.datastoreTrouble.wait()
            var isMended = false
            while !isMended, !Task.isCancelled {
                try? await core.clock.sleep(
                    untilBoot: core.clock.bootTime + Self.datastoreRetryInterval
                )
                isMended = (try? await core.datastore.probeWritable()) != nil
            }
            if isMended { core.health.met("datastore") }
        }
    }

    private func summarize() async {
        let core = core
        await core.anonymous.run { summaries in
            let now = core.clock.wallTime
            try await core.write { transaction in
                for summary in summaries {
                    try transaction.append(
                        .unauthenticatedSummary(summary),
                        by: .system("server"),
                        at: now
                    )
                }
            }
        }
    }
}

/// Why a server does not start.
package enum ServerStartError: Error, CustomStringConvertible {
    /// Another server holds the lock.
    case dataDirectoryInUse(String)
    /// The database is empty beside the audit log of a server.
    case databaseLost(path: String, log: String)
    /// What a held server serves has ended by itself.
    case heldServerEnded
    /// A restore was killed.
    case restoreUnfinished(path: String, isReady: Bool)
    /// An agent has seen what the server has forgotten.
    case setBack(String)
    case trustDomainDiffers(stored: String, configured: String)

    package var description: String {
        switch self {
        case .dataDirectoryInUse(let what):
            "\(what): end the other server, or give this one a dataDirectory of its own"
        case .databaseLost(let path, let log):
            "\(path) is empty, though \(log) holds the audit log of a server: restore the database "
                + "from a backup, or move the whole data directory away to begin a new server"
        case .heldServerEnded:
            "the server is held after a restore, and what it serves meanwhile has ended"
        case .restoreUnfinished(let path, true):
            "\(path) is of a restore that was not finished: run signet-server restore, which goes on"
        case .restoreUnfinished(let path, false):
            "\(path) is of a restore that ended before it had changed anything: run signet-server "
                + "restore again, or delete it"
        case .setBack(let reason):
            "the server was set back: \(reason); run signet-server restore, see docs/operations.md"
        case .trustDomainDiffers(let stored, let configured):
            "the data belongs to trust domain \(stored), the configuration says \(configured); "
                + "a server never changes its trust domain"
        }
    }
}

/// Keeps two servers from using one data directory.
final class ServerLock: Sendable {
    private let lock: FileLock

    init(_ path: String) throws {
        lock = try Self.lock(path)
    }

    private static func lock(_ path: String) throws -> FileLock {
        do {
            return try FileLock(path)
        } catch {
            guard error.isLocked else { throw error }
            throw ServerStartError.dataDirectoryInUse("\(error)")
        }
    }
}
