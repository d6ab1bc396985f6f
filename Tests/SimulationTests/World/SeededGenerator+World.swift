// SPDX-License-Identifier: Apache-2.0

import TestSeeds

/// The only source of chance of a simulated run, so that a seed is one number.
extension SeededGenerator {
    /// A generator of its own for one node, so that what one node draws moves no other.
    mutating func fork() -> SeededGenerator { SeededGenerator(seed: next()) }

    mutating func chance(_ probability: Double) -> Bool {
        Double.random(in: 0..<1, using: &self) < probability
    }

    mutating func duration(_ range: ClosedRange<Double>) -> Duration {
        .milliseconds(Int64(Double.random(in: range, using: &self) * 1000))
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &self) }
    }
}
