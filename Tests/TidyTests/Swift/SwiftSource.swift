// SPDX-License-Identifier: Apache-2.0

/// One Swift file, cut into tokens and declarations.
struct SwiftSource: Sendable {
    /// Path from the repository's root.
    let path: String
    let text: String
    let tokens: [Token]
    let comments: [Comment]
    let imports: [Import]
    /// Declarations of the file and of its types, not those inside functions.
    let declarations: [Declaration]

    init(path: String, text: String) {
        let lexer = SwiftLexer(text)
        var parser = DeclarationParser(lexer.tokens)
        parser.parseFile()
        self.path = path
        self.text = text
        tokens = lexer.tokens
        comments = lexer.comments
        imports = parser.imports
        declarations = parser.declarations
    }

    var lineCount: Int {
        let breaks = text.utf8.count { $0 == UInt8(ascii: "\n") }
        return text.hasSuffix("\n") || text.isEmpty ? breaks : breaks + 1
    }

    /// The target whose folder the file lies in.
    var target: String {
        let parts = path.split(separator: "/")
        return parts.count > 2 ? String(parts[1]) : ""
    }

    var fileName: String { path.split(separator: "/").last.map(String.init) ?? path }

    /// Places where the tokens of `pattern` stand one after the other; a token that touches its
    /// predecessor in the pattern has to touch it in the source as well.
    func places(of pattern: String) -> [Int] {
        let wanted = SwiftLexer(pattern).tokens
        guard !wanted.isEmpty, tokens.count >= wanted.count else { return [] }
        return (0...(tokens.count - wanted.count)).filter { start in
            wanted.indices.allSatisfy { offset in
                let found = tokens[start + offset]
                let want = wanted[offset]
                return found.kind == want.kind && found.text == want.text
                    && (offset == 0 || !want.joined || found.joined)
            }
        }
    }

    /// The index of the token that closes the bracket at `start`, or nil.
    func closing(of start: Int) -> Int? { tokens.closing(of: start) }
}

/// One import line.
struct Import: Equatable, Sendable {
    var module: String
    var line: Int
    var testable: Bool
}

/// One declaration at the level of a file or a type.
struct Declaration: Equatable, Sendable {
    /// The keyword: func, init, struct, let, case, ...
    var kind: String
    var name: String
    /// The names of the types around it, outermost first.
    var scope: [String]
    var modifiers: [String]
    /// The line of the keyword.
    var line: Int
    /// The line of the closing brace, for what has a body.
    var endLine: Int?
    /// The comment directly before it.
    var comment: String?
    /// The string a case stands for, when it has one.
    var rawValue: String?

    var qualifiedName: String { (scope + [name]).joined(separator: ".") }
    var isDocumented: Bool { comment?.hasPrefix("///") ?? false }
}

extension [Token] {
    /// The index of the token that closes the bracket at `start`, or nil.
    func closing(of start: Int) -> Int? {
        var depth = 0
        for index in start..<count where self[index].kind == .punctuation {
            switch self[index].text {
            case "(", "[", "{": depth += 1
            case ")", "]", "}":
                depth -= 1
                if depth == 0 { return index }
            default: break
            }
        }
        return nil
    }
}
