// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// A JSON value in the narrow form that leaves use.
///
/// Strings, integers, arrays and objects whose names are ASCII: no null, no fraction, no boolean.
package indirect enum CanonicalJSON: Hashable, Sendable {
    case array([CanonicalJSON])
    case integer(Int64)
    case object([String: CanonicalJSON])
    case string(String)

    /// Largest integer that every JSON reader keeps exactly (RFC 8785 section 3.2.2.3, I-JSON).
    package static let integerMax: Int64 = (1 << 53) - 1

    /// The one encoding of the value under RFC 8785.
    ///
    /// - Precondition: Integers lie within `integerMax`, object names are printable ASCII: the
    ///   record that made the value has checked both.
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
        case .integer(let number):
            precondition(number.magnitude <= Self.integerMax.magnitude)
            bytes.append(contentsOf: "\(number)".utf8)
        case .object(let members):
            Self.append(members, to: &bytes)
        case .string(let text):
            Self.append(text, to: &bytes)
        }
    }

    private static func append(_ members: [String: CanonicalJSON], to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "{"))
        // RFC 8785 section 3.2.3 sorts by UTF-16 code units: for ASCII the order of the bytes.
        let sorted = members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
        for (position, member) in sorted.enumerated() {
            precondition(allows(name: member.key.utf8))
            if position > 0 { bytes.append(UInt8(ascii: ",")) }
            append(member.key, to: &bytes)
            bytes.append(UInt8(ascii: ":"))
            member.value.append(to: &bytes)
        }
        bytes.append(UInt8(ascii: "}"))
    }

    /// RFC 8785 section 3.2.2.2: only what JSON demands is escaped, in the shortest way.
    private static func append(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        if text.utf8.contains(where: isEscaped) {
            for byte in text.utf8 { append(byte, to: &bytes) }
        } else {
            // Nearly every text; copied in one piece.
            bytes.append(contentsOf: text.utf8)
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private static func isEscaped(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
    }

    private static func append(_ byte: UInt8, to bytes: inout [UInt8]) {
        if isEscaped(byte) { bytes.append(UInt8(ascii: "\\")) }
        if let letter = shortEscapes[byte] {
            bytes.append(letter)
        } else if byte < 0x20 {
            bytes.append(contentsOf: "u00\(Hexadecimal.text([byte]))".utf8)
        } else {
            bytes.append(byte)
        }
    }

    /// Control characters with an escape of one letter.
    static let shortEscapes: [UInt8: UInt8] = [
        0x08: UInt8(ascii: "b"), 0x09: UInt8(ascii: "t"), 0x0A: UInt8(ascii: "n"),
        0x0C: UInt8(ascii: "f"), 0x0D: UInt8(ascii: "r"),
    ]

    /// Names of members: never empty, printable ASCII without quote and backslash.
    static func allows(name: some Collection<UInt8>) -> Bool {
        !name.isEmpty
            && name.allSatisfy {
                (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "\"")
                    && $0 != UInt8(ascii: "\\")
            }
    }
}
