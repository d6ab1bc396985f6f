// SPDX-License-Identifier: Apache-2.0

import TestSeeds

extension SeededGenerator {
    /// How much of so many bytes is sent: a few, some, or all.
    mutating func piece(of count: Int) -> Int {
        switch below(4) {
        case 0: min(1 + below(3), count)
        case 1: min(1 + below(2_000), count)
        default: count
        }
    }
}
