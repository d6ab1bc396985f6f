// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// docs/benchmarks.md, from the rows.
struct ResultTable {
    let rows: [ResultRow]
    let machine: Machine
    let runs: Int

    var markdown: String {
        """
        <!-- Written by `make bench`; do not edit. -->
        # Benchmarks

        Median of \(runs) runs with the lowest and the highest, measured by `make bench` on a quiet \
        machine: \(machine.description). The same numbers as data: `bench-results.json`.

        Everything runs on this one machine, the load as well: two cores are shared by the server \
        and by whoever asks it. Peers are measured in the same run.

        | Case | Signet | Spread | Peer | Ratio | Target | Met |
        |---|---|---|---|---|---|---|
        \(rows.map(Self.line).joined(separator: "\n"))

        \(rows.compactMap(Self.remark).joined(separator: "\n"))
        \(missed)
        ## How each is measured

        \(BenchmarkNotes.text)

        ## As published elsewhere, not measured here

        \(PublishedFigures.text)

        """
    }

    /// What was missed, and why as far as a profile tells.
    private var missed: String {
        let missed = rows.filter { $0.met == false }
        guard !missed.isEmpty else { return "" }
        let lines = missed.map { row in
            "- \(row.case): "
                + (BenchmarkNotes.reasons[row.case] ?? "nobody has looked into it yet.")
                + (row.profile.map { " Profile of both sides: \($0)." } ?? "")
        }
        return "\n## Missed targets\n\n" + lines.joined(separator: "\n") + "\n"
    }

    private static func remark(_ row: ResultRow) -> String? {
        row.note.map { "- \(row.case): \($0)." }
    }

    private static func line(_ row: ResultRow) -> String {
        let cells: [String]
        if let ours = row.ours, let spread = row.spread, spread.count == 2 {
            let peer = row.peer.map { peer in
                row.peerValue.map { "\(peer): \(Figure.text($0))" } ?? peer
            }
            cells = [
                row.case, "\(Figure.text(ours)) \(row.unit)",
                "\(Figure.text(spread[0])) to \(Figure.text(spread[1]))", peer ?? "",
                row.ratio.map { "\($0)" } ?? "", row.target ?? "",
                row.met.map { $0 ? "yes" : "**no**" } ?? "",
            ]
        } else {
            let why = "not measured: \(row.why ?? "")".replacing("|", with: "\\|")
            cells = [row.case, why.replacing("\n", with: " "), "", "", "", row.target ?? "", ""]
        }
        return "| " + cells.joined(separator: " | ") + " |"
    }
}

/// What the numbers were measured on.
struct Machine: CustomStringConvertible {
    var description: String {
        let cores = ProcessInfo.processInfo.activeProcessorCount
        let gigabytes = ProcessInfo.processInfo.physicalMemory >> 30
        return "\(cores) cores of \(processor), \(gigabytes) GB of memory, Linux \(kernel)"
    }

    private var processor: String {
        let lines = Self.lines(of: "/proc/cpuinfo")
        let model = lines.first { $0.hasPrefix("model name") }?.split(separator: ":").last
        return model?.trimmingCharacters(in: .whitespaces) ?? "an unknown processor"
    }

    private var kernel: String { Self.lines(of: "/proc/sys/kernel/osrelease").first ?? "" }

    private static func lines(of path: String) -> [String] {
        (try? String(contentsOfFile: path, encoding: .utf8))?
            .split(separator: "\n").map(String.init) ?? []
    }
}
