// SPDX-License-Identifier: Apache-2.0

/// The identifier of a key: the leftmost 160 bits of the SHA-256 of its bit string (RFC 7093
/// section 2, method 1), which needs no SHA-1.
///
/// Authorities are named by it, and distrusted by it. It is computed from the key, whatever a
/// certificate calls it: what a thief signs says what the thief likes.
package struct KeyIdentifier: Hashable, Sendable, CustomStringConvertible {
    package static let bytesCount = 20

    package let bytes: [UInt8]

    /// Hashes the content of the subjectPublicKey bit string, without its count of unused bits.
    package init(hashing bitString: some Sequence<UInt8>) {
        bytes = Array(sha256(Array(bitString)).prefix(Self.bytesCount))
    }

    /// Takes what a certificate states of its own key, whatever it was computed by; nil unless it has
    /// `bytesCount` bytes.
    ///
    /// Of a key that somebody else certified: what it signs has to repeat this.
    package init?(stated bytes: [UInt8]) {
        guard bytes.count == Self.bytesCount else { return nil }
        self.bytes = bytes
    }

    package var description: String { Hexadecimal.text(bytes) }
}
