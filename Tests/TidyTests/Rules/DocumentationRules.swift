// SPDX-License-Identifier: Apache-2.0

extension SourceRule {
    static let documentationRules: [SourceRule] = [packageIsDocumented, limitHasReason]

    /// swift-format looks only at `public` declarations, of which there are none.
    private static let packageIsDocumented = SourceRule(
        name: "what other targets use is documented",
        applies: Paths.isSource,
        check: { source in
            let kinds: Set<String> = [
                "class", "enum", "func", "protocol", "struct", "typealias",
            ]
            return source.declarations.compactMap { declaration in
                guard declaration.modifiers.contains("package"), kinds.contains(declaration.kind),
                    !declaration.isDocumented, !requirements.contains(declaration.name),
                    declaration.name.first.map({ $0.isLetter || $0 == "`" }) ?? false
                else { return nil }
                return Finding(declaration.line, "'\(declaration.name)' has no documentation")
            }
        },
        refuses: [
            "package struct A {}", "// A comment.\npackage func f() {}",
            "struct A {\n    package mutating func f() {}\n}",
        ],
        accepts: [
            "/// A.\npackage struct A {}", "/// F.\n@discardableResult\npackage func f() {}",
            "struct A {\n    package static func == (a: A, b: A) -> Bool { true }\n}",
            "package import SPIFFE",
        ]
    )

    /// Functions whose meaning is their protocol's: those of the packages we use, and our own.
    private static let requirements = documentedRequirements(of: Repository.sources).union([
        "beginGracefulShutdown", "chainMeetsPolicyRequirements", "connect", "encode", "hash",
        "intercept", "listen", "log", "makeIterator", "next", "run",
    ])

    private static func documentedRequirements(of sources: [SwiftSource]) -> Set<String> {
        let declarations = sources.flatMap(\.declarations)
        let protocols = Set(declarations.filter { $0.kind == "protocol" }.map(\.name))
        return Set(
            declarations.filter {
                $0.kind == "func" && $0.isDocumented && protocols.contains($0.scope.last ?? "")
            }.map(\.name)
        )
    }

    private static let limitHasReason = SourceRule(
        name: "a limit has its reason beside it",
        applies: Paths.isSource,
        check: { source in
            let commented = Set(source.comments.map(\.line))
            return source.declarations.filter {
                $0.isLimit && $0.comment == nil && !commented.contains($0.line)
            }.map { Finding($0.line, "'\($0.name)' does not say why it is what it is") }
        },
        refuses: ["struct A {\n    static let bytesMax = 5\n}", "let sizeMax = 1"],
        accepts: [
            "struct A {\n    /// RFC 1.\n    static let bytesMax = 5\n}", "let climax = 1",
            "let sizeMax = 1  // RFC 1",
        ]
    )
}

extension Declaration {
    /// Whether it is a named limit: a constant of a file or type whose name says so.
    var isLimit: Bool {
        guard kind == "let", scope.isEmpty || modifiers.contains("static") else { return false }
        return name.hasSuffix("Max") || name.hasSuffix("Min") || name.hasSuffix("Limit")
            || (name.hasPrefix("max") && name.dropFirst(3).first?.isUppercase ?? false)
    }
}
