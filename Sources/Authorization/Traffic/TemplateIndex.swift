// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// Finds the templates that a path may match, in a time that grows with how many shapes templates
/// have, and not with how many there are.
///
/// A shape is where the operators stand. Of each shape the segments that are written out are looked
/// up by their hash; what is found is looked at once more (`LateConditions`), so two templates of one
/// hash, or an operator that met an empty segment, do no harm.
struct TemplateIndex: Sendable {
    private struct Shape: Hashable, Sendable, BitwiseCopyable {
        /// Segments before `{**}`, or all.
        let start: Int
        /// One bit for each `{*}` among them.
        let operators: UInt64
        let hasRest: Bool
        /// Segments behind `{**}`.
        let end: Int
    }

    private var shapes: [Shape] = []
    private var hashes: [UInt64] = []
    private var lists: [UInt32] = []
    /// Places of hashes plus one, at most half of them used; 0 is free.
    private var slots: [UInt32] = []

    var isEmpty: Bool { hashes.isEmpty }

    // MARK: - Building

    /// Adds a template and the list of the clauses that ask for it.
    mutating func add(_ template: PathTemplate, _ list: UInt32) {
        var operators: UInt64 = 0
        let rest = template.segments.firstIndex(of: .rest)
        let start = rest ?? template.segments.count
        for (place, segment) in template.segments.prefix(start).enumerated() where segment == .one {
            operators |= 1 << UInt64(place)
        }
        let shape = Shape(
            start: start,
            operators: operators,
            hasRest: rest != nil,
            end: template.segments.count - start - (rest == nil ? 0 : 1)
        )
        let number = shapes.firstIndex(of: shape) ?? shapes.count
        if number == shapes.count { shapes.append(shape) }
        var hash = Self.beginning(number)
        for case .literal(let text) in template.segments {
            hash = Self.joined(hash, text.reduce(Self.seed, Self.mixed))
        }
        hashes.append(hash)
        lists.append(list)
    }

    /// Makes the table after the last template was added.
    mutating func seal() {
        guard !isEmpty else { return }
        var size = 4
        while size < hashes.count * 2 { size *= 2 }
        slots = [UInt32](repeating: 0, count: size)
        for (place, hash) in hashes.enumerated() {
            var slot = Self.slot(hash, size - 1)
            while slots[slot] != 0 { slot = (slot + 1) & (size - 1) }
            slots[slot] = UInt32(place + 1)
        }
    }

    private static let seed: UInt64 = 0xCBF2_9CE4_8422_2325

    @inline(__always)
    private static func mixed(_ hash: UInt64, _ byte: UInt8) -> UInt64 {
        (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
    }

    @inline(__always)
    private static func beginning(_ shape: Int) -> UInt64 { seed &+ UInt64(shape) }

    @inline(__always)
    private static func joined(_ hash: UInt64, _ segment: UInt64) -> UInt64 {
        let mixed = (hash ^ segment) &* 0x9E37_79B9_7F4A_7C15
        return mixed ^ (mixed >> 32)
    }

    @inline(__always)
    private static func slot(_ hash: UInt64, _ mask: Int) -> Int {
        Int(truncatingIfNeeded: hash ^ (hash >> 32)) & mask
    }

    // MARK: - Looking up

    /// The hashes of a path's segments: of the first and of the last `PathTemplate.segmentsMax`, which
    /// is all that a template writes out.
    private struct Segments {
        var first = InlineArray<32, UInt64>(repeating: 0)
        /// Of each that has come the hash at its number, modulo the room.
        var last = InlineArray<32, UInt64>(repeating: 0)
        var count = 0

        init(_ head: Span<UInt8>, _ path: ByteRange) {
            var spelled = SpelledPath(path)
            guard spelled.next(head) == UInt8(ascii: "/") else { return }
            var hash = TemplateIndex.seed
            while let byte = spelled.next(head) {
                if byte == UInt8(ascii: "/") {
                    add(hash)
                    hash = TemplateIndex.seed
                } else {
                    hash = TemplateIndex.mixed(hash, byte)
                }
            }
            add(hash)
        }

        private mutating func add(_ hash: UInt64) {
            if count < PathTemplate.segmentsMax { first[count] = hash }
            last[count % PathTemplate.segmentsMax] = hash
            count += 1
        }
    }

    /// Calls `body` with the list of every template that the path at `path` may match.
    @inline(__always)
    func forEachHit(_ head: Span<UInt8>, _ path: ByteRange, _ body: (UInt32) -> Void) {
        let segments = Segments(head, path)
        for number in shapes.indices {
            let shape = shapes[number]
            let least = shape.start + shape.end + (shape.hasRest ? 1 : 0)
            guard segments.count == least || shape.hasRest && segments.count > least else {
                continue
            }
            var hash = Self.beginning(number)
            for place in 0..<shape.start where (shape.operators >> UInt64(place)) & 1 == 0 {
                hash = Self.joined(hash, segments.first[place])
            }
            for place in (segments.count - shape.end)..<segments.count {
                hash = Self.joined(hash, segments.last[place % PathTemplate.segmentsMax])
            }
            let mask = slots.count - 1
            var slot = Self.slot(hash, mask)
            while slots[slot] != 0 {
                let place = Int(slots[slot]) - 1
                if hashes[place] == hash { body(lists[place]) }
                slot = (slot + 1) & mask
            }
        }
    }
}
