// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Foundation

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
    /// Longest wait for an end; then the program hangs.
    private static let timeMax = Duration.seconds(60)

    package let name: String
    package let outputPath: String
    package let errorsPath: String
    private let child: ChildProcess

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - executable: Its absolute path.
    ///   - arguments: Without the program's name.
    ///   - environment: Added to this process's.
    ///   - directory: Where its output is kept; also its working directory.
    ///   - readsInput: Whether its standard input is open until `closeInput`.
    /// - Throws: `ProgramFailure` when it cannot be started.
    package init(
        _ executable: String,
        _ arguments: [String],
        environment: [String: String] = [:],
        directory: String,
        readsInput: Bool = false
    ) throws {
        name = executable.split(separator: "/").last.map(String.init) ?? executable
        let base = "\(directory)/\(name)-\(UInt32.random(in: 0...UInt32.max))"
        (outputPath, errorsPath) = ("\(base).out", "\(base).err")
        child = try ChildProcess.start(
            executable,
            arguments,
            environment: ProcessInfo.processInfo.environment.merging(environment) { $1 },
            directory: directory,
            streams: .init(
                input: readsInput ? nil : "/dev/null",
                output: outputPath,
                errors: errorsPath
            )
        )
    }

    /// A program that nobody stopped ends with the value.
    deinit {
        child.send(SignalNumber.kill.raw)
    }

    package var pid: Int32 { child.pid }

    package var isRunning: Bool { child.isRunning }

    /// What it has written to standard output so far.
    package var output: String { Self.content(outputPath) }

    /// What it has written to standard error so far.
    package var errors: String { Self.content(errorsPath) }

    package func signal(_ number: SignalNumber) {
        child.send(number.raw)
    }

    /// Ends its standard input.
    package func closeInput() {
        child.closeInput()
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
        let child = child
        let endsInTime = await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                _ = await child.end()
                return true
            }
            group.addTask {
                try? await clock.sleep(untilBoot: clock.bootTime + Self.timeMax)
                guard !Task.isCancelled else { return true }
                child.send(SignalNumber.kill.raw)
                return false
            }
            let first = await group.next() ?? true
            group.cancelAll()
            return first
        }
        let status = await child.end()
        guard endsInTime else { throw ProgramFailure("\(name) did not end\n\(errors)") }
        return ProgramResult(status: status, output: output, errors: errors)
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
