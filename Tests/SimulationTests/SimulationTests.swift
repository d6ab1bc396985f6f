// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// Whole systems out of one number each; see `World`.
@Suite(.serialized)
struct SimulationTests {
    /// Seeds that once found something, and some that did not.
    static let saved: [UInt64] = [1, 2]

    @Test(.timeLimit(.minutes(5)), arguments: saved)
    func `a saved seed breaks no rule`(seed: UInt64) async throws {
        let world = try World(seed: seed)
        do {
            try await world.run()
        } catch let violation as Violation {
            Issue.record("\(violation)")
        }
        print("seed \(seed): \(world.summary)")
    }
}
