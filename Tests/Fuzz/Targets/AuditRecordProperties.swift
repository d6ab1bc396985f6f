// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import FoundationEssentials

/// A leaf that is read has one encoding, and Foundation reads the same values.
enum AuditLeafProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        let json = try? CanonicalJSON(parsing: input)
        if let json {
            try expect(json.encoded == input, "two encodings of one value")
            let other = try expectSuccess("Foundation reads it") {
                try JSONDecoder().decode(ForeignJSON.self, from: Data(input))
            }
            try expect(other == ForeignJSON(json), "\(json) reads as \(other)")
        }
        guard let leaf = try? AuditLeaf(parsing: input) else { return false }
        try expect(json != nil, "a record that is no canonical JSON")
        try expect(leaf.bytes == input, "a record with two encodings")
        try expect(leaf.hash == MerkleHash(leaf: input), "a leaf with another's hash")
        return true
    }

    /// JSON as Foundation reads it; texts are compared by their bytes.
    private enum ForeignJSON: Decodable, Equatable {
        case array([ForeignJSON])
        case integer(Int64)
        case object([String: ForeignJSON])
        case text([UInt8])

        init(_ json: CanonicalJSON) {
            switch json {
            case .array(let values): self = .array(values.map(Self.init))
            case .integer(let number): self = .integer(number)
            case .object(let members): self = .object(members.mapValues(Self.init))
            case .string(let text): self = .text(Array(text.utf8))
            }
        }

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let text = try? container.decode(String.self) {
                self = .text(Array(text.utf8))
            } else if let number = try? container.decode(Int64.self) {
                self = .integer(number)
            } else if let values = try? container.decode([ForeignJSON].self) {
                self = .array(values)
            } else {
                self = .object(try container.decode([String: ForeignJSON].self))
            }
        }
    }
}

/// A tile has one reading: its leaves with their lengths are its bytes.
enum AuditTileProperty {
    /// The first byte says how many leaves the rest holds, less one.
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        if let path = String(validating: input, as: UTF8.self), let tile = TilePath(parsing: path) {
            try expect(Array(tile.description.utf8) == input, "\(path) became \(tile)")
        }
        guard let first = input.first else { return false }
        let count = Int(first) + 1
        let bytes = Array(input.dropFirst())
        guard let leaves = try? EntryBundle.leaves(in: bytes, count: count) else {
            return false
        }
        try expect(leaves.count == count, "\(leaves.count) leaves instead of \(count)")
        let again = leaves.flatMap { leaf in
            [UInt8(leaf.count >> 8), UInt8(leaf.count & 0xFF)] + leaf
        }
        try expect(again == bytes, "the leaves are not all that the tile holds")
        return true
    }
}
