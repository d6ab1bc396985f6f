// SPDX-License-Identifier: Apache-2.0

/// Where a tile lies below the log's directory (C2SP tlog-tiles, "Merkle Tree", "Log entries").
package struct TilePath: Hashable, Sendable, CustomStringConvertible {
    /// Hashes or entries in a full tile; a tile is a subtree of height 8.
    package static let fullWidth = 256
    /// Tile levels that a tree of `MerkleFrontier.sizeMax` leaves needs: 2^56 = 256^7, whose one
    /// root hash stands in a tile of level 7.
    package static let levelMax = 7
    /// The signed checkpoint lies beside the tiles under this name.
    package static let checkpoint = "checkpoint"

    /// What a tile holds.
    package enum Content: Hashable, Sendable {
        /// The leaves themselves, each with its length before it.
        case entries
        /// Hashes of complete subtrees of 256^level leaves.
        case hashes(level: Int)
    }

    package let content: Content
    /// Counts the tiles of one level from the left, from 0.
    package let index: UInt64
    /// Hashes or entries in the tile, 1 to 256; below 256 the tile is partial.
    package let width: Int

    /// Names a tile.
    ///
    /// - Precondition: The width is 1 to 256, the level 0 to `levelMax`.
    package init(_ content: Content, index: UInt64, width: Int = Self.fullWidth) {
        precondition((1...Self.fullWidth).contains(width))
        if case .hashes(let level) = content { precondition((0...Self.levelMax).contains(level)) }
        self.content = content
        self.index = index
        self.width = width
    }

    package var isPartial: Bool { width < Self.fullWidth }

    /// The leaves that lie below the tile's first `width` hashes.
    var records: Range<UInt64> {
        let shift: UInt64
        switch content {
        case .entries: shift = 0
        case .hashes(let level): shift = UInt64(8 * level)
        }
        // A path may name a tile that no tree has; its records then start where trees end.
        let end = MerkleFrontier.sizeMax
        guard index <= end >> (8 + shift) else { return end..<end }
        let first = index << (8 + shift)
        let count = UInt64(width) <= end >> shift ? UInt64(width) << shift : end
        return first..<min(end, first + count)
    }

    /// The same tile as it is in a tree where it is full.
    var full: Self { Self(content, index: index) }

    /// The directory of the tile's partial forms, which may be deleted once the full tile is
    /// safely written (C2SP tlog-tiles, "Partial Tiles").
    package var partialsDirectory: String { full.description + ".p" }

    /// The path below the log's directory, for example `tile/0/x001/067.p/12`.
    package var description: String {
        let folder: String
        switch content {
        case .entries: folder = "entries"
        case .hashes(let level): folder = "\(level)"
        }
        let suffix = isPartial ? ".p/\(width)" : ""
        return "tile/\(folder)/\(Self.elements(of: index))\(suffix)"
    }

    private static func elements(of index: UInt64) -> String {
        var rest = index
        var text = threeDigits(rest % 1000)
        while rest >= 1000 {
            rest /= 1000
            text = "x" + threeDigits(rest % 1000) + "/" + text
        }
        return text
    }

    private static func threeDigits(_ number: UInt64) -> String {
        let digits = "\(number)"
        return String(repeating: "0", count: 3 - digits.utf8.count) + digits
    }
}

extension TilePath {
    /// Reads a path; nil if it is not exactly what `description` would write.
    package init?(parsing path: String) {
        var elements = path.split(separator: "/", omittingEmptySubsequences: false)[...]
        guard elements.popFirst() == "tile", let folder = elements.popFirst() else { return nil }
        let content: Content
        if folder == "entries" {
            content = .entries
        } else {
            guard let level = Int(folder), (0...Self.levelMax).contains(level) else { return nil }
            content = .hashes(level: level)
        }
        var width = Self.fullWidth
        if let beforeLast = elements.dropLast().last, beforeLast.hasSuffix(".p") {
            guard let last = elements.popLast(), let partial = Int(last) else { return nil }
            guard (1..<Self.fullWidth).contains(partial) else { return nil }
            width = partial
            elements[elements.endIndex - 1] = beforeLast.dropLast(2)
        }
        guard let index = Self.index(of: elements) else { return nil }
        self.init(content, index: index, width: width)
        // Whatever else could be read as the same tile ("+1", "0001") is not its path.
        guard description == path else { return nil }
    }

    private static func index(of elements: ArraySlice<Substring>) -> UInt64? {
        // Indices stay below 2^56, which has 17 digits: six elements.
        guard (1...6).contains(elements.count) else { return nil }
        var index: UInt64 = 0
        for element in elements {
            let digits = element.hasPrefix("x") ? element.dropFirst() : element
            guard digits.utf8.count == 3, let number = UInt64(digits) else { return nil }
            index = index * 1000 + number
        }
        return index <= MerkleFrontier.sizeMax ? index : nil
    }
}
