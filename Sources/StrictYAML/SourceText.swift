// SPDX-License-Identifier: Apache-2.0

/// A text that is safe to read: UTF-8, of bounded size, without byte order mark, with `\n` as its
/// only line end and without characters that editors hide or that some readers take as line ends.
package struct SourceText {
    /// Largest file in bytes: room for several thousand entries, read in a fraction of a second.
    package static let bytesMax = 1 << 20

    let bytes: [UInt8]
    /// For each index, how many bytes before it are not the first of their character: what columns
    /// are computed from, also in one line as long as the text.
    let continuations: [UInt32]

    init(_ raw: [UInt8]) throws(TextProblem) {
        guard raw.count <= Self.bytesMax else {
            throw TextProblem(
                position: TextPosition(line: 1, column: 1),
                what: "the file has \(raw.count) bytes, more than the \(Self.bytesMax) allowed",
                remedy: "split it into several files"
            )
        }
        guard let text = String(validating: raw, as: UTF8.self) else {
            throw Self.notUTF8(raw)
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(raw.count)
        var continuations: [UInt32] = [0]
        continuations.reserveCapacity(raw.count + 1)
        var line = 1
        var column = 1
        var scalars = text.unicodeScalars[...]
        if scalars.first == "\u{FEFF}" { scalars.removeFirst() }
        while let scalar = scalars.popFirst() {
            if scalar == "\r", scalars.first == "\n" { continue }
            guard Self.allows(scalar) else {
                throw TextProblem(
                    position: TextPosition(line: line, column: column),
                    what: "the character U+\(Self.hex(scalar.value)) is not allowed in a document",
                    remedy: "write it as an escape inside double quotes"
                )
            }
            for byte in UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter {
                bytes.append(byte)
                continuations.append(continuations[bytes.count - 1] + (byte & 0xC0 == 0x80 ? 1 : 0))
            }
            if scalar == "\n" {
                line += 1
                column = 1
            } else {
                column += 1
            }
        }
        self.bytes = bytes
        self.continuations = continuations
    }

    /// The printable characters of YAML 1.2 section 5.1 without U+0085, U+2028 and U+2029, which
    /// YAML 1.1 takes as line ends and YAML 1.2 does not.
    package static func allows(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09, 0x0A, 0x20...0x7E: true
        case 0x2028, 0x2029, 0xFEFF: false
        case 0xA0...0xD7FF, 0xE000...0xFFFD, 0x1_0000...0x10_FFFF: true
        default: false
        }
    }

    private static func notUTF8(_ raw: [UInt8]) -> TextProblem {
        var line = 1
        var start = 0
        // The first line that is no valid text by itself; line feeds never occur inside a
        // character.
        for (index, byte) in raw.enumerated() where byte == UInt8(ascii: "\n") {
            if String(validating: raw[start..<index], as: UTF8.self) == nil { break }
            line += 1
            start = index + 1
        }
        return TextProblem(
            position: TextPosition(line: line, column: 1),
            what: "this line is not UTF-8 text",
            remedy: "save the file as UTF-8"
        )
    }

    private static func hex(_ value: UInt32) -> String {
        let digits = String(value, radix: 16, uppercase: true)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}
