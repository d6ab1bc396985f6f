// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import SPIFFE

/// JSON that is read is written as the same value, and Foundation reads the same texts at the same
/// places.
enum JSONProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let value = try? JSONValue(parsing: input, bytesMax: 1 << 20) else { return false }
        let encoded = value.encoded
        let again = try? JSONValue(parsing: encoded, bytesMax: 1 << 21)
        try expect(again == value, "\(value) is not what it is written as")
        try expect(again?.encoded == encoded, "two encodings of one value")
        for bytes in [input, encoded] {
            let other = try expectSuccess("Foundation reads it") {
                try JSONDecoder().decode(ForeignJSON.self, from: Data(bytes))
            }
            try expect(other == ForeignJSON(value), "\(value) reads as \(other)")
        }
        return true
    }

    /// JSON as Foundation reads it; texts are compared by their bytes, numbers not at all.
    private enum ForeignJSON: Decodable, Equatable {
        case array([ForeignJSON])
        case boolean(Bool)
        case null
        case number
        case object([String: ForeignJSON])
        case text([UInt8])

        init(_ json: JSONValue) {
            switch json {
            case .array(let values): self = .array(values.map(Self.init))
            case .boolean(let isTrue): self = .boolean(isTrue)
            case .null: self = .null
            case .number: self = .number
            case .object(let members): self = .object(members.mapValues(Self.init))
            case .string(let text): self = .text(Array(text.utf8))
            }
        }

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if container.decodeNil() {
                self = .null
            } else if let isTrue = try? container.decode(Bool.self) {
                self = .boolean(isTrue)
            } else if let text = try? container.decode(String.self) {
                self = .text(Array(text.utf8))
            } else if let values = try? container.decode([ForeignJSON].self) {
                self = .array(values)
            } else if let members = try? container.decode([String: ForeignJSON].self) {
                self = .object(members)
            } else {
                self = .number
            }
        }
    }
}
