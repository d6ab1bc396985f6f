// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Clocks
internal import DurableFiles
internal import Foundation
internal import Glibc
internal import SPIFFE

/// `signet dev`.
struct DevCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dev",
        abstract: "Run a server, an agent and proxies here, for development. Needs no root.",
        discussion: """
            Everything lies below --dir: configuration, data, sockets, logs. The next run goes on \
            where this one ended; delete the directory to begin anew. All programs end with this \
            command, however it ends.

            For each Proxy document whose nodeSelectors this machine shows (agent:dev, and what \
            --selector adds) one signet-proxy runs, also for those applied later; one that ends \
            is started again.

            signet-server, signet-agent and signet-proxy are taken from the folder of this \
            program, else from PATH.

            Example: signet dev --documents documents/ --selector role:web
            """
    )
    @Option(
        help: ArgumentHelp("Where everything is kept.", valueName: "path"),
        completion: .directory
    )
    var dir = ".signet"
    @Option(
        help: ArgumentHelp(
            "Documents to apply at each start: a folder or a file.",
            valueName: "path"
        ),
        completion: .file(extensions: ["yaml", "yml", "json"])
    )
    var documents: String?
    @Option(
        name: .customLong("trust-domain"),
        help: ArgumentHelp(
            "Name of the trust domain; example.org, or the one of the last run.",
            valueName: "name"
        )
    )
    var trustDomain: String?
    @Option(
        name: .customLong("selector"),
        help: ArgumentHelp(
            "Node selector of the agent when it joins; repeatable.",
            valueName: "type:value"
        )
    )
    var selectors: [String] = []
    @Option(
        name: .customLong("log-level"),
        help: ArgumentHelp("Level of all logs.", valueName: "level")
    )
    var logLevel = LogLevel.info

    /// As the programs know it.
    enum LogLevel: String, ExpressibleByArgument, CaseIterable {
        case trace
        case debug
        case info
        case notice
        case warning
        case error
        case critical
    }

    func validate() throws {
        do {
            _ = try trustDomain.map { try TrustDomain($0) }
            for selector in selectors { _ = try Selector(selector) }
        } catch let error as SPIFFEIDError {
            throw ValidationError("--trust-domain: \(error)")
        } catch {
            throw ValidationError("--selector: \(error)")
        }
    }

    func run() async throws {
        let clock = SystemClock()
        let start = clock.bootTime
        let directory = DevDirectory(
            dir,
            workingDirectory: FileManager.default.currentDirectoryPath
        )
        let lock = try prepare(directory)
        let configuration = try configure(directory)
        let programs = try DevPrograms.find()
        // From here on the two signals end what was started, and then this command.
        let signals = SignalEvents()
        let system = DevSystem(
            directory: directory,
            configuration: configuration,
            programs: programs,
            selectors: selectors,
            documents: documents,
            logLevel: logLevel.rawValue,
            clock: clock
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                let hasAgent = try await system.start()
                try await system.run(hasProxies: hasAgent) { proxies in
                    let time = Moment.span(clock.bootTime - start)
                    Terminal.out(Self.welcome(directory, configuration, proxies, after: time))
                }
            }
            group.addTask {
                for await _ in signals.received { return }
            }
            let result = await group.nextResult()
            // The first task waits for the programs, so they end before the group does.
            await system.stop()
            group.cancelAll()
            try result?.get()
        }
        Terminal.error("ended; `signet dev --dir \(dir)` goes on from here")
        extendLifetime(lock)
    }

    /// Makes the folders and takes hold of the directory.
    private func prepare(_ directory: DevDirectory) throws -> FileLock {
        let bytesMax = SystemCalls.socketPathBytesMax
        for socket in [directory.adminSocket, directory.workloadSocket, directory.proxySocket]
        where socket.utf8.count > bytesMax {
            throw CommandFailure(
                "\(socket) has more than \(bytesMax) bytes, too long for a socket",
                remedy: "Name a shorter place: signet dev --dir /tmp/signet-\(getuid())"
            )
        }
        for folder in directory.folders {
            try DurableFile.makeDirectory(folder.path, mode: folder.mode)
        }
        do throws(FileError) {
            return try FileLock(directory.lock)
        } catch {
            throw CommandFailure(
                "another signet dev uses \(directory.path) (\(error))",
                remedy: "End it, or give this one a --dir of its own."
            )
        }
    }

    /// Reads the last run's configuration, or writes the first.
    private func configure(_ directory: DevDirectory) throws -> DevServerConfiguration {
        let file = directory.serverConfiguration
        if let text = try? String(contentsOfFile: file, encoding: .utf8) {
            var known = try DevServerConfiguration(reading: text)
            guard known.trustDomain == trustDomain ?? known.trustDomain else {
                throw CommandFailure(
                    "\(directory.path) belongs to trust domain \(known.trustDomain)",
                    remedy: "Leave out --trust-domain, or name another --dir."
                )
            }
            guard known.adminSocket == directory.adminSocket else {
                throw CommandFailure(
                    "\(file) is of another place: its admin socket is \(known.adminSocket)",
                    remedy: "Delete \(directory.path) to begin anew."
                )
            }
            let port = try Self.freePort(preferring: known.port)
            if port != known.port {
                let changed = DevServerConfiguration.replacing(
                    port: known.port,
                    with: port,
                    in: text
                )
                try DurableFile.write(Array(changed.utf8), to: file, mode: 0o600)
                known.port = port
            }
            try writeExamples(directory, known.trustDomain)
            return known
        }
        let new = DevServerConfiguration(
            trustDomain: trustDomain ?? "example.org",
            port: try Self.freePort(preferring: 0),
            adminSocket: directory.adminSocket
        )
        let text = new.text(dataDirectory: directory.serverData, uid: getuid())
        try DurableFile.write(Array(text.utf8), to: file, mode: 0o600)
        try writeExamples(directory, new.trustDomain)
        return new
    }

    /// Writes what is not there; whoever changed one keeps it.
    private func writeExamples(_ directory: DevDirectory, _ trustDomain: String) throws {
        for (path, text) in [
            (directory.example, DevExamples.identity(trustDomain: trustDomain, uid: getuid())),
            (directory.dataPath, DevExamples.dataPath(trustDomain: trustDomain, uid: getuid())),
        ] where !FileManager.default.fileExists(atPath: path) {
            try DurableFile.write(Array(text.utf8), to: path, mode: 0o600)
        }
    }

    private static func freePort(preferring port: UInt16) throws -> UInt16 {
        guard let free = SystemCalls.freePort(preferring: port) else {
            throw CommandFailure(
                "no TCP port is free on 127.0.0.1",
                remedy: "See `ss -lt` for who listens."
            )
        }
        return free
    }

    private static func welcome(
        _ directory: DevDirectory,
        _ configuration: DevServerConfiguration,
        _ proxies: [String],
        after time: String
    ) -> String {
        // Only who runs some has to know of them.
        let names = proxies.joined(separator: ", ")
        let running = proxies.isEmpty ? "" : "  proxies              \(names)\n"
        let status = proxies.isEmpty ? "" : "  \(program) proxy status -A\n"
        return """
            ready after \(time): trust domain \(configuration.trustDomain), \
            server 127.0.0.1:\(configuration.port), agent "\(DevSystem.agentName)" \
            (node selector agent:\(DevSystem.agentName))
            \(running)\
              everything is below  \(directory.path)
              logs                 \(directory.log(of: "signet-server"))
                                   \(directory.log(of: "signet-agent"))
              documents to try     \(directory.example)
                                   \(directory.dataPath) (two services behind proxies)

            Type next, in another terminal:
              export SPIFFE_ENDPOINT_SOCKET=\(directory.endpoint)
              export SIGNET_SERVER_SOCKET=\(directory.adminSocket)
              \(program) apply -f \(directory.example)
              \(program) svid fetch
              \(program) audit query
            \(status)\
            Ctrl-C ends all programs.
            """
    }

    /// This program as it was typed, if it is not found by its name.
    private static var program: String {
        let typed = CommandLine.arguments.first ?? ""
        return typed.contains("/") ? typed : "signet"
    }
}
