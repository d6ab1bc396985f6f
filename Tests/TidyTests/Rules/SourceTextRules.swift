// SPDX-License-Identifier: Apache-2.0

extension SourceRule {
    /// Rules about the text of every file.
    static let textRules: [SourceRule] = [
        noUnfinished,
        .bans(
            "nothing ends the process",
            ["try!", "as!", "fatalError", "unowned(unsafe)"],
            in: Paths.isSource,
            refuses: ["let a = \("try")! f()", "let b = c \("as")! D", "\("fatal")Error(\"no\")"],
            accepts: ["let a = try !f()", "let b = c as? D", "// try! is banned", "\"as!\""]
        ),
        .bans(
            "no task outside a task group",
            ["Task {", "Task(", "Task.detached", "Task.immediate", "Task<"],
            // A call into a module that hangs cannot be cancelled, and a group would wait for it; a
            // client that threads call lives as long as nobody's function.
            in: { path in
                Paths.isSource(path)
                    && !["UpstreamLine", "WaitingClient"].contains {
                        path.hasSuffix("/\($0).swift")
                    }
            },
            refuses: ["Task { f() }", "Task(priority: .low) { f() }", "Task.detached { f() }"],
            accepts: ["try Task.checkCancellation()", "group.addTask { f() }"]
        ),
        noActor,
        packageIsWidest,
        .bans(
            "no test looks behind the access levels",
            ["@testable"],
            in: Paths.isTest,
            refuses: ["@testable import SPIFFE"],
            accepts: ["import SPIFFE"],
            examplePath: "Tests/SPIFFETests/Example.swift"
        ),
        .bans(
            "there is one clock, in Clocks",
            ["Date()", "Date.now", "ContinuousClock", "SuspendingClock"],
            in: Paths.isSource(outside: ["Clocks"]),
            refuses: ["let now = Date()", "let clock = ContinuousClock()"],
            accepts: ["let now = clock.wallTime", "let then = Date(timeIntervalSince1970: 0)"],
            examplePath: "Sources/CAServer/Example.swift"
        ),
        .bans(
            "unsafe code stands in files named +Linux.swift",
            ["unsafe", "@unsafe"],
            in: { Paths.isSource($0) && !Paths.isCore($0) && !$0.hasSuffix("+Linux.swift") },
            refuses: ["let a = unsafe b"],
            accepts: ["let unsafeNames = 1"],
            examplePath: "Sources/GRPCPeer/Example.swift"
        ),
        uncheckedSendableIsExplained,
        noSleepInTests,
        licenseHeader,
        noDrawerNames,
    ]

    /// Most `@unchecked Sendable` in Sources; each one is a promise the compiler cannot check.
    static let uncheckedSendableMax = 3

    private static let noUnfinished = SourceRule(
        name: "nothing is left unfinished",
        applies: Paths.isAny,
        check: { source in
            // Put together here, so that this file does not hold them.
            let words = ["TO" + "DO", "FIX" + "ME", "XX" + "X"]
            return source.comments.flatMap { comment in
                words.filter { comment.text.holdsWord($0) }.map {
                    Finding(comment.line, "'\($0)' in a comment")
                }
            }
        },
        refuses: ["// \("TO")DO: later", "/* \("FIX")ME */", "let a = 1  // \("XX")X"],
        accepts: ["// A toDo list", "// \("XX")XX is a placeholder of four"]
    )

    private static let noActor = SourceRule(
        name: "no actor: state behind a lock is a machine",
        applies: Paths.isSource,
        check: { source in
            source.declarations.filter { $0.kind == "actor" }.map {
                Finding($0.line, "actor '\($0.name)': actors are re-entrant at every await")
            }
        },
        refuses: ["package actor Server {}", "@Attribute actor A {}"],
        accepts: ["struct A {\n    func f(\n        actor: Actor\n    ) {}\n    let actor = 1\n}"]
    )

    private static let packageIsWidest = SourceRule(
        name: "package is the widest access",
        applies: Paths.isSource,
        check: { source in
            var banned: Set<String> = ["@inlinable", "@usableFromInline", "open", "public"]
            // Accessors that a loop of another target calls for each event would else be calls, and
            // its slab a generic that is not specialised.
            if source.target == "Reactor" { banned = ["open", "public"] }
            return source.declarations.flatMap { declaration in
                declaration.modifiers.filter(banned.contains).map {
                    Finding(declaration.line, "'\($0)' on '\(declaration.name)'")
                }
            } + source.imports.filter(\.testable).map { Finding($0.line, "'@testable'") }
        },
        refuses: [
            "public struct A {}", "struct A {\n    @inlinable func f() {}\n}", "@testable import A",
        ],
        accepts: ["package struct A {}", "let a = b.open(c)", "open(path)"]
    )

    private static let uncheckedSendableIsExplained = SourceRule(
        name: "@unchecked Sendable has its SAFETY sentence",
        applies: Paths.isSource,
        check: { source in
            source.places(of: "@unchecked").compactMap { index in
                let line = source.tokens[index].line
                let explained = source.comments.contains {
                    $0.text.hasPrefix("// SAFETY: ") && (line - 4...line).contains($0.line)
                }
                return explained ? nil : Finding(line, "no '// SAFETY: ' above '@unchecked'")
            }
        },
        refuses: ["final class A: @unchecked Sendable {}"],
        accepts: ["// SAFETY: immutable after init.\nfinal class A: @unchecked Sendable {}"]
    )

    private static let noSleepInTests = SourceRule(
        name: "a test waits for the event, not for time",
        applies: Paths.isTest,
        check: { source in
            var places: [Int] = []
            for pattern in ["Task.sleep", "Thread.sleep", "usleep(", "nanosleep("] {
                places += source.places(of: pattern)
            }
            // A virtual clock may well have a function of that name.
            places += source.places(of: "sleep(").filter { index in
                index == 0 || ![".", "func"].contains(source.tokens[index - 1].text)
            }
            return places.map { Finding(source.tokens[$0].line, "a sleep in a test") }
        },
        refuses: [
            "try await \("Task").sleep(for: .seconds(1))", "\("sle")ep(1)", "u\("sleep")(5)",
        ],
        accepts: ["func sleep(untilBoot: Duration) {}", "try await clock.sleep(untilBoot: later)"],
        examplePath: "Tests/SPIFFETests/Example.swift"
    )

    private static let licenseHeader = SourceRule(
        name: "the first line names the licence",
        applies: Paths.isAny,
        check: { source in
            let first = source.text.prefix { $0 != "\n" }
            return first == "// SPDX-License-Identifier: Apache-2.0"
                || source.fileName == "Package.swift"
                ? [] : [Finding(1, "the first line is not the SPDX header")]
        },
        refuses: ["import SPIFFE\n", ""],
        accepts: ["// SPDX-License-Identifier: Apache-2.0\n"]
    )

    private static let noDrawerNames = SourceRule(
        name: "no drawer names",
        applies: Paths.isSource,
        check: { source in
            let drawers = [
                "Common", "Extras", "Helper", "Helpers", "Manager", "Misc", "Shared", "Util",
                "Utilities", "Utils",
            ]
            var findings: [Finding] = []
            for part in source.path.split(separator: "/") {
                let name = part.prefix { $0 != "." }
                if drawers.contains(where: name.hasSuffix) {
                    findings.append(Finding(1, "'\(part)' says nothing about what is inside"))
                }
            }
            let types: Set<String> = ["actor", "class", "enum", "protocol", "struct"]
            for type in source.declarations where types.contains(type.kind) {
                if drawers.contains(where: type.name.hasSuffix) {
                    findings.append(Finding(type.line, "'\(type.name)' is a drawer"))
                }
                if type.name == source.target, type.scope.isEmpty {
                    findings.append(Finding(type.line, "'\(type.name)' shadows its module"))
                }
            }
            return findings
        },
        refuses: ["struct KeyManager {}", "enum StringUtils {}", "struct Issuance {}"],
        accepts: ["struct ManagerName {}", "enum Issuer {}"]
    )
}

extension String {
    /// Whether the word stands in the text with no letter, digit or underscore beside it.
    fileprivate func holdsWord(_ word: String) -> Bool {
        split { !$0.isLetter && !$0.isNumber && $0 != "_" }.contains { $0 == word }
    }
}
