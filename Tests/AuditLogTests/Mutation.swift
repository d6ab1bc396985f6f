// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import TestSeeds

/// What may happen to bytes on their way.
enum Mutation {
    /// One to three random changes: a bit, a byte, a piece cut out, doubled or put elsewhere.
    static func of(_ bytes: [UInt8], using random: inout SeededGenerator) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            guard !bytes.isEmpty else { return [UInt8.random(in: 0...255, using: &random)] }
            let position = Int.random(in: 0..<bytes.count, using: &random)
            let length = Int.random(in: 0...min(8, bytes.count - position), using: &random)
            let piece = Array(bytes[position..<position + length])
            switch Int.random(in: 0..<6, using: &random) {
            case 0: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: bytes[position] = UInt8.random(in: 0...255, using: &random)
            case 2: bytes.removeSubrange(position..<position + length)
            case 3: bytes.insert(contentsOf: piece, at: position)
            case 4: bytes.removeSubrange(position...)
            default:
                let other = Int.random(in: 0...bytes.count, using: &random)
                bytes.insert(contentsOf: piece, at: other)
            }
        }
        return bytes
    }

    static func base64(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString() }
}
