// SPDX-License-Identifier: Apache-2.0

/// The name of one decision: which proxy made it, under which revision, and as which of its own.
///
/// 26 characters of base32 (RFC 4648 section 6) in small letters hold 130 bits in three fields of
/// whole characters, so that IDs of one proxy begin with the same eight characters and those of
/// one revision go on with the same eight:
///
/// | Characters | Bits | Field |
/// |---|---|---|
/// | 8 | 40 | `instance`: drawn at random when the proxy's process starts |
/// | 8 | 40 | `revision`: the low bits of the revision's number |
/// | 10 | 50 | `counter`: the worker in the upper 8 bits, its count in the others |
///
/// 40 random bits: among 10,000 starts that a decision store remembers, two are alike with a
/// chance of 1 in 20,000. 40 bits of revisions are 1,000 changes a second for 34 years. A worker
/// counts 42 bits: 100,000 decisions a second for more than a year; a process that lived longer
/// would repeat itself, with another revision. There are no spare bits, thus one spelling of each
/// ID. An ID tells a client how busy the proxy is, and nothing else.
package struct DecisionID: Hashable, Sendable, CustomStringConvertible {
    /// Characters of an ID.
    package static let length = 26

    private static let instanceMask: UInt64 = 1 << 40 - 1
    private static let revisionMask: UInt64 = 1 << 40 - 1
    private static let workerMask: UInt64 = 1 << 8 - 1
    private static let countMask: UInt64 = 1 << 42 - 1

    package let instance: UInt64
    package let revision: UInt64
    /// The worker and its count.
    package let counter: UInt64

    /// Takes the low bits of each.
    ///
    /// - Parameters:
    ///   - instance: Random, the same for all decisions of a process.
    ///   - revision: The number of the revision that was decided under.
    ///   - worker: The worker within the process.
    ///   - count: How many decisions the worker has made before.
    package init(instance: UInt64, revision: UInt64, worker: UInt64, count: UInt64) {
        self.instance = instance & Self.instanceMask
        self.revision = revision & Self.revisionMask
        counter = (worker & Self.workerMask) << 42 | count & Self.countMask
    }

    /// The worker within the process.
    package var worker: UInt64 { counter >> 42 }

    /// The worker's count.
    package var count: UInt64 { counter & Self.countMask }

    /// Reads an ID.
    ///
    /// - Returns: nil for everything but 26 small letters and digits from 2 to 7.
    package init?(_ text: String) {
        var fields: (UInt64, UInt64, UInt64) = (0, 0, 0)
        var count = 0
        for byte in text.utf8 {
            let digit: UInt64
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"): digit = UInt64(byte) - 0x61
            case UInt8(ascii: "2")...UInt8(ascii: "7"): digit = UInt64(byte) - 0x32 + 26
            default: return nil
            }
            switch count {
            case 0..<8: fields.0 = fields.0 << 5 | digit
            case 8..<16: fields.1 = fields.1 << 5 | digit
            case 16..<26: fields.2 = fields.2 << 5 | digit
            default: return nil
            }
            count += 1
        }
        guard count == Self.length else { return nil }
        (instance, revision, counter) = fields
    }

    /// The characters, without memory of their own.
    package var text: InlineArray<26, UInt8> {
        let (instance, revision, counter) = (instance, revision, counter)
        return InlineArray { place in
            let digit =
                switch place {
                case 0..<8: instance >> UInt64(35 - 5 * place)
                case 8..<16: revision >> UInt64(75 - 5 * place)
                default: counter >> UInt64(125 - 5 * place)
                }
            let value = UInt8(truncatingIfNeeded: digit & 31)
            return value < 26 ? 0x61 + value : 0x32 - 26 + value
        }
    }

    package var description: String {
        let text = text
        return String(decoding: text.indices.map { text[$0] }, as: UTF8.self)
    }
}
