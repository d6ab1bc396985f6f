// SPDX-License-Identifier: Apache-2.0

extension YAMLReader {
    /// Reads the value that starts here, in a place where a mapping or sequence may start.
    ///
    /// - Parameter parent: the indentation of the collection around it, -1 for a document.
    /// - Returns: the value, read to the end of its last line.
    /// - Throws: the first thing that is not in the language.
    mutating func blockNode(parent: Int) throws(TextProblem) -> YAMLNode {
        if isAtEntry { return try blockSequence() }
        guard let scalar = try inlineNode(parent: parent, mayBeKey: true) else {
            return try blockMapping()
        }
        return scalar
    }

    /// Whether a dash that makes a sequence entry stands here.
    var isAtEntry: Bool { current == UInt8(ascii: "-") && isBlankOrEnd(at: index + 1) }

    /// Whether a colon that makes a key of what is before it stands here.
    var isAtValueMark: Bool { current == UInt8(ascii: ":") && isBlankOrEnd(at: index + 1) }

    /// Reads a scalar or a flow collection to the end of its last line.
    ///
    /// - Returns: nil if it is the first key of a mapping, with the place moved back to its start;
    ///   only when `mayBeKey`.
    private mutating func inlineNode(
        parent: Int,
        mayBeKey: Bool
    ) throws(TextProblem) -> YAMLNode? {
        let start = (index, line, lineStart)
        let node: YAMLNode
        switch current {
        case UInt8(ascii: "|"), UInt8(ascii: ">"): return try blockScalar(parent: parent)
        case UInt8(ascii: "["), UInt8(ascii: "{"): node = try flowNode()
        case UInt8(ascii: "\""), UInt8(ascii: "'"): node = try quotedScalar()
        default: node = try plainScalar(parent: parent)
        }
        let end = index
        skipBlanks()
        guard isAtValueMark else {
            index = end
            try expectLineEnd(after: "a value")
            return node
        }
        guard mayBeKey else {
            throw problem(
                "a second \": \" on one line",
                "put the value in double quotes, or start the inner mapping on its own line"
            )
        }
        guard case .scalar = node.content, line == start.1 else {
            throw TextProblem(
                position: node.position,
                what: "a key that is not a text on one line",
                remedy: "write a plain or quoted key"
            )
        }
        (index, line, lineStart) = start
        return nil
    }

    // MARK: - Mappings

    private mutating func blockMapping() throws(TextProblem) -> YAMLNode {
        try enterCollection()
        let column = indent
        let start = position
        var pairs = PairList()
        repeat {
            guard !isAtEntry else {
                throw problem(
                    "a list entry among the keys of a mapping",
                    "indent the list under its key"
                )
            }
            let (key, keyPosition) = try blockKey()
            let value = try blockValue(of: column)
            let pair = YAMLPair(key: key, keyPosition: keyPosition, value: value)
            if let duplicate = pairs.add(pair) { report(duplicate) }
            try skipToContent()
        } while try continues(at: column)
        leaveCollection()
        return YAMLNode(position: start, content: .mapping(pairs.pairs))
    }

    /// Whether another line of the collection at `column` starts here.
    private func continues(at column: Int) throws(TextProblem) -> Bool {
        guard !isAtBlockEnd, indent >= column else { return false }
        guard indent == column else {
            throw problem(
                "this line is indented further than the lines that it continues",
                "align it with them, at column \(column + 1)"
            )
        }
        return true
    }

    /// Reads a key and its colon.
    private mutating func blockKey() throws(TextProblem) -> (String, TextPosition) {
        let start = position
        let text: String
        switch current {
        case UInt8(ascii: "\""), UInt8(ascii: "'"):
            let node = try quotedScalar()
            guard case .scalar(let string, _) = node.content, node.position.line == line else {
                throw TextProblem(
                    position: start,
                    what: "a key over several lines",
                    remedy: "write it on one line"
                )
            }
            text = string
        case UInt8(ascii: "["), UInt8(ascii: "{"):
            throw problem("a collection where a key is expected", "write \"key: value\"")
        default:
            try expectPlainStart(inFlow: false)
            text = plainLine(inFlow: false)
        }
        skipBlanks()
        guard isAtValueMark else {
            throw TextProblem(
                position: start,
                what: "\"\(text.prefix(40))\" is not followed by \": \"",
                remedy: "write \"key: value\", with a space after the colon"
            )
        }
        try check(key: text, at: start)
        index += 1
        return (text, start)
    }

    func check(key: String, at position: TextPosition) throws(TextProblem) {
        guard key.utf8.count > Self.keyBytesMax else { return }
        throw TextProblem(
            position: position,
            what: "a key of more than \(Self.keyBytesMax) bytes",
            remedy: "shorten it"
        )
    }

    /// Reads what follows the colon of a key of the mapping at `column`.
    private mutating func blockValue(of column: Int) throws(TextProblem) -> YAMLNode {
        let absent = position
        skipBlanks()
        guard isAtLineEnd || isAtComment else {
            guard !isAtEntry else {
                throw problem("a list entry on the line of its key", "start the list on a new line")
            }
            guard let node = try inlineNode(parent: column, mayBeKey: false) else {
                return YAMLNode(position: absent, content: .scalar("", isPlain: true))
            }
            return node
        }
        try skipToContent()
        if !isAtBlockEnd {
            if indent > column { return try blockNode(parent: column) }
            // A list may stand at the indentation of its key.
            if indent == column, isAtEntry { return try blockSequence() }
        }
        return YAMLNode(position: absent, content: .scalar("", isPlain: true))
    }

    // MARK: - Sequences

    private mutating func blockSequence() throws(TextProblem) -> YAMLNode {
        try enterCollection()
        let column = indent
        let start = position
        var items: [YAMLNode] = []
        repeat {
            items.append(try blockEntry(of: column))
            try skipToContent()
        } while try continues(at: column) && isAtEntry
        leaveCollection()
        return YAMLNode(position: start, content: .sequence(items))
    }

    private mutating func blockEntry(of column: Int) throws(TextProblem) -> YAMLNode {
        index += 1
        let absent = position
        skipSpaces()
        guard current != UInt8(ascii: "\t") else {
            throw problem("a tab after a dash", "write one space")
        }
        if isAtLineEnd || isAtComment {
            try skipToContent()
            guard !isAtBlockEnd, indent > column else {
                return YAMLNode(position: absent, content: .scalar("", isPlain: true))
            }
        }
        return try blockNode(parent: column)
    }
}

/// The pairs of a mapping as they are read; a key that comes again is reported and left out.
struct PairList {
    private(set) var pairs: [YAMLPair] = []
    private var firstLines: [String: Int] = [:]

    /// Adds a pair, or returns what is wrong with it.
    mutating func add(_ pair: YAMLPair) -> TextProblem? {
        if let line = firstLines[pair.key] {
            return TextProblem(
                position: pair.keyPosition,
                what: "the key \"\(pair.key)\" stands twice (first on line \(line))",
                remedy: "remove one of them"
            )
        }
        firstLines[pair.key] = pair.keyPosition.line
        pairs.append(pair)
        return nil
    }
}
