// SPDX-License-Identifier: Apache-2.0

import Testing

/// Imports point down only, never sideways, and docs/ARCHITECTURE.md says the same.
@Suite struct LayeringTests {
    @Test func `every import is in the layer table`() {
        report(
            Repository.sources.flatMap { source in
                LayerTable.findings(in: source).map { "\(source.path):\($0.line): \($0.text)" }
            }
        )
    }

    @Test func `the layer table points down only`() {
        for target in LayerTable.targets {
            for name in target.imports {
                let layer = LayerTable.target(name)?.layer ?? Int.max
                #expect(layer < target.layer, "\(target.name) -> \(name) is sideways or up")
            }
        }
    }

    @Test(arguments: LayerTable.forbidden.keys.sorted())
    func `an executable links nothing it must do without`(executable: String) {
        let linked = LayerTable.closure(of: executable)
        let forbidden = LayerTable.forbidden[executable] ?? []
        #expect(!linked.isEmpty, "\(executable) is not in the layer table")
        #expect(linked.isDisjoint(with: forbidden), "\(linked.intersection(forbidden).sorted())")
    }

    @Test func `every folder of Sources is a target of the table`() {
        let folders = Set(
            Repository.files(under: "Sources").compactMap { path in
                path.split(separator: "/").dropFirst().first.map(String.init)
            }
        )
        let names = Set(LayerTable.targets.map(\.name))
        #expect(folders.subtracting(names).isEmpty)
    }

    @Test func `Package.swift declares no dependency that the table does not allow`() throws {
        let manifest = PackageManifest(try #require(Repository.text("Package.swift")))
        #expect(!manifest.targets.isEmpty, "no target was found in Package.swift")
        for (name, dependencies) in manifest.targets where !manifest.testTargets.contains(name) {
            let target = try #require(LayerTable.target(name), "'\(name)' is not in the table")
            let extra = dependencies.subtracting(target.imports)
            #expect(extra.isEmpty, "\(name) declares \(extra.sorted())")
        }
    }

    @Test func `docs/ARCHITECTURE.md holds the same table`() throws {
        let page = try #require(Repository.text("docs/ARCHITECTURE.md"), "the page is missing")
        let lines = Set(page.split(separator: "\n").map { $0.trimmingSpaces() })
        report(
            LayerTable.targets.filter { !lines.contains($0.row) }.map {
                "docs/ARCHITECTURE.md: this row is missing or different: \($0.row)"
            }
        )
    }

    @Test(arguments: [
        ("Sources/Issuance/A.swift", "import GRDB"),
        ("Sources/Issuance/A.swift", "package import struct Datastore.Transaction"),
        ("Sources/NodeAgent/A.swift", "internal import Issuance"),
        ("Sources/NodeAgent/A.swift", "#if canImport(GRDB)\nimport GRDB\n#endif"),
        ("Sources/Nowhere/A.swift", "let a = 1"),
    ])
    func `a forbidden import is found`(path: String, text: String) {
        #expect(!LayerTable.findings(in: SwiftSource(path: path, text: text)).isEmpty)
    }

    @Test(arguments: [
        ("Sources/Issuance/A.swift", "package import SPIFFE\ninternal import Crypto"),
        ("Sources/NodeAgent/A.swift", "// import Issuance\nlet a = \"import Issuance\""),
    ])
    func `an allowed import passes`(path: String, text: String) {
        #expect(LayerTable.findings(in: SwiftSource(path: path, text: text)).isEmpty)
    }
}
