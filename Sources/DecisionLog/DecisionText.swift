// SPDX-License-Identifier: Apache-2.0

/// How long what a record says may be, and how it is cut.
package enum DecisionText {
    /// Longest path in bytes: where the request went is seen; more is somebody's data.
    package static let pathBytesMax = 1_024
    /// Longest nearest miss in bytes: one rule with the clauses that lacked.
    package static let nearestMissBytesMax = 512
    /// Longest method in bytes; the known ones have 7.
    package static let methodBytesMax = 32
    /// Longest word in bytes: of a reason.
    package static let wordBytesMax = 32
    /// Longest name in bytes: of a listener, a namespace or a policy, as documents may have them.
    package static let nameBytesMax = 253
    /// Longest `namespace/name` in bytes.
    package static let referenceBytesMax = 2 * nameBytesMax + 1

    /// A text without what exceeds a limit, cut between two characters and with an ellipsis.
    ///
    /// - Parameters:
    ///   - text: Any text.
    ///   - bytesMax: At least the three bytes of the ellipsis.
    /// - Returns: At most `bytesMax` bytes.
    package static func cut(_ text: String, bytesMax: Int) -> String {
        guard text.utf8.count > bytesMax else { return text }
        let ellipsis = "\u{2026}"
        var (result, count) = ("", ellipsis.utf8.count)
        for scalar in text.unicodeScalars {
            count += UTF8.width(scalar)
            guard count <= bytesMax else { break }
            result.unicodeScalars.append(scalar)
        }
        return result + ellipsis
    }
}
