// SPDX-License-Identifier: Apache-2.0

/// One rule about one Swift file, with examples that prove it can fail.
struct SourceRule: Sendable, CustomStringConvertible {
    /// The rule in a few words; also the name of the test case.
    var name: String
    /// Which files it is about, by path.
    var applies: @Sendable (_ path: String) -> Bool
    /// What breaks the rule, by line.
    var check: @Sendable (SwiftSource) -> [Finding]
    /// Source texts that break it, each taken as the file `examplePath`.
    var refuses: [String]
    /// Source texts near the rule that keep it.
    var accepts: [String]
    var examplePath = "Sources/Issuance/Example.swift"

    var description: String { name }

    /// What breaks the rule in all files it is about, as lines for a reader.
    func violations(in sources: [SwiftSource]) -> [String] {
        sources.filter { applies($0.path) }.flatMap { source in
            check(source).map { "\(source.path):\($0.line): \($0.text)" }
        }
    }

    /// A rule that bans sequences of tokens.
    static func bans(
        _ name: String,
        _ patterns: [String],
        in applies: @escaping @Sendable (String) -> Bool,
        refuses: [String],
        accepts: [String],
        examplePath: String = "Sources/Issuance/Example.swift"
    ) -> SourceRule {
        SourceRule(
            name: name,
            applies: applies,
            check: { source in
                patterns.flatMap { pattern in
                    source.places(of: pattern).map {
                        Finding(source.tokens[$0].line, "'\(pattern)' (\(name))")
                    }
                }
            },
            refuses: refuses,
            accepts: accepts,
            examplePath: examplePath
        )
    }
}

/// What a rule found on a line.
struct Finding: Equatable, Sendable {
    var line: Int
    var text: String

    init(_ line: Int, _ text: String) {
        self.line = line
        self.text = text
    }
}

/// Which files a rule is about.
enum Paths {
    static func isSource(_ path: String) -> Bool { path.hasPrefix("Sources/") }
    static func isTest(_ path: String) -> Bool { path.hasPrefix("Tests/") }
    static func isAny(_ path: String) -> Bool { true }

    /// Files of the pure layers 0 and 1.
    static func isCore(_ path: String) -> Bool {
        let parts = path.split(separator: "/")
        return parts.count > 2 && parts[0] == "Sources" && LayerTable.isCore(String(parts[1]))
    }

    /// Files of Sources in a target other than these.
    static func isSource(outside targets: Set<String>) -> @Sendable (String) -> Bool {
        { path in
            let parts = path.split(separator: "/")
            return parts.count > 2 && parts[0] == "Sources" && !targets.contains(String(parts[1]))
        }
    }
}
