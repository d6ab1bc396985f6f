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

              signet svid watch --write-dir tls --run ./web --signal HUP
              signet svid watch --write-dir tls --signal HUP --pid-file web.pid
              signet svid watch --write-dir tls --on-renewal './reload web'

            --run starts one program after the first write. On each renewal the program gets the \
            signal, or, without --signal, is ended and started again. When it ends by itself, so \
            does this command, with its status. It never outlives this command.

            --on-renewal runs a command line after each write, the first one included.

            When the agent says that this process is entitled to nothing any more, the files are \
            removed, unless --keep-files is given. While the agent is away they stay.

            Example: signet svid watch --write-dir /run/web/tls --run ./web
            """
    )
    @OptionGroup var agent: AgentOptions
    @OptionGroup var identity: IdentityOptions
    @OptionGroup var output: OutputOptions
    @Option(
        help: ArgumentHelp(
            "One program with its arguments, quoted as in a shell, to keep running.",
            valueName: "command"
        )
    )
    var run: String?
    @Option(
        name: .customLong("on-renewal"),
        help: ArgumentHelp("A command line to run after each write.", valueName: "command")
    )
    var command: String?
    @Option(
        help: ArgumentHelp("Signal on renewal: HUP, USR1, ...", valueName: "name"),
        completion: .list(SignalName.all)
    )
    var signal: String?
    @Option(
        name: .customLong("pid-file"),
        help: ArgumentHelp("Whom to send --signal: the ID in this file.", valueName: "path"),
        completion: .file()
    )
    var pidFile: String?
    @Flag(name: .customLong("keep-files"), help: "Keep the files when the identity is lost.")
    var keepFiles = false

    func validate() throws {
        try identity.checkKeyIsShown(in: output.format)
        guard !keepFiles || identity.directory != nil else {
            throw ValidationError("--keep-files needs --write-dir, for the files")
        }
        if let signal, SignalName.number(of: signal) == nil {
            throw ValidationError("--signal takes \(SignalName.all.joined(separator: ", "))")
        }
        guard signal == nil || run != nil || pidFile != nil else {
            throw ValidationError("--signal needs --run or --pid-file, to know whom to send it")
        }
        guard pidFile == nil || (signal != nil && run == nil) else {
            throw ValidationError("--pid-file needs --signal, and excludes --run")
        }
        guard command == nil || (run == nil && signal == nil) else {
            throw ValidationError("--on-renewal excludes --run and --signal")
        }
        guard (run ?? command ?? pidFile) == nil || identity.directory != nil else {
            throw ValidationError(
                "--run, --on-renewal and --pid-file need --write-dir, for the files"
            )
        }
        guard run.map(ShellLine.isOneProgram) ?? true else {
            throw ValidationError(
                "--run takes one program, without ; & | outside quotes; write a script"
            )
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
        if let run { return .program(run, signal: number) }
        if let command { return .command(command) }
        if let pidFile, let number { return .signal(number, pidFile: pidFile) }
        return .none
    }
}

/// A line for the shell.
package enum ShellLine {
    /// Whether the shell would make one program of it: nothing outside quotes joins several.
    package static func isOneProgram(_ line: String) -> Bool {
        var quote: Character?
        var isEscaped = false
        for character in line {
            switch (quote, character) {
            case _ where isEscaped: isEscaped = false
            case ("'", "'"), ("\"", "\""): quote = nil
            case ("'", _): continue
            case (_, "\\"): isEscaped = true
            case (nil, "'"), (nil, "\""): quote = character
            case (nil, ";"), (nil, "&"), (nil, "|"), (nil, "\n"): return false
            default: continue
            }
        }
        return true
    }
}
