// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import SPIFFE

/// The version of all Signet programs of one build.
enum Version {
    static let current = SignetVersion.current
}

/// `signet version`.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version",
        abstract: "Print the version.",
        discussion: "Example: signet version -o json"
    )
    @OptionGroup var output: OutputOptions

    struct View: Encodable {
        var version = Version.current
    }

    func run() throws {
        if output.format == .table {
            Terminal.out("signet \(Version.current)")
        } else {
            try output.print(View()) { Table(headings: [], rows: []) }
        }
    }
}
