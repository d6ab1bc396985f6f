// SPDX-License-Identifier: Apache-2.0

import Testing

/// What the code can do, emit, refuse or be told is on the page an operator reads.
///
/// Each row finds names in the sources; each name has to stand, in backticks, on its page. A row
/// that finds nothing fails as well: then the code has moved and the row has to follow.
@Suite struct DocumentCoverageTests {
    struct Coverage: Sendable, CustomTestStringConvertible {
        var subject: String
        var page: String
        /// The only part of the page that counts; nil: all of it.
        var section: String?
        var names: @Sendable ([SwiftSource]) -> Set<String>

        var testDescription: String { subject }
    }

    static let coverages = [
        Coverage(subject: "metric", page: "docs/operations.md", names: metricNames),
        Coverage(subject: "audit event", page: "docs/audit.md", names: auditEventNames),
        Coverage(subject: "server configuration key", page: "docs/operations.md") {
            configurationKeys($0, target: "CAServer")
        },
        Coverage(subject: "agent configuration key", page: "docs/operations.md") {
            configurationKeys($0, target: "NodeAgent")
        },
        Coverage(subject: "limit", page: "docs/operations.md", names: limitNames),
        Coverage(
            subject: "access log field",
            page: "docs/operations.md",
            section: "Access log",
            names: accessLogFields
        ),
        Coverage(
            subject: "reason",
            page: "docs/operations.md",
            section: "Access log",
            names: { cases(of: ["ProxyReason"], in: $0.filter { $0.target == "MTLSProxy" }) }
        ),
        Coverage(
            subject: "connection state",
            page: "docs/command-line.md",
            section: "What a proxy does",
            names: { cases(of: ["ConnectionState"], in: $0.filter { $0.target == "MTLSProxy" }) }
        ),
        Coverage(
            subject: "counter",
            page: "docs/command-line.md",
            section: "What a proxy does",
            names: proxyCounters
        ),
        Coverage(subject: "document field", page: "docs/documents.md", names: documentFields),
    ]

    @Test(arguments: coverages)
    func `everything is on its page`(coverage: Coverage) throws {
        let names = coverage.names(Repository.sources)
        #expect(!names.isEmpty, "no \(coverage.subject) was found in Sources")
        var page = try #require(Repository.text(coverage.page), "\(coverage.page) is missing")
        if let section = coverage.section {
            page = try #require(
                Self.section(section, of: page),
                "\(coverage.page) has no section \(section)"
            )
        }
        report(
            Self.missing(names, on: page).map {
                "\(coverage.page): no `\($0)` (\(coverage.subject))"
            }
        )
    }

    @Test func `a name without its row is found`() {
        let page = "| `signet_a_total` | `A.bytesMax` | signet_b_total"
        #expect(Self.missing(["signet_a_total", "A.bytesMax"], on: page).isEmpty)
        #expect(Self.missing(["signet_b_total", "bytesMax"], on: page).count == 2)
    }

    @Test func `a section ends where the next one begins`() {
        let page = "# A\n\n## Log\n\n`a`\n\n### Part\n\n`b`\n\n## Metrics\n\n`c`\n"
        let section = Self.section("Log", of: page)
        #expect(Self.missing(["a", "b", "c"], on: section ?? "") == ["c"])
        #expect(Self.section("Metrics", of: page)?.contains("`c`") == true)
        #expect(Self.section("Part", of: page) == nil)
    }

    @Test func `the names are found in the forms they have`() {
        func source(_ path: String, _ text: String) -> [SwiftSource] {
            [SwiftSource(path: path, text: text)]
        }
        let metrics = "enum M: String { case a = \"signet_a_total\" }; let b = \"signet.sock\""
        #expect(Self.metricNames(source("Sources/T/A.swift", metrics)) == ["signet_a_total"])
        let event = "enum AuditEvent { case nodeBanned(id: Int), tokenCreated }"
        #expect(
            Self.auditEventNames(source("Sources/AuditLog/AuditEvent.swift", event))
                == ["nodeBanned", "tokenCreated"]
        )
        let key = "enum ServerConfigurationKey: String {\n    case a\n    case b = \"b.c\"\n}"
        #expect(
            Self.configurationKeys(
                source("Sources/CAServer/Configuration/ServerConfigurationKey.swift", key),
                target: "CAServer"
            ) == ["a", "b.c"]
        )
        let limit = "struct A { static let bytesMax = 1; let countMax = 2 }"
        let split = limit.split(separator: ";").joined(separator: "\n")
        #expect(Self.limitNames(source("Sources/T/A.swift", split)) == ["A.bytesMax"])
        let log = "lines.field(\"a\", record.a)\nlines.field(\"b\", \"c\")"
        let logPath = "Sources/MTLSProxy/Config/AccessLog.swift"
        #expect(Self.accessLogFields(source(logPath, log)) == ["a", "b"])
        let counters = "m = [\"a\": Double(a), \"b_c\": Double(bC)]; let x = [\"d\": 1]"
        let controlPath = "Sources/MTLSProxy/Config/EngineControl.swift"
        #expect(Self.proxyCounters(source(controlPath, counters)) == ["a", "b_c"])
        let parser = "_ = required(\"a\", of: &f); fields.take(\"b\"); word(\"c\", x)"
        #expect(
            Self.documentFields(source("Sources/PolicyDocuments/Native/AServiceSpec.swift", parser))
                == ["a", "b"]
        )
    }

    private static func missing(_ names: Set<String>, on page: String) -> [String] {
        names.filter { !page.contains("`\($0)`") }.sorted()
    }

    /// A part of a page, below one heading of the second level.
    private static func section(_ name: String, of page: String) -> String? {
        let parts = page.split(separator: "\n## ", omittingEmptySubsequences: false)
        return parts.dropFirst().first { $0.hasPrefix("\(name)\n") }.map(String.init)
    }

    /// What each line of the access log has.
    private static func accessLogFields(_ sources: [SwiftSource]) -> Set<String> {
        strings(in: "Sources/MTLSProxy/Config/AccessLog.swift", of: sources) { tokens, index in
            index > 1 && tokens[index - 1].text == "(" && tokens[index - 2].text == "field"
        }
    }

    /// What `signet proxy status --counters` shows, but for what has a label.
    private static func proxyCounters(_ sources: [SwiftSource]) -> Set<String> {
        strings(in: "Sources/MTLSProxy/Config/EngineControl.swift", of: sources) { tokens, index in
            index + 2 < tokens.count && tokens[index + 1].text == ":"
                && tokens[index + 2].text == "Double"
        }
    }

    /// String literals of one file at certain places.
    private static func strings(
        in path: String,
        of sources: [SwiftSource],
        where isMeant: ([Token], Int) -> Bool
    ) -> Set<String> {
        let tokens = sources.filter { $0.path == path }.flatMap(\.tokens)
        let found = tokens.indices.filter { tokens[$0].kind == .string && isMeant(tokens, $0) }
        return Set(found.map { tokens[$0].text })
    }

    /// String literals that are Prometheus names of ours.
    private static func metricNames(_ sources: [SwiftSource]) -> Set<String> {
        let words = sources.flatMap(\.tokens).filter { $0.kind == .string }.map(\.text)
        return Set(
            words.filter { word in
                word.hasPrefix("signet_")
                    && word.allSatisfy { $0.isLowercase || $0.isNumber || $0 == "_" }
            }
        )
    }

    /// The cases of the closed enum.
    private static func auditEventNames(_ sources: [SwiftSource]) -> Set<String> {
        cases(of: ["AuditEvent"], in: sources.filter { $0.target == "AuditLog" })
    }

    /// The cases of enums named `...Key` or `...Keys` in files of the configuration.
    private static func configurationKeys(_ sources: [SwiftSource], target: String) -> Set<String> {
        let files = sources.filter { $0.target == target && $0.path.contains("Configuration") }
        let enums = files.flatMap(\.declarations).filter {
            $0.kind == "enum" && $0.name.hasSuffix("Key") || $0.name.hasSuffix("Keys")
        }
        return cases(of: Set(enums.map(\.name)), in: files)
    }

    private static func limitNames(_ sources: [SwiftSource]) -> Set<String> {
        Set(sources.flatMap(\.declarations).filter(\.isLimit).map(\.qualifiedName))
    }

    /// What the parsers of document kinds ask for; docs/policy.md has those of policies.
    private static func documentFields(_ sources: [SwiftSource]) -> Set<String> {
        let asking: Set = ["take", "required", "needed", "placed", "selectors"]
        var found: Set<String> = []
        for source in sources where source.target == "PolicyDocuments" {
            let name = source.path.split(separator: "/").last ?? ""
            guard name.hasSuffix("Spec.swift") || name == "Metadata.swift",
                !name.hasPrefix("AccessPolicy")
            else { continue }
            let tokens = source.tokens
            for index in tokens.indices.dropFirst(2)
            where tokens[index].kind == .string && tokens[index - 1].text == "("
                && asking.contains(tokens[index - 2].text)
            {
                found.insert(tokens[index].text)
            }
        }
        return found
    }

    private static func cases(of enums: Set<String>, in sources: [SwiftSource]) -> Set<String> {
        Set(
            sources.flatMap(\.declarations).filter {
                $0.kind == "case" && enums.contains($0.scope.last ?? "")
            }.map { $0.rawValue ?? $0.name }
        )
    }
}
