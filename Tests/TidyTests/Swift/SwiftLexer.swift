// SPDX-License-Identifier: Apache-2.0

/// One word or sign of Swift source.
struct Token: Equatable, Sendable {
    enum Kind: Sendable {
        case identifier
        case number
        case punctuation
        /// A string literal; `text` is what stands between the quotes, interpolations left out.
        case string
    }

    var kind: Kind
    var text: String
    var line: Int
    /// No space, comment or line break before it.
    var joined: Bool
    /// The last comment between the token before and this one.
    var comment: String?
}

/// A comment, with its slashes.
struct Comment: Equatable, Sendable {
    var text: String
    var line: Int
}

/// Cuts Swift source into tokens and comments.
///
/// Knows what a rule about source text has to know: nested comments, strings of every form with the
/// code inside their interpolations, names in backticks. It takes `/` always for an operator, so
/// a bare regular expression literal with a quote in it is not understood; there are none here.
struct SwiftLexer {
    private(set) var tokens: [Token] = []
    private(set) var comments: [Comment] = []

    private let bytes: [UInt8]
    private var position = 0
    private var line = 1
    private var joined = false
    private var comment: String?

    init(_ text: String) {
        bytes = Array(text.utf8)
        lexCode(insideInterpolation: false)
    }

    private func byte(_ offset: Int = 0) -> UInt8? {
        let index = position + offset
        return index < bytes.count ? bytes[index] : nil
    }

    private func text(from start: Int) -> String {
        String(decoding: bytes[start..<position], as: UTF8.self)
    }

    private mutating func append(_ kind: Token.Kind, _ text: String, line: Int) {
        tokens.append(Token(kind: kind, text: text, line: line, joined: joined, comment: comment))
        joined = true
        comment = nil
    }

    /// Lexes to the end, or to the parenthesis that ends an interpolation.
    private mutating func lexCode(insideInterpolation: Bool) {
        var depth = 0
        while let current = byte() {
            switch current {
            case UInt8(ascii: "\n"):
                line += 1
                fallthrough
            case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"):
                position += 1
                joined = false
            case UInt8(ascii: "/") where byte(1) == UInt8(ascii: "/"):
                lexLineComment()
            case UInt8(ascii: "/") where byte(1) == UInt8(ascii: "*"):
                lexBlockComment()
            case UInt8(ascii: "\""):
                lexString(hashes: 0)
            case UInt8(ascii: "#"):
                lexHash()
            case UInt8(ascii: "`"):
                lexQuotedName()
            default:
                if current.isIdentifierHead {
                    lexWord(.identifier)
                } else if current.isDigit {
                    lexWord(.number)
                } else {
                    if current == UInt8(ascii: "(") { depth += 1 }
                    if current == UInt8(ascii: ")") {
                        depth -= 1
                        if insideInterpolation, depth < 0 {
                            position += 1
                            return
                        }
                    }
                    position += 1
                    append(.punctuation, text(from: position - 1), line: line)
                }
            }
        }
    }

    private mutating func lexLineComment() {
        let start = position
        while let current = byte(), current != UInt8(ascii: "\n") { position += 1 }
        keepComment(text(from: start), line: line)
    }

    private mutating func lexBlockComment() {
        let start = position
        let first = line
        var depth = 0
        while let current = byte() {
            if current == UInt8(ascii: "/"), byte(1) == UInt8(ascii: "*") {
                depth += 1
                position += 2
            } else if current == UInt8(ascii: "*"), byte(1) == UInt8(ascii: "/") {
                depth -= 1
                position += 2
                if depth == 0 { break }
            } else {
                if current == UInt8(ascii: "\n") { line += 1 }
                position += 1
            }
        }
        keepComment(text(from: start), line: first)
    }

    private mutating func keepComment(_ text: String, line: Int) {
        comments.append(Comment(text: text, line: line))
        comment = text
        joined = false
    }

    private mutating func lexQuotedName() {
        let start = position
        position += 1
        while let current = byte(), current != UInt8(ascii: "`"), current != UInt8(ascii: "\n") {
            position += 1
        }
        position = min(position + 1, bytes.count)
        append(.identifier, text(from: start), line: line)
    }

    private mutating func lexWord(_ kind: Token.Kind) {
        let start = position
        while let current = byte() {
            let point =
                kind == .number && current == UInt8(ascii: ".") && (byte(1)?.isDigit ?? false)
            guard current.isIdentifierHead || current.isDigit || point else { break }
            position += 1
        }
        append(kind, text(from: start), line: line)
    }

    private mutating func lexHash() {
        var hashes = 0
        while byte(hashes) == UInt8(ascii: "#") { hashes += 1 }
        if byte(hashes) == UInt8(ascii: "\"") {
            position += hashes
            lexString(hashes: hashes)
        } else {
            position += 1
            append(.punctuation, "#", line: line)
        }
    }

    /// Lexes a string literal; `position` is at its first quote.
    private mutating func lexString(hashes: Int) {
        let index = tokens.count
        append(.string, "", line: line)
        let quotes = byte(1) == UInt8(ascii: "\"") && byte(2) == UInt8(ascii: "\"") ? 3 : 1
        position += quotes
        var content: [UInt8] = []
        while let current = byte() {
            if current == UInt8(ascii: "\""), closes(quotes: quotes, hashes: hashes) {
                position += quotes + hashes
                break
            }
            if current == UInt8(ascii: "\\"), followedByHashes(hashes) {
                position += 1 + hashes
                if byte() == UInt8(ascii: "(") {
                    position += 1
                    lexCode(insideInterpolation: true)
                } else if let escaped = byte() {
                    if escaped == UInt8(ascii: "\n") { line += 1 }
                    content.append(escaped)
                    position += 1
                }
                continue
            }
            if current == UInt8(ascii: "\n") {
                line += 1
                // An unfinished literal must not swallow the rest of the file.
                if quotes == 1 { break }
            }
            content.append(current)
            position += 1
        }
        tokens[index].text = String(decoding: content, as: UTF8.self)
        joined = true
    }

    private func closes(quotes: Int, hashes: Int) -> Bool {
        (0..<quotes).allSatisfy { byte($0) == UInt8(ascii: "\"") }
            && (0..<hashes).allSatisfy { byte(quotes + $0) == UInt8(ascii: "#") }
    }

    private func followedByHashes(_ hashes: Int) -> Bool {
        (0..<hashes).allSatisfy { byte(1 + $0) == UInt8(ascii: "#") }
    }
}

extension UInt8 {
    fileprivate var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }

    fileprivate var isIdentifierHead: Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self)
            || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(self)
            || self == UInt8(ascii: "_") || self == UInt8(ascii: "$") || self >= 0x80
    }
}
