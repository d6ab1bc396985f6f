// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import PolicyDocuments

/// What to say about a command line that cannot be understood.
enum UsageMessage {
    /// In the form of every other failure: what is wrong, and what to write instead.
    static func text(
        for error: any Error,
        arguments: [String] = Array(CommandLine.arguments.dropFirst())
    ) -> String {
        if let unknown = UnknownCommand.first(in: arguments) { return "signet: \(unknown.message)" }
        if let first = arguments.first, first.hasPrefix("-"), first.count > 2 {
            return "signet: options stand after the command\n"
                + "  For example: signet agent list --server ca.example.org:8081"
        }
        let message = Signet.fullMessage(for: error)
        let prefix = "Error: "
        return "signet: "
            + (message.hasPrefix(prefix) ? message.dropFirst(prefix.count) : message[...])
    }
}

/// A word where a command has to stand, that is none.
struct UnknownCommand {
    private let word: String
    private let parent: String
    private let known: [String]

    /// Follows the words of a command line; nil unless one of them is no command.
    static func first(in arguments: [String]) -> Self? {
        var type: any ParsableCommand.Type = Signet.self
        var path = ["signet"]
        for word in arguments {
            let commands = type.configuration.subcommands
            guard !commands.isEmpty, !word.hasPrefix("-"), word != "help" else { return nil }
            guard let next = commands.first(where: { name(of: $0) == word }) else {
                let shown = commands.filter { $0.configuration.shouldDisplay }
                return Self(
                    word: word,
                    parent: path.joined(separator: " "),
                    known: shown.map { name(of: $0) }
                )
            }
            path.append(word)
            type = next
        }
        return nil
    }

    var message: String {
        let remedy = Suggestion.remedy(for: word, among: known)
        return "there is no command \"\(Terminal.printable("\(parent) \(word)"))\"; \(remedy)\n"
            + "  `\(parent) --help` says what each does."
    }

    private static func name(of command: any ParsableCommand.Type) -> String {
        command.configuration.commandName ?? "\(command)".lowercased()
    }
}
