// SPDX-License-Identifier: Apache-2.0

import Crypto
import Issuance
import TestSeeds
import Testing

/// The encrypted key file (docs/decisions/0013-authority-keys.md).
struct SealedKeyTests {
    private static let key = [UInt8](0..<138)
    private static let passphrase = Array("correct horse battery staple".utf8)
    private static let purpose = "authority:0102"
    /// Mark, version, cost, salt, nonce.
    private static let headerCount = 8 + 1 + 16

    private func seal(
        _ key: [UInt8] = key,
        passphrase: [UInt8] = passphrase,
        cost: SealedKey.Cost = .least,
        seed: UInt64 = 1
    ) throws(SealedKeyError) -> [UInt8] {
        var generator = SeededGenerator(seed: seed)
        return try SealedKey.seal(
            key,
            for: Self.purpose,
            passphrase: passphrase,
            cost: cost,
            using: &generator
        )
    }

    private func refusal(
        of file: [UInt8],
        for purpose: String = purpose,
        passphrase: [UInt8] = passphrase
    ) -> SealedKeyError? {
        do throws(SealedKeyError) {
            _ = try SealedKey.open(file, for: purpose, passphrase: passphrase)
            return nil
        } catch {
            return error
        }
    }

    @Test func `a key comes back, and its file shows nothing of it`() throws {
        let file = try seal()
        #expect(file.count == Self.headerCount + 12 + Self.key.count + 16)
        #expect(Array(file.prefix(9)) == Array("SGNTKEY".utf8) + [1, 10])
        #expect(file.firstRange(of: Self.key.prefix(8)) == nil)
        #expect(SealedKey.isSealed(file))
        let opened = try SealedKey.open(file, for: Self.purpose, passphrase: Self.passphrase)
        #expect(opened == Self.key)
    }

    /// Other random numbers make other salts and nonces, so no two files share a key stream.
    @Test func `one key makes another file each time`() throws {
        let (first, second) = (try seal(), try seal(seed: 2))
        #expect(first.dropFirst(9).prefix(28) != second.dropFirst(9).prefix(28))
        #expect(first.suffix(Self.key.count + 16) != second.suffix(Self.key.count + 16))
    }

    @Test func `a wrong passphrase and another purpose open nothing`() throws {
        let file = try seal()
        #expect(refusal(of: file, passphrase: Self.passphrase + [1]) == .notOpened)
        #expect(refusal(of: file, passphrase: Self.passphrase.dropLast()) == .notOpened)
        #expect(refusal(of: file, for: "authority:0103") == .notOpened)
        #expect(refusal(of: file, for: "audit") == .notOpened)
    }

    /// One changed bit in each part: mark, version, cost, salt, nonce, key, tag.
    @Test(
        arguments: [
            (0, SealedKeyError.notSealed), (6, .notSealed), (7, .version(0)), (8, .notOpened),
            (9, .notOpened), (24, .notOpened), (25, .notOpened), (36, .notOpened),
            (37, .notOpened), (100, .notOpened), (174, .notOpened), (175, .notOpened),
            (190, .notOpened),
        ]
    )
    func `a changed bit is found wherever it is`(index: Int, expected: SealedKeyError) throws {
        var file = try seal()
        file[index] ^= 1
        #expect(refusal(of: file) == expected)
    }

    /// The header is authenticated, not only used: a second cost that would be affordable too.
    @Test(arguments: [0, 9, 19, 31, 64, 255] as [UInt8])
    func `a file cannot make its reader spend more, nor less`(logarithm: UInt8) throws {
        var file = try seal()
        file[8] = logarithm
        #expect(refusal(of: file) == .cost)
        #expect(SealedKey.Cost(logarithm: logarithm) == nil)
    }

    @Test func `a file that was cut or grew is not opened`() throws {
        let file = try seal()
        for count in 0..<7 { #expect(refusal(of: Array(file.prefix(count))) == .notSealed) }
        for count in 7...53 { #expect(refusal(of: Array(file.prefix(count))) == .length) }
        for count in [54, file.count - 1] {
            #expect(refusal(of: Array(file.prefix(count))) == .notOpened)
        }
        #expect(refusal(of: file + [0]) == .notOpened)
        let long = file + [UInt8](repeating: 0, count: SealedKey.fileBytesMax)
        #expect(refusal(of: long) == .length)
    }

    @Test func `a plain key is not taken for an encrypted one`() throws {
        let plain = Array(try Workshop.key(1).derRepresentation)
        #expect(!SealedKey.isSealed(plain))
        #expect(refusal(of: plain) == .notSealed)
    }

    @Test func `nothing of the wrong length is encrypted`() throws {
        #expect(throws: SealedKeyError.keyLength) { try seal([]) }
        let long = [UInt8](repeating: 1, count: SealedKey.keyBytesMax + 1)
        #expect(throws: SealedKeyError.keyLength) { try seal(long) }
        #expect(throws: SealedKeyError.passphraseLength) { try seal(passphrase: []) }
        let words = [UInt8](repeating: 1, count: SealedKey.passphraseBytesMax + 1)
        #expect(throws: SealedKeyError.passphraseLength) { try seal(passphrase: words) }
        #expect(refusal(of: try seal(), passphrase: []) == .passphraseLength)
        let longest = try seal(Array(long.dropLast()))
        #expect(longest.count == SealedKey.fileBytesMax)
        #expect(refusal(of: longest) == nil)
    }
}
