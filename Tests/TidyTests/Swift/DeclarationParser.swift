// SPDX-License-Identifier: Apache-2.0

/// Finds the imports and declarations in the tokens of one file.
///
/// It reads the form that swift-format leaves: a declaration begins a line or follows its own
/// modifiers. Bodies of functions are skipped by their braces.
struct DeclarationParser {
    private(set) var imports: [Import] = []
    private(set) var declarations: [Declaration] = []

    private let tokens: [Token]
    private var position = 0

    private static let modifiers: Set<String> = [
        "borrowing", "consuming", "convenience", "dynamic", "fileprivate", "final", "indirect",
        "infix", "internal", "isolated", "lazy", "mutating", "nonisolated", "nonmutating", "open",
        "override", "package", "postfix", "prefix", "private", "public", "required", "static",
        "unowned", "weak",
    ]
    private static let types: Set<String> = [
        "actor", "class", "enum", "extension", "protocol", "struct",
    ]
    private static let members: Set<String> = [
        "associatedtype", "case", "deinit", "func", "import", "init", "let", "subscript",
        "typealias", "var",
    ]

    init(_ tokens: [Token]) {
        self.tokens = tokens
    }

    /// Reads the whole file.
    mutating func parseFile() {
        while position < tokens.count {
            parseMembers(scope: [])
            // A brace too many: go on behind it.
            position += 1
        }
    }

    /// Reads members up to the brace that closes the type, and stays on it.
    private mutating func parseMembers(scope: [String]) {
        while position < tokens.count, tokens[position].text != "}" || isString(position) {
            if startsDeclaration(at: position) {
                parseDeclaration(scope: scope)
            } else {
                skipGroup()
            }
        }
    }

    private func isString(_ index: Int) -> Bool { tokens[index].kind == .string }

    /// Whether a declaration can begin here: first on its line, or behind an opening brace.
    private func startsDeclaration(at index: Int) -> Bool {
        let token = tokens[index]
        guard token.kind != .string else { return false }
        guard
            token.text == "@" || Self.modifiers.contains(token.text)
                || Self.types.contains(token.text) || Self.members.contains(token.text)
        else { return false }
        guard index > 0 else { return true }
        let before = tokens[index - 1]
        return before.line < token.line || before.text == "{" || before.text == "}"
    }

    /// Steps over one token, or over everything in the brackets it opens.
    private mutating func skipGroup() {
        if tokens[position].kind == .punctuation, "([{".contains(tokens[position].text),
            let end = tokens.closing(of: position)
        {
            position = end + 1
        } else {
            position += 1
        }
    }

    private mutating func parseDeclaration(scope: [String]) {
        let comment = tokens[position].comment
        var modifiers: [String] = []
        while position < tokens.count {
            let token = tokens[position]
            if token.text == "@", token.kind == .punctuation {
                position += 1
                modifiers.append("@" + (position < tokens.count ? tokens[position].text : ""))
                position += 1
                if position < tokens.count, tokens[position].text == "(", tokens[position].joined {
                    skipGroup()
                }
            } else if Self.modifiers.contains(token.text) || isClassModifier {
                modifiers.append(token.text)
                position += 1
                if position < tokens.count, tokens[position].text == "(" { skipGroup() }
            } else {
                break
            }
        }
        guard position < tokens.count else { return }
        var declaration = Declaration(
            kind: tokens[position].text,
            name: "",
            scope: scope,
            modifiers: modifiers,
            line: tokens[position].line,
            comment: comment
        )
        if Self.types.contains(declaration.kind) {
            parseType(&declaration)
        } else if declaration.kind == "import" {
            parseImport(modifiers: modifiers)
        } else if declaration.kind == "case" {
            parseCases(declaration)
        } else if Self.members.contains(declaration.kind) {
            parseMember(&declaration)
        } else {
            skipGroup()
        }
    }

    private var isClassModifier: Bool {
        tokens[position].text == "class" && position + 1 < tokens.count
            && ["func", "let", "subscript", "var"].contains(tokens[position + 1].text)
    }

    private mutating func parseType(_ declaration: inout Declaration) {
        position += 1
        var name: [String] = []
        while position < tokens.count, tokens[position].kind == .identifier {
            name.append(tokens[position].text)
            guard position + 1 < tokens.count, tokens[position + 1].text == "." else { break }
            position += 2
        }
        declaration.name = name.joined(separator: ".")
        while position < tokens.count, tokens[position].text != "{" { position += 1 }
        let index = declarations.count
        declarations.append(declaration)
        position += 1
        parseMembers(scope: declaration.scope + name)
        declarations[index].endLine = position < tokens.count ? tokens[position].line : nil
        position += 1
    }

    private mutating func parseImport(modifiers: [String]) {
        let line = tokens[position].line
        var words: [String] = []
        position += 1
        while position < tokens.count, tokens[position].line == line {
            words.append(tokens[position].text)
            position += 1
        }
        let kinds: Set<String> = ["actor", "class", "enum", "func", "let", "protocol", "struct"]
        let module = words.first { !kinds.contains($0) && $0 != "typealias" && $0 != "var" }
        imports.append(
            Import(module: module ?? "", line: line, testable: modifiers.contains("@testable"))
        )
    }

    private mutating func parseCases(_ declaration: Declaration) {
        var expectsName = true
        position += 1
        while position < tokens.count, tokens[position].text != "}" {
            if startsDeclaration(at: position) { return }
            let token = tokens[position]
            if expectsName, token.kind == .identifier {
                var found = declaration
                found.name = token.text.filter { $0 != "`" }
                declarations.append(found)
                expectsName = false
            } else if token.kind == .string, tokens[position - 1].text == "=" {
                declarations[declarations.count - 1].rawValue = token.text
            } else if token.text == ",", token.kind == .punctuation {
                expectsName = true
            }
            skipGroup()
        }
    }

    /// A function, initializer, subscript, property or alias, with its body when it has one.
    private mutating func parseMember(_ declaration: inout Declaration) {
        let nameless: Set<String> = ["deinit", "init", "subscript"]
        if nameless.contains(declaration.kind) {
            declaration.name = declaration.kind
        } else if position + 1 < tokens.count {
            position += 1
            declaration.name = tokens[position].text
        }
        position += 1
        var stored = false
        while position < tokens.count {
            let token = tokens[position]
            if token.kind == .punctuation, token.text == "}" { break }
            if startsDeclaration(at: position) { break }
            if token.kind == .punctuation, token.text == "{", !stored {
                guard let end = tokens.closing(of: position) else { break }
                declaration.endLine = tokens[end].line
                position = end + 1
                break
            }
            let isAssignment =
                token.text == "=" && (declaration.kind == "let" || declaration.kind == "var")
            if isAssignment, token.kind == .punctuation { stored = true }
            // An operator function is named by signs, which belong to no group.
            skipGroup()
        }
        declarations.append(declaration)
    }
}
