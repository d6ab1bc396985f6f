// SPDX-License-Identifier: Apache-2.0

package import Foundation

/// Where the programs under test and the tools of the tests are.
package enum Installation {
    /// The root of the source tree.
    package static let repository = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// The programs lie beside the test bundle that runs.
    package static let binaries = URL(fileURLWithPath: "/proc/self/exe")
        .resolvingSymlinksInPath().deletingLastPathComponent().path

    /// A program of Signet.
    ///
    /// - Throws: `ProgramFailure` that says how to build it.
    package static func binary(_ name: String) throws -> String {
        let path = "\(binaries)/\(name)"
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw ProgramFailure("\(path) is missing; run: swift build --build-tests")
        }
        return path
    }

    /// A tool of the machine.
    ///
    /// - Throws: `ProgramFailure` when it is not installed.
    package static func tool(_ name: String) throws -> String {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")
            .split(separator: ":")
        for folder in folders {
            let path = "\(folder)/\(name)"
            if FileManager.default.isExecutableFile(atPath: path) { return path }
        }
        throw ProgramFailure("\(name) is not installed; run: make setup")
    }

    /// The Python that has the packages of Tests/requirements.txt.
    ///
    /// - Throws: `ProgramFailure` that says how to make it.
    package static func python() throws -> String {
        let made = repository.appendingPathComponent(".build/venv/bin/python").path
        let path = ProcessInfo.processInfo.environment["SIGNET_PYTHON"] ?? made
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw ProgramFailure(
                "the Python of the tests is missing at \(path); run: make setup"
            )
        }
        return path
    }

    /// A program beside that Python, from one of its packages.
    package static func pythonTool(_ name: String) throws -> String {
        let folder = try URL(fileURLWithPath: python()).deletingLastPathComponent()
        let path = folder.appendingPathComponent(name).path
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw ProgramFailure("\(path) is missing; run: make setup")
        }
        return path
    }

    /// Runs a tool to its end.
    package static func run(
        _ executable: String,
        _ arguments: [String],
        environment: [String: String] = [:],
        directory: String
    ) async throws -> ProgramResult {
        try await Program(
            executable,
            arguments,
            environment: environment,
            directory: directory
        ).result()
    }
}

/// A directory of its own, which goes with the value.
///
/// Its path is short, as sockets are bound in it.
package final class TestDirectory: Sendable {
    package let path: String

    package init() throws {
        let name = "sgt-\(UInt32.random(in: 0...UInt32.max))"
        let url = FileManager.default.temporaryDirectory.appendingPathComponent(name)
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
        path = url.path
    }

    deinit {
        if ProcessInfo.processInfo.environment["SIGNET_KEEP"] == nil {
            try? FileManager.default.removeItem(atPath: path)
        }
    }
}
