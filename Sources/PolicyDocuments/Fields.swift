// SPDX-License-Identifier: Apache-2.0

import StrictYAML

/// The keys of one mapping while they are read: what is not taken in the end is unknown.
struct Fields {
    /// Where the mapping stands in the document, for example `spec.rules[0]`; empty at the top.
    let path: String
    let position: TextPosition
    private var pairs: [String: YAMLPair] = [:]
    private var known: [String] = []

    init(path: String, position: TextPosition, pairs: [YAMLPair]) {
        self.path = path
        self.position = position
        for pair in pairs { self.pairs[pair.key] = pair }
    }

    /// The value of a key that may be absent.
    mutating func take(_ key: String) -> YAMLNode? {
        known.append(key)
        return pairs.removeValue(forKey: key)?.value
    }

    func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    var unknown: [YAMLPair] {
        pairs.values.sorted { $0.keyPosition < $1.keyPosition }
    }

    var knownKeys: [String] { known }
}

extension DocumentParser {
    /// Starts reading a mapping.
    mutating func fields(of node: YAMLNode, path: String) -> Fields? {
        guard case .mapping(let pairs) = node.content else {
            reportType(of: node, path: path, expected: "a mapping (key: value)")
            return nil
        }
        return Fields(path: path, position: node.position, pairs: pairs)
    }

    /// The value of a key that must be there.
    mutating func required(_ key: String, of fields: inout Fields) -> YAMLNode? {
        if let node = fields.take(key) { return node }
        report(fields.position, "\(fields.path(of: key)) is missing", "add it")
        return nil
    }

    /// Reports all keys that nothing has read.
    mutating func refuseUnknown(in fields: Fields) {
        for pair in fields.unknown where !isFull {
            let place = fields.path.isEmpty ? "" : " in \(fields.path)"
            report(
                pair.keyPosition,
                "unknown key \"\(Self.shown(pair.key))\"\(place)",
                Suggestion.remedy(for: pair.key, among: fields.knownKeys)
            )
        }
    }

    /// Reads text: quoted, or unquoted if no YAML reader could take it for anything else.
    ///
    /// Characters that a file may not hold are not let in as escapes either, so that what is
    /// written out can be read back.
    mutating func string(_ node: YAMLNode, path: String, bytesMax: Int) -> String? {
        guard case .scalar(let text, let isPlain) = node.content else {
            reportType(of: node, path: path, expected: "a text")
            return nil
        }
        guard !text.isEmpty else {
            report(node.position, "\(path) is empty", "write a value or remove the key")
            return nil
        }
        if isPlain, let other = PlainScalar.otherReading(of: text) {
            report(
                node.position,
                "\(path): \(Self.shown(text)) is \(other), not a text",
                "write \"\(Self.shown(text))\""
            )
            return nil
        }
        guard text.utf8.count <= bytesMax else {
            report(
                node.position,
                "\(path) has \(text.utf8.count) bytes, more than the \(bytesMax) allowed",
                "shorten it"
            )
            return nil
        }
        guard text.unicodeScalars.allSatisfy(SourceText.allows) else {
            report(
                node.position,
                "\(path) holds a control character or an invisible line end",
                "remove it"
            )
            return nil
        }
        return text
    }

    /// Reads text on one line, for people.
    mutating func prose(_ node: YAMLNode, path: String, bytesMax: Int) -> String? {
        guard let text = string(node, path: path, bytesMax: bytesMax) else { return nil }
        guard text.utf8.allSatisfy({ $0 >= 0x20 }) else {
            report(node.position, "\(path) holds a tab or line end", "write it on one line")
            return nil
        }
        return text
    }

    /// Reads a whole number without sign.
    mutating func number(_ node: YAMLNode, path: String) -> UInt64? {
        guard case .scalar(let text, isPlain: true) = node.content, let value = UInt64(text),
            "\(value)" == text
        else {
            reportType(of: node, path: path, expected: "a whole number")
            return nil
        }
        return value
    }

    /// Reads a list of at least one value and at most `max`, in which nothing stands twice.
    mutating func list<Item: Hashable>(
        _ node: YAMLNode,
        path: String,
        max: Int,
        item read: (inout Self, YAMLNode, String) -> Item?
    ) -> [Item]? {
        guard case .sequence(let nodes) = node.content else {
            reportType(of: node, path: path, expected: "a list")
            return nil
        }
        guard !nodes.isEmpty else {
            report(node.position, "\(path) is an empty list", "add a value or remove the key")
            return nil
        }
        guard nodes.count <= max else {
            report(
                node.position,
                "\(path) has \(nodes.count) values, more than the \(max) allowed",
                "split the document"
            )
            return nil
        }
        var items: [Item] = []
        var seen: [Item: Int] = [:]
        for (index, node) in nodes.enumerated() {
            guard let item = read(&self, node, "\(path)[\(index)]") else { continue }
            if let first = seen[item] {
                report(
                    node.position,
                    "\(path)[\(index)] repeats \(path)[\(first)]",
                    "remove one of them"
                )
                continue
            }
            seen[item] = index
            items.append(item)
        }
        return items.count == nodes.count ? items : nil
    }

    /// Reports a value of the wrong type; a remedy of nil is taken from what was expected.
    mutating func reportType(
        of node: YAMLNode,
        path: String,
        expected: String,
        remedy: String? = nil
    ) {
        let found =
            switch node.content {
            case .mapping: "a mapping"
            case .scalar("", isPlain: true): "nothing"
            case .scalar(let text, _): "\"\(Self.shown(text))\""
            case .sequence: "a list"
            }
        let subject = path.isEmpty ? "a document" : path
        report(
            node.position,
            "\(subject) is \(found), not \(expected)",
            remedy ?? "write \(expected)"
        )
    }

    /// A text as messages show it: short, on one line.
    static func shown(_ text: String) -> String {
        let line = String(text.prefix(60).map { $0.isNewline ? " " : $0 })
        return line.count < text.count ? line + "..." : line
    }
}

/// What unquoted text means to some YAML reader.
enum PlainScalar {
    private static let booleans: Set<String> = [
        "y", "n", "yes", "no", "on", "off", "true", "false",
    ]

    /// What a YAML 1.1 or 1.2 reader takes the text for, other than text; nil if for nothing else.
    static func otherReading(of text: String) -> String? {
        let lower = text.lowercased()
        if booleans.contains(lower) { return "a truth value to YAML" }
        if lower == "null" || lower == "~" { return "nothing (null) to YAML" }
        guard let first = text.utf8.first else { return "nothing (null) to YAML" }
        let startsLikeNumber =
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) || first == UInt8(ascii: "+")
            || first == UInt8(ascii: "-") || first == UInt8(ascii: ".")
        // Decimal, hexadecimal, octal, exponents, sexagesimal (1:30) and dates (2026-01-01).
        let numeric = lower.utf8.allSatisfy { "0123456789abcdefox+-._:t z".utf8.contains($0) }
        guard startsLikeNumber, numeric, text.utf8.contains(where: isDigit) else {
            return [".inf", "-.inf", "+.inf", ".nan"].contains(lower) ? "a number to YAML" : nil
        }
        return isNumberOrDate(lower) ? "a number or date to YAML" : nil
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }

    private static func isNumberOrDate(_ text: String) -> Bool {
        var digits = text.utf8[...]
        if let sign = digits.first, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") {
            digits = digits.dropFirst()
        }
        if digits.starts(with: "0x".utf8) || digits.starts(with: "0o".utf8)
            || digits.starts(with: "0b".utf8)
        {
            return true
        }
        // Only digits and what separates them; an "e" may stand once between digits.
        let withoutExponent = digits.split(separator: UInt8(ascii: "e"), maxSplits: 1)
        return withoutExponent.allSatisfy { part in
            part.contains(where: isDigit)
                && part.allSatisfy { isDigit($0) || "+-._:tz ".utf8.contains($0) }
        }
    }
}
