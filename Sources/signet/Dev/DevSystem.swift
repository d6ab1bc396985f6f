// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPIProtos
internal import DurableFiles
internal import Foundation
internal import Glibc
internal import SwiftProtobuf
internal import Synchronization

/// The programs that `signet dev` starts.
struct DevPrograms: Sendable {
    let server: String
    let agent: String
    /// Nil if there is none: it is needed only for Proxy documents.
    let proxy: String?

    /// Looks beside this program, then in PATH.
    static func find() throws -> DevPrograms {
        DevPrograms(
            server: try path(of: "signet-server"),
            agent: try path(of: "signet-agent"),
            proxy: try? path(of: "signet-proxy")
        )
    }

    /// The path of a program: beside this one, or in PATH.
    ///
    /// - Throws: `CommandFailure` if there is none.
    static func path(of name: String) throws -> String {
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let beside = (own as NSString).deletingLastPathComponent
        let inPath = ProcessInfo.processInfo.environment["PATH"] ?? ""
        for folder in [beside] + inPath.split(separator: ":").map(String.init) {
            let candidate = "\(folder)/\(name)"
            if FileManager.default.isExecutableFile(atPath: candidate) { return candidate }
        }
        throw CommandFailure(
            "\(name) is neither beside \(own) nor in PATH",
            remedy: "Build it: swift build --product \(name)"
        )
    }
}

/// A server, an agent and their proxies below one directory.
final class DevSystem: Sendable {
    static let agentName = "dev"
    /// Far above the second it takes, so that a slow machine is not mistaken for a fault.
    static let startMax = Duration.seconds(30)
    /// Time between two looks at a program that is starting.
    static let probeInterval = Duration.milliseconds(50)
    /// How long the programs may take to end before they are killed.
    static let stopGrace = Duration.seconds(5)
    /// An agent that was away for longer than its SVID lives (4 h) may find no authority that it
    /// knows; here it simply joins again.
    static let agentAwayMax: TimeInterval = 4 * 3600

    private let directory: DevDirectory
    private let configuration: DevServerConfiguration
    private let programs: DevPrograms
    private let selectors: [String]
    private let documents: String?
    private let logLevel: String
    private let clock: SystemClock
    private let proxies: DevProxies
    private let started = Mutex<[Started]>([])

    private struct Started: Sendable {
        var name: String
        var process: ChildProcess
    }

    init(
        directory: DevDirectory,
        configuration: DevServerConfiguration,
        programs: DevPrograms,
        selectors: [String],
        documents: String?,
        logLevel: String,
        clock: SystemClock
    ) {
        self.directory = directory
        self.configuration = configuration
        self.programs = programs
        self.selectors = selectors
        self.documents = documents
        self.logLevel = logLevel
        self.clock = clock
        proxies = DevProxies(
            directory: directory,
            executable: programs.proxy,
            logLevel: logLevel,
            clock: clock
        )
    }

    /// Returns when workloads can ask for identities.
    ///
    /// - Returns: Whether the agent runs; one that is banned does not.
    func start() async throws -> Bool {
        let server = try await launch(
            "signet-server",
            programs.server,
            ["--config", directory.serverConfiguration, "--log-level", logLevel]
        )
        try await wait(for: server, socket: directory.adminSocket) { [self] in
            try await SocketPath.withClient(directory.adminSocket, peer: .server) { client in
                try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                    .getHealth(.init()).ready
            }
        }
        let node = try await node()
        if let node, node.banned {
            Terminal.error("the agent is banned and was not started (\(node.banReason))")
            Terminal.error("  `signet agent unban \(Self.agentName)`, then start this again.")
            try await applyDocuments()
            return false
        }
        var arguments = [
            "--data-dir", directory.agentData, "--socket", directory.workloadSocket,
            "--telemetry-port", "0", "--log-level", logLevel, "--server-address",
            "127.0.0.1:\(configuration.port)",
        ]
        if needsToJoin(node) {
            if FileManager.default.fileExists(atPath: directory.agentData) {
                try FileManager.default.removeItem(atPath: directory.agentData)
            }
            try await makeToken(isKnown: node != nil)
            arguments += ["--join-token-file", directory.joinToken]
        }
        let agent = try await launch("signet-agent", programs.agent, arguments)
        try await applyDocuments()
        try await wait(for: agent, socket: directory.workloadSocket) { [self] in
            try await SocketPath.withClient(directory.workloadSocket, peer: .agent) { client in
                try await Signet_Agent_V1alpha1_AgentLocal.Client(wrapping: client)
                    .getStatus(.init()).connected
            }
        }
        try? DurableFile.remove(directory.joinToken)
        return true
    }

    /// Runs proxies until `stop`.
    ///
    /// - Parameters:
    ///   - hasProxies: Whether Proxy documents are run.
    ///   - ready: Called once, with the proxies that were started first.
    /// - Throws: `CommandFailure` when the server or the agent has ended.
    func run(hasProxies: Bool, ready: @escaping @Sendable ([String]) -> Void) async throws {
        try await withThrowingDiscardingTaskGroup { group in
            if hasProxies {
                group.addTask { await self.proxies.run(listed: ready) }
            } else {
                ready([])
            }
            // The proxies' task ends as soon as programs are told to, which may be before the program
            // that ended by itself has been named: it must not decide how this ends.
            defer { group.cancelAll() }
            try await self.waitForFailure()
        }
    }

    /// Throws when one of the programs has ended; returns after `stop`.
    private func waitForFailure() async throws {
        let running = started.withLock { $0 }
        let ended = await withTaskGroup(of: (Started, ProgramEnd).self) { group in
            for program in running { group.addTask { (program, await program.process.end()) } }
            let first = await group.next()
            if first.map({ !$0.0.process.wasToldToEnd }) ?? false { await stop() }
            return first
        }
        guard let (program, end) = ended, !program.process.wasToldToEnd else { return }
        throw failure(program, "\(end)")
    }

    /// Ends all programs; returns when they are gone.
    func stop() async {
        let running = started.withLock { $0 }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [proxies] in await proxies.stop(grace: Self.stopGrace) }
            for program in running {
                group.addTask { [clock] in
                    await program.process.stop(grace: Self.stopGrace, clock: clock)
                }
            }
        }
    }

    private func launch(
        _ name: String,
        _ executable: String,
        _ arguments: [String]
    ) async throws -> ChildProcess {
        try Task.checkCancellation()
        // Killed, should this process be killed: nobody is left to wait for an orderly end, and
        // what both keep on disk survives that.
        let process = try await ChildProcess.start(
            Launch(
                executable: executable,
                arguments: arguments,
                outputFile: directory.log(of: name),
                signalIfOrphaned: SIGKILL
            )
        )
        started.withLock { $0.append(Started(name: name, process: process)) }
        return process
    }

    /// Returns when somebody listens at the socket and `isReady`.
    private func wait(
        for process: ChildProcess,
        socket: String,
        isReady: @Sendable () async throws -> Bool
    ) async throws {
        let deadline = clock.bootTime + Self.startMax
        var problem = "nobody listens at \(socket)"
        while true {
            if let end = process.endIfEnded { throw failure(of: process, "\(end)") }
            if SystemCalls.probe(socket: socket) == 0 {
                do {
                    if try await isReady() { return }
                    problem = "it is not ready"
                } catch let error as CommandFailure {
                    problem = error.message
                }
            }
            guard clock.bootTime < deadline else {
                throw failure(
                    of: process,
                    "did not start in \(Moment.span(Self.startMax)): \(problem)"
                )
            }
            try await clock.sleep(untilBoot: clock.bootTime + Self.probeInterval)
        }
    }

    /// What the server knows of the agent.
    private func node() async throws -> Signet_Admin_V1alpha1_Node? {
        try await SocketPath.withClient(directory.adminSocket, peer: .server) { client in
            try await Signet_Admin_V1alpha1_Administration.Client(wrapping: client)
                .listNodes(.with { $0.name = Self.agentName })
        }
        .nodes.first
    }

    /// Whether the agent has no identity that it can go on with, or is to have other selectors.
    private func needsToJoin(_ node: Signet_Admin_V1alpha1_Node?) -> Bool {
        let attributes = try? FileManager.default.attributesOfItem(atPath: directory.agentIdentity)
        guard let node, let written = attributes?[.modificationDate] as? Date,
            clock.wallTime.timeIntervalSince(written) < Self.agentAwayMax
        else { return true }
        let own = "agent:\(Self.agentName)"
        return !selectors.isEmpty && Set(node.selectors) != Set(selectors + [own])
    }

    /// Makes a join token; a node of that name is forgotten before.
    private func makeToken(isKnown: Bool) async throws {
        let (selectors, address) = (selectors, "127.0.0.1:\(configuration.port)")
        let token = try await SocketPath.withClient(directory.adminSocket, peer: .server) {
            let service = Signet_Admin_V1alpha1_Administration.Client(wrapping: $0)
            if isKnown {
                _ = try await service.evictNode(
                    .with {
                        $0.name = Self.agentName
                        $0.reason = "signet dev starts its agent anew"
                    }
                )
            }
            return try await service.createToken(
                .with {
                    $0.agentName = Self.agentName
                    $0.nodeSelectors = selectors
                    $0.serverAddresses = [address]
                }
            )
        }
        try DurableFile.write(
            Array("\(token.token)\n".utf8),
            to: directory.joinToken,
            mode: 0o600
        )
    }

    /// A document with a fault is reported and does not end the session in which it gets mended.
    private func applyDocuments() async throws {
        guard let documents else { return }
        do {
            let files = try SourceFiles.read([documents])
            let response = try await SocketPath.withClient(
                directory.adminSocket,
                peer: .server
            ) { client in
                try await Signet_Admin_V1alpha1_Documents.Client(wrapping: client)
                    .apply(.with { $0.files = files })
            }
            Terminal.out(ApplyCommand.View(response).table.text)
        } catch let failure as CommandFailure {
            Terminal.error("\(documents) was not applied: \(failure.message)")
            Terminal.error("  Mend it, then: signet apply -f \(documents)")
        }
    }

    private func failure(of process: ChildProcess, _ what: String) -> CommandFailure {
        let program = started.withLock { list in list.first { $0.process === process } }
        guard let program else { return CommandFailure(what) }
        return failure(program, what)
    }

    private func failure(_ program: Started, _ what: String) -> CommandFailure {
        let log = directory.log(of: program.name)
        let tail = directory.logTail(of: program.name).joined(separator: "\n")
        return CommandFailure(
            "\(program.name) \(what)" + (tail.isEmpty ? "" : "\n\(tail)"),
            remedy: "The whole log: \(log). Deleting \(directory.path) begins anew."
        )
    }
}
