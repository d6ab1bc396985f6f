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
        // The word after it was read as what the command takes, and may be all that is complained of.
        if !message.contains("Unknown option"), let unknown = UnknownOption.first(in: arguments) {
            return "signet: \(unknown.message)"
        }
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
        let typed = TypedCommand(arguments)
        let commands = typed.type.configuration.subcommands
        guard !commands.isEmpty, let word = typed.rest.first, !word.hasPrefix("-"), word != "help"
        else { return nil }
        let shown = commands.filter { $0.configuration.shouldDisplay }
        return Self(
            word: word,
            parent: typed.words,
            known: shown.map { TypedCommand.name(of: $0) }
        )
    }

    var message: String {
        let remedy = Suggestion.remedy(for: word, among: known)
        return "there is no command \"\(Terminal.printable("\(parent) \(word)"))\"; \(remedy)\n"
            + "  `\(parent) --help` says what each does."
    }
}

/// An option that its command does not have.
private struct UnknownOption {
    private let name: String
    private let command: String
    private let known: [String]

    /// The first of a command line; nil if there is none.
    static func first(in arguments: [String]) -> Self? {
        let typed = TypedCommand(arguments)
        let known = options(of: typed.type)
        // What follows is another program's.
        let own = typed.rest.prefix { $0 != "--" }
        let names = own.filter { $0.hasPrefix("--") }.map { String($0.prefix { $0 != "=" }) }
        return names.first { !known.contains($0) }.map {
            Self(name: $0, command: typed.words, known: known)
        }
    }

    var message: String {
        let near = Suggestion.nearest(to: name, among: known)
        let suggestion = near.map { ". Did you mean '\($0)'?" } ?? ""
        return "Unknown option '\(Terminal.printable(name))'\(suggestion)\n"
            + "  `\(command) --help` lists those it has."
    }

    /// All that the help names: it is made from the options themselves.
    private static func options(of type: any ParsableCommand.Type) -> [String] {
        let help = Signet.helpMessage(for: type, includeHidden: true)
        let words = help.split { !($0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-")) }
        return Set(words.filter { $0.hasPrefix("--") }.map { String($0) }).sorted()
    }
}

/// How far the words of a command line name a command.
private struct TypedCommand {
    private(set) var type: any ParsableCommand.Type = Signet.self
    /// The words that do, `signet` first.
    private(set) var words = "signet"
    /// What follows them.
    private(set) var rest: ArraySlice<String>

    init(_ arguments: [String]) {
        rest = arguments[...]
        while let word = rest.first,
            let next = type.configuration.subcommands.first(where: { Self.name(of: $0) == word })
        {
            words += " " + word
            type = next
            rest = rest.dropFirst()
        }
    }

    static func name(of command: any ParsableCommand.Type) -> String {
        command.configuration.commandName ?? "\(command)".lowercased()
    }
}
