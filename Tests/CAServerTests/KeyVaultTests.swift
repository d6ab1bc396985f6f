// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import DurableFiles
import Foundation
import Issuance
import Testing

/// Where authorities' keys are, and what is refused there.
@Suite(.timeLimit(.minutes(2)))
struct KeyVaultTests {
    private static let passphrase = Secret(bytes: Array("correct horse".utf8))
    private static let sealed = KeyFileForm.encrypted(passphrase, cost: .least)

    private func vault(
        _ directory: TestDirectory,
        _ form: KeyFileForm = sealed,
        place: AuthorityKeyPlace = .files,
        _ keyType: AuthorityKeyType = .p256
    ) throws -> KeyVault {
        try KeyVault(
            directory: "\(directory.path)/keys",
            form: form,
            place: place,
            keyType: keyType
        )
    }

    private func bytes(_ directory: TestDirectory, _ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(filePath: "\(directory.path)/keys/\(name)")))
    }

    private func problem(_ call: () throws -> some Any) -> KeyFileError.Problem? {
        do {
            _ = try call()
            return nil
        } catch {
            return (error as? KeyFileError)?.problem
        }
    }

    @Test(arguments: [AuthorityKeyType.p256, .p384, .rsa2048])
    func `a key is kept encrypted and found again`(type: AuthorityKeyType) throws {
        let directory = try TestDirectory()
        let first = try vault(directory, Self.sealed, type)
        let made = try first.makeAuthorityKey()
        let key = try SubjectPublicKey(subjectPublicKeyInfo: made.subjectPublicKeyInfo)
        #expect(AuthorityKeyType(key.algorithm) == type)
        try first.keep(made, authorityID: "01")
        let plain = try #require(made as? MemorySigner).pkcs8DER
        let file = try bytes(directory, "authority-01.key")
        #expect(SealedKey.isSealed(file) && file.firstRange(of: plain.suffix(16)) == nil)
        let found = try vault(directory).signer(authorityID: "01")
        #expect(found?.subjectPublicKeyInfo == made.subjectPublicKeyInfo)
        try first.sweep(keeping: [])
        #expect(try vault(directory).signer(authorityID: "01") == nil)
    }

    @Test func `with keys in memory nothing but the log's key is written`() throws {
        let directory = try TestDirectory()
        let memory = try vault(directory, place: .memory)
        let made = try memory.makeAuthorityKey()
        try memory.keep(made, authorityID: "01")
        _ = try memory.auditKey(isNew: true)
        #expect(try memory.signer(authorityID: "01") != nil)
        #expect(try vault(directory, place: .memory).signer(authorityID: "01") == nil)
        let names = try FileManager.default.contentsOfDirectory(atPath: "\(directory.path)/keys")
        #expect(names == ["audit.key"])
        #expect(SealedKey.isSealed(try bytes(directory, "audit.key")))
    }

    @Test func `neither form is taken for the other`() throws {
        let directory = try TestDirectory()
        for (name, form, other) in [
            ("01", Self.sealed, KeyFileForm.plain), ("02", .plain, Self.sealed),
        ] {
            let writer = try vault(directory, form)
            try writer.keep(try writer.makeAuthorityKey(), authorityID: name)
            let reader = try vault(directory, other)
            let expected: KeyFileError.Problem = name == "01" ? .encrypted : .plain
            #expect(problem { try reader.signer(authorityID: name) } == expected)
        }
    }

    @Test func `a wrong passphrase opens neither authorities nor the log's key`() throws {
        let directory = try TestDirectory()
        let writer = try vault(directory)
        try writer.keep(try writer.makeAuthorityKey(), authorityID: "01")
        let log = try writer.auditKey(isNew: true)
        let wrong = try vault(
            directory,
            .encrypted(Secret(bytes: Array("wrong".utf8)), cost: .least)
        )
        #expect(problem { try wrong.signer(authorityID: "01") } == .sealed(.notOpened))
        // Not even a new one in its place.
        #expect(problem { try wrong.auditKey(isNew: true) } == .sealed(.notOpened))
        #expect(try vault(directory).auditKey(isNew: false).publicKey == log.publicKey)
    }

    @Test func `a file in another key's place is not opened`() throws {
        let directory = try TestDirectory()
        let writer = try vault(directory)
        try writer.keep(try writer.makeAuthorityKey(), authorityID: "01")
        let keys = "\(directory.path)/keys"
        for name in ["authority-02.key", "audit.key"] {
            try FileManager.default.copyItem(
                atPath: "\(keys)/authority-01.key",
                toPath: "\(keys)/\(name)"
            )
        }
        let reader = try vault(directory)
        #expect(problem { try reader.signer(authorityID: "02") } == .sealed(.notOpened))
        #expect(problem { try reader.auditKey(isNew: false) } == .sealed(.notOpened))
    }

    @Test func `an authority's two keys are kept apart and go one by one`() throws {
        let directory = try TestDirectory()
        let first = try vault(directory)
        let (own, tokens) = (try first.makeAuthorityKey(), try first.makeAuthorityKey())
        try first.keep(own, authorityID: "01")
        try first.keep(tokens, authorityID: "01", for: .tokens)
        try first.keep(try first.makeAuthorityKey(), authorityID: "02")
        let reader = try vault(directory)
        let found = try reader.signer(authorityID: "01", for: .tokens)
        #expect(found?.subjectPublicKeyInfo == tokens.subjectPublicKeyInfo)
        #expect(try reader.signer(authorityID: "02", for: .tokens) == nil)
        // Neither file opens in the other's place.
        let keys = "\(directory.path)/keys"
        try FileManager.default.copyItem(
            atPath: "\(keys)/authority-02.key",
            toPath: "\(keys)/jwt-02.key"
        )
        let moved = try vault(directory)
        let refused = problem { try moved.signer(authorityID: "02", for: .tokens) }
        #expect(refused == .sealed(.notOpened))
        func names() throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: keys).sorted()
        }
        try reader.sweep(keeping: [AuthorityKey("01"), AuthorityKey("01", for: .tokens)])
        #expect(try names() == ["authority-01.key", "jwt-01.key"])
        try reader.sweep(keeping: [AuthorityKey("01")])
        #expect(try names() == ["authority-01.key"])
        #expect(try reader.signer(authorityID: "01", for: .tokens) == nil)
        try reader.sweep(keeping: [])
        #expect(try names() == [])
    }

    @Test func `files are written anew from plain and from another passphrase, once`() throws {
        let directory = try TestDirectory()
        let plain = try vault(directory, .plain)
        let key = try plain.makeAuthorityKey()
        try plain.keep(key, authorityID: "01")
        let log = try plain.auditKey(isNew: true)
        let first = try vault(directory)
        #expect(try first.reseal(from: .plain).count == 2)
        #expect(try first.reseal(from: .plain) == [])
        let new = KeyFileForm.encrypted(Secret(bytes: [1, 2, 3]), cost: .least)
        let second = try vault(directory, new)
        #expect(problem { try second.reseal(from: .plain) } == .encrypted)
        #expect(try second.reseal(from: Self.sealed).count == 2)
        let signer = try vault(directory, new).signer(authorityID: "01")
        #expect(signer?.subjectPublicKeyInfo == key.subjectPublicKeyInfo)
        #expect(try vault(directory, new).auditKey(isNew: false).publicKey == log.publicKey)
    }

    @Test func `keys of authorities that are gone are destroyed`() throws {
        let directory = try TestDirectory()
        let writer = try vault(directory)
        for id in ["01", "02"] {
            try writer.keep(try writer.makeAuthorityKey(), authorityID: id)
        }
        _ = try writer.auditKey(isNew: true)
        try writer.sweep(keeping: [AuthorityKey("02")])
        #expect(try writer.signer(authorityID: "01") == nil)
        #expect(try writer.signer(authorityID: "02") != nil)
        _ = try writer.auditKey(isNew: false)
    }

    @Test func `a key that cannot be destroyed saves no other`() throws {
        let directory = try TestDirectory()
        let writer = try vault(directory)
        for id in ["01", "03"] {
            try writer.keep(try writer.makeAuthorityKey(), authorityID: id)
        }
        // No file, and so not removed as one.
        let stubborn = "\(directory.path)/keys/authority-02.key"
        try FileManager.default.createDirectory(
            atPath: "\(stubborn)/full",
            withIntermediateDirectories: true
        )
        #expect(throws: FileError.self) { try writer.sweep(keeping: []) }
        let names = try FileManager.default.contentsOfDirectory(atPath: "\(directory.path)/keys")
        #expect(names == ["authority-02.key"])
        try FileManager.default.removeItem(atPath: stubborn)
        try writer.sweep(keeping: [])
    }

    @Test func `keys in memory go as those in files do`() throws {
        let memory = try vault(try TestDirectory(), place: .memory)
        for purpose in AuthorityKey.Purpose.allCases {
            try memory.keep(try memory.makeAuthorityKey(), authorityID: "01", for: purpose)
        }
        try memory.sweep(keeping: [AuthorityKey("01")])
        #expect(try memory.signer(authorityID: "01") != nil)
        #expect(try memory.signer(authorityID: "01", for: .tokens) == nil)
    }
}

/// Where passphrases and PINs come from.
struct SecretSourceTests {
    private func write(_ text: String, mode: Int, _ directory: TestDirectory) throws {
        let path = "\(directory.path)/secret"
        try Data(text.utf8).write(to: URL(filePath: path))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    private func bytes(_ source: SecretSource, _ directory: TestDirectory) throws -> [UInt8]? {
        // A secret shows itself to nobody: what it is shows in what it opens.
        let secret = try source.secret(credentials: directory.path)
        #expect("\(secret)" == "Secret" && Mirror(reflecting: secret).children.isEmpty)
        let keys = "\(directory.path)/keys"
        let vault = try KeyVault(
            directory: keys,
            form: .encrypted(secret, cost: .least),
            place: .files,
            keyType: .p256
        )
        try vault.keep(try vault.makeAuthorityKey(), authorityID: "01")
        return Array(try Data(contentsOf: URL(filePath: "\(keys)/authority-01.key")))
    }

    @Test func `a file's secret ends before its newline`() throws {
        let directory = try TestDirectory()
        try write("open sesame\n", mode: 0o600, directory)
        let file = try #require(
            try bytes(SecretSource(parsing: "file:\(directory.path)/secret"), directory)
        )
        _ = try SealedKey.open(file, for: "authority:01", passphrase: Array("open sesame".utf8))
    }

    @Test func `a file that others may read is refused, a credential's group is not`() throws {
        let directory = try TestDirectory()
        try write("open sesame", mode: 0o440, directory)
        let file = SecretSource.file("\(directory.path)/secret")
        #expect(throws: FileError.self) { try file.secret() }
        #expect(try bytes(.credential("secret"), directory) != nil)
        try write("open sesame", mode: 0o444, directory)
        #expect(throws: FileError.self) {
            try SecretSource.credential("secret").secret(credentials: directory.path)
        }
    }

    @Test func `what holds no secret is refused`() throws {
        let directory = try TestDirectory()
        func problem(_ text: String) throws -> SecretError.Problem? {
            try write(text, mode: 0o600, directory)
            do {
                _ = try SecretSource.file("\(directory.path)/secret").secret()
                return nil
            } catch {
                return (error as? SecretError)?.problem
            }
        }
        #expect(try problem("") == .empty)
        #expect(try problem("\n") == .empty)
        #expect(try problem(String(repeating: "x", count: 1025)) == .tooLong)
        #expect(try problem(String(repeating: "x", count: 1024) + "\n") == nil)
        #expect(throws: SecretError.self) {
            try SecretSource.credential("secret").secret(credentials: nil)
        }
        #expect(throws: FileError.self) { try SecretSource.file("/nowhere/secret").secret() }
    }

    private func startRefusal(_ directory: TestDirectory, _ file: String) async -> String {
        let error = await refusal {
            try await withServer(in: directory) {
                $0.keyStorage = .encrypted
                $0.keyFileCost = .least
                $0.keyPassphrase = .file(file)
            } _: { _ in
            }
        }
        return error?.message ?? "started"
    }

    @Test func `a file that is not there is made, but never while keys need the old one`()
        async throws
    {
        let directory = try TestDirectory()
        let file = "\(directory.path)/secret"
        let first = await startRefusal(directory, file)
        #expect(first.contains("openssl rand -hex 32 > \(file))"), "\(first)")
        let odd = await startRefusal(directory, "\(directory.path)/a b'c")
        #expect(odd.contains("> '\(directory.path)/a b'\\''c')"), "\(odd)")
        try write("open sesame\n", mode: 0o600, directory)
        #expect(await startRefusal(directory, file) == "started")
        try FileManager.default.removeItem(atPath: file)
        let lost = await startRefusal(directory, file)
        #expect(lost.contains("put that one back"), "\(lost)")
        #expect(!lost.contains("openssl"), "\(lost)")
        // Only that it is not there is mended so.
        try write("open sesame\n", mode: 0o644, directory)
        #expect(await startRefusal(directory, file).contains("chmod 600"))
    }

    @Test(
        arguments: [
            "hunter2", "file:relative", "file:", "credential:", "credential:../x", "credential:.",
            "credential:..", "env:SECRET", "pass:hunter2", "FILE:/x", "",
        ]
    )
    func `a secret itself is no place, and is not repeated`(text: String) {
        do {
            _ = try SecretSource(parsing: text)
            Issue.record("accepted")
        } catch {
            #expect(!"\(error)".contains("hunter2") && "\(error)".contains("credential:NAME"))
        }
    }
}
