// SPDX-License-Identifier: Apache-2.0

/// "Did you mean": the words of a closed list, for one that is not in it.
package enum Suggestion {
    /// Two slips at most: more makes another word.
    private static let distanceMax = 2
    /// Longer words are not compared: nobody wrote them by a slip.
    private static let lengthMax = 64

    /// What to write instead of `word`: the known word that was probably meant, or all of them.
    package static func remedy(for word: String, among known: [String]) -> String {
        if let near = nearest(to: word, among: known) { return "did you mean \"\(near)\"?" }
        if known.isEmpty { return "remove it; there is nothing to write here" }
        return "write one of \(known.sorted().joined(separator: ", "))"
    }

    /// The known word that is at most two slips away from `word`; nil if none is.
    package static func nearest(to word: String, among known: [String]) -> String? {
        guard word.utf8.count <= lengthMax else { return nil }
        let lower = Array(word.lowercased().utf8)
        let ranked = known.map { (distance(lower, Array($0.lowercased().utf8)), $0) }.sorted {
            $0 < $1
        }
        guard let (distance, best) = ranked.first, distance <= distanceMax,
            distance < best.utf8.count
        else { return nil }
        return best
    }

    /// Insertions, deletions, substitutions and swaps of neighbours from one word to the other.
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var older = [Int](repeating: 0, count: right.count + 1)
        var old = Array(0...right.count)
        for i in 0..<left.count {
            var new = [i + 1]
            for j in 0..<right.count {
                var best = min(old[j + 1] + 1, new[j] + 1, old[j] + (left[i] == right[j] ? 0 : 1))
                if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
                    best = min(best, older[j - 1] + 1)
                }
                new.append(best)
            }
            older = old
            old = new
        }
        return old[right.count]
    }
}
