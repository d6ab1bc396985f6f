// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import Synchronization

/// A program under measurement: what it says, what it weighs, what it has used.
final class ChildProcess: Sendable {
    /// Lines kept for the error message when something goes wrong.
    private static let linesMax = 50
    /// USER_HZ of every Linux that Swift runs on: /proc counts time in hundredths of a second.
    private static let ticksPerSecond = 100.0

    /// What was read of a program so far.
    private struct Output {
        var lines: [String] = []
        /// What has come of a line that is not whole.
        var rest: [UInt8] = []
        /// Whether the program will write nothing more.
        var isWhole = false
    }

    private let process: Process
    private let written = Mutex(Output())
    private let started = ContinuousClock.now

    var pid: Int32 { process.processIdentifier }
    var isRunning: Bool { process.isRunning }

    /// Starts a program; what it writes to standard error is read line by line, and standard output
    /// goes into a file if one is named.
    init(_ executable: String, _ arguments: [String], output: String? = nil) throws {
        process = Process()
        process.executableURL = URL(filePath: executable)
        process.arguments = arguments
        let pipe = Pipe()
        process.standardError = pipe
        process.standardOutput = FileHandle.nullDevice
        if let output {
            _ = FileManager.default.createFile(atPath: output, contents: nil)
            process.standardOutput = try FileHandle(forWritingTo: URL(filePath: output))
        }
        pipe.fileHandleForReading.readabilityHandler = { [weak self] handle in
            let data = handle.availableData
            if data.isEmpty { handle.readabilityHandler = nil }
            self?.keep(data)
        }
        try Children.start(process)
    }

    /// Time since the start.
    var age: Duration { .now - started }

    /// The last lines that the program wrote.
    var output: String { written.withLock { $0.lines.joined(separator: "\n") } }

    /// Takes what was written; nothing at the end.
    private func keep(_ data: Data) {
        written.withLock { written in
            written.isWhole = data.isEmpty
            var parts = (written.rest + data).split(
                separator: UInt8(ascii: "\n"),
                omittingEmptySubsequences: false
            )
            // A line may come in two parts, of which the second is still to come.
            written.rest = data.isEmpty ? [] : parts.popLast().map(Array.init) ?? []
            written.lines += parts.filter { !$0.isEmpty }
                .map { String(decoding: $0, as: UTF8.self) }
            written.lines.removeFirst(max(0, written.lines.count - Self.linesMax))
        }
    }

    /// Waits for a line that holds all of the texts.
    func line(with texts: String...) async throws -> String {
        var found: String?
        try await Waiting.until("\(texts) of \(process.executableURL?.lastPathComponent ?? "")") {
            let isWhole = written.withLock { written in
                found = written.lines.first { line in texts.allSatisfy { line.contains($0) } }
                return written.isWhole
            }
            // Its last lines are read after its end.
            guard found != nil || process.isRunning || !isWhole else {
                throw BenchmarkError("the process has ended: \(output)")
            }
            return found != nil
        }
        return found ?? ""
    }

    /// Ends the program and waits for its end.
    func end(by signal: Int32 = SIGTERM) async throws {
        guard process.isRunning else { return }
        kill(pid, signal)
        try await Waiting.until("the end of process \(pid)", within: .seconds(60)) {
            !process.isRunning
        }
    }

    /// Memory in use, in KiB, pages shared with other processes included.
    func residentKilobytes() throws -> Double { try kilobytes("VmRSS:") }

    /// The part of it that no file holds: heap and stacks.
    func anonymousKilobytes() throws -> Double { try kilobytes("RssAnon:") }

    private func kilobytes(_ name: String) throws -> Double {
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        let fields = status.split(separator: "\n").first { $0.hasPrefix(name) }?
            .split { $0 == " " || $0 == "\t" }
        guard let fields, fields.count > 1, let number = Double(fields[1]) else {
            throw BenchmarkError("no \(name) of process \(pid)")
        }
        return number
    }

    /// Processor time used so far, in seconds, in the program and in the kernel for it.
    func processorSeconds() throws -> Double { try Self.processorSeconds(of: pid) }

    /// The same of any process.
    static func processorSeconds(of pid: Int32) throws -> Double {
        let stat = try String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
        // The name in parentheses may hold anything; utime and stime are fields 14 and 15.
        guard let end = stat.lastIndex(of: ")") else { throw BenchmarkError("no stat") }
        let fields = stat[end...].split(separator: " ")
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13])
        else { throw BenchmarkError("no times of process \(pid)") }
        return (user + system) / ticksPerSecond
    }
}

/// Waits for what other processes do.
enum Waiting {
    /// Asks again and again until the answer is yes.
    ///
    /// - Throws: `BenchmarkError` when it takes too long; what `condition` throws.
    static func until(
        _ what: String,
        within limit: Duration = .seconds(60),
        every pause: Duration = .milliseconds(1),
        _ condition: () async throws -> Bool
    ) async throws {
        let clock = ContinuousClock()
        let end = clock.now + limit
        while try await !condition() {
            guard clock.now < end else { throw BenchmarkError("waited \(limit) for \(what)") }
            try await clock.sleep(for: pause)
        }
    }

    static func pause(_ duration: Duration) async throws {
        try await ContinuousClock().sleep(for: duration)
    }
}

extension Duration {
    var milliseconds: Double { self / .milliseconds(1) }
    var seconds: Double { self / .seconds(1) }
}
