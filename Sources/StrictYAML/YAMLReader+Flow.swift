// SPDX-License-Identifier: Apache-2.0

extension YAMLReader {
    /// Reads a value inside brackets, or one that opens them; all of JSON is read here.
    mutating func flowNode() throws(TextProblem) -> YAMLNode {
        switch current {
        case UInt8(ascii: "["): return try flowSequence()
        case UInt8(ascii: "{"): return try flowMapping()
        case UInt8(ascii: "\""), UInt8(ascii: "'"): return try quotedScalar()
        default:
            let start = position
            try expectPlainStart(inFlow: true)
            let text = plainLine(inFlow: true)
            return YAMLNode(position: start, content: .scalar(text, isPlain: true))
        }
    }

    private mutating func flowSequence() throws(TextProblem) -> YAMLNode {
        try enterCollection()
        let start = position
        let close = UInt8(ascii: "]")
        index += 1
        var items: [YAMLNode] = []
        try skipFlowSpace(openedAt: start)
        while current != close {
            items.append(try flowNode())
            try skipFlowSpace(openedAt: start)
            guard current != UInt8(ascii: ":") else {
                throw problem("a key inside [ ]", "put the pair in { }")
            }
            try separator(before: close, openedAt: start)
        }
        index += 1
        leaveCollection()
        return YAMLNode(position: start, content: .sequence(items))
    }

    private mutating func flowMapping() throws(TextProblem) -> YAMLNode {
        try enterCollection()
        let start = position
        let close = UInt8(ascii: "}")
        index += 1
        var pairs = PairList()
        try skipFlowSpace(openedAt: start)
        while current != close {
            let pair = try flowPair(openedAt: start)
            if let duplicate = pairs.add(pair) { report(duplicate) }
            try skipFlowSpace(openedAt: start)
            try separator(before: close, openedAt: start)
        }
        index += 1
        leaveCollection()
        return YAMLNode(position: start, content: .mapping(pairs.pairs))
    }

    private mutating func flowPair(openedAt start: TextPosition) throws(TextProblem) -> YAMLPair {
        let keyPosition = position
        let keyLine = line
        if current == UInt8(ascii: "[") || current == UInt8(ascii: "{") {
            throw problem("a collection where a key is expected", "write a plain or quoted key")
        }
        let isQuoted = current == UInt8(ascii: "\"") || current == UInt8(ascii: "'")
        guard case .scalar(let key, _) = try flowNode().content, line == keyLine else {
            throw TextProblem(
                position: keyPosition,
                what: "a key over several lines",
                remedy: "write it on one line"
            )
        }
        skipBlanks()
        // After a quoted key no space is needed, as in JSON; `a:1` is a plain text.
        guard current == UInt8(ascii: ":"), isQuoted || isBlankOrEnd(at: index + 1) else {
            throw TextProblem(
                position: keyPosition,
                what: "\"\(key.prefix(40))\" is not followed by \": \"",
                remedy: "write \"key: value\", with a space after the colon"
            )
        }
        try check(key: key, at: keyPosition)
        index += 1
        try skipFlowSpace(openedAt: start)
        guard current != UInt8(ascii: ","), current != UInt8(ascii: "}") else {
            throw problem("the value of \"\(key)\" is missing", "write it, or remove the key")
        }
        return YAMLPair(key: key, keyPosition: keyPosition, value: try flowNode())
    }

    /// Moves over a comma and the space after it, or stops before the closing bracket.
    private mutating func separator(
        before close: UInt8,
        openedAt start: TextPosition
    ) throws(TextProblem) {
        if current == close { return }
        guard current == UInt8(ascii: ",") else {
            throw problem(
                "expected \",\" or \"\(Character(Unicode.Scalar(close)))\"",
                "separate values with commas, and quote text that has more than one line"
            )
        }
        index += 1
        try skipFlowSpace(openedAt: start)
    }

    /// Moves over blanks, line ends and comments inside brackets.
    private mutating func skipFlowSpace(openedAt start: TextPosition) throws(TextProblem) {
        while true {
            skipBlanks()
            if isAtComment { skipComment() }
            guard !isAtBlockEnd else {
                throw TextProblem(
                    position: start,
                    what: "this bracket is never closed",
                    remedy: "close it"
                )
            }
            guard current == UInt8(ascii: "\n") else { return }
            takeNewline()
        }
    }
}
