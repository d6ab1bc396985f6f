// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import GRDB
internal import SPIFFE

// How values lie in columns: times as milliseconds since 1970, byte strings as BLOB, lists of
// selectors one per line (a selector holds no control character), other lists and maps as JSON.

extension Row {
    /// The column's value.
    ///
    /// - Throws: `DatastoreError.corrupt` when it is NULL or of another type. The schema forbids
    ///   both, so the file is damaged; that must not end the process.
    func value<Value: DatabaseValueConvertible>(
        _ column: String,
        as type: Value.Type = Value.self
    ) throws(DatastoreError) -> Value {
        guard let value = try optional(column, as: type) else {
            throw .corrupt("column \(column) is NULL")
        }
        return value
    }

    /// The column's value, nil when it is NULL.
    func optional<Value: DatabaseValueConvertible>(
        _ column: String,
        as type: Value.Type = Value.self
    ) throws(DatastoreError) -> Value? {
        // A damaged schema may have lost the column.
        guard hasColumn(column) else { throw .corrupt("column \(column) is missing") }
        let stored: DatabaseValue = self[column]
        if stored.isNull { return nil }
        guard let value = Value.fromDatabaseValue(stored) else {
            throw .corrupt("column \(column) holds no \(Value.self)")
        }
        return value
    }

    func bytes(_ column: String) throws(DatastoreError) -> [UInt8] {
        Array(try value(column, as: Data.self))
    }

    func optionalBytes(_ column: String) throws(DatastoreError) -> [UInt8]? {
        try optional(column, as: Data.self).map { Array($0) }
    }

    func date(_ column: String) throws(DatastoreError) -> Date {
        Date(storedMilliseconds: try value(column))
    }

    func optionalDate(_ column: String) throws(DatastoreError) -> Date? {
        try optional(column, as: Int64.self).map { Date(storedMilliseconds: $0) }
    }

    func number(_ column: String) throws(DatastoreError) -> UInt64 {
        guard let number = UInt64(exactly: try value(column, as: Int64.self)) else {
            throw .corrupt("column \(column) is negative")
        }
        return number
    }

    func selectors(_ column: String) throws(DatastoreError) -> [Selector] {
        try Selector.list(stored: try value(column))
    }

    /// A value kept as JSON; NULL stands for the empty one.
    func json<Value: Decodable>(
        _ column: String,
        default empty: Value
    ) throws(DatastoreError) -> Value {
        guard let text = try optional(column, as: String.self) else { return empty }
        do {
            return try JSONDecoder().decode(Value.self, from: Data(text.utf8))
        } catch {
            throw .corrupt("column \(column) holds no JSON of \(Value.self)")
        }
    }
}

extension Date {
    /// Far beyond every certificate, and exact in a Double.
    private static let millisecondsMax = 9e15

    init(storedMilliseconds: Int64) {
        self.init(timeIntervalSince1970: Double(storedMilliseconds) / 1000)
    }

    /// Rounded to the nearest millisecond, so that what was read is written back unchanged.
    var storedMilliseconds: Int64 {
        let milliseconds = (timeIntervalSince1970 * 1000).rounded()
        guard milliseconds.isFinite else {
            return Int64(milliseconds > 0 ? Self.millisecondsMax : -Self.millisecondsMax)
        }
        return Int64(min(max(milliseconds, -Self.millisecondsMax), Self.millisecondsMax))
    }
}

extension UInt64 {
    /// As SQLite's signed integer; a number beyond it compares like the largest one.
    var stored: Int64 { Int64(clamping: self) }
}

extension [UInt8] {
    var stored: Data { Data(self) }
}

extension Selector {
    static func list(stored text: String) throws(DatastoreError) -> [Selector] {
        var selectors: [Selector] = []
        for line in text.utf8.split(separator: UInt8(ascii: "\n")) {
            do {
                selectors.append(try Selector(String(Substring(line))))
            } catch {
                throw .corrupt("a stored selector: \(error)")
            }
        }
        return selectors
    }
}

extension Sequence<Selector> {
    /// One selector per line, sorted, without duplicates.
    var stored: String { Set(self).sorted().map(\.description).joined(separator: "\n") }
}

/// A list or map as JSON text with sorted keys; nil (NULL) when it is empty.
func storedJSON(_ value: some Encodable & Collection) throws(DatastoreError) -> String? {
    if value.isEmpty { return nil }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do {
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    } catch {
        throw .constraint("a value cannot be written as JSON: \(error)")
    }
}
