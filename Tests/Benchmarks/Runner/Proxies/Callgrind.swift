// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// Valgrind's callgrind, which counts instructions and calls of each function.
enum Callgrind {
    private static let executable = "/usr/bin/valgrind"

    static var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: executable) }

    /// The command that runs a program under it; the file is written when the program ends.
    static func command(output: String) -> [String] {
        [executable, "--tool=callgrind", "-q", "--callgrind-out-file=\(output)"]
    }

    static func isAllocation(_ function: String) -> Bool {
        ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"]
            .contains(function)
    }

    /// Reference counting and what goes with it.
    static func isReferenceCounting(_ function: String) -> Bool {
        let names = [
            "swift_retain", "swift_release", "swift_bridgeObjectRetain",
            "swift_bridgeObjectRelease", "swift_nonatomic_", "swift_unknownObjectRetain",
            "swift_unknownObjectRelease",
            "swift_unownedRetain", "swift_unownedRelease", "swift_weak",
        ]
        return names.contains { function.hasPrefix($0) }
    }

    /// What one run has done.
    struct Profile: Sendable {
        let instructions: Double
        private var callsByName: [String: Double] = [:]
        /// Without what the functions call.
        private var instructionsByName: [String: Double] = [:]

        /// Reads the format that callgrind_annotate reads.
        ///
        /// Functions are a number with, the first time, a name. After `fn=` come lines of a
        /// position and its own instructions; after `calls=` comes one with those of the callee.
        init(contentsOf path: String) throws {
            let text = try String(contentsOfFile: path, encoding: .utf8)
            var names: [Substring: String] = [:]
            var function = ""
            var called = ""
            var total: Double?
            var isOfCallee = false
            for line in text.split(separator: "\n") {
                if let first = line.utf8.first, Self.beginsPosition(first) {
                    if !isOfCallee {
                        let count = line.split(separator: " ").last.flatMap { Double($0) }
                        instructionsByName[function, default: 0] += count ?? 0
                    }
                    isOfCallee = false
                } else if line.hasPrefix("fn=") {
                    function = Self.name(line.dropFirst(3), &names)
                } else if line.hasPrefix("cfn=") {
                    called = Self.name(line.dropFirst(4), &names)
                } else if line.hasPrefix("calls=") {
                    let count = line.dropFirst(6).prefix { $0 != " " }
                    callsByName[called, default: 0] += Double(count) ?? 0
                    isOfCallee = true
                } else if line.hasPrefix("totals:") {
                    total = line.split(separator: " ").last.flatMap { Double($0) }
                }
            }
            guard let total, !callsByName.isEmpty else {
                throw BenchmarkError("callgrind has written no profile to \(path)")
            }
            instructions = total
        }

        /// Positions are numbers, or relative to the last one.
        private static func beginsPosition(_ byte: UInt8) -> Bool {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || [UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "*")].contains(byte)
        }

        private static func name(
            _ field: Substring,
            _ names: inout [Substring: String]
        ) -> String {
            let parts = field.split(separator: " ", maxSplits: 1)
            guard let number = parts.first else { return "" }
            if parts.count > 1 {
                // A second level of a recursion is the same function.
                names[number] = parts[1].split(separator: "'").first.map(String.init) ?? ""
            }
            return names[number] ?? ""
        }

        func calls(where isOne: (String) -> Bool) -> Double {
            callsByName.filter { isOne($0.key) }.values.reduce(0, +)
        }

        /// The functions that this run has called more often than another, the most first.
        func mostCalled(
            beyond other: Profile,
            where isOne: (String) -> Bool
        ) -> [(name: String, count: Double)] {
            Self.most(callsByName.filter { isOne($0.key) }, beyond: other.callsByName)
        }

        /// The functions that have used the most instructions of their own beyond another run.
        func costliest(beyond other: Profile) -> [(name: String, count: Double)] {
            Self.most(instructionsByName, beyond: other.instructionsByName)
        }

        private static func most(
            _ counts: [String: Double],
            beyond others: [String: Double]
        ) -> [(name: String, count: Double)] {
            counts.map { (name: $0.key, count: $0.value - (others[$0.key] ?? 0)) }
                .filter { $0.count > 0 }.sorted { $0.count > $1.count }.prefix(6).map { $0 }
        }
    }
}
