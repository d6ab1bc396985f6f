// SPDX-License-Identifier: Apache-2.0

/// A value to be written as JSON or YAML.
///
/// Keys of objects are ASCII, so that their byte order is the order of RFC 8785.
enum JSONValue: Hashable, Sendable {
    case array([JSONValue])
    case boolean(Bool)
    case integer(UInt64)
    case object([String: JSONValue])
    case string(String)

    /// RFC 8785: sorted keys, no spaces, shortest escapes.
    var canonical: String {
        var text = ""
        write(to: &text, indent: nil)
        return text
    }

    /// The same with two spaces per level, for people.
    var pretty: String {
        var text = ""
        write(to: &text, indent: 0)
        return text + "\n"
    }

    private func write(to text: inout String, indent: Int?) {
        switch self {
        case .array(let items):
            Self.write(items, between: "[", "]", to: &text, indent: indent) { item, text, indent in
                item.write(to: &text, indent: indent)
            }
        case .boolean(let value): text += value ? "true" : "false"
        case .integer(let value): text += "\(value)"
        case .object(let members):
            let sorted = members.sorted { $0.key < $1.key }
            Self.write(sorted, between: "{", "}", to: &text, indent: indent) {
                member,
                text,
                indent in
                text += Self.quoted(member.key) + (indent == nil ? ":" : ": ")
                member.value.write(to: &text, indent: indent)
            }
        case .string(let value): text += Self.quoted(value)
        }
    }

    private static func write<Item>(
        _ items: [Item],
        between open: String,
        _ close: String,
        to text: inout String,
        indent: Int?,
        item write: (Item, inout String, Int?) -> Void
    ) {
        let inner = indent.map { $0 + 2 }
        text += open
        for (index, item) in items.enumerated() {
            if index > 0 { text += "," }
            if let inner { text += "\n" + String(repeating: " ", count: inner) }
            write(item, &text, inner)
        }
        if let indent, !items.isEmpty { text += "\n" + String(repeating: " ", count: indent) }
        text += close
    }

    /// A JSON string (RFC 8785 section 3.2.2.2), which is a YAML double-quoted scalar too.
    static func quoted(_ value: String) -> String {
        var text = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\u{8}": text += "\\b"
            case "\t": text += "\\t"
            case "\n": text += "\\n"
            case "\u{C}": text += "\\f"
            case "\r": text += "\\r"
            default:
                if scalar.value < 0x20 {
                    text += escaped(scalar)
                } else {
                    text.unicodeScalars.append(scalar)
                }
            }
        }
        return text + "\""
    }

    private static func escaped(_ scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16)
        return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }
}
