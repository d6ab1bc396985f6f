// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
internal import SPIFFE
internal import SwiftASN1

/// The identifier of a key: the leftmost 160 bits of the SHA-256 of its bit string (RFC 7093
/// section 2, method 1), which needs no SHA-1.
struct KeyIdentifier: Hashable, CustomStringConvertible {
    static let bytesCount = 20

    let bytes: [UInt8]

    init(of key: SubjectPublicKey) {
        self.init(hashing: key.subjectPublicKeyInfo.suffix(key.bitStringContentBytes))
    }

    /// Hashes the content of the subjectPublicKey bit string, without its count of unused bits.
    init(hashing bitString: some Sequence<UInt8>) {
        bytes = Array(SHA256.hash(data: Array(bitString)).prefix(Self.bytesCount))
    }

    var description: String { Hexadecimal.text(bytes) }
}
