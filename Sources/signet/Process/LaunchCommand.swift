// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser

/// `signet launch`: starts a program that is to die with its parent; used by signet itself.
struct LaunchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "launch",
        abstract: "Become a program that dies with its parent.",
        shouldDisplay: false
    )
    @Option(help: "Process ID of the parent.") var parent: Int32
    @Option(help: "Signal number to get when the parent dies.") var signal: Int32
    @Argument(parsing: .postTerminator, help: "The program and its arguments.")
    var command: [String]

    func run() throws {
        guard let executable = command.first else {
            throw ValidationError("name a program after --")
        }
        let error = Launcher.become(
            executable,
            arguments: Array(command.dropFirst()),
            parent: parent,
            signal: signal
        )
        throw CommandFailure("\(error)")
    }
}
