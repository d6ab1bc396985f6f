// SPDX-License-Identifier: Apache-2.0

import Testing

/// Rules about files of every kind.
@Suite struct RepositoryTests {
    /// Endings of files that people read and write; others are data.
    private static let textEndings = [
        ".c", ".conf", ".h", ".json", ".md", ".proto", ".py", ".service", ".sh", ".swift", ".txt",
        ".yaml", ".yml", "Makefile",
    ]

    @Test func `nothing names a path of one machine`() {
        var violations: [String] = []
        for path in Repository.files(under: "") where Self.isText(path) {
            guard let text = Repository.text(path) else { continue }
            violations += Self.machinePaths(in: text).map { "\(path):\($0)" }
        }
        report(violations)
    }

    @Test func `a path of one machine is found`() {
        for name in ["work", "root", "srcroot", "farm"] {
            #expect(Self.machinePaths(in: "ok\nsee \"/\(name)/a\"") == ["2: /\(name)/"])
        }
        #expect(Self.machinePaths(in: "x /tmp/\("wt")/a").count == 1)
        #expect(Self.machinePaths(in: "home\("/work")/a, https://a.example\("/work")/").isEmpty)
    }

    @Test func `the files of the house are there`() {
        let files = [
            ".ci/run", ".gitignore", ".swift-format", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE",
            "Makefile", "README.md", "SECURITY.md", "dependencies.txt", "docs/ARCHITECTURE.md",
            "docs/attestation.md", "docs/audit.md", "docs/conformance.md", "docs/operations.md",
        ]
        report(files.filter { !Repository.exists($0) }.map { "\($0) is missing" })
    }

    @Test func `hand-written C names the licence`() {
        report(
            Repository.files(under: "Sources").filter { path in
                guard path.hasSuffix(".c") || path.hasSuffix(".h") else { return false }
                let start = Repository.text(path)?.prefix(200) ?? ""
                return !start.contains("SPDX-License-Identifier: Apache-2.0")
            }
        )
    }

    @Test func `a stage of CI names goals that the Makefile has, within the hour`() throws {
        let makefile = try #require(Repository.text("Makefile"))
        let stages = try #require(Repository.text(".ci/stages"))
        var minutes = 0
        for line in stages.split(separator: "\n") where !line.hasPrefix("#") {
            let words = line.split(separator: " ").map(String.init)
            try #require(words.count >= 4, "\(line)")
            #expect(["always", "last", "full"].contains(words[2]))
            minutes += Int(words[1]) ?? 0
            for goal in words[3...] {
                #expect(makefile.contains("\n\(goal):"), "make has no goal '\(goal)'")
            }
        }
        #expect(minutes > 0 && minutes < 60)
    }

    private static func isText(_ path: String) -> Bool {
        path.hasPrefix(".ci/") || textEndings.contains(where: path.hasSuffix)
    }

    /// Absolute paths of the machine that something was written on, with their lines.
    private static func machinePaths(in text: String) -> [String] {
        // Put together here, so that this file does not hold them.
        let folders = ["work", "root", "srcroot", "farm", "tmp/wt"].map { Array("/\($0)/".utf8) }
        let bytes = Array(text.utf8)
        var found: [String] = []
        var line = 1
        for (index, byte) in bytes.enumerated() {
            if byte == UInt8(ascii: "\n") { line += 1 }
            guard byte == UInt8(ascii: "/"), index == 0 || !bytes[index - 1].continuesPath else {
                continue
            }
            for folder in folders where bytes[index...].starts(with: folder) {
                found.append("\(line): \(String(decoding: folder, as: UTF8.self))")
            }
        }
        return found
    }
}

extension UInt8 {
    /// Whether a slash after it stands inside a path, so that no absolute path begins there.
    fileprivate var continuesPath: Bool {
        let character = Character(UnicodeScalar(self))
        return character.isLetter || character.isNumber || "_.-})".contains(character)
    }
}
