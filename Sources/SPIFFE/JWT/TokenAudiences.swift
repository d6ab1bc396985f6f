// SPDX-License-Identifier: Apache-2.0

/// The audiences that a workload asks a token for (JWT-SVID section 3.2).
///
/// In the order asked for; none empty, none twice.
package struct TokenAudiences: Hashable, Sendable {
    /// Most audiences of one token; JWT-SVID section 3.2 asks for one, for each of them can use the
    /// token towards the others.
    package static let countMax = 8
    /// Longest audience in bytes: names in use are shorter, and `countMax` of them with the longest
    /// ID are still a token that is read (`CompactJWS.bytesMax`), however they are escaped.
    package static let bytesMax = 512

    /// Most bytes of all together: each token's stand in the audit log.
    package static let bytesOverallMax = 1_024

    package let texts: [String]

    /// Takes what was asked for.
    ///
    /// - Throws: `TokenAudienceError` naming the first rule broken.
    package init(_ texts: [String]) throws(TokenAudienceError) {
        guard !texts.isEmpty else { throw .missing }
        guard texts.count <= Self.countMax else { throw .tooMany(texts.count) }
        var seen: Set<[UInt8]> = []
        for (index, text) in texts.enumerated() {
            guard Self.isWord(text, bytesMax: Self.bytesMax) else { throw .malformed(index: index) }
            // Byte by byte: Swift's own comparison calls texts equal that verifiers do not.
            guard seen.insert(Array(text.utf8)).inserted else { throw .twice(index: index) }
        }
        guard texts.reduce(0, { $0 + $1.utf8.count }) <= Self.bytesOverallMax else {
            throw .tooLong
        }
        self.texts = texts
    }

    /// Whether a text has something in it, is not too long and has no control characters.
    package static func isWord(_ text: String, bytesMax: Int) -> Bool {
        (1...bytesMax).contains(text.utf8.count)
            && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
    }

    package static func == (one: Self, other: Self) -> Bool {
        one.texts.count == other.texts.count
            && zip(one.texts, other.texts).allSatisfy { $0.utf8.elementsEqual($1.utf8) }
    }

    package func hash(into hasher: inout Hasher) {
        for text in texts { hasher.combine(Array(text.utf8)) }
    }
}

/// The rule that the audiences of a request break.
package enum TokenAudienceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// An audience, counted from 0, is empty, too long or has control characters.
    case malformed(index: Int)
    case missing
    /// All together.
    case tooLong
    case tooMany(Int)
    case twice(index: Int)

    package var description: String {
        switch self {
        case .malformed(let index):
            """
            audience \(index) has not 1 to \(TokenAudiences.bytesMax) bytes without control \
            characters
            """
        case .missing: "the request names no audience; name who the token is for"
        case .tooLong:
            "the audiences have more than \(TokenAudiences.bytesOverallMax) bytes together"
        case .tooMany(let count):
            "\(count) audiences; a token has at most \(TokenAudiences.countMax), best one"
        case .twice(let index): "audience \(index) is named twice"
        }
    }
}
