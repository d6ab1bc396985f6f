// SPDX-License-Identifier: Apache-2.0

/// Whose uploads are worked on: some at a time, and of each agent one.
package struct DecisionUploads: Sendable {
    /// What became of who wants a place.
    package enum Entry: Hashable, Sendable {
        /// All places are taken.
        case crowded
        case entered
        /// The agent has a place already.
        case isThere
    }

    private let placesMax: Int
    private var agents: Set<String> = []

    /// Nobody is there.
    package init(placesMax: Int) { self.placesMax = placesMax }

    /// An agent wants a place.
    package mutating func entered(_ agent: String) -> Entry {
        guard !agents.contains(agent) else { return .isThere }
        guard agents.count < placesMax else { return .crowded }
        agents.insert(agent)
        return .entered
    }

    /// An agent that had entered gives its place back.
    package mutating func left(_ agent: String) { agents.remove(agent) }
}
