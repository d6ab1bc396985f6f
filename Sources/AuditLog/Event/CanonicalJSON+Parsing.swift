// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// Where bytes stop being canonical JSON.
package enum CanonicalJSONError: Error, Hashable, Sendable, CustomStringConvertible {
    case notCanonical(offset: Int)
    case tooDeep

    package var description: String {
        switch self {
        case .notCanonical(let offset): "not canonical JSON (RFC 8785) from byte \(offset) on"
        case .tooDeep: "nested deeper than \(CanonicalJSON.depthMax) levels"
        }
    }
}

extension CanonicalJSON {
    /// Records nest three levels; the limit bounds the recursion of the reader.
    package static let depthMax = 8

    /// Reads bytes that are exactly what `encoded` writes: no white space, members in order and
    /// once only, the canonical escapes and numbers and no others.
    ///
    /// - Throws: `CanonicalJSONError`.
    package init(parsing bytes: [UInt8]) throws(CanonicalJSONError) {
        var reader = CanonicalReader(bytes: bytes)
        self = try reader.value(depth: 1)
        guard reader.isAtEnd else { throw reader.fault }
    }
}

private struct CanonicalReader {
    let bytes: [UInt8]
    var offset = 0

    var isAtEnd: Bool { offset == bytes.count }
    var fault: CanonicalJSONError { .notCanonical(offset: offset) }

    private var next: UInt8? { isAtEnd ? nil : bytes[offset] }

    private mutating func skips(_ byte: Character) -> Bool {
        guard let next, next == byte.asciiValue else { return false }
        offset += 1
        return true
    }

    mutating func value(depth: Int) throws(CanonicalJSONError) -> CanonicalJSON {
        guard depth <= CanonicalJSON.depthMax else { throw .tooDeep }
        switch next {
        case UInt8(ascii: "{"): return .object(try members(depth: depth))
        case UInt8(ascii: "["): return .array(try elements(depth: depth))
        case UInt8(ascii: "\""): return .string(try string())
        default: return .integer(try integer())
        }
    }

    private mutating func elements(
        depth: Int
    ) throws(CanonicalJSONError) -> [CanonicalJSON] {
        offset += 1
        var elements: [CanonicalJSON] = []
        if skips("]") { return elements }
        repeat {
            try elements.append(value(depth: depth + 1))
        } while skips(",")
        guard skips("]") else { throw fault }
        return elements
    }

    private mutating func members(
        depth: Int
    ) throws(CanonicalJSONError) -> [String: CanonicalJSON] {
        offset += 1
        var members: [String: CanonicalJSON] = [:]
        if skips("}") { return members }
        var last: [UInt8] = []
        repeat {
            let start = offset
            guard next == UInt8(ascii: "\"") else { throw fault }
            let name = try string()
            let nameBytes = Array(name.utf8)
            // Strictly rising: neither out of order nor twice.
            guard CanonicalJSON.allows(name: nameBytes),
                last.lexicographicallyPrecedes(nameBytes)
            else { throw .notCanonical(offset: start) }
            last = nameBytes
            guard skips(":") else { throw fault }
            members[name] = try value(depth: depth + 1)
        } while skips(",")
        guard skips("}") else { throw fault }
        return members
    }

    private mutating func string() throws(CanonicalJSONError) -> String {
        let start = offset
        offset += 1
        var text: [UInt8] = []
        while let byte = next, byte != UInt8(ascii: "\"") {
            guard byte >= 0x20 else { throw fault }
            if byte == UInt8(ascii: "\\") {
                try text.append(escape())
            } else {
                text.append(byte)
                offset += 1
            }
        }
        guard skips("\"") else { throw fault }
        guard let string = String(validating: text, as: UTF8.self) else {
            throw .notCanonical(offset: start)
        }
        return string
    }

    /// Reads an escape sequence; each character has at most one canonical one.
    private mutating func escape() throws(CanonicalJSONError) -> UInt8 {
        let start = offset
        offset += 1
        guard let letter = next else { throw fault }
        offset += 1
        if letter == UInt8(ascii: "\"") || letter == UInt8(ascii: "\\") { return letter }
        if let short = CanonicalJSON.shortEscapes.first(where: { $0.value == letter }) {
            return short.key
        }
        let digits = bytes[offset...].prefix(4)
        guard letter == UInt8(ascii: "u"), digits.count == 4, digits.starts(with: [0x30, 0x30]),
            let code = Hexadecimal.bytes(String(decoding: digits.suffix(2), as: UTF8.self)),
            let byte = code.first, byte < 0x20, CanonicalJSON.shortEscapes[byte] == nil
        else { throw .notCanonical(offset: start) }
        offset += 4
        return byte
    }

    private mutating func integer() throws(CanonicalJSONError) -> Int64 {
        let start = offset
        // One more than the 17 characters of -(2^53 - 1) tells a number that is too long.
        while let byte = next, byte == UInt8(ascii: "-") || isDigit(byte), offset - start < 18 {
            offset += 1
        }
        let text = String(decoding: bytes[start..<offset], as: UTF8.self)
        guard let number = Int64(text), "\(number)" == text,
            number.magnitude <= CanonicalJSON.integerMax.magnitude
        else { throw .notCanonical(offset: start) }
        return number
    }

    private func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}
