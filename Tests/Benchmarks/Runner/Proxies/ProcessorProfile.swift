// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// Where processes spend their time, by Linux's perf: what stands beside a target that is missed.
enum ProcessorProfile {
    private static let executable = "/usr/bin/perf"
    /// Samples in a second of processor time; no multiple of the kernel's own clock.
    private static let frequency = 997
    /// As long as a reading takes with its warm-up.
    private static let seconds = 4
    /// Functions that are named.
    private static let functionsMax = 10

    /// Runs `body` and tells in which functions the processes spent their time meanwhile.
    ///
    /// - Returns: Functions with their share, the greatest first; or why there is no profile.
    static func of(
        _ processes: [ChildProcess],
        on stand: ProxyStand,
        _ body: () async throws -> Void
    ) async throws -> String {
        guard FileManager.default.isExecutableFile(atPath: executable) else {
            try await body()
            return "none, perf is not installed (.ci/setup bench)"
        }
        let file = "\(stand.folder)/perf.data"
        let pids = processes.map { "\($0.pid)" }.joined(separator: ",")
        let command = stand.load.pinned(
            to: .load,
            executable,
            ["record", "-q", "-e", "cpu-clock", "-F", "\(frequency)", "-o", file, "-p", pids]
                + ["--", "/usr/bin/sleep", "\(seconds)"]
        )
        let recorder = try ChildProcess(command.executable, command.arguments)
        do {
            try await body()
        } catch {
            try? await recorder.end(by: SIGKILL)
            throw error
        }
        try await Waiting.until("the end of perf") { !recorder.isRunning }
        guard FileManager.default.fileExists(atPath: file) else {
            return "none, perf has said: \(recorder.output)"
        }
        let report = try await Tool.output(
            executable,
            ["report", "-q", "-i", file, "--stdio", "--no-children", "--sort", "symbol"]
        )
        let functions = functions(String(decoding: report, as: UTF8.self))
        return functions.isEmpty ? "none, perf took no sample" : functions
    }

    /// Reads lines of a share, a mark of the kernel's functions, and a name.
    private static func functions(_ report: String) -> String {
        report.split(separator: "\n").compactMap { line -> String? in
            let fields = line.split(separator: " ", omittingEmptySubsequences: true)
            guard fields.count >= 3, fields[0].hasSuffix("%"),
                let share = Double(fields[0].dropLast())
            else { return nil }
            let place = fields[1] == "[k]" ? " (kernel)" : ""
            return "\(fields[2])\(place) \(Figure.text(share)) %"
        }
        .prefix(functionsMax).joined(separator: ", ")
    }
}
