// SPDX-License-Identifier: Apache-2.0

/// Reads a stream of YAML documents, or JSON, into nodes with positions.
///
/// The language is the part of YAML 1.2 that every reader understands in the same way: block and
/// flow collections, plain, quoted and block scalars, comments, `---` and `...`. What YAML readers
/// are known to differ in, or what only serves to surprise, is refused with its reason: anchors
/// and aliases (which can also expand a small text without bound), tags, directives, keys that are
/// not text, tabs as indentation, unquoted text over several lines inside brackets. A text that is
/// read here is read by libyaml to the same values; a test compares both on generated texts.
///
/// A syntax error ends its document only: reading goes on after the next `---`, so that all errors
/// of a file are reported at once.
struct YAMLReader {
    /// Deepest nesting of collections; the deepest documents that people write have about 12, and
    /// reading, checking and writing are recursive.
    static let depthMax = 32
    /// Longest key in bytes (YAML 1.2 section 7.4 allows 1024 characters).
    static let keyBytesMax = 1024
    /// Syntax problems kept of one text; nobody reads more at once.
    static let problemsMax = 50

    private(set) var problems: [TextProblem] = []

    let bytes: [UInt8]
    private let continuations: [UInt32]
    var index = 0
    var line = 1
    var lineStart = 0
    private var depth = 0

    init(_ text: SourceText) {
        bytes = text.bytes
        continuations = text.continuations
    }

    /// Reads all documents; empty ones are left out.
    ///
    /// - Parameter limit: reading stops with a problem at the first document beyond it.
    /// - Returns: one node for each document, in the order of the text.
    mutating func documents(limit: Int) -> [YAMLNode] {
        var result: [YAMLNode] = []
        var isAfterEndMark = false
        var isFirst = true
        while problems.count < Self.problemsMax {
            do throws(TextProblem) {
                try skipToContent()
                guard current != nil else { break }
                defer { isFirst = false }
                if isAtDocumentMark {
                    isAfterEndMark = current == UInt8(ascii: ".")
                    guard !(isFirst && isAfterEndMark) else {
                        throw problem("\"...\" before the first document", "remove it")
                    }
                    index += 3
                    try expectLineEnd(after: "a document mark")
                    continue
                }
                guard !isAfterEndMark else {
                    throw problem("a document after \"...\" has no start", "put \"---\" before it")
                }
                guard result.count < limit else {
                    throw problem("more than \(limit) documents", "split the file")
                }
                result.append(try blockNode(parent: -1))
                try skipToContent()
                guard isAtBlockEnd else {
                    throw problem(
                        "this line belongs to nothing above it",
                        "indent it like its neighbours, or put \"---\" before a new document"
                    )
                }
            } catch {
                problems.append(error)
                guard result.count < limit else { break }
                resynchronize()
            }
        }
        return result
    }

    // MARK: - Place

    var current: UInt8? { byte(at: index) }
    /// Bytes since the start of the line; equal to columns wherever indentation counts.
    var indent: Int { index - lineStart }
    var position: TextPosition { position(at: index) }

    func byte(at index: Int) -> UInt8? {
        index < bytes.count ? bytes[index] : nil
    }

    /// The place of an index on the current line.
    func position(at index: Int) -> TextPosition {
        let continued = Int(continuations[index] - continuations[lineStart])
        return TextPosition(line: line, column: index - lineStart - continued + 1)
    }

    func problem(_ what: String, _ remedy: String) -> TextProblem {
        TextProblem(position: position, what: what, remedy: remedy)
    }

    mutating func report(_ problem: TextProblem) {
        if problems.count < Self.problemsMax { problems.append(problem) }
    }

    mutating func takeNewline() {
        index += 1
        line += 1
        lineStart = index
    }

    mutating func skipBlanks() {
        while let byte = current, isBlank(byte) { index += 1 }
    }

    mutating func skipSpaces() {
        while current == UInt8(ascii: " ") { index += 1 }
    }

    mutating func skipComment() {
        while let byte = current, byte != UInt8(ascii: "\n") { index += 1 }
    }

    // MARK: - Nesting

    mutating func enterCollection() throws(TextProblem) {
        guard depth < Self.depthMax else {
            throw problem(
                "nested more than \(Self.depthMax) deep",
                "no document needs this; look for a bracket or an indentation too much"
            )
        }
        depth += 1
    }

    mutating func leaveCollection() { depth -= 1 }

    // MARK: - Lines

    var isAtLineEnd: Bool { current == nil || current == UInt8(ascii: "\n") }

    /// Whether a line that starts with `---` or `...` and then nothing or a blank starts here.
    var isAtDocumentMark: Bool {
        guard index == lineStart, let first = current,
            first == UInt8(ascii: "-") || first == UInt8(ascii: "."),
            byte(at: index + 1) == first, byte(at: index + 2) == first
        else { return false }
        return isBlankOrEnd(at: index + 3)
    }

    var isAtBlockEnd: Bool { current == nil || isAtDocumentMark }

    func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
    }

    func isBlankOrEnd(at index: Int) -> Bool {
        guard let byte = byte(at: index) else { return true }
        return isBlank(byte) || byte == UInt8(ascii: "\n")
    }

    /// Whether a comment may start here: at the start of a line or after a blank.
    var isAtComment: Bool {
        guard current == UInt8(ascii: "#") else { return false }
        return index == lineStart || isBlank(bytes[index - 1])
    }

    /// Moves over indentation, comments and empty lines to the next text or the end.
    mutating func skipToContent() throws(TextProblem) {
        while true {
            skipSpaces()
            if current == UInt8(ascii: "\n") {
                takeNewline()
            } else if isAtComment {
                skipComment()
            } else if current == UInt8(ascii: "\t") {
                throw problem("a tab is not indentation", "indent with spaces")
            } else {
                return
            }
        }
    }

    /// Moves to the end of a line on which only a comment may still stand.
    mutating func expectLineEnd(after what: String) throws(TextProblem) {
        skipBlanks()
        if isAtComment { skipComment() }
        guard isAtLineEnd else {
            throw problem(
                "unexpected text after \(what)",
                "put it on a line of its own, or the whole value in double quotes"
            )
        }
    }

    /// Goes to the next document after an error.
    private mutating func resynchronize() {
        depth = 0
        if isAtDocumentMark { return }
        while current != nil {
            skipComment()
            guard current != nil else { return }
            takeNewline()
            if isAtDocumentMark { return }
        }
    }
}
