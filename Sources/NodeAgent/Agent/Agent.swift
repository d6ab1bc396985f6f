// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import CLinux
package import Clocks
internal import DurableFiles
internal import FoundationEssentials
internal import GRPCPeer
package import Logging
internal import NodeAttestation
internal import NodeSync
internal import SPIFFE
internal import Synchronization
package import Telemetry

/// One agent process: it finds or gets its identity, keeps it, and serves the workloads of its
/// machine until told to stop.
package struct Agent: Sendable {
    /// Longest token file, with room for the end of its line.
    package static let tokenFileBytesMax = JoinToken.textBytesMax + 2
    /// After it the first snapshot and the first signatures are done.
    static let startDuration: Duration = .seconds(2)

    private let configuration: AgentConfiguration
    private let directory: AgentDirectory
    private let clock: any NodeClock
    private let logger: Logger
    package let metrics = MetricRegistry(of: .agent)
    package let health: Health

    /// Takes hold of the data directory.
    ///
    /// - Throws: an error that says what to mend.
    package init(
        _ configuration: AgentConfiguration,
        clock: any NodeClock,
        logger: Logger
    ) throws {
        try configuration.requireOwnSockets()
        self.configuration = configuration
        self.clock = clock
        self.logger = logger
        directory = try AgentDirectory(configuration.dataDirectory)
        health = Health(ready: AgentCore.readyConditions + ["attested"])
        metrics.set(.buildInfo, to: 1, SignetVersion.current)
        metrics.set(.startTime, to: clock.wallTime.timeIntervalSince1970)
    }

    /// Serves until the task is cancelled.
    ///
    /// - Parameter ready: Called once all sockets can be reached, with the port of health and
    ///   metrics.
    /// - Throws: an error that says what to mend: damaged files, a refused token, a socket in use.
    package func run(ready: @escaping @Sendable (UInt16) -> Void = { _ in }) async throws {
        _ = clinux_raise_descriptor_limit()
        let endpoint = try await TelemetryEndpoint.bind(
            host: "127.0.0.1",
            port: configuration.telemetryPort,
            metrics: metrics,
            health: health
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await endpoint.run() }
            group.addTask { try await serve { ready(endpoint.port) } }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func serve(_ ready: @escaping @Sendable () -> Void) async throws {
        let stored = try await storedAgent()
        health.met("attested")
        logger.notice("serving", metadata: ["agent": "\(stored.identity.id)"])
        let addresses = try serverAddresses(stored.identity)
        let core = try AgentCore(
            stored,
            directory: directory,
            takesLists: configuration.workloadCRLs,
            clock: clock,
            logger: logger,
            metrics: metrics,
            health: health
        )
        let attestor = UnixWorkloadAttestor(clock: clock)
        core.transition { $0.started(now: $1, using: &$2) }
        async let released: Void = releaseStartCode()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await core.run() }
            group.addTask { await core.runTimer() }
            group.addTask {
                await ServerConnection(core: core, addresses: addresses, attestor: attestor).run()
            }
            group.addTask { await OwnSVIDCalls(core: core).readmit(at: addresses) }
            let tokenPath = configuration.absoluteTokenSocket
            let sockets = Countdown(from: tokenPath == nil ? 2 : 3, ready)
            if let tokenPath {
                let mode = configuration.socketMode
                group.addTask {
                    try await TokenSocket(
                        core: core,
                        attestor: attestor,
                        path: tokenPath,
                        mode: mode
                    ).run { sockets.count() }
                }
            }
            group.addTask {
                try await WorkloadSocket(
                    core: core,
                    attestor: attestor,
                    path: configuration.absoluteSocket,
                    mode: configuration.socketMode
                ).run { sockets.count() }
            }
            group.addTask {
                try await ProxySocket(
                    core: core,
                    attestor: attestor,
                    path: configuration.absoluteProxySocket,
                    access: ProxySocket.Access(
                        mode: configuration.proxySocketMode,
                        group: configuration.proxySocketGroup
                    )
                ).run { sockets.count() }
            }
            // None of them ends by itself but by failing.
            defer { group.cancelAll() }
            try await group.next()
        }
        await released
    }

    /// An agent mostly waits, on every machine: code that only its start needed is not to stay
    /// resident (decision 0006).
    private func releaseStartCode() async {
        do {
            try await clock.sleep(untilBoot: clock.bootTime + Self.startDuration)
            _ = clinux_release_code()
        } catch {
            // The agent ends before its start is over.
        }
    }

    // MARK: - Identity

    /// What is on disk; else the identity that the join token gives.
    private func storedAgent() async throws -> StoredAgent {
        guard let stored = try await StoredAgent.read(from: directory, now: clock.wallTime) else {
            let token = try joinToken()
            try checkTrustDomain(token.trustDomain, "the join token")
            return try await join(with: token, after: nil)
        }
        try checkTrustDomain(stored.identity.trustDomain, "the data in \(directory.path)")
        do {
            _ = try JoiningKey.read(from: directory)
        } catch {
            logger.warning(
                "a file of an earlier first contact cannot be used; the identity needs it not",
                metadata: ["reason": "\(error)"]
            )
        }
        return try await rejoined(stored) ?? stored
    }

    /// The new identity of an agent that was given another token than the one it joined with.
    ///
    /// An admin gives a second token to an agent that he has evicted, or that was away for too
    /// long: the agent cannot tell either by itself. A token that stayed behind from the first
    /// contact is known by its hash, and what no server takes changes nothing.
    ///
    /// - Returns: nil if what is on disk is to be used.
    private func rejoined(_ stored: StoredAgent) async throws -> StoredAgent? {
        let isLapsed = stored.isLapsed(at: clock.wallTime)
        let token: JoinToken
        do {
            guard hasToken else { return nil }
            token = try joinToken()
        } catch  where !isLapsed {
            return nil
        }
        guard token.secretHash != stored.identity.joinTokenHash else { return nil }
        guard stored.identity.trustDomain == token.trustDomain else {
            throw AgentStartError.trustDomainDiffers(
                holder: "the data in \(directory.path)",
                found: stored.identity.trustDomain.name,
                configured: token.trustDomain.name
            )
        }
        do {
            return try await join(with: token, after: stored, isOnce: !isLapsed)
        } catch  where !isLapsed && (error is FirstContactError || error is AgentFileError) {
            logger.warning(
                "the join token is not used: the agent goes on with the identity it has",
                metadata: ["reason": "\(error)"]
            )
            return nil
        }
    }

    private var hasToken: Bool {
        configuration.joinToken != nil || configuration.joinTokenFile != nil
    }

    /// Makes the first contact, or one after `old`; `isOnce` gives up when no server is there.
    private func join(
        with token: JoinToken,
        after old: StoredAgent?,
        isOnce: Bool = false
    ) async throws -> StoredAgent {
        let key = try JoiningKey.key(for: token.secretHash, in: directory)
        let contact = FirstContact(
            token: token,
            addresses: configuration.serverAddresses.isEmpty
                ? try token.serverAddresses.map(ServerAddress.init(parsing:))
                : configuration.serverAddresses,
            key: key,
            clock: clock,
            logger: logger
        )
        let new = try await isOnce ? contact.joinNow() : contact.join()
        if let old, old.identity.auditKey != new.identity.auditKey { reportNewLog(old, new) }
        let joined = new.continuing(old)
        try joined.write(to: directory, replacing: old)
        return joined
    }

    /// Another audit log is another history: what was remembered of the former one says nothing
    /// about it, so the last word on the former one goes to the operator.
    private func reportNewLog(_ old: StoredAgent, _ new: StoredAgent) {
        metrics.increment(.auditAlarms, "otherLog")
        let remembered = old.memory.latest.map { String(decoding: $0.note, as: UTF8.self) }
        logger.critical(
            "THE SERVER HAS ANOTHER AUDIT LOG THAN BEFORE",
            metadata: [
                "before": "\(old.identity.auditKey)", "now": "\(new.identity.auditKey)",
                "lastRemembered": "\(remembered ?? "nothing")",
            ]
        )
    }

    private func joinToken() throws -> JoinToken {
        if let text = configuration.joinToken { return try JoinToken(text) }
        guard let path = configuration.joinTokenFile else {
            throw AgentStartError.tokenMissing(directory: directory.path)
        }
        let bytes: [UInt8]
        do {
            bytes = try DurableFile.readSecret(path, bytesMax: Self.tokenFileBytesMax)
        } catch {
            throw AgentStartError.tokenUnusable(path: path, reason: error.description)
        }
        let text = String(decoding: bytes, as: UTF8.self).prefix { !$0.isNewline }
        guard !text.isEmpty else {
            throw AgentStartError.tokenUnusable(
                path: path,
                reason:
                    "there is none in it; signet token create, which ended without one, says why"
            )
        }
        do {
            return try JoinToken(String(text))
        } catch {
            throw AgentStartError.tokenUnusable(path: path, reason: error.description)
        }
    }

    private func checkTrustDomain(_ found: TrustDomain, _ holder: String) throws {
        guard let wanted = configuration.trustDomain, wanted != found else { return }
        throw AgentStartError.trustDomainDiffers(
            holder: holder,
            found: found.name,
            configured: wanted.name
        )
    }

    private func serverAddresses(_ identity: StoredIdentity) throws -> [ServerAddress] {
        guard configuration.serverAddresses.isEmpty else { return configuration.serverAddresses }
        let addresses = try identity.serverAddresses.map(ServerAddress.init(parsing:))
        guard !addresses.isEmpty else { throw AgentStartError.noServer }
        return addresses
    }
}

/// Calls a closure when a number of things have happened.
private final class Countdown: Sendable {
    private let left: Mutex<Int>
    private let reached: @Sendable () -> Void

    init(from count: Int, _ reached: @escaping @Sendable () -> Void) {
        left = Mutex(count)
        self.reached = reached
    }

    func count() {
        let isLast = left.withLock { left in
            left -= 1
            return left == 0
        }
        if isLast { reached() }
    }
}

/// Why an agent does not start.
package enum AgentStartError: Error, Hashable, CustomStringConvertible {
    case noServer
    /// Two keys give one path.
    case socketsCoincide(AgentConfigurationKey, AgentConfigurationKey, path: String)
    case tokenMissing(directory: String)
    case tokenUnusable(path: String, reason: String)
    case trustDomainDiffers(holder: String, found: String, configured: String)

    package var description: String {
        switch self {
        case .noServer: "no server address is known; give one with --server-address"
        case .socketsCoincide(let one, let other, let path):
            "\(one.rawValue) and \(other.rawValue) are both \(path); give one of them another path"
        case .tokenMissing(let directory):
            "this agent has no identity in \(directory) yet: make a token on the server with "
                + "signet token create --name NAME, and name its file with --join-token-file"
        case .tokenUnusable(let path, let reason): "join token in \(path): \(reason)"
        case .trustDomainDiffers(let holder, let found, let configured):
            "\(holder) belongs to trust domain \(found), the configuration says \(configured)"
        }
    }
}

extension Agent {
    /// Keeps private keys out of core dumps and out of reach of other processes of the same user;
    /// for a program that is an agent and nothing else.
    ///
    /// - Returns: Why that failed, in words; nil if it did not.
    package static func protectMemory() -> String? {
        let error = clinux_protect_memory()
        return error == 0 ? nil : "errno \(error)"
    }

    /// The version of this build.
    package static var version: String { SignetVersion.current }
}
