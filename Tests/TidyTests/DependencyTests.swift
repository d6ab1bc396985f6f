// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// What Signet is built from is written down and cannot drift.
@Suite struct DependencyTests {
    @Test func `dependencies.txt is the resolved graph`() throws {
        let list = try #require(Repository.text("dependencies.txt"))
        let pins = try #require(
            Repository.text("Package.resolved"),
            "the build writes Package.resolved; run the tests with 'make test'"
        )
        let written = Self.parseList(list)
        let resolved = try Self.parsePins(pins)
        #expect(!resolved.isEmpty)
        report(
            written.subtracting(resolved).sorted().map { "dependencies.txt, not resolved: \($0)" }
                + resolved.subtracting(written).sorted().map {
                    "resolved, not in dependencies.txt: \($0)"
                }
        )
    }

    @Test func `every Package.swift requires exact versions`() throws {
        let manifests = [
            "Package.swift", "Tests/Fuzz/Package.swift", "Tests/Benchmarks/Package.swift",
        ]
        #expect(Repository.exists("Package.swift"))
        for path in manifests where Repository.exists(path) {
            let text = try #require(Repository.text(path))
            report(Self.inexact(text).map { "\(path):\($0)" })
        }
    }

    /// Without a committed Package.resolved, a package that only others ask for would be resolved to
    /// whatever is newest on the day of the build.
    @Test func `Package.swift requires every package of the resolved graph`() throws {
        let manifest = PackageManifest(try #require(Repository.text("Package.swift")))
        let required = Set(manifest.packages.map { Self.identity($0.location) })
        let list = try #require(Repository.text("dependencies.txt"))
        let resolved = Self.parseList(list).map { $0.prefix { $0 != " " } }
        report(
            resolved.filter { !required.contains(String($0)) }.map {
                "Package.swift does not require '\($0)' at its exact version"
            }
        )
    }

    @Test func `a package's identity is the last part of its location`() {
        #expect(Self.identity("https://example.org/a/GRDB.swift") == "grdb.swift")
        #expect(Self.identity("https://example.org/a/swift-b.git") == "swift-b")
    }

    @Test(arguments: [
        ".package(url: \"https://example.org/a\", from: \"1.0.0\")",
        ".package(url: \"https://example.org/a\", branch: \"main\")",
        ".package(url: \"https://example.org/a\", \"1.0.0\"..<\"2.0.0\")",
        ".package(url: \"https://example.org/a\", .upToNextMajor(from: \"1.0.0\"))",
        ".package(url: \"https://example.org/a\", revision: \"abc\")",
    ])
    func `an inexact version is found`(line: String) {
        #expect(Self.inexact("let a = [\n\(line),\n]").count == 1)
    }

    @Test(arguments: [
        ".package(url: \"https://example.org/a\", exact: \"1.0.0\")", ".package(path: \"../..\")",
    ])
    func `an exact version passes`(line: String) {
        #expect(Self.inexact("let a = [\n\(line),\n]").isEmpty)
    }

    @Test func `a changed version is a difference`() throws {
        let pins = """
            {"pins": [{"identity": "a", "state": {"version": "1.2.3"}}], "version": 3}
            """
        #expect(try Self.parsePins(pins) == Self.parseList("# comment\na 1.2.3\n"))
        #expect(try Self.parsePins(pins) != Self.parseList("a 1.2.4\n"))
    }

    private static func inexact(_ manifest: String) -> [String] {
        PackageManifest(manifest).packages.filter {
            $0.requirement != "exact" && $0.requirement != "path"
        }.map { "\($0.line): \($0.location): '\($0.requirement)' is not exact" }
    }

    private static func identity(_ location: String) -> String {
        let last = location.split(separator: "/").last?.lowercased() ?? ""
        return last.hasSuffix(".git") ? String(last.dropLast(4)) : last
    }

    private static func parseList(_ text: String) -> Set<String> {
        Set(text.split(separator: "\n").map(String.init).filter { !$0.hasPrefix("#") })
    }

    private static func parsePins(_ text: String) throws -> Set<String> {
        struct Resolved: Decodable {
            struct Pin: Decodable {
                struct State: Decodable { var version: String? }
                var identity: String
                var state: State
            }
            var pins: [Pin]
        }
        let resolved = try JSONDecoder().decode(Resolved.self, from: Data(text.utf8))
        return Set(resolved.pins.map { "\($0.identity) \($0.state.version ?? "no version")" })
    }
}
