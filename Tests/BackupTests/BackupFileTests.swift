// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Backup
import Issuance
import NodeSync
import SPIFFE
import TestSeeds
import Testing

@Suite(.timeLimit(.minutes(1))) struct BackupFileTests {
    static let passphrase = Array("correct horse battery staple".utf8)

    static func manifest(release: String = "0.4.0") throws -> BackupManifest {
        try BackupManifest(
            id: Array(0..<16),
            time: try #require(AuditTime(milliseconds: 1_800_000_000_123)),
            release: release,
            trustDomain: TrustDomain("example.org"),
            serverID: "0a1b2c3d",
            revision: Revision(
                epoch: Epoch(bytes: Array(repeating: 7, count: 16)),
                number: 42
            ),
            logKey: NoteVerifierKey(
                name: "example.org/audit/0a1b2c3d",
                publicKey: [UInt8](repeating: 9, count: 32)
            ),
            logSize: 3,
            logRoot: MerkleHash(leaf: [1])
        )
    }

    private static func database(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
    }

    private static func sealed(_ content: [UInt8], seed: UInt64 = 1) throws -> [UInt8] {
        var generator = SeededGenerator(seed: seed)
        var sealer = try BackupSealer(passphrase: passphrase, cost: .least, using: &generator)
        var file = sealer.header
        // In parts of another size than pieces have.
        var rest = content[...]
        while !rest.isEmpty {
            for piece in try sealer.seal(rest.prefix(300_000)) { file += piece }
            rest = rest.dropFirst(300_000)
        }
        file += try sealer.finish()
        return file
    }

    private static func open(
        _ file: [UInt8],
        passphrase: [UInt8] = passphrase
    ) throws -> (BackupManifest, [UInt8]) {
        var rest = file[...]
        var database: [UInt8] = []
        let manifest = try BackupFile.open(
            passphrase: passphrase,
            next: { count in
                defer { rest = rest.dropFirst(count) }
                return Array(rest.prefix(count))
            },
            database: { database += $0 }
        )
        return (manifest, database)
    }

    private static func refusal(
        _ file: [UInt8],
        passphrase: [UInt8] = passphrase
    ) -> BackupFileError? {
        do {
            _ = try open(file, passphrase: passphrase)
            return nil
        } catch {
            return error as? BackupFileError
        }
    }

    /// Sizes of the database with which the content ends before, at and after the end of a piece.
    private static func sizes() throws -> [Int] {
        let first = BackupFile.pieceCount - BackupFile.preamble(try manifest()).count
        return [0, 1, first - 1, first, first + 1, first + BackupFile.pieceCount]
    }

    @Test func `what was encrypted is read again, whatever its size`() throws {
        for size in try Self.sizes() {
            let database = Self.database(size)
            let file = try Self.sealed(BackupFile.preamble(try Self.manifest()) + database)
            let read = try Self.open(file)
            #expect(read.0 == (try Self.manifest()), "\(size)")
            #expect(read.1 == database, "\(size)")
            #expect(BackupFile.isBackup(file))
        }
    }

    @Test func `the header is what the record says`() throws {
        let file = try Self.sealed(BackupFile.preamble(try Self.manifest()))
        #expect(Array(file.prefix(9)) == Array("SGNTBKP".utf8) + [1, 10])
        #expect(
            file.count == 25 + 4 + (try Self.manifest()).encoded.count + BackupFile.tagCount
        )
    }

    @Test func `two backups of the same content share no piece`() throws {
        let content = BackupFile.preamble(try Self.manifest())
        let (one, other) = (try Self.sealed(content), try Self.sealed(content, seed: 2))
        #expect(one.dropFirst(25) != other.dropFirst(25))
    }

    @Test func `another passphrase opens nothing`() throws {
        let file = try Self.sealed(BackupFile.preamble(try Self.manifest()))
        // Not a zero: HMAC, below scrypt, fills a key up with them.
        #expect(Self.refusal(file, passphrase: Self.passphrase + [1]) == .notOpened)
        #expect(Self.refusal(file, passphrase: []) == .passphraseLength)
    }

    @Test func `a changed byte is noticed wherever it is`() throws {
        let file = try Self.sealed(BackupFile.preamble(try Self.manifest()) + Self.database(100))
        for place in file.indices {
            // A higher cost is only dearer; which one is refused is said below.
            if place == 8 { continue }
            var changed = file
            changed[place] ^= 1
            let expected: BackupFileError =
                switch place {
                case 0..<7: .notBackup
                case 7: .version(0)
                default: .notOpened
                }
            #expect(Self.refusal(changed) == expected, "byte \(place)")
        }
        for cost in [UInt8(0), 9, 19, 255] {
            var changed = file
            changed[8] = cost
            #expect(Self.refusal(changed) == .cost)
        }
        var dearer = file
        dearer[8] += 1
        #expect(Self.refusal(dearer) == .notOpened)
    }

    @Test func `a file that is cut, or goes on, is refused`() throws {
        let size = 2 * BackupFile.pieceCount
        let file = try Self.sealed(BackupFile.preamble(try Self.manifest()) + Self.database(size))
        let piece = BackupFile.pieceCount + BackupFile.tagCount
        // After whole pieces: what is left ends without a last one.
        for pieces in 0...2 {
            #expect(Self.refusal(Array(file.prefix(25 + pieces * piece))) == .truncated)
        }
        for end in [24, 30, 25 + piece + 3] {
            #expect(Self.refusal(Array(file.prefix(end))) == .truncated, "\(end)")
        }
        // A part of a piece is taken for a last one, which it is not.
        for end in [25 + 1000, 25 + piece - 1, file.count - 1] {
            #expect(Self.refusal(Array(file.prefix(end))) == .notOpened, "\(end)")
        }
        #expect(Self.refusal(file + [0]) == .notOpened)
        #expect(Self.refusal([]) == .notBackup)
    }

    @Test func `pieces have their place, and their file`() throws {
        let size = 2 * BackupFile.pieceCount
        let content = BackupFile.preamble(try Self.manifest()) + Self.database(size)
        let (file, other) = (try Self.sealed(content), try Self.sealed(content, seed: 2))
        let piece = BackupFile.pieceCount + BackupFile.tagCount
        func part(_ file: [UInt8], _ number: Int) -> ArraySlice<UInt8> {
            file[(25 + number * piece)...].prefix(piece)
        }
        func refusal(_ parts: ArraySlice<UInt8>...) -> BackupFileError? {
            Self.refusal(Array(file.prefix(25)) + parts.joined())
        }
        #expect(refusal(part(file, 1), part(file, 0), part(file, 2)) == .notOpened)
        #expect(refusal(part(file, 0), part(file, 2)) == .notOpened)
        #expect(refusal(part(other, 0), part(file, 1), part(file, 2)) == .notOpened)
        #expect(refusal(part(file, 0), part(file, 1), part(file, 2)) == nil)
    }

    @Test func `a content without manifest is refused`() throws {
        #expect(try Self.refusal(Self.sealed([])) == .truncated)
        #expect(try Self.refusal(Self.sealed([0, 0, 0])) == .truncated)
        #expect(try Self.refusal(Self.sealed([0, 0, 0, 5, 1])) == .truncated)
        #expect(try Self.refusal(Self.sealed([255, 0, 0, 0])) == .manifest("length"))
        #expect(try Self.refusal(Self.sealed([0, 0, 0, 0])) == .manifest("JSON"))
    }

    @Test func `a manifest is read in the form it is written in, and in no other`() throws {
        let manifest = try Self.manifest()
        let text = String(decoding: manifest.encoded, as: UTF8.self)
        #expect(try BackupManifest(parsing: Array(text.utf8)) == manifest)
        let changes: [(String, String, BackupFileError)] = [
            ("\"backupID\":\"00", "\"backupID\":\"", .manifest("backupID")),
            ("\"epoch\":\"07", "\"epoch\":\"", .manifest("epoch")),
            ("example.org/audit", "example.org audit", .manifest("logKey")),
            ("\"logSize\":3", "\"logSize\":\"3\"", .manifest("logSize")),
            ("\"logSize\":3", "\"logSize\":-3", .manifest("logSize")),
            ("\"release\":\"0.4.0\"", "\"release\":\"\"", .manifest("release")),
            ("\"revision\":42,", "", .manifest("revision")),
            (
                "\"trustDomain\":\"example.org\"", "\"trustDomain\":\"a b\"",
                .manifest("trustDomain")
            ),
            ("{", "{\"a\":1,", .manifest("form")),
            ("{", "{ ", .manifest("JSON")),
        ]
        for (old, new, expected) in changes {
            let changed = text.replacing(old, with: new, maxReplacements: 1)
            #expect(changed != text)
            #expect(throws: expected, "\(old)") {
                try BackupManifest(parsing: Array(changed.utf8))
            }
        }
    }

    @Test func `a manifest is not made of what would not be read`() throws {
        #expect(throws: BackupFileError.manifest("release")) { try Self.manifest(release: "") }
        let long = String(repeating: "a", count: BackupManifest.textBytesMax + 1)
        #expect(throws: BackupFileError.manifest("release")) { try Self.manifest(release: long) }
    }
}
