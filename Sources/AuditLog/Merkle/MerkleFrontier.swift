// SPDX-License-Identifier: Apache-2.0

/// The right edge of a Merkle tree: all that appending a leaf and naming the root need.
///
/// Holds one hash per binary digit 1 of the size, so at most 64. Appending costs two hashes on
/// average. The frontier is a value: append to a copy inside the transaction, keep the copy when
/// the transaction has committed.
package struct MerkleFrontier: Hashable, Sendable {
    /// Most leaves of a tree.
    ///
    /// 2^56 leaves fill seven tile levels; the arithmetic on indices then
    /// never overflows 64 bits, and a log of one leaf per microsecond takes 2,000 years.
    package static let sizeMax: UInt64 = 1 << 56

    /// Leaves in the tree.
    package private(set) var size: UInt64
    /// Roots of the complete subtrees that cover the tree, the largest and leftmost first.
    package private(set) var peaks: [MerkleHash]

    /// A tree without leaves.
    package init() {
        size = 0
        peaks = []
    }

    /// Restores a stored frontier.
    ///
    /// - Returns: Nil if a tree of that size does not have that many peaks or is too large.
    package init?(size: UInt64, peaks: [MerkleHash]) {
        guard size <= Self.sizeMax, size.nonzeroBitCount == peaks.count else { return nil }
        self.size = size
        self.peaks = peaks
    }

    /// Appends one leaf by its hash.
    ///
    /// - Precondition: The tree holds fewer than `sizeMax` leaves.
    package mutating func append(_ leafHash: MerkleHash) {
        precondition(size < Self.sizeMax, "the audit tree is full")
        var hash = leafHash
        // Each trailing 1 of the size is a complete subtree that the new one joins.
        for _ in 0..<size.trailingOnes {
            hash = MerkleHash(left: peaks.removeLast(), right: hash)
        }
        peaks.append(hash)
        size += 1
    }

    /// The root of the whole tree (RFC 6962 section 2.1).
    package var root: MerkleHash {
        guard var root = peaks.last else { return .emptyRoot }
        for peak in peaks.dropLast().reversed() {
            root = MerkleHash(left: peak, right: root)
        }
        return root
    }

    /// The frontier as bytes for the database: size as 8 big-endian bytes, then each peak.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        for shift in stride(from: 56, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: size >> UInt64(shift)))
        }
        for peak in peaks { peak.append(to: &bytes) }
        return bytes
    }

    /// Reads what `encoded` wrote; nil for anything else.
    package init?(encoded: [UInt8]) {
        guard encoded.count >= 8, (encoded.count - 8).isMultiple(of: MerkleHash.byteCount) else {
            return nil
        }
        let size = encoded[..<8].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let peaks = MerkleHash.list(encoded[8...])
        self.init(size: size, peaks: peaks)
    }
}

extension MerkleHash {
    /// Cuts concatenated hashes; whatever is left over at the end is not a hash and is dropped.
    static func list(_ bytes: ArraySlice<UInt8>) -> [MerkleHash] {
        var hashes: [MerkleHash] = []
        var rest = bytes
        while let hash = MerkleHash(rest.prefix(byteCount)) {
            hashes.append(hash)
            rest = rest.dropFirst(byteCount)
        }
        return hashes
    }

    /// The root of a list of neighbouring hashes taken as leaves of a tree.
    static func root(of hashes: some Collection<MerkleHash>) -> MerkleHash {
        var frontier = MerkleFrontier()
        for hash in hashes { frontier.append(hash) }
        return frontier.root
    }
}

extension UInt64 {
    /// How many binary digits 1 the number ends in.
    fileprivate var trailingOnes: Int { (~self).trailingZeroBitCount }
}
