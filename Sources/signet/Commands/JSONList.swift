// SPDX-License-Identifier: Apache-2.0

/// A list of JSON as `get -o json` prints it, for `apply`, which takes one document after the other.
package enum JSONList {
    /// The elements of a list as documents of one stream, each as it is written.
    ///
    /// Every line stays one, with another before each element: positions in errors are near.
    ///
    /// - Parameter content: A file, whatever it holds.
    /// - Returns: The same if it is not a list of objects; the server then says what is wrong.
    package static func documents(_ content: String) -> String {
        let bytes = Array(content.utf8)
        guard let start = bytes.firstIndex(where: { !isSpace($0) }), bytes[start] == open else {
            return content
        }
        var (depth, isInText, isEscaped, isObjectNext) = (0, false, false, true)
        var result: [UInt8] = []
        for (index, byte) in bytes.enumerated() {
            guard index >= start else { continue }
            // Behind the list is nothing.
            if index > start, depth == 0 {
                guard isSpace(byte) else { return content }
                continue
            }
            if isInText {
                (isInText, isEscaped) = (isEscaped || byte != quote, !isEscaped && byte == escape)
                result.append(byte)
                continue
            }
            if depth == 1, isObjectNext, !isSpace(byte), byte != close {
                guard byte == UInt8(ascii: "{") else { return content }
                isObjectNext = false
            }
            switch byte {
            case quote: isInText = true
            case open, UInt8(ascii: "{"): depth += 1
            case close, UInt8(ascii: "}"): depth -= 1
            default: break
            }
            switch (byte, depth) {
            case (open, 1) where index == start, (close, 0): continue
            case (UInt8(ascii: ","), 1):
                isObjectNext = true
                result += Array("\n---\n".utf8)
            default: result.append(byte)
            }
        }
        guard depth == 0, !isInText else { return content }
        return String(decoding: result, as: UTF8.self) + "\n"
    }

    private static let open = UInt8(ascii: "[")
    private static let close = UInt8(ascii: "]")
    private static let quote = UInt8(ascii: "\"")
    private static let escape = UInt8(ascii: "\\")

    private static func isSpace(_ byte: UInt8) -> Bool {
        [0x20, 0x09, 0x0A, 0x0D].contains(byte)
    }
}
