// SPDX-License-Identifier: Apache-2.0

extension SourceRule {
    /// Most lines of a file: more does not fit in one reading.
    static let fileLinesMax = 500
    /// Most lines of a function, from its signature to its closing brace: one screen.
    static let functionLinesMax = 70

    static let lengthRules: [SourceRule] = [fileLength, functionLength]

    private static let fileLength = SourceRule(
        name: "a file has at most \(fileLinesMax) lines",
        applies: Paths.isAny,
        check: { source in
            source.lineCount <= fileLinesMax
                ? [] : [Finding(fileLinesMax, "the file has \(source.lineCount) lines")]
        },
        refuses: [String(repeating: "\n", count: fileLinesMax + 1)],
        accepts: [String(repeating: "\n", count: fileLinesMax)]
    )

    private static let functionLength = SourceRule(
        name: "a function has at most \(functionLinesMax) lines",
        applies: Paths.isAny,
        check: { source in
            source.declarations.compactMap { declaration in
                let bodies: Set<String> = ["deinit", "func", "init", "subscript", "var"]
                guard bodies.contains(declaration.kind), let end = declaration.endLine else {
                    return nil
                }
                let lines = end - declaration.line + 1
                return lines <= functionLinesMax
                    ? nil : Finding(declaration.line, "'\(declaration.name)' has \(lines) lines")
            }
        },
        refuses: [
            function("func f()", lines: functionLinesMax + 1),
            function("init(a: [Int] = [].map { $0 })", lines: functionLinesMax + 1),
            function("var a: Int", lines: functionLinesMax + 1),
            "struct A {\n" + function("static func f<T>() -> T where T: P", lines: 90) + "}\n",
        ],
        accepts: [
            function("func f()", lines: functionLinesMax),
            function("struct A", lines: functionLinesMax + 1),
        ]
    )

    /// A declaration of so many lines whose strings and comments hold unbalanced braces.
    private static func function(_ head: String, lines: Int) -> String {
        let body = [
            "    // }", "    let a = \"}\"", "    let b = #\"}\"\\\"#", "    /* } /* } */ } */",
        ]
        let filler = Array(repeating: "    g()", count: lines - 2 - body.count)
        return (["\(head) {"] + body + filler + ["}"]).joined(separator: "\n") + "\n"
    }
}
