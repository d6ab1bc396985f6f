// SPDX-License-Identifier: Apache-2.0

/// A JSON value (RFC 8259) as tokens and bundle documents hold it.
///
/// Numbers keep their text, so none loses digits. Names of an object are single: a text that has
/// one twice is not read at all.
package indirect enum JSONValue: Hashable, Sendable {
    case array([JSONValue])
    case boolean(Bool)
    case null
    case number(JSONNumber)
    case object([String: JSONValue])
    case string(String)

    /// Deepest nesting that is read: a bundle map nests seven levels, a chain of actors in a token
    /// as many again; it bounds the recursion of the reader.
    package static let depthMax = 16
    /// Most values in one text: a bundle map of the largest size has some thousands, and each costs
    /// many times its bytes.
    package static let valuesMax = 65_536

    /// Reads a whole text.
    ///
    /// - Parameters:
    ///   - bytes: The text, UTF-8.
    ///   - bytesMax: The longest text that the caller reads.
    /// - Throws: `JSONError`; no error quotes the text.
    package init(parsing bytes: [UInt8], bytesMax: Int) throws(JSONError) {
        guard bytes.count <= bytesMax else { throw .tooLong(max: bytesMax) }
        var reader = JSONReader(bytes: bytes)
        self = try reader.document()
    }

    /// The text, if the value is one.
    package var text: String? {
        if case .string(let text) = self { text } else { nil }
    }

    /// The value as text without white space, members in the order of their names' bytes: the same
    /// value has the same bytes.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }

    private func append(to bytes: inout [UInt8]) {
        switch self {
        case .array(let values):
            bytes.append(UInt8(ascii: "["))
            for (position, value) in values.enumerated() {
                if position > 0 { bytes.append(UInt8(ascii: ",")) }
                value.append(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .boolean(let isTrue): bytes += (isTrue ? "true" : "false").utf8
        case .null: bytes += "null".utf8
        case .number(let number): bytes += number.text.utf8
        case .object(let members):
            bytes.append(UInt8(ascii: "{"))
            let sorted = members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
            for (position, member) in sorted.enumerated() {
                if position > 0 { bytes.append(UInt8(ascii: ",")) }
                Self.append(member.key, to: &bytes)
                bytes.append(UInt8(ascii: ":"))
                member.value.append(to: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        case .string(let text): Self.append(text, to: &bytes)
        }
    }

    /// Escapes what RFC 8259 section 7 demands and nothing else.
    private static func append(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                bytes += [UInt8(ascii: "\\"), byte]
            case 0..<0x20:
                bytes += "\\u00\(Hexadecimal.text([byte]))".utf8
            default:
                bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}

/// A number in JSON, as it is written (RFC 8259 section 6).
package struct JSONNumber: Hashable, Sendable {
    package let text: String

    /// Takes a text that the reader has checked.
    init(checked text: String) {
        self.text = text
    }

    package init(_ number: some FixedWidthInteger) {
        text = "\(number)"
    }

    /// The number if it is written as an integer without sign, fraction and exponent, and fits.
    package var unsigned: UInt64? {
        text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            ? UInt64(text) : nil
    }

    /// The nearest double; nil if there is none but infinity.
    package var double: Double? {
        Double(text).flatMap { $0.isFinite ? $0 : nil }
    }
}

/// Why bytes are not a JSON text that is read; an offset counts bytes from 0.
package enum JSONError: Error, Hashable, Sendable, CustomStringConvertible {
    /// An object has two members of one name, of which readers take either.
    case duplicateName(offset: Int)
    case malformed(offset: Int)
    /// A text is not UTF-8, or escapes half of a surrogate pair.
    case notUnicode(offset: Int)
    case tooDeep
    case tooLong(max: Int)
    case tooManyValues
    /// Something follows the value.
    case trailingBytes(offset: Int)

    package var description: String {
        switch self {
        case .duplicateName(let offset): "a name stands twice in an object, at byte \(offset)"
        case .malformed(let offset): "malformed JSON at byte \(offset)"
        case .notUnicode(let offset): "a text is not Unicode, before byte \(offset)"
        case .tooDeep: "JSON nested deeper than \(JSONValue.depthMax) levels"
        case .tooLong(let max): "more than \(max) bytes of JSON"
        case .tooManyValues: "more than \(JSONValue.valuesMax) values in JSON"
        case .trailingBytes(let offset): "bytes after the JSON value, at byte \(offset)"
        }
    }
}
