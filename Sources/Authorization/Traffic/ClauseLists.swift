// SPDX-License-Identifier: Apache-2.0

/// A set of clauses, one bit each, in blocks that a processor compares in a few steps.
enum ClauseSet {
    /// Clauses of one block.
    static let blockSize = 512

    /// How many blocks so many clauses need.
    static func blockCount(_ clauseCount: Int) -> Int { (clauseCount + blockSize - 1) / blockSize }

    /// Puts a clause into the block that is its place.
    static func insert(_ clause: Int, into block: inout SIMD8<UInt64>) {
        block[clause % blockSize / 64] |= 1 << UInt64(clause % 64)
    }

    /// Takes a clause out of the block that is its place.
    static func remove(_ clause: Int, from block: inout SIMD8<UInt64>) {
        block[clause % blockSize / 64] &= ~(1 << UInt64(clause % 64))
    }

    /// The first clause of a block; nil if it has none.
    @inline(__always)
    static func first(of block: SIMD8<UInt64>, at place: Int) -> Int? {
        for lane in 0..<8 where block[lane] != 0 {
            return place * blockSize + lane * 64 + block[lane].trailingZeroBitCount
        }
        return nil
    }
}

/// Sets of clauses: of each the blocks that have one, or all of them when most have one.
struct ClauseLists: Sendable {
    /// Where one set lies.
    struct List: Sendable, BitwiseCopyable {
        let start: UInt32
        let count: UInt32
        let isDense: Bool
    }

    private(set) var lists: [List] = []
    /// Of sparse lists: the number of each block, ascending.
    private(set) var places: [UInt32] = []
    /// Of sparse lists: the blocks.
    private(set) var blocks: [SIMD8<UInt64>] = []
    /// Of dense lists: every block.
    private(set) var dense: [SIMD8<UInt64>] = []
    /// Blocks of a set in which every clause is.
    let blockCount: Int

    init(clauseCount: Int) {
        blockCount = ClauseSet.blockCount(clauseCount)
    }

    /// Adds a set.
    ///
    /// - Parameter clauses: Numbers of clauses, ascending.
    /// - Returns: The number of the set.
    mutating func add(_ clauses: some Sequence<Int>) -> UInt32 {
        let sparse = Self.blocks(clauses)
        // A dense list costs a load for each block of the peer, a sparse one a search for each of
        // its own.
        if sparse.count * 4 > blockCount, blockCount > 1 {
            lists.append(
                List(start: UInt32(dense.count), count: UInt32(blockCount), isDense: true)
            )
            let base = dense.count
            dense.append(contentsOf: repeatElement(.zero, count: blockCount))
            for (place, block) in sparse { dense[base + place] = block }
        } else {
            lists.append(
                List(start: UInt32(blocks.count), count: UInt32(sparse.count), isDense: false)
            )
            for (place, block) in sparse {
                places.append(UInt32(place))
                blocks.append(block)
            }
        }
        return UInt32(lists.count - 1)
    }

    private static func blocks(
        _ clauses: some Sequence<Int>
    ) -> [(place: Int, block: SIMD8<UInt64>)] {
        var result: [(place: Int, block: SIMD8<UInt64>)] = []
        for clause in clauses {
            let place = clause / ClauseSet.blockSize
            if result.last?.place != place { result.append((place, .zero)) }
            ClauseSet.insert(clause, into: &result[result.count - 1].block)
        }
        return result
    }

    /// The clauses of the set in one block.
    func block(_ number: UInt32, at place: Int) -> SIMD8<UInt64> {
        let list = lists[Int(number)]
        let start = Int(list.start)
        if list.isDense { return dense[start + place] }
        var (low, high) = (start, start + Int(list.count))
        while low < high {
            let middle = (low + high) / 2
            if Int(places[middle]) < place { low = middle + 1 } else { high = middle }
        }
        guard low < start + Int(list.count), Int(places[low]) == place else {
            return .zero
        }
        return blocks[low]
    }

    /// Puts the set's clauses into a set of all blocks.
    func unite(_ number: UInt32, into all: inout [SIMD8<UInt64>]) {
        forEachBlock(number) { place, block in all[place] |= block }
    }

    /// Takes the set's clauses out of a set of all blocks.
    func subtract(_ number: UInt32, from all: inout [SIMD8<UInt64>]) {
        forEachBlock(number) { place, block in all[place] &= ~block }
    }

    private func forEachBlock(_ number: UInt32, _ body: (Int, SIMD8<UInt64>) -> Void) {
        let list = lists[Int(number)]
        for offset in 0..<Int(list.count) {
            let index = Int(list.start) + offset
            if list.isDense {
                body(offset, dense[index])
            } else {
                body(Int(places[index]), blocks[index])
            }
        }
    }
}
