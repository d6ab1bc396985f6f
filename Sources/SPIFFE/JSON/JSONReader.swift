// SPDX-License-Identifier: Apache-2.0

/// Reads one JSON text (RFC 8259), strictly: where readers are known to differ, it refuses.
///
/// Refused are a name that an object has twice (also in two spellings that Unicode calls equal),
/// bytes that are not UTF-8, a byte order mark, half a surrogate pair and anything after the value.
struct JSONReader {
    private let bytes: [UInt8]
    private var offset = 0
    private var valuesCount = 0

    init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// Reads the value that is the whole text.
    mutating func document() throws(JSONError) -> JSONValue {
        let value = try value(depth: 1)
        skipSpace()
        guard offset == bytes.count else { throw .trailingBytes(offset: offset) }
        return value
    }

    private var next: UInt8? { offset < bytes.count ? bytes[offset] : nil }
    private var fault: JSONError { .malformed(offset: offset) }

    private mutating func skipSpace() {
        while let next, next == 0x20 || next == 0x0A || next == 0x0D || next == 0x09 {
            offset += 1
        }
    }

    private mutating func takes(_ byte: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: byte) else { return false }
        offset += 1
        return true
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        guard depth <= JSONValue.depthMax else { throw .tooDeep }
        valuesCount += 1
        guard valuesCount <= JSONValue.valuesMax else { throw .tooManyValues }
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return .object(try members(depth: depth))
        case UInt8(ascii: "["): return .array(try elements(depth: depth))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", means: .boolean(true))
        case UInt8(ascii: "f"): return try word("false", means: .boolean(false))
        case UInt8(ascii: "n"): return try word("null", means: .null)
        default: return .number(try number())
        }
    }

    private mutating func word(
        _ word: String,
        means value: JSONValue
    ) throws(JSONError) -> JSONValue {
        guard bytes[offset...].starts(with: word.utf8) else { throw fault }
        offset += word.utf8.count
        return value
    }

    private mutating func members(depth: Int) throws(JSONError) -> [String: JSONValue] {
        offset += 1
        var members: [String: JSONValue] = [:]
        skipSpace()
        if takes("}") { return members }
        repeat {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw fault }
            let place = offset
            let name = try string()
            skipSpace()
            guard takes(":") else { throw fault }
            let value = try value(depth: depth + 1)
            guard members.updateValue(value, forKey: name) == nil else {
                throw .duplicateName(offset: place)
            }
            skipSpace()
        } while takes(",")
        guard takes("}") else { throw fault }
        return members
    }

    private mutating func elements(depth: Int) throws(JSONError) -> [JSONValue] {
        offset += 1
        var values: [JSONValue] = []
        skipSpace()
        if takes("]") { return values }
        repeat {
            values.append(try value(depth: depth + 1))
            skipSpace()
        } while takes(",")
        guard takes("]") else { throw fault }
        return values
    }

    private mutating func string() throws(JSONError) -> String {
        offset += 1
        var content: [UInt8] = []
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                offset += 1
                guard let text = String(validating: content, as: UTF8.self) else {
                    throw .notUnicode(offset: offset)
                }
                return text
            case UInt8(ascii: "\\"):
                offset += 1
                content += try escape()
            case 0..<0x20:
                throw fault
            default:
                offset += 1
                content.append(byte)
            }
        }
        throw fault
    }

    /// The UTF-8 of what an escape stands for.
    private mutating func escape() throws(JSONError) -> [UInt8] {
        guard let letter = next else { throw fault }
        offset += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [letter]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"):
            var code = try codeUnit()
            if (0xD800..<0xDC00).contains(code) {
                guard takes("\\"), takes("u") else { throw .notUnicode(offset: offset) }
                let low = try codeUnit()
                guard (0xDC00..<0xE000).contains(low) else { throw .notUnicode(offset: offset) }
                code = 0x1_0000 + ((code - 0xD800) << 10 | (low - 0xDC00))
            }
            guard let scalar = Unicode.Scalar(code) else { throw .notUnicode(offset: offset) }
            return Array(String(Character(scalar)).utf8)
        default:
            offset -= 1
            throw fault
        }
    }

    private mutating func codeUnit() throws(JSONError) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = next.flatMap({ Character(Unicode.Scalar($0)).hexDigitValue }) else {
                throw fault
            }
            code = code << 4 | UInt32(digit)
            offset += 1
        }
        return code
    }

    private mutating func number() throws(JSONError) -> JSONNumber {
        let start = offset
        _ = takes("-")
        if !takes("0") { try digits() }
        if takes(".") { try digits() }
        if takes("e") || takes("E") {
            if !takes("+") { _ = takes("-") }
            try digits()
        }
        return JSONNumber(checked: String(decoding: bytes[start..<offset], as: UTF8.self))
    }

    private mutating func digits() throws(JSONError) {
        let start = offset
        while let next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(next) { offset += 1 }
        guard offset > start else { throw fault }
    }
}
