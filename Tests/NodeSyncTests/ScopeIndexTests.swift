// SPDX-License-Identifier: Apache-2.0

import NodeSync
import SPIFFE
import TestSeeds
import Testing

struct ScopeIndexTests {
    @Test func `an entry concerns the agents that show all of its selectors`() throws {
        let web = try Selector("role:web")
        let north = try Selector("site:north")
        var scope = ScopeIndex()
        scope.insert(AgentName("a"), selectors: [web, north])
        scope.insert(AgentName("b"), selectors: [web])
        scope.insert(AgentName("c"), selectors: [])
        #expect(scope.agents(matching: [web]) == [AgentName("a"), AgentName("b")])
        #expect(scope.agents(matching: [web, north]) == [AgentName("a")])
        #expect(scope.agents(matching: [try Selector("role:db")]) == [])
        #expect(scope.agents(matching: []) == [])
    }

    @Test(arguments: walkSeeds)
    func `it agrees with asking every agent`(_ seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let all = try (0..<8).map { try Selector("s:\($0)") }
        var scope = ScopeIndex()
        var reference: [AgentName: Set<Selector>] = [:]
        for _ in 0..<500 {
            let agent = AgentName("agent-\(generator.below(12))")
            if generator.once(in: 4) {
                scope.remove(agent)
                reference[agent] = nil
            } else {
                let selectors = Set(all.filter { _ in generator.once(in: 2) })
                scope.insert(agent, selectors: selectors)
                reference[agent] = selectors
            }
            let asked = all.filter { _ in generator.once(in: 3) }
            let expected = reference.filter { agent in
                !asked.isEmpty && asked.allSatisfy(agent.value.contains)
            }
            #expect(scope.agents(matching: asked) == Set(expected.keys))
        }
    }
}
