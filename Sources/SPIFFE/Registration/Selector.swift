// SPDX-License-Identifier: Apache-2.0

/// One attested property of a node or a workload, written `type:value`, for example
/// `unix:uid:1000` (type `unix`, value `uid:1000`) or `role:web`.
///
/// docs/attestation.md says for each type who could forge it.
package struct Selector: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Longest selector in bytes; a path selector may hold a path of PATH_MAX bytes.
    package static let bytesMax = 4200

    package let type: String
    package let value: String

    /// Parses `type:value`.
    ///
    /// The type is `[a-z0-9_.-]+`; the value is not empty and holds no control character.
    ///
    /// - Throws: `SelectorError` naming the rule that the text breaks.
    package init(_ string: String) throws(SelectorError) {
        guard let colon = string.utf8.firstIndex(of: UInt8(ascii: ":")) else {
            throw .separatorMissing
        }
        try self.init(
            type: String(string[..<colon]),
            value: String(string[string.utf8.index(after: colon)...])
        )
    }

    /// Joins a type and a value under the rules of `init(_:)`.
    package init(type: String, value: String) throws(SelectorError) {
        guard type.utf8.count + 1 + value.utf8.count <= Self.bytesMax else { throw .tooLong }
        guard !type.isEmpty, type.utf8.allSatisfy(TrustDomain.allows) else {
            throw .typeCharacter
        }
        guard !value.isEmpty else { throw .valueEmpty }
        guard value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { throw .valueCharacter }
        self.type = type
        self.value = value
    }

    package var description: String { "\(type):\(value)" }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.type, lhs.value) < (rhs.type, rhs.value)
    }
}

/// The rule of `Selector.init(_:)` that a text breaks.
package enum SelectorError: Error, Hashable, Sendable, CustomStringConvertible {
    case separatorMissing
    case tooLong
    case typeCharacter
    case valueCharacter
    case valueEmpty

    package var description: String {
        switch self {
        case .separatorMissing:
            "a selector is written type:value, for example role:web of a node or unix:uid:1000 of "
                + "a workload"
        case .tooLong: "a selector has at most \(Selector.bytesMax) bytes"
        case .typeCharacter: "a selector type holds only a-z, 0-9, \".\", \"-\" and \"_\""
        case .valueCharacter: "a selector value holds no control character"
        case .valueEmpty: "a selector value is not empty"
        }
    }
}

extension Selector: Codable {
    package init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
