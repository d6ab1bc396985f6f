// SPDX-License-Identifier: Apache-2.0

import Foundation
import FuzzTargets
import Testing

/// Every input that fuzzing has kept, once through its target.
@Suite struct FuzzReplayTests {
    @Test(.timeLimit(.minutes(1)), arguments: FuzzTarget.allCases)
    func `every kept input keeps the rules of its target`(target: FuzzTarget) throws {
        var verdicts: Set<Bool> = []
        for input in try KeptInput.all(of: target) {
            do throws(PropertyBroken) {
                verdicts.insert(try target.check(input.bytes))
            } catch {
                Issue.record("\(input.path): \(error)")
            }
        }
        // Inputs that are all refused, or all accepted, try one side of a reader only.
        #expect(verdicts == [true, false], "Tests/Fuzz/seeds writes the first inputs")
    }

    @Test(arguments: FuzzTarget.allCases)
    func `an input and each of its beginnings keep the rules`(target: FuzzTarget) throws {
        for input in try KeptInput.all(of: target) {
            for length in stride(from: 0, to: input.bytes.count, by: 1 + input.bytes.count / 24) {
                do throws(PropertyBroken) {
                    try target.check(Array(input.bytes.prefix(length)))
                } catch {
                    Issue.record("\(length) bytes of \(input.path): \(error)")
                }
            }
        }
    }

    @Test func `no folder of kept inputs is without its target`() throws {
        let names = Set(FuzzTarget.allCases.map(\.rawValue))
        for folder in KeptInput.folders {
            #expect(try Set(KeptInput.names(in: folder)).isSubset(of: names))
        }
    }

    /// Kept inputs are part of every clone.
    @Test func `the kept inputs are small`() throws {
        let sizes = try FuzzTarget.allCases.flatMap { try KeptInput.all(of: $0) }.map(\.bytes.count)
        #expect(sizes.reduce(0, +) <= 200 * 1024)
    }
}

/// One file of Tests/Fuzz/Corpus or Tests/Fuzz/FailCases.
private struct KeptInput {
    let path: String
    let bytes: [UInt8]

    static let folders: [URL] = {
        let fuzz = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        return ["Corpus", "FailCases"].map { fuzz.appending(path: $0) }
    }()

    static func all(of target: FuzzTarget) throws -> [KeptInput] {
        try folders.map { $0.appending(path: target.rawValue) }.flatMap { folder in
            try names(in: folder).map { name in
                let file = folder.appending(path: name)
                return KeptInput(path: file.path, bytes: Array(try Data(contentsOf: file)))
            }
        }
    }

    /// The names in a folder, sorted; none if there is no such folder.
    static func names(in folder: URL) throws -> [String] {
        guard FileManager.default.fileExists(atPath: folder.path) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    }
}
