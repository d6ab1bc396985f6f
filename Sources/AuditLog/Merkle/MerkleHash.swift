// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
internal import SPIFFE

/// One SHA-256 hash of the tree: of a leaf or of two joined subtrees (RFC 6962 section 2.1).
package struct MerkleHash: Hashable, Sendable, CustomStringConvertible {
    /// Bytes of a SHA-256 hash.
    package static let byteCount = 32

    /// The root of a tree without leaves: SHA-256 of nothing (RFC 6962 section 2.1).
    package static let emptyRoot = Self(SHA256.hash(data: [UInt8]()))

    // A vector of 32 bytes keeps the hash inline: a frontier or tile is then one allocation.
    private let storage: SIMD32<UInt8>

    /// Takes exactly `byteCount` bytes; nil for any other number.
    package init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        self.init(exactly: bytes)
    }

    /// The hash of a leaf: SHA-256(0x00 || leaf) (RFC 6962 section 2.1).
    package init(leaf: some Collection<UInt8>) {
        self.init(SHA256.hash(data: [0x00] + leaf))
    }

    /// The hash of two subtrees: SHA-256(0x01 || left || right) (RFC 6962 section 2.1).
    package init(left: MerkleHash, right: MerkleHash) {
        var input: [UInt8] = [0x01]
        input.reserveCapacity(1 + 2 * Self.byteCount)
        left.append(to: &input)
        right.append(to: &input)
        self.init(SHA256.hash(data: input))
    }

    private init(_ digest: SHA256Digest) {
        self.init(exactly: digest)
    }

    private init(exactly bytes: some Sequence<UInt8>) {
        var storage = SIMD32<UInt8>()
        for (position, byte) in bytes.enumerated() { storage[position] = byte }
        self.storage = storage
    }

    /// The 32 bytes of the hash.
    package var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.byteCount)
        append(to: &bytes)
        return bytes
    }

    /// The hash in lower-case hexadecimal.
    package var description: String { Hexadecimal.text(bytes) }

    /// The hash in standard base64, as checkpoints and proofs write it.
    var base64: String { Base64.text(bytes) }

    func append(to bytes: inout [UInt8]) {
        for position in 0..<Self.byteCount { bytes.append(storage[position]) }
    }
}
