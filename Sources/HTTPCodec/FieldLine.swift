// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// One field of a head (RFC 9112 section 5).
enum FieldLine {
    /// Reads the line at the beginning of `rest`, which holds the ends of all its lines.
    ///
    /// - Returns: The field, and where the next line begins.
    static func read(
        _ input: Span<UInt8>,
        _ rest: Range<Int>
    ) throws(HTTPRefusal) -> (field: HeaderField, next: Int) {
        var index = rest.lowerBound
        guard input[index] != Octet.space, input[index] != Octet.horizontalTab else {
            throw .lineFolding
        }
        while Octet.isFieldName(input[index]) { index += 1 }
        let name = ByteRange(rest.lowerBound..<index)
        guard input[index] == UInt8(ascii: ":") else {
            let isSpace = input[index] == Octet.space || input[index] == Octet.horizontalTab
            throw isSpace && !name.isEmpty ? .fieldNameSpace : .fieldName
        }
        guard !name.isEmpty else { throw .fieldName }
        index += 1
        while input[index] == Octet.space { index += 1 }
        // Nobody sends a tab around a value, and not everybody takes it away.
        guard input[index] != Octet.horizontalTab else { throw .fieldValue }
        let valueStart = index
        while Octet.isFieldValue(input[index]) { index += 1 }
        var valueEnd = index
        switch input[index] {
        case Octet.carriageReturn:
            guard input[index + 1] == Octet.lineFeed else { throw .lineEnding }
        case Octet.lineFeed: throw .lineEnding
        default: throw .fieldValue
        }
        while valueEnd > valueStart, input[valueEnd - 1] == Octet.space { valueEnd -= 1 }
        guard valueEnd == valueStart || input[valueEnd - 1] != Octet.horizontalTab else {
            throw .fieldValue
        }
        let field = HeaderField(
            name: name,
            value: ByteRange(valueStart..<valueEnd),
            known: KnownHeader(input, name)
        )
        return (field, index + 2)
    }
}
