// SPDX-License-Identifier: Apache-2.0

import Testing

/// The rules can only be as right as the reading of the source.
@Suite struct SwiftSourceTests {
    @Test func `strings and comments are no code`() {
        let text = ##"""
            let a = "x // y \" /* z"  // one
            /* two /* three */ */
            let b = """
                func hidden() { "quoted" }
                """
            let c = #"raw " \(no) \#(yes)"#
            """##
        let source = SwiftSource(path: "Sources/A/B.swift", text: text)
        let words = source.tokens.filter { $0.kind == .identifier }.map(\.text)
        #expect(words == ["let", "a", "let", "b", "let", "c", "yes"])
        #expect(source.comments.map(\.line) == [1, 2])
        #expect(source.tokens.last?.line == 6)
    }

    @Test func `code inside interpolations is code`() {
        let source = SwiftSource(path: "A", text: #"let a = "\(f("\(g(")"))"))" + h"#)
        let words = source.tokens.filter { $0.kind == .identifier }.map(\.text)
        #expect(words == ["let", "a", "f", "g", "h"])
    }

    @Test func `declarations know their types, modifiers, comments and ends`() {
        let text = """
            /// T.
            package struct T<A: P>: Q where A: R {
                /// Reason.
                package static let bytesMax = [1, 2].map { $0 }.count
                @Attribute(1) private(set) var a: Int { 5 }
                var b = f {
                    g()
                }
                class func f() -> Int {
                    let inner = 1
                    func nested() {}
                }
                enum E: String {
                    case one, two(a: Int)
                    case `default` = "x"
                }
            }
            extension T.E { init() {} }
            """
        let source = SwiftSource(path: "Sources/A/B.swift", text: text)
        let names = source.declarations.map { "\($0.kind) \($0.qualifiedName)" }
        #expect(
            names == [
                "struct T", "let T.bytesMax", "var T.a", "var T.b", "func T.f", "enum T.E",
                "case T.E.one", "case T.E.two", "case T.E.default", "extension T.E",
                "init T.E.init",
            ]
        )
        #expect(source.declarations[0].endLine == 17)
        #expect(source.declarations[1].isLimit && source.declarations[1].isDocumented)
        #expect(source.declarations[2].endLine == 5)
        #expect(source.declarations[3].endLine == nil)
        #expect(source.declarations[4].endLine == 12)
    }

    @Test func `imports of every form give their module`() {
        let text = """
            import A
            package import struct B.C
            @testable internal import D
            """
        let imports = SwiftSource(path: "A", text: text).imports
        #expect(imports.map(\.module) == ["A", "B", "D"])
        #expect(imports.map(\.testable) == [false, false, true])
    }

    @Test func `a pattern's touching tokens have to touch`() {
        #expect(SwiftSource(path: "A", text: "as!").places(of: "as!") == [0])
        #expect(SwiftSource(path: "A", text: "as !").places(of: "as!").isEmpty)
        #expect(SwiftSource(path: "A", text: "Task  {").places(of: "Task {") == [0])
    }
}
