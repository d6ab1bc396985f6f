// SPDX-License-Identifier: Apache-2.0

/// Writes a string as a JSON string with quotes (RFC 8259 section 7).
///
/// Beyond what JSON demands, DEL and the C1 controls are escaped: the text may reach a terminal.
struct JSONString: CustomStringConvertible {
    let value: String

    init(_ value: String) {
        self.value = value
    }

    var description: String {
        var text = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "\u{0}"..."\u{1f}", "\u{7f}"..."\u{9f}", "\u{2028}", "\u{2029}":
                let hex = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }
}
