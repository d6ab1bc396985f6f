// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Glibc

/// How an act is done against which something may stand.
struct RehearsalOptions: ParsableArguments {
    @Flag(help: "Change nothing; say what would happen, and to whom.")
    var rehearse = false
    @Flag(help: "Although something stands against it: what that is is said first.")
    var now = false
    @Flag(help: "With --now: do not ask.")
    var yes = false

    func validate() throws {
        guard !(rehearse && (now || yes)) else {
            throw ValidationError("--rehearse changes nothing: leave out --now and --yes")
        }
        guard now || !yes else {
            throw ValidationError("--yes answers what --now asks: add --now, or leave it out")
        }
    }

    /// Says what stands against the act, and asks whether to go on; nothing stands against it: goes on.
    ///
    /// - Parameters:
    ///   - objections: What needs `--now`.
    ///   - lines: What is said of it.
    /// - Throws: `CommandFailure` unless the answer is yes.
    func confirm(_ objections: [String], saying lines: [String]) throws {
        guard !objections.isEmpty else { return }
        for line in lines { Terminal.error(line) }
        guard !yes else { return }
        guard isatty(STDIN_FILENO) == 1, Terminal.isWatched else {
            throw CommandFailure(
                "nobody is there to be asked",
                remedy: "Add --yes if it has to be done.",
                status: .usage
            )
        }
        Terminal.error("Do it all the same? Type yes:")
        guard readLine(strippingNewline: true) == "yes" else {
            throw CommandFailure("nothing was changed")
        }
    }

    /// The last word of a rehearsal.
    func conclude(_ objections: [String]) {
        Terminal.error(
            objections.isEmpty
                ? "nothing was changed; it would be done" : "nothing was changed; it needs --now"
        )
    }
}
