// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Clocks
internal import ControlAPIProtos
internal import SwiftProtobuf

/// `signet authority rotate`.
struct AuthorityRotateCommand: AsyncParsableCommand {
    /// How often a server is asked how far it is.
    static let askInterval: Duration = .seconds(1)
    /// Longest time to wait: an authority lives a day by default.
    static let secondsMax = 86_400

    static let configuration = CommandConfiguration(
        commandName: "rotate",
        abstract: "Begin the next rotation now.",
        discussion: """
            Makes the next authority, unless one is prepared; it begins to sign by the same rule as \
            always. With --wait the command says for whom it waits (where nobody watches, a line on \
            standard error when that changes, each 10 s at most; lines of JSON with -o json) and \
            returns when it signs; exit status 3 if it does not within --wait-seconds, 1 if it will \
            not: it was revoked meanwhile, or is not there any more. The rotation goes on without \
            the command, and over a restart of the server: the same command waits for it again.

            Example: signet authority rotate --wait
            """
    )
    @OptionGroup var options: AuthorityActOptions
    @Flag(help: "Wait until the new authority signs.")
    var wait = false
    @Option(
        name: .customLong("wait-seconds"),
        help: ArgumentHelp(
            "How long --wait waits, at most \(secondsMax). (default: until it is done)",
            valueName: "seconds"
        )
    )
    var waitSeconds: Int?

    func validate() throws {
        guard let waitSeconds else { return }
        guard wait else {
            throw ValidationError(
                "--wait-seconds says how long --wait waits: add --wait, or leave it out"
            )
        }
        guard (1...Self.secondsMax).contains(waitSeconds) else {
            throw ValidationError("--wait-seconds takes 1 to \(Self.secondsMax)")
        }
    }

    func run() async throws {
        let (rehearse, now) = (options.rehearsal.rehearse, options.rehearsal.now)
        var view = AuthorityActView(
            try await options.server.withClient { client in
                try await AdministrationClient(wrapping: client).prepareAuthority(
                    .with {
                        $0.unlessPrepared = true
                        $0.rehearse = rehearse
                        $0.now = now
                    }
                )
            }
        )
        if rehearse { return try sayPlan(view) }
        if now { view = try await activate(view.authority.id) }
        // It begins by itself in a while, or at once when others have approved that.
        try view.proposal?.tell(dryRun: false)
        if wait { try await waitUntilActive(view.authority.id) }
        let list = try await authorities()
        let progress = list.progress(of: view.authority.id)
        try options.output.print(list) { list.table }
        if let failure = progress.failure { throw failure }
        if options.output.format == .table { Terminal.out(progress.text) }
    }

    private func sayPlan(_ view: AuthorityActView) throws {
        try options.output.print(view) { view.table }
        let isPrepared = view.authority.state == "prepared"
        Terminal.error(
            isPrepared
                ? "nothing was changed; the authority shown would begin to sign"
                : "nothing was changed; a new authority would take the place of the one shown"
        )
        Terminal.error(
            "It would sign once it is published long enough (30 s, or publicHold) and these have "
                + "it: "
                + (view.waitingAgents.isEmpty
                    ? "every live agent"
                    : AuthorityListView.named(view.waitingAgents, view.waitingAgentCount))
        )
        for line in view.objections { Terminal.error(line) }
        if view.absentAgentCount > 0 {
            Terminal.error(
                "away, and not waited for: "
                    + AuthorityListView.named(view.absentAgents, view.absentAgentCount)
            )
        }
    }

    private func activate(_ id: String) async throws -> AuthorityActView {
        func ask(rehearse: Bool) async throws -> AuthorityActView {
            AuthorityActView(
                try await options.server.withClient { client in
                    try await AdministrationClient(wrapping: client).activateAuthority(
                        .with {
                            $0.id = id
                            $0.now = true
                            $0.rehearse = rehearse
                            $0.takesProposal = true
                        }
                    )
                }
            )
        }
        let outlook = try await ask(rehearse: true)
        try options.rehearsal.confirm(outlook.objections, saying: outlook.consequences)
        return try await ask(rehearse: false)
    }

    private func authorities() async throws -> AuthorityListView {
        AuthorityListView(
            try await options.server.withClient { client in
                try await AdministrationClient(wrapping: client).listAuthorities(.init())
            }
        )
    }

    /// Asks until the authority signs; a server that restarts is asked again.
    ///
    /// - Throws: `CommandFailure` if it never will, or not in time.
    private func waitUntilActive(_ id: String) async throws {
        let clock = SystemClock()
        let deadline = waitSeconds.map { clock.bootTime + .seconds($0) }
        var pace = ProgressPace()
        defer { Terminal.endProgress() }
        while true {
            let last: String
            var list: AuthorityListView?
            do {
                let told = try await authorities()
                let progress = told.progress(of: id)
                if let failure = progress.failure { throw failure }
                guard case .waiting(let text) = progress else { return }
                (last, list) = (text, told)
            } catch let failure as CommandFailure where failure.status == .unreachable {
                last = failure.message
            }
            try say(RotationWaitView(id, last, list), &pace, now: clock.bootTime)
            if let deadline, clock.bootTime >= deadline {
                throw CommandFailure(
                    "the new authority does not sign yet: \(last)",
                    remedy:
                        "The rotation goes on by itself; `signet authority rotate --wait` waits "
                        + "for it again.",
                    status: .unconfirmed
                )
            }
            try await clock.sleep(untilBoot: clock.bootTime + Self.askInterval)
        }
    }

    /// Says what is waited for: over what was said before where somebody watches, else in lines.
    private func say(
        _ view: RotationWaitView,
        _ pace: inout ProgressPace,
        now: Duration
    ) throws {
        let text = "waiting: \(Terminal.printable(view.waiting))"
        guard !Terminal.isWatched else { return Terminal.progress(text) }
        let line = options.output.format == .json ? try OutputOptions.jsonLine(view) : text
        if pace.isDue(line, at: now) { Terminal.error(line) }
    }
}
