// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import Synchronization

/// A program that runs to its end.
enum Tool {
    /// Runs it and returns what it wrote to its standard output.
    ///
    /// - Throws: `BenchmarkError` with what it wrote to standard error, when it fails.
    static func output(_ executable: String, _ arguments: [String]) async throws -> Data {
        let process = Process()
        process.executableURL = URL(filePath: executable)
        process.arguments = arguments
        let folder = FileManager.default.temporaryDirectory
        let stem = "signet-bench-tool-\(UInt64.random(in: 0...UInt64.max))"
        let files = ["out", "err"].map { folder.appending(path: "\(stem).\($0)") }
        defer { for file in files { try? FileManager.default.removeItem(at: file) } }
        for file in files {
            _ = FileManager.default.createFile(atPath: file.path, contents: nil)
        }
        // Files and not pipes: nobody has to read while it runs.
        process.standardOutput = try FileHandle(forWritingTo: files[0])
        process.standardError = try FileHandle(forWritingTo: files[1])
        process.standardInput = FileHandle.nullDevice
        try await withCheckedThrowingContinuation { (ended: CheckedContinuation<Void, any Error>) in
            process.terminationHandler = { _ in ended.resume() }
            do {
                try Children.start(process)
            } catch {
                process.terminationHandler = nil
                ended.resume(throwing: BenchmarkError("cannot start \(executable): \(error)"))
            }
        }
        guard process.terminationStatus == 0 else {
            let said = [try Data(contentsOf: files[1]), try Data(contentsOf: files[0])]
                .map { String(decoding: $0.prefix(600), as: UTF8.self) }
            let name = URL(filePath: executable).lastPathComponent
            throw BenchmarkError("\(name) failed: \(said.joined(separator: " "))")
        }
        return try Data(contentsOf: files[0])
    }
}
