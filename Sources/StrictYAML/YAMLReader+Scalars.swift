// SPDX-License-Identifier: Apache-2.0

extension YAMLReader {
    // MARK: - Plain

    /// Reads unquoted text in block context, over several lines if they are indented further than
    /// `parent`.
    mutating func plainScalar(parent: Int) throws(TextProblem) -> YAMLNode {
        let start = position
        try expectPlainStart(inFlow: false)
        var text = plainLine(inFlow: false)
        while let breaks = try continuation(parent: parent) {
            guard !isAtEntry else {
                throw problem(
                    "a list entry that would continue the text above",
                    "end the line above with \": \", or put the text in quotes"
                )
            }
            text += breaks == 1 ? " " : String(repeating: "\n", count: breaks - 1)
            text += plainLine(inFlow: false)
            guard !isAtValueMark else {
                throw problem(
                    "\": \" inside a text of several lines",
                    "check the indentation, or put the text in quotes"
                )
            }
        }
        return YAMLNode(position: start, content: .scalar(text, isPlain: true))
    }

    /// Moves to the next line of a plain text and returns how many line ends are between, or stays
    /// and returns nil.
    private mutating func continuation(parent: Int) throws(TextProblem) -> Int? {
        let end = (index, line, lineStart)
        skipBlanks()
        guard current == UInt8(ascii: "\n") else {
            (index, line, lineStart) = end
            return nil
        }
        var breaks = 0
        while current == UInt8(ascii: "\n") {
            takeNewline()
            breaks += 1
            skipSpaces()
        }
        // A tab here is refused by whoever reads this line.
        guard !isAtBlockEnd, indent > parent, !isAtComment, current != UInt8(ascii: "\t") else {
            (index, line, lineStart) = end
            return nil
        }
        return breaks
    }

    /// Checks that unquoted text may start here (YAML 1.2 section 7.3.3, narrowed).
    func expectPlainStart(inFlow: Bool) throws(TextProblem) {
        let quote = "put the text in double quotes"
        switch current {
        case nil: throw problem("the text ends here", "write a value")
        case UInt8(ascii: "&"), UInt8(ascii: "*"):
            throw problem(
                "YAML anchors and aliases are not accepted",
                "write the value out; if it is text, put it in double quotes"
            )
        case UInt8(ascii: "!"):
            throw problem("YAML tags are not accepted", "remove it; \(quote) if it is text")
        case UInt8(ascii: "%"):
            throw problem("YAML directives are not accepted", "remove it; \(quote) if it is text")
        case UInt8(ascii: "?"), UInt8(ascii: ":"):
            throw problem("a value does not start with \"?\" or \":\"", quote)
        case UInt8(ascii: "|"), UInt8(ascii: ">"):
            throw problem("a block text cannot start here", quote)
        case UInt8(ascii: "]"), UInt8(ascii: "}"), UInt8(ascii: ","):
            throw problem("a bracket or comma without its opening", "remove it, or \(quote)")
        case UInt8(ascii: "#"), UInt8(ascii: "@"), UInt8(ascii: "`"):
            throw problem("an unquoted value does not start with this character", quote)
        case UInt8(ascii: "-"):
            let next = index + 1
            guard isBlankOrEnd(at: next) || (inFlow && isFlowMark(at: next)) else { return }
            throw problem("a dash without a place for a list entry", "check the indentation")
        default: return
        }
    }

    /// Reads unquoted text up to where it must end on this line, without blanks at its end.
    mutating func plainLine(inFlow: Bool) -> String {
        let start = index
        var end = index
        while let byte = current, byte != UInt8(ascii: "\n") {
            if isAtComment { break }
            if byte == UInt8(ascii: ":"),
                isBlankOrEnd(at: index + 1) || (inFlow && isFlowMark(at: index + 1))
            {
                break
            }
            // libyaml refuses ":?" here, so it is left to be refused.
            if inFlow, byte == UInt8(ascii: ":"), self.byte(at: index + 1) == UInt8(ascii: "?") {
                break
            }
            if inFlow, isFlowMark(at: index) { break }
            index += 1
            if !isBlank(byte) { end = index }
        }
        index = end
        return String(decoding: bytes[start..<end], as: UTF8.self)
    }

    private func isFlowMark(at index: Int) -> Bool {
        switch byte(at: index) {
        case UInt8(ascii: ","), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "{"),
            UInt8(ascii: "}"):
            true
        default: false
        }
    }

    // MARK: - Quoted

    /// Reads text in single or double quotes, folding line ends (YAML 1.2 section 7.3).
    mutating func quotedScalar() throws(TextProblem) -> YAMLNode {
        let start = position
        let quote = bytes[index]
        let isDouble = quote == UInt8(ascii: "\"")
        index += 1
        var text: [UInt8] = []
        while let byte = current {
            if byte == quote {
                index += 1
                if isDouble || current != quote {
                    let string = String(decoding: text, as: UTF8.self)
                    return YAMLNode(position: start, content: .scalar(string, isPlain: false))
                }
                text.append(byte)
                index += 1
            } else if byte == UInt8(ascii: "\n") {
                try fold(into: &text, isEscaped: false)
            } else if isBlank(byte) {
                let first = index
                skipBlanks()
                // Blanks before a line end are not part of the text.
                if current != UInt8(ascii: "\n") { text += bytes[first..<index] }
            } else if isDouble, byte == UInt8(ascii: "\\") {
                index += 1
                if current == UInt8(ascii: "\n") {
                    try fold(into: &text, isEscaped: true)
                } else {
                    text += try escape()
                }
            } else {
                text.append(byte)
                index += 1
            }
        }
        throw TextProblem(
            position: start,
            what: "this quote is never closed",
            remedy: "close it"
        )
    }

    /// Moves over line ends inside quotes: one becomes a space, each further one a line end.
    private mutating func fold(into text: inout [UInt8], isEscaped: Bool) throws(TextProblem) {
        var breaks = 0
        while current == UInt8(ascii: "\n") {
            takeNewline()
            breaks += 1
            guard !isAtDocumentMark else {
                throw problem("a document mark inside quotes", "close the quote before it")
            }
            skipSpaces()
            guard current != UInt8(ascii: "\t") else {
                throw problem("a tab is not indentation", "indent with spaces")
            }
        }
        if breaks > 1 {
            text += Array(repeating: UInt8(ascii: "\n"), count: breaks - 1)
        } else if !isEscaped {
            text.append(UInt8(ascii: " "))
        }
    }

    /// Reads what follows a backslash (YAML 1.2 section 5.7), with JSON's surrogate pairs.
    private mutating func escape() throws(TextProblem) -> [UInt8] {
        guard let kind = current else { throw problem("the text ends here", "close the quote") }
        let scalar: Unicode.Scalar? =
            switch kind {
            case UInt8(ascii: "0"): "\0"
            case UInt8(ascii: "a"): "\u{7}"
            case UInt8(ascii: "b"): "\u{8}"
            case UInt8(ascii: "t"): "\t"
            case UInt8(ascii: "n"): "\n"
            case UInt8(ascii: "v"): "\u{B}"
            case UInt8(ascii: "f"): "\u{C}"
            case UInt8(ascii: "r"): "\r"
            case UInt8(ascii: "e"): "\u{1B}"
            case UInt8(ascii: " "), UInt8(ascii: "\""), UInt8(ascii: "/"), UInt8(ascii: "\\"):
                Unicode.Scalar(kind)
            case UInt8(ascii: "N"): "\u{85}"
            case UInt8(ascii: "_"): "\u{A0}"
            case UInt8(ascii: "L"): "\u{2028}"
            case UInt8(ascii: "P"): "\u{2029}"
            case UInt8(ascii: "x"), UInt8(ascii: "u"), UInt8(ascii: "U"): try escapedNumber()
            default: nil
            }
        guard let scalar, let encoded = UTF8.encode(scalar) else {
            throw problem("an unknown escape after \"\\\"", "write \"\\\\\" for a backslash")
        }
        index += 1
        return Array(encoded)
    }

    /// Reads the digits of `\x`, `\u` or `\U`, to the last digit.
    private mutating func escapedNumber() throws(TextProblem) -> Unicode.Scalar? {
        let digits =
            switch current {
            case UInt8(ascii: "x"): 2
            case UInt8(ascii: "u"): 4
            default: 8
            }
        let first = try hexDigits(digits)
        guard digits == 4, (0xD800...0xDBFF).contains(first),
            byte(at: index + 1) == UInt8(ascii: "\\"), byte(at: index + 2) == UInt8(ascii: "u")
        else { return Unicode.Scalar(first) }
        index += 2
        let second = try hexDigits(4)
        guard (0xDC00...0xDFFF).contains(second) else { return nil }
        return Unicode.Scalar(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00))
    }

    private mutating func hexDigits(_ count: Int) throws(TextProblem) -> UInt32 {
        let end = min(index + 1 + count, bytes.count)
        let text = String(decoding: bytes[(index + 1)..<end], as: UTF8.self)
        let isHex = text.utf8.allSatisfy { Character(Unicode.Scalar($0)).isHexDigit }
        guard isHex, text.utf8.count == count, let value = UInt32(text, radix: 16) else {
            throw problem("an escape with fewer than \(count) hexadecimal digits", "complete it")
        }
        index += count
        return value
    }

    // MARK: - Block

    /// Reads `|` or `>` text (YAML 1.2 section 8.1).
    mutating func blockScalar(parent: Int) throws(TextProblem) -> YAMLNode {
        let start = position
        let isLiteral = current == UInt8(ascii: "|")
        let (indicated, chomping) = try blockHeader()
        let least = max(parent + 1, 1)
        let column =
            if let indicated { max(parent, 0) + indicated } else { try detectIndent(least: least) }
        var text = ""
        var lineEnd = ""
        var trailing = String(repeating: "\n", count: try emptyLines(upTo: column))
        var wasBlank = false
        while indent == column, let first = current {
            let isBlankLine = isBlank(first)
            if !isLiteral, !lineEnd.isEmpty, !wasBlank, !isBlankLine {
                if trailing.isEmpty { text += " " }
            } else {
                text += lineEnd
            }
            text += trailing
            wasBlank = isBlankLine
            let lineBegin = index
            skipComment()
            text += String(decoding: bytes[lineBegin..<index], as: UTF8.self)
            lineEnd = ""
            if current != nil {
                takeNewline()
                lineEnd = "\n"
            }
            trailing = String(repeating: "\n", count: try emptyLines(upTo: column))
        }
        switch chomping {
        case UInt8(ascii: "-"): break
        case UInt8(ascii: "+"): text += lineEnd + trailing
        default: text += lineEnd
        }
        return YAMLNode(position: start, content: .scalar(text, isPlain: false))
    }

    /// Reads the rest of the line after `|` or `>`: an indentation digit and `+` or `-`.
    private mutating func blockHeader() throws(TextProblem) -> (indent: Int?, chomping: UInt8?) {
        index += 1
        var indent: Int?
        var chomping: UInt8?
        while let byte = current {
            switch byte {
            case UInt8(ascii: "+"), UInt8(ascii: "-"):
                guard chomping == nil else { break }
                chomping = byte
                index += 1
                continue
            case UInt8(ascii: "1")...UInt8(ascii: "9"):
                guard indent == nil else { break }
                indent = Int(byte - UInt8(ascii: "0"))
                index += 1
                continue
            default: break
            }
            break
        }
        try expectLineEnd(after: "the start of a block text")
        if current != nil { takeNewline() }
        return (indent, chomping)
    }

    /// The indentation of the first line that is not empty, at least `least`.
    private func detectIndent(least: Int) throws(TextProblem) -> Int {
        var ahead = self
        var deepestEmpty = 0
        while true {
            ahead.skipSpaces()
            guard ahead.current == UInt8(ascii: "\n") else { break }
            deepestEmpty = max(deepestEmpty, ahead.indent)
            ahead.takeNewline()
        }
        guard ahead.current != UInt8(ascii: "\t") else {
            throw ahead.problem("a tab is not indentation", "indent with spaces")
        }
        let found = max(ahead.indent, least)
        guard deepestEmpty <= found else {
            throw ahead.problem(
                "an empty line above is indented further than the text",
                "remove the spaces from the empty line"
            )
        }
        return found
    }

    /// Moves over empty lines and over the indentation of the next line, at most to `column`.
    private mutating func emptyLines(upTo column: Int) throws(TextProblem) -> Int {
        var count = 0
        while true {
            while indent < column, current == UInt8(ascii: " ") { index += 1 }
            guard indent >= column || current != UInt8(ascii: "\t") else {
                throw problem("a tab is not indentation", "indent with spaces")
            }
            guard current == UInt8(ascii: "\n") else { return count }
            takeNewline()
            count += 1
        }
    }
}
