// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// Finds who shows given selectors without asking everybody.
struct SelectorIndex<Member: Hashable & Sendable>: Sendable {
    private var selectorsByMember: [Member: Set<Selector>] = [:]
    private var membersBySelector: [Selector: Set<Member>] = [:]

    var members: Dictionary<Member, Set<Selector>>.Keys { selectorsByMember.keys }

    subscript(member: Member) -> Set<Selector>? { selectorsByMember[member] }

    /// Puts a member in, or gives it other selectors.
    mutating func insert(_ member: Member, selectors: Set<Selector>) {
        let old = selectorsByMember.updateValue(selectors, forKey: member) ?? []
        for selector in old where !selectors.contains(selector) { drop(member, from: selector) }
        for selector in selectors where !old.contains(selector) {
            membersBySelector[selector, default: []].insert(member)
        }
    }

    mutating func remove(_ member: Member) {
        for selector in selectorsByMember.removeValue(forKey: member) ?? [] {
            drop(member, from: selector)
        }
    }

    /// Who shows all of `selectors`; nobody if there are none.
    ///
    /// Costs as much as the rarest of the selectors has members.
    func members(showing selectors: [Selector]) -> Set<Member> {
        var rarest: Set<Member>?
        for selector in selectors {
            guard let members = membersBySelector[selector] else { return [] }
            if members.count < rarest?.count ?? .max { rarest = members }
        }
        guard let rarest else { return [] }
        return rarest.filter { member in
            guard let shown = selectorsByMember[member] else { return false }
            return selectors.allSatisfy(shown.contains)
        }
    }

    private mutating func drop(_ member: Member, from selector: Selector) {
        membersBySelector[selector]?.remove(member)
        if membersBySelector[selector]?.isEmpty == true { membersBySelector[selector] = nil }
    }
}

/// Which agents show which node selectors, to find whom a changed entry concerns.
package struct ScopeIndex: Sendable {
    private var index = SelectorIndex<AgentName>()

    package init() {}

    /// Whether there is no agent.
    package var isEmpty: Bool { index.members.isEmpty }

    /// Puts an agent in, or gives it other selectors.
    package mutating func insert(_ agent: AgentName, selectors: Set<Selector>) {
        index.insert(agent, selectors: selectors)
    }

    /// Takes an agent out.
    package mutating func remove(_ agent: AgentName) {
        index.remove(agent)
    }

    /// What the agent shows; nil if it is not in the index.
    package func selectors(of agent: AgentName) -> Set<Selector>? { index[agent] }

    /// The agents that show all of an entry's node selectors; none if the list is empty.
    ///
    /// Costs as much as the rarest of the selectors has agents.
    package func agents(matching nodeSelectors: [Selector]) -> Set<AgentName> {
        index.members(showing: nodeSelectors)
    }
}
