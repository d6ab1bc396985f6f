// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Clocks
internal import Foundation
internal import Glibc
internal import Yams

/// How an answer is printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case table
    case json
    case yaml
}

/// `-o`, shared by every command that prints objects.
struct OutputOptions: ParsableArguments {
    @Option(
        name: [.customShort("o"), .customLong("output")],
        help: ArgumentHelp("How to print.", valueName: "format")
    )
    var format = OutputFormat.table

    /// Prints `value` for programs, or the table that `table` makes of it for people.
    func print(_ value: some Encodable, table: () -> Table) throws {
        switch format {
        case .table: Terminal.out(table().text)
        case .json: Terminal.out(try Self.json(value))
        case .yaml: Terminal.out(try Self.yaml(value))
        }
    }

    static func json(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    /// One line, for streams of objects.
    static func jsonLine(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    static func yaml(_ value: some Encodable) throws -> String {
        let encoder = YAMLEncoder()
        encoder.options.sortKeys = true
        // PEM is to be read and copied as it is.
        encoder.options.newLineScalarStyle = .literal
        let text = try encoder.encode(value)
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }
}

/// Rows under headings, columns padded to their widest cell.
package struct Table {
    /// Printed instead of an empty table.
    var empty: String
    let headings: [String]
    package var rows: [[String]]

    package init(empty: String = "nothing found", headings: [String], rows: [[String]]) {
        self.empty = empty
        self.headings = headings
        self.rows = rows
    }

    /// One object, a row for each of its fields; a field without value has a dash.
    static func fields(_ fields: KeyValuePairs<String, String>) -> Table {
        Table(
            headings: ["FIELD", "VALUE"],
            rows: fields.map { [$0.key, $0.value.isEmpty ? "-" : $0.value] }
        )
    }

    package var text: String {
        guard !rows.isEmpty else { return empty }
        let cells = ([headings] + rows).map { $0.map(Terminal.printable) }
        let widths = headings.indices.map { column in
            cells.map { $0[column].count }.max() ?? 0
        }
        return cells.map { row in
            zip(row, widths).map { cell, width in
                cell + String(repeating: " ", count: width - cell.count)
            }
            .joined(separator: "  ")
            .trimmingSuffix(while: { $0 == " " })
        }
        .joined(separator: "\n")
    }
}

extension String {
    fileprivate func trimmingSuffix(while predicate: (Character) -> Bool) -> String {
        var end = endIndex
        while end > startIndex, predicate(self[index(before: end)]) { end = index(before: end) }
        return String(self[..<end])
    }
}

/// Standard output and standard error, flushed line by line.
package enum Terminal {
    static func out(_ text: String) { out(bytes: Data((text + "\n").utf8)) }

    /// Writes bytes that are no text to standard output.
    static func out(bytes: Data) {
        do {
            try FileHandle.standardOutput.write(contentsOf: bytes)
        } catch {
            // Nobody reads on (`| head`): end as SIGPIPE would, which NIO has switched off.
            exit(128 + SIGPIPE)
        }
    }

    /// Writes lines, without what could steer the terminal: parts of them may be a peer's.
    static func error(_ text: String) {
        let lines = printableLines(text) + "\n"
        try? FileHandle.standardError.write(contentsOf: Data(lines.utf8))
    }

    /// Whether somebody reads standard error as it is written.
    static var isWatched: Bool { isatty(STDERR_FILENO) == 1 }

    /// Whether somebody reads standard output as it is written.
    package static var isOutputWatched: Bool { isatty(STDOUT_FILENO) == 1 }

    /// Says on a terminal what is waited for, if it takes longer than a second.
    static func waiting<Result: Sendable>(
        for what: String,
        _ body: () async throws -> Result
    ) async throws -> Result {
        guard isWatched else { return try await body() }
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                let clock = SystemClock()
                try await clock.sleep(untilBoot: clock.bootTime + .seconds(1))
                error("waiting for \(what) ...")
            }
            defer { group.cancelAll() }
            return try await body()
        }
    }

    /// Says on a terminal how far something is, over what it said before.
    static func progress(_ text: String) {
        guard isWatched else { return }
        try? FileHandle.standardError.write(contentsOf: Data("\r\(text)\u{1B}[K".utf8))
    }

    /// Takes back what `progress` said.
    static func endProgress() { progress("") }

    /// `text` without control characters: what a peer chose must not steer the terminal.
    static func printable(_ text: String) -> String {
        var printable = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar.properties.generalCategory {
            // Format characters can turn the direction of what follows.
            case .control, .format, .lineSeparator, .paragraphSeparator: printable.append("?")
            default: printable.append(scalar)
            }
        }
        return String(printable)
    }

    /// `text` with its line feeds, and without other control characters.
    package static func printableLines(_ text: String) -> String {
        // By scalars: CR and LF together are one character that is no line feed.
        text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false)
            .map { printable(String($0)) }.joined(separator: "\n")
    }

    /// A moment as RFC 3339 in UTC; "-" for none.
    static func time(unixSeconds: Int64) -> String {
        guard unixSeconds != 0 else { return "-" }
        return Date(timeIntervalSince1970: Double(unixSeconds)).formatted(.iso8601)
    }

    static func time(unixMilliseconds: Int64) -> String {
        time(unixSeconds: unixMilliseconds / 1000)
    }
}
