// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// Finds the patterns that match a path in the time that it takes to look at the path, however many
/// there are.
struct PathIndex: Sendable {
    /// One form of pattern: what is written out in it, by hash.
    struct Table: Sendable {
        struct Entry: Sendable, BitwiseCopyable {
            let hash: UInt64
            let lower: UInt32
            let upper: UInt32
            /// The clauses that ask for it, and those that exclude it, as numbers of lists.
            let positive: UInt32
            let negative: UInt32
        }

        fileprivate(set) var entries: [Entry] = []
        /// Places of entries plus one, at most half of them used; 0 is free.
        fileprivate(set) var slots: [UInt32] = []
        /// Bytes of the longest.
        fileprivate(set) var longest = 0

        var isEmpty: Bool { entries.isEmpty }
    }

    /// The lists that a path hits; more than there is room for is `isFull`.
    struct Hits {
        /// More patterns that hold for one path come only from policies that nest as deep.
        static let roomMax = 16

        var positive = InlineArray<16, UInt32>(repeating: 0)
        var negative = InlineArray<16, UInt32>(repeating: 0)
        var positiveCount = 0
        var negativeCount = 0
        var isFull = false

        /// Takes the list of a template.
        @inline(__always)
        fileprivate mutating func add(list: UInt32) {
            guard positiveCount < Self.roomMax else {
                isFull = true
                return
            }
            positive[positiveCount] = list
            positiveCount += 1
        }

        @inline(__always)
        fileprivate mutating func add(_ entry: Table.Entry) {
            if entry.positive != .max {
                guard positiveCount < Self.roomMax else {
                    isFull = true
                    return
                }
                positive[positiveCount] = entry.positive
                positiveCount += 1
            }
            if entry.negative != .max {
                guard negativeCount < Self.roomMax else {
                    isFull = true
                    return
                }
                negative[negativeCount] = entry.negative
                negativeCount += 1
            }
        }
    }

    private(set) var exact = Table()
    private(set) var below = Table()
    private(set) var suffix = Table()
    private(set) var templates = TemplateIndex()
    /// All that is written out in patterns.
    private(set) var bytes: [UInt8] = []

    // MARK: - Building

    /// Adds a pattern and who asks about it; each pattern once.
    mutating func add(_ pattern: PathPattern, positive: UInt32, negative: UInt32) {
        switch pattern {
        case .exact(let text): insert(text, text, into: \.exact, positive, negative)
        case .below(let text): insert(text, text, into: \.below, positive, negative)
        case .suffix(let text): insert(text, text.reversed(), into: \.suffix, positive, negative)
        // Excluded templates are looked at late.
        case .template(let template): if positive != .max { templates.add(template, positive) }
        // It is not found by its text; whoever builds knows where it belongs.
        case .any, .call: break
        }
    }

    private mutating func insert(
        _ text: [UInt8],
        _ hashed: [UInt8],
        into table: WritableKeyPath<Self, Table>,
        _ positive: UInt32,
        _ negative: UInt32
    ) {
        let lower = bytes.count
        bytes += text
        self[keyPath: table].longest = max(self[keyPath: table].longest, text.count)
        self[keyPath: table].entries.append(
            Table.Entry(
                hash: hashed.reduce(Self.seed, Self.mixed),
                lower: UInt32(lower),
                upper: UInt32(bytes.count),
                positive: positive,
                negative: negative
            )
        )
    }

    /// Makes the tables after the last pattern was added.
    mutating func seal() {
        exact.seal()
        below.seal()
        suffix.seal()
        templates.seal()
    }

    // FNV-1a: one multiplication for each byte, and the hash of each beginning on the way. Paths
    // come from strangers, but what they could collide with is fixed when a policy is written.
    private static let seed: UInt64 = 0xCBF2_9CE4_8422_2325

    @inline(__always)
    private static func mixed(_ hash: UInt64, _ byte: UInt8) -> UInt64 {
        (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
    }

    // MARK: - Looking up

    /// The lists of the patterns that match the path at `path`.
    func hits(_ head: Span<UInt8>, _ path: ByteRange) -> Hits {
        var hits = Hits()
        if !exact.isEmpty || !below.isEmpty { fromStart(head, path, &hits) }
        if !suffix.isEmpty { fromEnd(head, path, &hits) }
        if !templates.isEmpty { templates.forEachHit(head, path) { hits.add(list: $0) } }
        return hits
    }

    private func fromStart(_ head: Span<UInt8>, _ path: ByteRange, _ hits: inout Hits) {
        let (start, end) = (Int(path.lower), Int(path.upper))
        let longest = max(exact.longest, below.longest)
        var hash = Self.seed
        var (index, length) = (start, 0)
        while index < end {
            // What is longer than every pattern begins with no other and equals none.
            guard length < longest else { return }
            let byte = head[index]
            if byte == UInt8(ascii: "%"),
                let escape = CanonicalPath.escape(head, at: index, end: end)
            {
                switch escape {
                case .resolved(let byte):
                    hash = Self.mixed(hash, byte)
                    length += 1
                case .kept(let high, let low):
                    hash = Self.mixed(Self.mixed(Self.mixed(hash, byte), high), low)
                    length += 3
                }
                index += 3
                continue
            }
            hash = Self.mixed(hash, byte)
            index += 1
            length += 1
            if byte == UInt8(ascii: "/"), !below.isEmpty {
                find(hash, in: below, head, start..<index, &hits)
            }
        }
        if !exact.isEmpty { find(hash, in: exact, head, start..<end, &hits) }
    }

    private func fromEnd(_ head: Span<UInt8>, _ path: ByteRange, _ hits: inout Hits) {
        let (start, end) = (Int(path.lower), Int(path.upper))
        var hash = Self.seed
        var (index, length) = (end, 0)
        while index > start, length < suffix.longest {
            // A percent sign always begins an escape, so what follows one belongs to it.
            if index - start >= 3, head[index - 3] == UInt8(ascii: "%"),
                let escape = CanonicalPath.escape(head, at: index - 3, end: end)
            {
                switch escape {
                case .resolved(let byte):
                    hash = Self.mixed(hash, byte)
                    length += 1
                case .kept(let high, let low):
                    let percent = UInt8(ascii: "%")
                    hash = Self.mixed(Self.mixed(Self.mixed(hash, low), high), percent)
                    length += 3
                }
                index -= 3
                continue
            }
            index -= 1
            length += 1
            let byte = head[index]
            hash = Self.mixed(hash, byte)
            // Every pattern of the kind begins with one of the two.
            if byte == UInt8(ascii: "/") || byte == UInt8(ascii: ".") {
                find(hash, in: suffix, head, index..<end, &hits)
            }
        }
    }

    @inline(__always)
    private func find(
        _ hash: UInt64,
        in table: Table,
        _ head: Span<UInt8>,
        _ text: Range<Int>,
        _ hits: inout Hits
    ) {
        let mask = table.slots.count - 1
        var slot = Table.slot(hash, mask)
        while table.slots[slot] != 0 {
            let entry = table.entries[Int(table.slots[slot]) - 1]
            if entry.hash == hash, isSpelled(head, text, as: entry) {
                hits.add(entry)
                return
            }
            slot = (slot + 1) & mask
        }
    }

    /// Whether a run of the head is the entry's text in the spelling in which paths are compared.
    private func isSpelled(
        _ head: Span<UInt8>,
        _ text: Range<Int>,
        as entry: Table.Entry
    ) -> Bool {
        var (index, place) = (text.lowerBound, Int(entry.lower))
        let last = Int(entry.upper)
        while index < text.upperBound {
            guard place < last else { return false }
            if head[index] == UInt8(ascii: "%"),
                let escape = CanonicalPath.escape(head, at: index, end: text.upperBound)
            {
                switch escape {
                case .resolved(let byte):
                    guard bytes[place] == byte else { return false }
                    place += 1
                case .kept(let high, let low):
                    guard place + 2 < last, bytes[place] == UInt8(ascii: "%"),
                        bytes[place + 1] == high, bytes[place + 2] == low
                    else { return false }
                    place += 3
                }
                index += 3
            } else {
                guard bytes[place] == head[index] else { return false }
                index += 1
                place += 1
            }
        }
        return place == last
    }
}

extension PathIndex.Table {
    fileprivate mutating func seal() {
        guard !isEmpty else { return }
        var size = 4
        while size < entries.count * 2 { size *= 2 }
        slots = [UInt32](repeating: 0, count: size)
        for (place, entry) in entries.enumerated() {
            var slot = Self.slot(entry.hash, size - 1)
            while slots[slot] != 0 { slot = (slot + 1) & (size - 1) }
            slots[slot] = UInt32(place + 1)
        }
    }

    @inline(__always)
    fileprivate static func slot(_ hash: UInt64, _ mask: Int) -> Int {
        // The low bits of FNV-1a depend on the last bytes most.
        Int(truncatingIfNeeded: hash ^ (hash >> 32)) & mask
    }
}
