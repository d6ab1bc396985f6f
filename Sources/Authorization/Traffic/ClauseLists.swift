// SPDX-License-Identifier: Apache-2.0

/// Sets of clauses, each as words of 64 bits: the words that have a bit, or all of them when most
/// have one.
struct ClauseLists: Sendable {
    /// Where one set lies.
    struct List: Sendable, BitwiseCopyable {
        let start: UInt32
        let count: UInt32
        let isDense: Bool
    }

    private(set) var lists: [List] = []
    /// Of sparse lists: the number of each word, ascending.
    private(set) var places: [UInt32] = []
    /// Of sparse lists: the words.
    private(set) var words: [UInt64] = []
    /// Of dense lists: every word.
    private(set) var dense: [UInt64] = []
    /// Words of a set in which every clause is.
    let wordCount: Int

    init(clauseCount: Int) {
        wordCount = (clauseCount + 63) / 64
    }

    /// Adds a set.
    ///
    /// - Parameter clauses: Numbers of clauses, ascending.
    /// - Returns: The number of the set.
    mutating func add(_ clauses: some Sequence<Int>) -> UInt32 {
        let sparse = Self.words(clauses)
        // A dense list costs a load for each word of the peer, a sparse one a search for each of
        // its own.
        if sparse.count * 4 > wordCount, wordCount > 1 {
            lists.append(
                List(start: UInt32(dense.count), count: UInt32(wordCount), isDense: true)
            )
            let base = dense.count
            dense.append(contentsOf: repeatElement(0, count: wordCount))
            for (place, word) in sparse { dense[base + place] = word }
        } else {
            lists.append(
                List(start: UInt32(words.count), count: UInt32(sparse.count), isDense: false)
            )
            for (place, word) in sparse {
                places.append(UInt32(place))
                words.append(word)
            }
        }
        return UInt32(lists.count - 1)
    }

    private static func words(_ clauses: some Sequence<Int>) -> [(place: Int, word: UInt64)] {
        var result: [(place: Int, word: UInt64)] = []
        for clause in clauses {
            if result.last?.place != clause / 64 { result.append((clause / 64, 0)) }
            result[result.count - 1].word |= 1 << UInt64(clause % 64)
        }
        return result
    }

    /// The set's bits in one word.
    func word(_ number: UInt32, at place: Int) -> UInt64 {
        let list = lists[Int(number)]
        let start = Int(list.start)
        if list.isDense { return dense[start + place] }
        var (low, high) = (start, start + Int(list.count))
        while low < high {
            let middle = (low + high) / 2
            if Int(places[middle]) < place { low = middle + 1 } else { high = middle }
        }
        guard low < start + Int(list.count), Int(places[low]) == place else { return 0 }
        return words[low]
    }

    /// Puts the set's bits into a set of all words.
    func unite(_ number: UInt32, into all: inout [UInt64]) {
        forEachWord(number) { place, word in all[place] |= word }
    }

    /// Takes the set's bits out of a set of all words.
    func subtract(_ number: UInt32, from all: inout [UInt64]) {
        forEachWord(number) { place, word in all[place] &= ~word }
    }

    private func forEachWord(_ number: UInt32, _ body: (Int, UInt64) -> Void) {
        let list = lists[Int(number)]
        for offset in 0..<Int(list.count) {
            let index = Int(list.start) + offset
            if list.isDense {
                body(offset, dense[index])
            } else {
                body(Int(places[index]), words[index])
            }
        }
    }
}
