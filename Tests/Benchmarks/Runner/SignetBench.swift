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

    @Option(help: "Folder with signet-server, signet-agent and signet-bench-peer.")
    var binaries: String
    @Option(help: "Where the results are written; none are without it.") var json: String?
    @Option(help: "Where the table is written; none is without it.") var markdown: String?
    @Option(help: "Measurements of each row.") var runs = 5
    @Flag(help: "Tiny sizes: shows that everything works, measures nothing.") var quick = false
    @Option(name: .customLong("only"), help: "A benchmark by name; may be given several times.")
    var only: [String] = []

    func run() async throws {
        _ = clinux_raise_descriptor_limit()
        let chosen = Benchmarks.all.filter { only.isEmpty || only.contains($0.name) }
        guard !chosen.isEmpty else {
            let names = Benchmarks.all.map(\.name).joined(separator: ", ")
            throw ValidationError("--only takes one of \(names)")
        }
        let settings = BenchmarkSettings(binaries: binaries, runs: runs, isQuick: quick)
        var rows: [ResultRow] = []
        for benchmark in chosen {
            Console.say("== \(benchmark.name)")
            let measured = await Self.measure(benchmark, settings)
            for row in measured { Console.say("   \(row.summary)") }
            rows += measured
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
                why: own.isEmpty ? failure ?? "no value" : nil
            )
        }
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
