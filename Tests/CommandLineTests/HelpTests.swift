// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing
import signet

/// What the program says of itself, and what shells complete.
@Suite(.timeLimit(.minutes(1)))
struct HelpTests {
    /// The parser's own description of all commands.
    private struct Dump: Decodable {
        var command: Command
    }

    private struct Command: Decodable {
        var commandName: String
        var abstract: String?
        var discussion: String?
        var shouldDisplay: Bool
        var subcommands: [Command]?
        var arguments: [Argument]?

        var shown: [Command] {
            (subcommands ?? []).filter { $0.shouldDisplay && $0.commandName != "help" }
        }
    }

    private struct Argument: Decodable {
        struct Name: Decodable {
            var kind: String
            var name: String
        }
        var kind: String
        var shouldDisplay: Bool
        var valueName: String?
        var abstract: String?
        var names: [Name]?
    }

    private static func run(_ arguments: [String]) async throws -> ProgramResult {
        let directory = try TestDirectory()
        return try await Installation.run(
            Installation.binary("signet"),
            arguments,
            directory: directory.path
        )
    }

    private static func root() async throws -> Command {
        let dump = try await run(["--experimental-dump-help"])
        return try JSONDecoder().decode(Dump.self, from: Data(dump.output.utf8)).command
    }

    /// Every command with its words.
    private static func commands() async throws -> [(path: [String], command: Command)] {
        var found: [(path: [String], command: Command)] = []
        var left = [(path: [String](), command: try await root())]
        while let next = left.popLast() {
            found.append(next)
            left += next.command.shown.map { (next.path + [$0.commandName], $0) }
        }
        return found
    }

    @Test func `every command of the issue is there`() async throws {
        let paths = Set(try await Self.commands().map { $0.path.joined(separator: " ") })
        let wanted = [
            "dev", "apply", "get", "delete", "history", "token create", "token list",
            "token delete", "agent list", "agent show",
            "agent ban", "agent evict", "bundle show", "authority show",
            "authority rotate", "authority prepare", "authority activate", "authority taint",
            "authority revoke", "authority crl", "entry list",
            "entry show", "entry blast-radius", "svid fetch", "svid watch", "svid revoke",
            "svid revocations", "proxy list", "proxy status", "proxy connections",
            "explain workload", "explain request", "explain decision", "decisions verify",
            "audit query", "audit tail", "audit verify", "server backup", "server accept-clock",
            "server recover", "server restore", "ca recheck", "pki root", "pki sign", "pki show",
            "health", "version", "completion",
        ]
        for command in wanted { #expect(paths.contains(command), "\(command)") }
    }

    @Test func `every command says what it does, with an example that names it`() async throws {
        for (path, command) in try await Self.commands() {
            let words = path.joined(separator: " ")
            #expect(command.abstract?.isEmpty == false, "\(words)")
            let discussion = command.discussion ?? ""
            let example = discussion.range(of: "Example: ", options: .backwards)
            let text = discussion[try #require(example, "\(words) has no example").upperBound...]
            #expect(text.contains("signet \(words)"), "\(words): \(text)")
        }
    }

    @Test func `a recheck says of what it judges nothing`() async throws {
        let recheck = try await Self.commands().first { $0.path == ["ca", "recheck"] }
        let said = recheck?.command.discussion ?? ""
        for part in ["Certificates alone", "jwtSVIDsIssued", "revocationListSigned"] {
            #expect(said.contains(part), "\(said)")
        }
    }

    @Test func `every option says what it does and what it takes`() async throws {
        for (path, command) in try await Self.commands() {
            for argument in command.arguments ?? [] where argument.shouldDisplay {
                let name = argument.names?.first?.name ?? argument.valueName ?? ""
                let place = "\(path.joined(separator: " ")) \(name)"
                #expect(argument.abstract?.isEmpty == false, "\(place)")
                // A value called like its option says nothing: --ttl-seconds <ttl-seconds>.
                let says = argument.valueName != name || ["identity", "spiffe-id"].contains(name)
                if argument.kind == "option" { #expect(says, "\(place)") }
            }
        }
    }

    @Test(
        arguments: [
            (
                "signet-server",
                [
                    "/etc/signet/server.yaml", "error, critical.",
                    "Example: signet-server --config",
                    "with 64 for wrong usage.",
                ]
            ),
            (
                "signet-agent",
                [
                    "/var/lib/signet/agent)", "/run/signet/agent/workload.sock)", "0666)", "9812)",
                    "error, critical.", "(default: info)", "(default: text)",
                    "Example: signet-agent --config", "with 64 for wrong usage.",
                ]
            ),
        ]
    )
    func `the daemons tell their defaults and every log level`(
        program: String,
        parts: [String]
    ) async throws {
        let directory = try TestDirectory()
        let result = try await Installation.run(
            Installation.binary(program),
            ["--help"],
            directory: directory.path
        )
        let help = result.output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        for part in parts { #expect(help.contains(part), "\(part): \(help)") }
    }

    @Test(arguments: ["bash", "zsh", "fish"])
    func `completion knows every command and every option`(shell: String) async throws {
        let script = try await Self.run(["completion", shell])
        #expect(script.isSuccess, "\(script.report)")
        for (path, command) in try await Self.commands() {
            for word in path { #expect(script.output.contains(word), "\(path)") }
            for argument in command.arguments ?? [] where argument.shouldDisplay {
                for name in argument.names ?? [] where name.kind == "long" {
                    let option = shell == "fish" ? "-l '\(name.name)'" : "--\(name.name)"
                    #expect(script.output.contains(option), "\(path) \(option)")
                }
            }
        }
        for word in ["yaml", "RegistrationEntry", "svidsIssued", "USR1"] {
            #expect(script.output.contains(word), "\(word)")
        }
        #expect(!script.output.contains("launch"))
    }

    @Test(arguments: ["bash", "zsh", "fish"])
    func `the shell reads its completion script`(shell: String) async throws {
        // A shell that is not here is not completed for.
        guard let program = try? Installation.tool(shell) else { return }
        let directory = try TestDirectory()
        let file = "\(directory.path)/completion"
        try await Self.run(["completion", shell]).output
            .write(toFile: file, atomically: true, encoding: .utf8)
        let read = try await Installation.run(program, ["-n", file], directory: directory.path)
        #expect(read.isSuccess, "\(read.report)")
    }

    @Test func `bash completes commands, options and their values`() async throws {
        let directory = try TestDirectory()
        let file = "\(directory.path)/completion"
        try await Self.run(["completion", "bash"]).output
            .write(toFile: file, atomically: true, encoding: .utf8)
        let cases = [
            ("signet ag", "agent"), ("signet agent b", "ban"),
            ("signet agent list --o", "--output"),
            ("signet agent list -o y", "yaml"), ("signet get Role", "RoleBinding"),
            ("signet audit query --event svids", "svidsIssued"),
            ("signet proxy con", "connections"), ("signet explain d", "decision"),
            ("signet svid revoke --f", "--for"),
        ]
        for (line, expected) in cases {
            let script = """
                source '\(file)'
                COMP_WORDS=(\(line)); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
                COMP_LINE='\(line)'; COMP_POINT=${#COMP_LINE}
                _signet signet "${COMP_WORDS[$COMP_CWORD]}" "${COMP_WORDS[$COMP_CWORD - 1]}"
                printf '%s\\n' "${COMPREPLY[@]}"
                """
            let answer = try await Installation.run(
                Installation.tool("bash"),
                ["-c", script],
                directory: directory.path
            )
            let words = answer.output.split(whereSeparator: \.isWhitespace).map(String.init)
            #expect(words.contains(expected), "\(line): \(answer.report)")
        }
    }

    @Test func `the exit statuses are those of the page and of the help`() async throws {
        let page = Installation.repository.appending(path: "docs/command-line.md")
        let text = try String(contentsOf: page, encoding: .utf8)
        let help = try await Self.run(["--help"]).output
            .split(whereSeparator: \.isWhitespace).joined(separator: " ")
        for status in ExitStatus.allCases {
            #expect(text.contains("| \(status.rawValue) | \(status.meaning) |\n"))
            #expect(help.contains("\(status.rawValue) \(status.meaning)"))
        }
        let rows = text.split(separator: "\n").filter { line in
            line.hasPrefix("| ") && Int(line.dropFirst(2).prefix { $0 != " " }) != nil
        }
        #expect(rows.count == ExitStatus.allCases.count)
    }
}
