// SPDX-License-Identifier: Apache-2.0

extension JSONValue {
    /// The value in block YAML with two spaces per level.
    ///
    /// Text stands without quotes only where every YAML reader takes it for the same text.
    var yaml: String {
        var text = ""
        switch self {
        case .object(let members) where !members.isEmpty:
            Self.write(members, to: &text, indent: 0)
        case .array(let items) where !items.isEmpty: Self.write(items, to: &text, indent: 0)
        case .array, .boolean, .integer, .object, .string: text = inline + "\n"
        }
        return text
    }

    private static func write(_ members: [String: JSONValue], to text: inout String, indent: Int) {
        for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
            // The first key follows what the caller wrote on this line.
            if index > 0 { text += String(repeating: " ", count: indent) }
            text += scalar(member.key) + ":"
            write(value: member.value, to: &text, indent: indent + 2)
        }
    }

    private static func write(_ items: [JSONValue], to text: inout String, indent: Int) {
        for (index, item) in items.enumerated() {
            if index > 0 { text += String(repeating: " ", count: indent) }
            text += "-"
            switch item {
            case .object(let members) where !members.isEmpty:
                text += " "
                write(members, to: &text, indent: indent + 2)
            case .array(let inner) where !inner.isEmpty:
                text += " "
                write(inner, to: &text, indent: indent + 2)
            case .array, .boolean, .integer, .object, .string: text += " \(item.inline)\n"
            }
        }
    }

    /// Writes what follows a colon.
    private static func write(value: JSONValue, to text: inout String, indent: Int) {
        switch value {
        case .object(let members) where !members.isEmpty:
            text += "\n" + String(repeating: " ", count: indent)
            write(members, to: &text, indent: indent)
        case .array(let items) where !items.isEmpty:
            text += "\n" + String(repeating: " ", count: indent)
            write(items, to: &text, indent: indent)
        case .array, .boolean, .integer, .object, .string: text += " \(value.inline)\n"
        }
    }

    private var inline: String {
        switch self {
        case .string(let value): Self.scalar(value)
        case .array, .boolean, .integer, .object: canonical
        }
    }

    private static func scalar(_ value: String) -> String { isPlain(value) ? value : quoted(value) }

    private static func isPlain(_ value: String) -> Bool {
        guard let first = value.utf8.first, let last = value.utf8.last, isWord(first),
            last != UInt8(ascii: ":"), PlainScalar.otherReading(of: value) == nil
        else { return false }
        return value.utf8.allSatisfy { isWord($0) || "/.:@+=-{}".utf8.contains($0) }
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}
