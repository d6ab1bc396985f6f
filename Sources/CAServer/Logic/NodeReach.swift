// SPDX-License-Identifier: Apache-2.0

internal import Datastore

/// Which nodes show what, also those that unused tokens admit.
struct NodeReach {
    /// Tokens first: nobody knows yet who uses them, so they must not be cut from a list.
    private let scopes: [NodeScope]
    /// The places in `scopes` of those that show a selector, in order.
    private let bySelector: [String: [Int]]

    /// - Parameters:
    ///   - nodes: Those there are.
    ///   - tokens: Those that tokens admit, with all that they will show.
    init(nodes: [NodeScope], tokens: [NodeScope]) {
        scopes =
            tokens.map { token in
                NodeScope(name: "\(token.name) (by an unused token)", selectors: token.selectors)
            } + nodes
        var places: [String: [Int]] = [:]
        for (place, scope) in scopes.enumerated() {
            for selector in scope.selectors { places[selector, default: []].append(place) }
        }
        bySelector = places
    }

    /// Those that show all selectors of any of the lists, tokens first.
    ///
    /// - Parameters:
    ///   - lists: What a node has to show, of each document by which it gets something.
    ///   - looks: How many may be compared still; lowered by how many were.
    /// - Returns: Their names; nil if there are too many to compare.
    func names(showingAny lists: [[String]], _ looks: inout Int) -> [String]? {
        var found: Set<Int> = []
        for selectors in Set(lists) {
            // One of those that show the rarest selector, or nobody.
            let places = selectors.map { bySelector[$0] ?? [] }.min { $0.count < $1.count } ?? []
            guard looks > places.count else { return nil }
            looks -= places.count + 1
            for place in places where selectors.allSatisfy(scopes[place].selectors.contains) {
                found.insert(place)
            }
        }
        return found.sorted().map { scopes[$0].name }
    }
}
