// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// Collects the members of a record.
struct FieldWriter {
    private(set) var members: [String: CanonicalJSON] = [:]
    /// The first integer that JSON cannot hold exactly.
    private(set) var outOfRange: String?

    mutating func set(_ name: String, _ text: String) { members[name] = .string(text) }

    /// An empty text is left out.
    mutating func set(_ name: String, unlessEmpty text: String) {
        if !text.isEmpty { members[name] = .string(text) }
    }

    mutating func set(_ name: String, _ id: SPIFFEID) { set(name, id.description) }

    mutating func set(_ name: String, _ time: AuditTime) { set(name, time.description) }

    /// Bytes are written in lower-case hexadecimal.
    mutating func set(_ name: String, _ bytes: [UInt8]) { set(name, Hexadecimal.text(bytes)) }

    /// Bytes that are too many for hexadecimal are written in base64.
    mutating func set(_ name: String, base64 bytes: [UInt8]) { set(name, Base64.text(bytes)) }

    mutating func set(_ name: String, _ number: UInt64) {
        if number > UInt64(CanonicalJSON.integerMax) {
            outOfRange = outOfRange ?? name
        } else {
            members[name] = .integer(Int64(number))
        }
    }

    /// Lists are always written, also when empty.
    mutating func set(_ name: String, _ texts: [some CustomStringConvertible]) {
        members[name] = .array(texts.map { .string($0.description) })
    }

    mutating func set<Item>(
        _ name: String,
        _ items: [Item],
        write: (Item, inout FieldWriter) -> Void
    ) {
        var objects: [CanonicalJSON] = []
        for item in items {
            var fields = FieldWriter()
            write(item, &fields)
            outOfRange = outOfRange ?? fields.outOfRange
            objects.append(.object(fields.members))
        }
        members[name] = .array(objects)
    }
}

/// Takes the members of a record one by one; what is left over is an unknown field.
struct FieldReader {
    private var members: [String: CanonicalJSON]

    init(_ members: [String: CanonicalJSON]) { self.members = members }

    /// - Throws: `.fieldUnknown` if a member was not taken.
    func finish() throws(AuditRecordParsingError) {
        if let name = members.keys.min() { throw .fieldUnknown(name) }
    }

    func has(_ name: String) -> Bool { members[name] != nil }

    mutating func text(_ name: String) throws(AuditRecordParsingError) -> String {
        guard case .string(let text) = try value(name) else { throw .fieldMalformed(name) }
        return text
    }

    mutating func textOrEmpty(_ name: String) throws(AuditRecordParsingError) -> String {
        has(name) ? try text(name) : ""
    }

    mutating func bytes(_ name: String) throws(AuditRecordParsingError) -> [UInt8] {
        try parsed(name, Hexadecimal.bytes)
    }

    mutating func base64(_ name: String) throws(AuditRecordParsingError) -> [UInt8] {
        try parsed(name) { Base64.bytes($0) }
    }

    mutating func id(_ name: String) throws(AuditRecordParsingError) -> SPIFFEID {
        try parsed(name) { try? SPIFFEID($0) }
    }

    mutating func time(_ name: String) throws(AuditRecordParsingError) -> AuditTime {
        try parsed(name) { AuditTime(parsing: $0) }
    }

    mutating func number(_ name: String) throws(AuditRecordParsingError) -> UInt64 {
        guard case .integer(let number) = try value(name), number >= 0 else {
            throw .fieldMalformed(name)
        }
        return UInt64(number)
    }

    /// A text that `parse` understands.
    mutating func parsed<Value>(
        _ name: String,
        _ parse: (String) -> Value?
    ) throws(AuditRecordParsingError) -> Value {
        guard let value = parse(try text(name)) else { throw .fieldMalformed(name) }
        return value
    }

    mutating func texts<Value>(
        _ name: String,
        _ parse: (String) -> Value?
    ) throws(AuditRecordParsingError) -> [Value] {
        var values: [Value] = []
        for element in try array(name) {
            guard case .string(let text) = element, let value = parse(text) else {
                throw .fieldMalformed(name)
            }
            values.append(value)
        }
        return values
    }

    mutating func ids(_ name: String) throws(AuditRecordParsingError) -> [SPIFFEID] {
        try texts(name) { try? SPIFFEID($0) }
    }

    mutating func selectors(_ name: String) throws(AuditRecordParsingError) -> [Selector] {
        try texts(name) { try? Selector($0) }
    }

    mutating func objects<Item>(
        _ name: String,
        _ read: (inout FieldReader) throws(AuditRecordParsingError) -> Item
    ) throws(AuditRecordParsingError) -> [Item] {
        var items: [Item] = []
        for element in try array(name) {
            guard case .object(let members) = element else { throw .fieldMalformed(name) }
            var fields = FieldReader(members)
            try items.append(read(&fields))
            try fields.finish()
        }
        return items
    }

    private mutating func array(
        _ name: String
    ) throws(AuditRecordParsingError) -> [CanonicalJSON] {
        guard case .array(let elements) = try value(name) else { throw .fieldMalformed(name) }
        return elements
    }

    private mutating func value(_ name: String) throws(AuditRecordParsingError) -> CanonicalJSON {
        guard let value = members.removeValue(forKey: name) else { throw .fieldMissing(name) }
        return value
    }
}
