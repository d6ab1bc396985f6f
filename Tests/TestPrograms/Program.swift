// SPDX-License-Identifier: Apache-2.0

internal import Clocks
import Foundation
internal import Synchronization

/// What a program that has ended left behind.
package struct ProgramResult: Sendable {
    /// The exit status, or minus the signal that ended it.
    package let status: Int32
    package let output: String
    package let errors: String

    package var isSuccess: Bool { status == 0 }

    /// Everything for a failure's message.
    package var report: String { "status \(status)\n\(output)\n\(errors)" }
}

/// What went wrong around a program.
package struct ProgramFailure: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) {
        self.description = description
    }
}

/// A child process whose output goes to files, so that it never waits for its reader.
package final class Program: Sendable {
    /// How often a wait looks again, at most; with `pause` between, a minute.
    private static let attemptsMax = 6000
    private static let pause = Duration.milliseconds(10)

    package let name: String
    package let outputPath: String
    package let errorsPath: String
    private let process: Mutex<Process>

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - executable: Its absolute path.
    ///   - arguments: Without the program's name.
    ///   - environment: Added to this process's.
    ///   - directory: Where its output is kept; also its working directory.
    /// - Throws: `ProgramFailure` when it cannot be started.
    package init(
        _ executable: String,
        _ arguments: [String],
        environment: [String: String] = [:],
        directory: String
    ) throws {
        name = executable.split(separator: "/").last.map(String.init) ?? executable
        let base = "\(directory)/\(name)-\(UInt32.random(in: 0...UInt32.max))"
        (outputPath, errorsPath) = ("\(base).out", "\(base).err")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: directory)
        process.environment = ProcessInfo.processInfo.environment
            .merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try Self.create(outputPath)
        process.standardError = try Self.create(errorsPath)
        do { try process.run() } catch {
            throw ProgramFailure("\(executable) cannot be started: \(error)")
        }
        self.process = Mutex(process)
    }

    /// A program that nobody stopped ends with the value.
    deinit {
        process.withLock { process in
            if process.isRunning { Signals.send(SignalNumber.kill, to: process.processIdentifier) }
        }
    }

    package var pid: Int32 { process.withLock { $0.processIdentifier } }

    package var isRunning: Bool { process.withLock { $0.isRunning } }

    /// What it has written to standard output so far.
    package var output: String { Self.content(outputPath) }

    /// What it has written to standard error so far.
    package var errors: String { Self.content(errorsPath) }

    package func signal(_ number: SignalNumber) {
        if isRunning { Signals.send(number, to: pid) }
    }

    /// Waits for its end, of which it is reminded by `number` first.
    @discardableResult
    package func stop(_ number: SignalNumber = .terminate) async throws -> ProgramResult {
        signal(number)
        return try await result()
    }

    /// Waits for its end.
    ///
    /// - Throws: `ProgramFailure` when it does not end in time; it is then killed.
    package func result() async throws -> ProgramResult {
        for _ in 0..<Self.attemptsMax {
            if !isRunning {
                let status = process.withLock { process in
                    process.terminationReason == .exit
                        ? process.terminationStatus : -process.terminationStatus
                }
                return ProgramResult(status: status, output: output, errors: errors)
            }
            try await clock.sleep(untilBoot: clock.bootTime + Self.pause)
        }
        signal(.kill)
        throw ProgramFailure("\(name) did not end\n\(errors)")
    }

    /// Waits until it has written `text` to standard error or output.
    ///
    /// - Throws: `ProgramFailure` when it ends before, or takes too long.
    package func waitFor(_ text: String, times: Int = 1) async throws {
        try await eventually("\(name) to write \"\(text)\" (\(times) times)") {
            let written = errors + output
            if written.ranges(of: text).count >= times { return true }
            guard isRunning else {
                throw ProgramFailure("\(name) ended without \"\(text)\":\n\(errors)\n\(output)")
            }
            return false
        }
    }

    private static func create(_ path: String) throws -> FileHandle {
        guard FileManager.default.createFile(atPath: path, contents: nil),
            let handle = FileHandle(forWritingAtPath: path)
        else { throw ProgramFailure("\(path) cannot be written") }
        return handle
    }

    private static func content(_ path: String) -> String {
        let bytes = FileManager.default.contents(atPath: path) ?? Data()
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Waits until `condition` holds, for at most a minute; nothing else is waited for by time.
///
/// - Throws: `ProgramFailure` naming `what`; and what `condition` throws, at once.
package func eventually(
    _ what: @autoclosure () -> String,
    _ condition: () async throws -> Bool
) async throws {
    for _ in 0..<6000 {
        if try await condition() { return }
        try await clock.sleep(untilBoot: clock.bootTime + .milliseconds(10))
    }
    throw ProgramFailure("waited too long for \(what())")
}

private let clock = SystemClock()
