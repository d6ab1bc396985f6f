// SPDX-License-Identifier: Apache-2.0

/// The content of a `tile/entries` file: leaves, each after its length as two big-endian bytes
/// (C2SP tlog-tiles, "Log entries").
package enum EntryBundle {
    /// Most bytes of a file of 256 leaves, whatever their length: 256 x (2 + 65,535).
    package static let bytesMax = TilePath.fullWidth * (2 + Int(UInt16.max))

    /// Why a file is not a bundle of so many leaves.
    package enum Malformed: Error, Hashable, Sendable {
        /// The file ends inside the leaf at this position of the bundle.
        case endsInside(position: Int)
        /// Bytes follow after the last leaf.
        case trailingBytes
    }

    /// Reads a bundle of `count` leaves.
    ///
    /// - Throws: `Malformed` if the bytes are not exactly that many leaves.
    package static func leaves(
        in bytes: [UInt8],
        count: Int
    ) throws(Malformed) -> [ArraySlice<UInt8>] {
        let (leaves, malformed) = readable(bytes, count: count)
        if let malformed { throw malformed }
        return leaves
    }

    /// All leaves before the first fault, and the fault.
    static func readable(
        _ bytes: [UInt8],
        count: Int
    ) -> (leaves: [ArraySlice<UInt8>], malformed: Malformed?) {
        var leaves: [ArraySlice<UInt8>] = []
        var rest = bytes[...]
        for position in 0..<count {
            guard let high = rest.popFirst(), let low = rest.popFirst() else {
                return (leaves, .endsInside(position: position))
            }
            let length = Int(high) << 8 | Int(low)
            guard rest.count >= length else {
                return (leaves, .endsInside(position: position))
            }
            leaves.append(rest.prefix(length))
            rest = rest.dropFirst(length)
        }
        return (leaves, rest.isEmpty ? nil : .trailingBytes)
    }

    /// Appends one leaf with its length.
    ///
    /// - Precondition: The leaf has at most 65,535 bytes; records have at most 16 KiB.
    static func append(_ leaf: [UInt8], to bytes: inout [UInt8]) {
        precondition(leaf.count <= Int(UInt16.max), "a leaf has at most 65,535 bytes")
        bytes.append(UInt8(leaf.count >> 8))
        bytes.append(UInt8(leaf.count & 0xFF))
        bytes.append(contentsOf: leaf)
    }
}
