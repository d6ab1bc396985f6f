// SPDX-License-Identifier: Apache-2.0

import Testing

/// The house rules over the real sources, and each rule over its own examples.
@Suite struct SourceRuleTests {
    static let rules =
        SourceRule.coreRules + SourceRule.textRules + SourceRule.lengthRules
        + SourceRule.documentationRules

    @Test func `there are sources to look at`() {
        #expect(Repository.sources.count > 10)
        #expect(Repository.tests.contains { $0.fileName == "SourceRuleTests.swift" })
    }

    @Test(arguments: rules)
    func `the sources keep the rule`(rule: SourceRule) {
        report(rule.violations(in: Repository.sources + Repository.tests))
    }

    @Test(arguments: rules)
    func `the rule refuses what breaks it`(rule: SourceRule) {
        #expect(!rule.refuses.isEmpty)
        for text in rule.refuses {
            let source = SwiftSource(path: rule.examplePath, text: text)
            #expect(!rule.violations(in: [source]).isEmpty, "not refused: \(text.prefix(200))")
        }
    }

    @Test(arguments: rules)
    func `the rule accepts what is near and keeps it`(rule: SourceRule) {
        #expect(!rule.accepts.isEmpty)
        for text in rule.accepts {
            let source = SwiftSource(path: rule.examplePath, text: text)
            #expect(rule.violations(in: [source]).isEmpty, "refused: \(text.prefix(200))")
        }
    }

    @Test func `@unchecked Sendable stays rare`() {
        let places = Repository.sources.flatMap { source in
            source.places(of: "@unchecked").map { "\(source.path):\(source.tokens[$0].line)" }
        }
        #expect(places.count <= SourceRule.uncheckedSendableMax, "\(places)")
    }

    @Test func `drawers are found among file and folder names`() throws {
        let rule = try #require(Self.rules.first { $0.name == "no drawer names" })
        for path in ["Sources/Issuance/Utils/A.swift", "Sources/Issuance/TimeHelpers.swift"] {
            #expect(!rule.violations(in: [SwiftSource(path: path, text: "")]).isEmpty)
        }
    }
}

/// Records one issue for each line.
func report(_ violations: [String], sourceLocation: SourceLocation = #_sourceLocation) {
    for violation in violations {
        Issue.record("\(violation)", sourceLocation: sourceLocation)
    }
}

extension StringProtocol {
    func trimmingSpaces() -> String {
        var rest = self[...]
        while rest.first?.isWhitespace ?? false { rest = rest.dropFirst() }
        while rest.last?.isWhitespace ?? false { rest = rest.dropLast() }
        return String(rest)
    }
}
