// SPDX-License-Identifier: Apache-2.0

/// Writes values as fields with numbers: the form in which policies travel from the server to the
/// proxies that enforce them.
///
/// A field is its number (one byte), the length of its value (four bytes, big-endian) and the value.
/// Fields come in the order of their numbers, those of a list one after the other, absent ones not at
/// all: one value has one encoding. A whole value begins with the byte of its version.
package struct TaggedWriter: Sendable {
    package private(set) var bytes: [UInt8] = []

    /// Begins a value of a version, or with nil a record inside another.
    package init(version: UInt8? = nil) {
        if let version { bytes.append(version) }
    }

    /// Writes a text as UTF-8.
    package mutating func text(_ tag: UInt8, _ value: String) {
        field(tag, Array(value.utf8))
    }

    /// Writes the texts of a list, one field each; nothing for nil.
    package mutating func texts(_ tag: UInt8, _ values: [String]?) {
        for value in values ?? [] { text(tag, value) }
    }

    /// Writes a number as eight bytes, big-endian.
    package mutating func number(_ tag: UInt8, _ value: some FixedWidthInteger & UnsignedInteger) {
        let wide = UInt64(value)
        field(tag, (0..<8).map { UInt8(truncatingIfNeeded: wide >> UInt64(56 - 8 * $0)) })
    }

    /// Writes a record of fields of its own.
    package mutating func record(_ tag: UInt8, _ write: (inout TaggedWriter) -> Void) {
        var inner = TaggedWriter()
        write(&inner)
        field(tag, inner.bytes)
    }

    private mutating func field(_ tag: UInt8, _ value: [UInt8]) {
        let length = UInt32(value.count)
        bytes.append(tag)
        bytes += (0..<4).map { UInt8(truncatingIfNeeded: length >> UInt32(24 - 8 * $0)) }
        bytes += value
    }
}

/// Why bytes are not the fields of a value; the number is that of the field.
package enum TaggedFieldError: Error, Hashable, Sendable {
    case missing(UInt8)
    case tooMany(UInt8)
    case truncated
    /// A number that this version does not know, or a field that is out of order.
    case unknown(UInt8)
    case value(UInt8)
    case version
    /// The parts do not fit each other.
    case whole
}

/// Reads what `TaggedWriter` wrote, strictly: what it does not know is refused, never skipped.
///
/// Fields are asked for in the order of their numbers.
package struct TaggedReader: Sendable {
    /// Longest encoding that is read: more than any document that may be stored becomes.
    package static let bytesMax = 1 << 20

    private var rest: ArraySlice<UInt8>

    /// Begins to read a whole value.
    package init(_ bytes: [UInt8], version: UInt8) throws(TaggedFieldError) {
        guard bytes.count <= Self.bytesMax, bytes.first == version else { throw .version }
        rest = bytes.dropFirst()
    }

    private init(record: ArraySlice<UInt8>) {
        rest = record
    }

    /// Ends the reading.
    package func end() throws(TaggedFieldError) {
        if let tag = rest.first { throw .unknown(tag) }
    }

    /// The field with this number if it is next.
    private mutating func next(_ tag: UInt8) throws(TaggedFieldError) -> ArraySlice<UInt8>? {
        guard let first = rest.first, first <= tag else { return nil }
        guard first == tag else { throw .unknown(first) }
        let header = rest.prefix(5)
        guard header.count == 5 else { throw .truncated }
        let length = header.dropFirst().reduce(0) { $0 << 8 | Int($1) }
        let body = rest.dropFirst(5)
        guard body.count >= length else { throw .truncated }
        rest = body.dropFirst(length)
        return body.prefix(length)
    }

    /// Reads a text that must be there.
    package mutating func text(_ tag: UInt8) throws(TaggedFieldError) -> String {
        guard let value = try next(tag) else { throw .missing(tag) }
        return try Self.text(value, tag)
    }

    private static func text(
        _ value: ArraySlice<UInt8>,
        _ tag: UInt8
    ) throws(TaggedFieldError) -> String {
        guard let text = String(validating: value, as: UTF8.self) else { throw .value(tag) }
        return text
    }

    /// The values of a list.
    ///
    /// - Returns: nil if there are none.
    package mutating func texts(
        _ tag: UInt8,
        max: Int
    ) throws(TaggedFieldError) -> [String]? {
        var values: [String] = []
        while let value = try next(tag) {
            guard values.count < max else { throw .tooMany(tag) }
            values.append(try Self.text(value, tag))
        }
        return values.isEmpty ? nil : values
    }

    private static func number<Value: FixedWidthInteger & UnsignedInteger>(
        _ value: ArraySlice<UInt8>,
        _ tag: UInt8
    ) throws(TaggedFieldError) -> Value {
        guard value.count == 8,
            let number = Value(exactly: value.reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
        else { throw .value(tag) }
        return number
    }

    /// The numbers of a list.
    ///
    /// - Returns: nil if there are none.
    package mutating func numbers<Value: FixedWidthInteger & UnsignedInteger>(
        _ tag: UInt8,
        max: Int,
        as type: Value.Type = Value.self
    ) throws(TaggedFieldError) -> [Value]? {
        var values: [Value] = []
        while let value = try next(tag) {
            guard values.count < max else { throw .tooMany(tag) }
            values.append(try Self.number(value, tag))
        }
        return values.isEmpty ? nil : values
    }

    /// Reads a record that may be absent.
    package mutating func optionalRecord<Value>(
        _ tag: UInt8,
        _ read: (inout TaggedReader) throws(TaggedFieldError) -> Value
    ) throws(TaggedFieldError) -> Value? {
        guard let bytes = try next(tag) else { return nil }
        return try Self.whole(bytes, read)
    }

    /// Reads the records of a list, which may be empty.
    package mutating func records<Value>(
        _ tag: UInt8,
        max: Int,
        _ read: (inout TaggedReader) throws(TaggedFieldError) -> Value
    ) throws(TaggedFieldError) -> [Value] {
        var values: [Value] = []
        while let bytes = try next(tag) {
            guard values.count < max else { throw .tooMany(tag) }
            values.append(try Self.whole(bytes, read))
        }
        return values
    }

    private static func whole<Value>(
        _ bytes: ArraySlice<UInt8>,
        _ read: (inout TaggedReader) throws(TaggedFieldError) -> Value
    ) throws(TaggedFieldError) -> Value {
        var inner = TaggedReader(record: bytes)
        let value = try read(&inner)
        try inner.end()
        return value
    }

    /// Each text of a list as a value that is written in that text and no other.
    package static func parsed<Value: CustomStringConvertible>(
        _ texts: [String]?,
        _ tag: UInt8,
        _ parse: (String) -> Value?
    ) throws(TaggedFieldError) -> [Value]? {
        guard let texts else { return nil }
        var values: [Value] = []
        for text in texts {
            guard let value = parse(text), value.description == text else { throw .value(tag) }
            values.append(value)
        }
        return values
    }
}
