// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import DurableFiles
internal import Foundation
internal import Glibc
internal import SPIFFE

/// Keeps the files of one identity and whoever uses them up to date.
struct IdentityKeeper {
    /// Events waiting at most; of more the oldest are dropped, which only newer ones replace.
    static let eventsMax = 64
    /// How long a program may take to end before it is killed.
    static let programGrace = Duration.seconds(10)
    /// Most bytes of a file with a process ID: a number, with room for what stands around it.
    static let pidFileBytesMax = 4096

    enum Event: Sendable {
        case programEnded(generation: Int, ProgramEnd)
        case signalled(Int32)
        case stream(WorkloadStream.Event)
    }

    /// What follows a renewal.
    enum Reaction: Sendable {
        /// Run a command line after each write.
        case command(String)
        case none
        /// Keep one program running, which is told of each write.
        case program(String, signal: Int32?)
        case signal(Int32, pidFile: String)
    }

    let identity: IdentityOptions
    let files: IdentityFiles?
    let reaction: Reaction
    let keepFiles: Bool
    let format: OutputFormat
    let report: @Sendable (Event) -> Void
    private let clock = SystemClock()
    private var current: WorkloadIdentity?
    private var program: ChildProcess?
    private var generation = 0

    init(
        identity: IdentityOptions,
        files: IdentityFiles?,
        reaction: Reaction,
        keepFiles: Bool,
        format: OutputFormat,
        report: @escaping @Sendable (Event) -> Void
    ) {
        self.identity = identity
        self.files = files
        self.reaction = reaction
        self.keepFiles = keepFiles
        self.format = format
        self.report = report
    }

    /// Acts on events until told to end.
    ///
    /// - Returns: the exit status.
    mutating func run(_ events: AsyncStream<Event>) async throws -> Int32 {
        for await event in events {
            switch event {
            case .programEnded(let ended, let end):
                guard ended == generation, program != nil else { continue }
                if case .command = reaction {
                    program = nil
                    if end != .exited(status: 0) { say("the command \(end)") }
                    continue
                }
                Terminal.error("the program \(end)")
                return end.shellStatus
            case .signalled:
                await program?.stop(grace: Self.programGrace, clock: clock)
                return 0
            case .stream(.failed(let failure)):
                await program?.stop(grace: Self.programGrace, clock: clock)
                throw failure
            case .stream(.identities(let identities)): try await received(identities)
            case .stream(.interrupted(let failure, let delay)):
                say("\(failure.message); trying again in \(Moment.span(delay))")
            case .stream(.refused(let failure, let delay)):
                lost()
                say("\(failure.message); trying again in \(Moment.span(delay))")
            }
        }
        return 0
    }

    private mutating func received(_ identities: [WorkloadIdentity]) async throws {
        guard identity.choice.first(of: identities) != nil else {
            lost()
            say("this process has no such identity now")
            return
        }
        let chosen: WorkloadIdentity
        do throws(CommandFailure) {
            chosen = try await identity.choose(from: identities)
        } catch {
            say(error.message)
            return
        }
        guard chosen != current else { return }
        try files?.write(chosen)
        current = chosen
        try show(chosen)
        try await react()
    }

    /// Spec row A-4: who is refused stops using what it had.
    private mutating func lost() {
        guard current != nil else { return }
        current = nil
        guard !keepFiles, let files else { return }
        files.remove()
        say("removed the files below \(files.directory)")
    }

    private mutating func react() async throws {
        switch reaction {
        case .none: return
        case .signal(let number, let pidFile): signal(number, pidFile: pidFile)
        case .command(let line): try await start(line)
        case .program(let line, let number):
            if let program, let number {
                program.send(number)
                return
            }
            // The program takes the place of the shell, so that signals reach it.
            try await start("exec \(line)")
        }
    }

    /// Starts a command line; what was started before ends first.
    private mutating func start(_ line: String) async throws {
        // Its end is expected from here on.
        generation += 1
        await program?.stop(grace: Self.programGrace, clock: clock)
        program = nil
        let (report, started) = (report, generation)
        program = try await ChildProcess.start(
            Launch(
                executable: "/bin/sh",
                arguments: ["-c", line],
                signalIfOrphaned: SIGTERM
            )
        ) { report(.programEnded(generation: started, $0)) }
    }

    private func signal(_ number: Int32, pidFile: String) {
        let text: String
        do throws(FileError) {
            let bytes = try DurableFile.read(pidFile, bytesMax: Self.pidFileBytesMax)
            text = String(decoding: bytes, as: UTF8.self)
        } catch {
            say("\(error); nobody was told of the renewal")
            return
        }
        guard let pid = Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)), pid > 1
        else {
            say("\(pidFile) holds no process ID; nobody was told of the renewal")
            return
        }
        let error = SignalName.send(number, to: pid)
        if error != 0 {
            say("process \(pid) of \(pidFile) was not told: \(SystemCalls.text(ofErrno: error))")
        }
    }

    private func show(_ identity: WorkloadIdentity) throws {
        let view = IdentityView(identity, includeKey: self.identity.includeKey)
        switch format {
        case .json: Terminal.out(try OutputOptions.jsonLine(view))
        case .yaml: Terminal.out("---\n" + (try OutputOptions.yaml(view)))
        case .table:
            let left = identity.leaf.notAfter.timeIntervalSince(clock.wallTime)
            Terminal.out(
                "\(clock.wallTime.formatted(.iso8601))  \(view.spiffeID)  serial "
                    + "\(view.serial)  expires in \(Moment.span(seconds: left))"
            )
        }
    }

    private func say(_ text: String) {
        Terminal.error("\(clock.wallTime.formatted(.iso8601))  \(text)")
    }
}
