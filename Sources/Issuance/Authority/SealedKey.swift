// SPDX-License-Identifier: Apache-2.0

package import Crypto
internal import CryptoExtras
internal import FoundationEssentials

/// The file of a private key that a passphrase encrypts (docs/decisions/0013-authority-keys.md).
///
/// The key is scrypt's of the passphrase (RFC 7914) and encrypts with AES-256-GCM; associated data
/// are the file's header and its purpose, so that neither can be exchanged.
package enum SealedKey {
    /// How dear a guess at the passphrase is: log2 of scrypt's N; r is 8 and p is 1.
    package struct Cost: Hashable, Sendable {
        /// 1 MiB, which tests write.
        ///
        /// A reader loses nothing by so low a bound: only who has the passphrase writes a file that
        /// opens.
        package static let logarithmMin: UInt8 = 10
        /// 256 MiB and about a second: so much a file may make its reader spend, and no more.
        package static let logarithmMax: UInt8 = 18
        /// 128 MiB, for keys that are written once a day.
        package static let standard = Self(unchecked: 17)
        /// The least that is read, for tests.
        package static let least = Self(unchecked: logarithmMin)

        package let logarithm: UInt8

        /// Nil outside `logarithmMin` to `logarithmMax`.
        package init?(logarithm: UInt8) {
            guard (Self.logarithmMin...Self.logarithmMax).contains(logarithm) else { return nil }
            self.init(unchecked: logarithm)
        }

        private init(unchecked logarithm: UInt8) {
            self.logarithm = logarithm
        }
    }

    /// Longest passphrase in bytes: 32 random bytes in hexadecimal fit many times.
    package static let passphraseBytesMax = 1024
    /// Longest key in bytes: RSA-4096 in PKCS #8 has 2,400.
    package static let keyBytesMax = 3072
    /// Longest file in bytes.
    package static let fileBytesMax = headerCount + nonceCount + keyBytesMax + tagCount

    /// What every file begins with; the last byte is the version of all that follows.
    private static let mark = Array("SGNTKEY".utf8) + [1]
    private static let saltCount = 16
    private static let headerCount = mark.count + 1 + saltCount
    private static let nonceCount = 12
    private static let tagCount = 16
    private static let blockSize = 8
    private static let parallelism = 1

    /// Whether bytes are those of a sealed key of any version.
    package static func isSealed(_ file: [UInt8]) -> Bool {
        file.starts(with: mark.dropLast())
    }

    /// Encrypts a key.
    ///
    /// - Parameters:
    ///   - key: 1 to `keyBytesMax` bytes.
    ///   - purpose: Whose key it is; `open` must be told the same.
    ///   - passphrase: 1 to `passphraseBytesMax` bytes.
    ///   - cost: How dear a guess is.
    ///   - generator: The system's random numbers in production; they make salt and nonce.
    /// - Returns: The content of the file.
    /// - Throws: `SealedKeyError.keyLength`, `.passphraseLength` or `.library`.
    package static func seal(
        _ key: [UInt8],
        for purpose: String,
        passphrase: [UInt8],
        cost: Cost = .standard,
        using generator: inout some RandomNumberGenerator
    ) throws(SealedKeyError) -> [UInt8] {
        guard (1...keyBytesMax).contains(key.count) else { throw .keyLength }
        var random: [UInt8] = []
        for _ in 0..<saltCount + nonceCount {
            random.append(.random(in: .min ... .max, using: &generator))
        }
        let header = mark + [cost.logarithm] + random.prefix(saltCount)
        let secret = try derive(passphrase, salt: random.prefix(saltCount), cost: cost)
        do {
            let box = try AES.GCM.seal(
                key,
                using: secret,
                nonce: AES.GCM.Nonce(data: random.suffix(nonceCount)),
                authenticating: header + purpose.utf8
            )
            return header + random.suffix(nonceCount) + box.ciphertext + box.tag
        } catch { throw .library }
    }

    /// Decrypts a key.
    ///
    /// - Throws: `SealedKeyError`; a wrong passphrase, another purpose and changed bytes are all
    ///   `.notOpened`.
    package static func open(
        _ file: [UInt8],
        for purpose: String,
        passphrase: [UInt8]
    ) throws(SealedKeyError) -> [UInt8] {
        guard isSealed(file) else { throw .notSealed }
        guard file.count > headerCount + nonceCount + tagCount, file.count <= fileBytesMax else {
            throw .length
        }
        guard file.starts(with: mark) else { throw .version(file[mark.count - 1]) }
        let header = file.prefix(headerCount)
        guard let cost = Cost(logarithm: file[mark.count]) else { throw .cost }
        let secret = try derive(passphrase, salt: header.suffix(saltCount), cost: cost)
        let rest = file.dropFirst(headerCount)
        do {
            let box = try AES.GCM.SealedBox(
                nonce: AES.GCM.Nonce(data: rest.prefix(nonceCount)),
                ciphertext: rest.dropFirst(nonceCount).dropLast(tagCount),
                tag: rest.suffix(tagCount)
            )
            return Array(
                try AES.GCM.open(box, using: secret, authenticating: header + purpose.utf8)
            )
        } catch { throw .notOpened }
    }

    /// The key that a passphrase stands for (RFC 7914, r 8, p 1): 32 bytes, for AES-256-GCM.
    ///
    /// - Throws: `SealedKeyError.passphraseLength` or `.library`.
    package static func derive(
        _ passphrase: [UInt8],
        salt: ArraySlice<UInt8>,
        cost: Cost
    ) throws(SealedKeyError) -> SymmetricKey {
        guard (1...passphraseBytesMax).contains(passphrase.count) else { throw .passphraseLength }
        do {
            return try KDF.Scrypt.deriveKey(
                from: passphrase,
                salt: Array(salt),
                outputByteCount: 32,
                rounds: 1 << Int(cost.logarithm),
                blockSize: blockSize,
                parallelism: parallelism
            )
        } catch { throw .library }
    }
}

/// Why a sealed key is not written or not read.
package enum SealedKeyError: Error, Hashable, Sendable, CustomStringConvertible {
    /// scrypt's cost is outside what is read.
    case cost
    case keyLength
    case length
    /// The cryptographic library failed: there is no memory.
    case library
    /// The passphrase is wrong, or the file was changed or is another key's.
    case notOpened
    case notSealed
    case passphraseLength
    case version(UInt8)

    package var description: String {
        switch self {
        case .cost:
            "its cost is outside \(SealedKey.Cost.logarithmMin) to \(SealedKey.Cost.logarithmMax)"
        case .keyLength: "a key has 1 to \(SealedKey.keyBytesMax) bytes"
        case .length: "its length is none of an encrypted key"
        case .library: "the cryptographic library failed; is there enough memory?"
        case .notOpened: "the passphrase is wrong, or the file was changed or is another key's"
        case .notSealed: "it is not an encrypted key"
        case .passphraseLength:
            "a passphrase has 1 to \(SealedKey.passphraseBytesMax) bytes"
        case .version(let version): "it is of version \(version), which this server does not know"
        }
    }
}
