// SPDX-License-Identifier: Apache-2.0

import Testing

/// Every checker can fail: a world in which one promise is broken is found out.
struct SabotageTests {
    @Test(.enabled(if: SimulationTests.chosen == nil), arguments: Sabotage.allCases)
    func `a broken promise is found out within a few seeds`(sabotage: Sabotage) async throws {
        for seed in sabotage.seeds {
            let world = try World(seed: seed, sabotage: sabotage)
            do {
                try await world.run()
            } catch let violation as Violation {
                #expect(sabotage.broken.contains(violation.rule), "\(violation)")
                print("\(sabotage): seed \(seed), rule of \(violation.rule): \(violation.what)")
                return
            }
        }
        Issue.record("\(sabotage) was not found out")
    }
}
