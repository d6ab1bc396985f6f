// SPDX-License-Identifier: Apache-2.0

import TestSeeds

/// Small random changes of a text that keep it near the language.
struct TextMutation {
    private static let marks = Array(
        "-:#,[]{}\"'|>&*!%@`?\\ \n\t~<=+0a.\r".unicodeScalars.map { Array(String($0).utf8) }
            + [
                Array(": ".utf8), Array("- ".utf8), Array("\n  ".utf8), Array(" #".utf8),
                Array("---\n".utf8), Array("...\n".utf8), Array("\\u00e9".utf8), Array("é".utf8),
                Array("\u{2028}".utf8), [0xFF], [0x00], [0xEF, 0xBB, 0xBF],
            ]
    )

    var random: SeededGenerator

    mutating func mutated(_ text: [UInt8]) -> [UInt8] {
        var text = text
        for _ in 0..<Int.random(in: 1...4, using: &random) { change(&text) }
        return text
    }

    private mutating func change(_ text: inout [UInt8]) {
        let place = Int.random(in: 0...text.count, using: &random)
        switch Int.random(in: 0..<6, using: &random) {
        case 0 where !text.isEmpty:
            text.remove(at: min(place, text.count - 1))
        case 1 where !text.isEmpty:
            let end = min(text.count, place + Int.random(in: 0...12, using: &random))
            text.removeSubrange(min(place, end)..<end)
        case 2:
            let end = min(text.count, place + Int.random(in: 0...24, using: &random))
            let target = Int.random(in: 0...text.count, using: &random)
            text.insert(contentsOf: Array(text[place..<end]), at: target)
        case 3 where !text.isEmpty:
            let mark = Self.marks.randomElement(using: &random) ?? []
            let index = min(place, text.count - 1)
            text.replaceSubrange(index...index, with: mark)
        default:
            text.insert(contentsOf: Self.marks.randomElement(using: &random) ?? [], at: place)
        }
    }
}
