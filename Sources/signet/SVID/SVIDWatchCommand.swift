// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Foundation

/// `signet svid watch`.
struct SVIDWatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch",
        abstract: "Stay, and act whenever the identity of this process is renewed.",
        discussion: """
            For programs that cannot speak the Workload API:

              signet svid watch --write-dir /run/web/tls --run 'nginx -g "daemon off;"' \
            --signal HUP
              signet svid watch --write-dir /run/db/tls --signal HUP --pid-file /run/db/db.pid

            --run starts the program after the first write. On each renewal the program gets the \
            signal, or, without --signal, is ended and started again. When it ends by itself, so \
            does this command, with its status. It never outlives this command.

            When the agent says that this process is entitled to nothing any more, the files are \
            removed, unless --keep-files is given. While the agent is away they stay.
            """
    )
    @OptionGroup var agent: AgentOptions
    @OptionGroup var identity: IdentityOptions
    @OptionGroup var output: OutputOptions
    @Option(help: "Program to run once the files are there, as one line for the shell.")
    var run: String?
    @Option(help: "Signal on renewal: HUP, USR1, ...") var signal: String?
    @Option(name: .customLong("pid-file"), help: "Whom to send --signal: the ID in this file.")
    var pidFile: String?
    @Flag(name: .customLong("keep-files"), help: "Keep the files when the identity is lost.")
    var keepFiles = false

    func validate() throws {
        if let signal, SignalName.number(of: signal) == nil {
            throw ValidationError("--signal takes \(SignalName.all.joined(separator: ", "))")
        }
        guard signal == nil || run != nil || pidFile != nil else {
            throw ValidationError("--signal needs --run or --pid-file, to know whom to send it")
        }
        guard pidFile == nil || (signal != nil && run == nil) else {
            throw ValidationError("--pid-file needs --signal, and excludes --run")
        }
        guard (run == nil && pidFile == nil) || identity.directory != nil else {
            throw ValidationError("--run and --pid-file need --write-dir, for the files")
        }
    }

    func run() async throws {
        let stream = WorkloadStream(path: try agent.path)
        let signals = SignalEvents()
        let (events, continuation) = AsyncStream.makeStream(
            of: IdentityKeeper.Event.self,
            bufferingPolicy: .bufferingNewest(IdentityKeeper.eventsMax)
        )
        var keeper = IdentityKeeper(
            identity: identity,
            files: try identity.files,
            reaction: reaction,
            keepFiles: keepFiles,
            format: output.format
        ) { continuation.yield($0) }
        let status = try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await stream.run { continuation.yield(.stream($0)) } }
            group.addTask {
                for await number in signals.received { continuation.yield(.signalled(number)) }
            }
            defer { group.cancelAll() }
            return try await keeper.run(events)
        }
        if status != 0 { throw ExitCode(status) }
    }

    private var reaction: IdentityKeeper.Reaction {
        let number = signal.flatMap(SignalName.number(of:))
        if let run { return .program(command: run, signal: number) }
        if let pidFile, let number { return .signal(number, pidFile: pidFile) }
        return .none
    }
}
