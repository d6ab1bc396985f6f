// SPDX-License-Identifier: Apache-2.0

import AuditLog
import ControlAPIProtos
import Crypto
import Foundation
import SwiftProtobuf
import Testing
import signet

@Suite(.timeLimit(.minutes(1))) final class AuditDirectoryTests {
    private let folder = FileManager.default.temporaryDirectory
        .appending(path: "signet-audit-\(UInt64.random(in: 0 ... .max))").path
    private let signer = Curve25519.Signing.PrivateKey()

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// A log of so many records in the folder, as `signet audit export` leaves it.
    private func export(records: Int) throws -> (AuditDirectory, NoteVerifierKey) {
        let directory = AuditDirectory(folder)
        let key = try NoteVerifierKey(
            name: "example.org/audit/1",
            publicKey: Array(signer.publicKey.rawRepresentation)
        )
        let leaves = (0..<records).map { Array("{\"record\":\($0)}".utf8) }
        let log = try TileIntegration(appending: leaves, to: MerkleFrontier()) {
            try directory.read($0)
        }
        for file in log.files { try directory.write(file.bytes, to: file.path.description) }
        let signed = try SignedCheckpoint(
            signing: Checkpoint(origin: key.name, frontier: log.frontier),
            key: key
        ) { Array(try self.signer.signature(for: $0)) }
        try directory.write(signed.note, to: TilePath.checkpoint)
        try directory.write(Array("\(key)\n".utf8), to: AuditDirectory.keyFile)
        return (directory, key)
    }

    @Test func `an exported log is intact, its key file being no part of it`() throws {
        let (directory, key) = try export(records: 300)
        guard case .intact(let log) = try directory.verify(key: key) else {
            Issue.record("not intact")
            return
        }
        #expect(log.checkpoint.checkpoint.size == 300)
        #expect(log.unknownFiles.isEmpty && log.unsignedFiles.isEmpty)
    }

    @Test(arguments: [0, 7, 255, 256, 299])
    func `the record of a changed byte is named`(record: Int) throws {
        let (directory, key) = try export(records: 300)
        let tile = TilePath(
            .entries,
            index: UInt64(record / 256),
            width: record < 256 ? 256 : 44
        )
        var bytes = try directory.read(tile.description)
        let text = Array("\"record\":\(record)}".utf8)
        let place = try #require(bytes.firstRange(of: text)).lowerBound
        bytes[place] ^= 1
        try directory.write(bytes, to: tile.description)
        guard case .broken(let defect) = try directory.verify(key: key) else {
            Issue.record("the change was not found")
            return
        }
        #expect(defect.firstRecord == UInt64(record))
        #expect(defect.path == tile.description)
    }

    @Test func `a remembered checkpoint of a longer log is missed`() throws {
        let (long, key) = try export(records: 20)
        let remembered = try long.read(TilePath.checkpoint)
        try FileManager.default.removeItem(atPath: folder)
        let (short, _) = try export(records: 10)
        guard case .intact = try short.verify(key: key),
            case .broken(let defect) = try short.verify(key: key, remembered: [remembered])
        else {
            Issue.record("records that were cut off are not missed")
            return
        }
        #expect(defect.kind == .recordsCutOff(rememberedSize: 20))
    }

    /// A file as an agent keeps it; only the length in its first line is compared.
    private func framed(_ content: [UInt8], as kind: String) -> [UInt8] {
        let hash = String(repeating: "0", count: 64)
        return Array("signet-agent 1 \(kind) \(content.count) \(hash)\n".utf8) + content
    }

    @Test func `an agent's own checkpoint and identity files are taken as they are`() throws {
        let (directory, key) = try export(records: 20)
        let kept = "\(folder)-kept"
        defer { try? FileManager.default.removeItem(atPath: kept) }
        let note = try directory.read(TilePath.checkpoint)
        try Data(framed(note, as: "checkpoint")).write(to: URL(filePath: kept))
        let remembered = try RememberedCheckpoints(files: [kept], key: key)
        #expect(remembered.notes == [note])
        let identity = Array("{\"auditKey\":\"\(key)\",\"other\":1}".utf8)
        let read = try AgentFileFrame.key(framed(identity, as: "identity"), path: "identity")
        #expect(read == key.description)
        #expect(try AgentFileFrame.key(Array("\(key)".utf8), path: "k") == key.description)
    }

    @Test func `an agent's file that is not whole, or another one, is refused`() {
        let cut = Array(framed([1, 2, 3], as: "checkpoint").dropLast())
        #expect(throws: CommandFailure.self) { try AgentFileFrame.content(cut, path: "c") }
        let noLine = Array("signet-agent 1 checkpoint 3".utf8)
        #expect(throws: CommandFailure.self) { try AgentFileFrame.content(noLine, path: "c") }
        let key = framed([1, 2, 3], as: "key")
        #expect(throws: CommandFailure.self) { try AgentFileFrame.key(key, path: "k") }
    }

    @Test func `a copy older than a remembered checkpoint is said with both sizes`() throws {
        let kept = "\(folder)-kept"
        defer { try? FileManager.default.removeItem(atPath: kept) }
        let (long, key) = try export(records: 20)
        try Data(try long.read(TilePath.checkpoint)).write(to: URL(filePath: kept))
        try FileManager.default.removeItem(atPath: folder)
        let (short, _) = try export(records: 10)
        let remembered = try RememberedCheckpoints(files: [kept], key: key)
        guard case .broken(let defect) = try short.verify(key: key, remembered: remembered.notes)
        else {
            Issue.record("records that were cut off are not missed")
            return
        }
        let sentence = remembered.sentence(for: defect, size: short.size(key: key))
        #expect(sentence.hasPrefix("the log has 10 records, the checkpoint in \(kept) 20: "))
    }

    @Test func `a key file is suggested only where there is one`() throws {
        #expect(throws: CommandFailure.self) { try AuditDirectory(folder).checkIsLog() }
        let (directory, _) = try export(records: 1)
        try directory.checkIsLog()
        let file = "\(folder)/\(AuditDirectory.keyFile)"
        #expect(directory.keyNeeded.contains("--key \(file)"))
        try FileManager.default.removeItem(atPath: file)
        #expect(!directory.keyNeeded.contains(folder))
        #expect(directory.keyNeeded.contains("identity"))
    }

    @Test(arguments: [0, 1, 255, 256, 257, 512, 65_537])
    func `exactly the tiles of a size are fetched`(size: Int) async throws {
        var paths: [String] = []
        await AuditTiles.forEach(ofSize: UInt64(size)) { paths.append($0.description) }
        #expect(Set(paths).count == paths.count)
        let leaves = Array(repeating: [UInt8(0)], count: size)
        let log = try TileIntegration(appending: leaves, to: MerkleFrontier()) { _ in [] }
        #expect(Set(paths) == Set(log.files.map(\.path.description)))
    }

    @Test func `a record that is no JSON is shown as such`() {
        let rows = AuditPrinter.table([
            .with {
                $0.index = 3
                $0.json = "}"
            },
            .with {
                $0.index = 4
                $0.json = """
                    {"v":1,"event":"svidsIssued","actor":"a","time":"t","empty":[],\
                    "hash":"0123456789abcdef0123456789abcdef","svids":[{"spiffeID":"spiffe://x/y"}]}
                    """
            },
        ]).rows
        #expect(rows[0] == ["3", "-", "unreadable", "-", "-"])
        #expect(
            rows[1] == ["4", "t", "svidsIssued", "a", "svids=spiffe://x/y hash=0123456789ab.."]
        )
    }

    @Test func `who it is about and why come first, and are cut on a terminal alone`() {
        let record = Signet_Admin_V1alpha1_AuditRecord.with {
            $0.index = 6
            $0.json = """
                {"v":1,"event":"delegatedTokenIssued","actor":"spiffe://x/agent","time":"t",\
                "agent":"spiffe://x/agent","actors":["\(String(repeating: "w", count: 90))"],\
                "subject":"spiffe://x/a","documents":[{"verb":"create","kind":"RoleBinding",\
                "namespace":"shop","name":"bob"}]}
                """
        }
        let whole = AuditPrinter.line(record, isCut: false)
        let beginning = "subject=spiffe://x/a documents=create RoleBinding/shop/bob actors=w"
        #expect(whole.contains("  " + beginning) && whole.hasSuffix("www"))
        let cut = AuditPrinter.line(record, isCut: true)
        #expect(cut.contains("  " + beginning) && cut.hasSuffix("..."))
    }

    @Test func `what is base64 of a record leaves the line to its facts`() {
        let certificate = String(repeating: "MIIB", count: 200)
        let row = AuditPrinter.line(
            .with {
                $0.index = 5
                $0.json = """
                    {"v":1,"event":"authorityPrepared","actor":"a","time":"t",\
                    "certificate":"\(certificate)","notAfter":"later","tokenKey":"\(certificate)"}
                    """
            }
        )
        #expect(row == "5  t  authorityPrepared  a  notAfter=later")
    }

    /// The checkpoint of the log of so many records, as the server would sign it.
    private func checkpoint(_ records: Int, from first: Int = 0) throws -> Checkpoint {
        var tree = MerkleFrontier()
        for record in first..<first + records {
            tree.append(MerkleHash(leaf: Array("{\"record\":\(record)}".utf8)))
        }
        return Checkpoint(origin: "example.org/audit/1", frontier: tree)
    }

    /// The checkpoint of a copy that has one.
    ///
    /// Asked for where nothing waits: of a value that `#require` gives a function which waits after
    /// it, the compiler (6.3) writes past the memory that it has for it.
    private func former(_ directory: AuditDirectory, _ key: NoteVerifierKey) throws -> Checkpoint {
        try #require(try directory.formerCheckpoint(key: key))
    }

    /// Brings what is missing of the log, grown to 700 records, to where it waits.
    ///
    /// - Returns: What waits, and the checkpoint's note.
    private func incoming(
        _ directory: AuditDirectory,
        key: NoteVerifierKey
    ) async throws -> (files: [TilePath], note: [UInt8]) {
        let grown = try Self.grown(directory, to: 700)
        var taken: [TilePath] = []
        await AuditTiles.forEach(ofSize: 700) { tile in
            if !directory.has(tile) { taken.append(tile) }
        }
        for tile in taken {
            let bytes = try #require(grown[tile.description])
            try directory.incoming.write(bytes, to: tile.description)
        }
        return (taken, try note(try checkpoint(700), key))
    }

    private func note(_ checkpoint: Checkpoint, _ key: NoteVerifierKey) throws -> [UInt8] {
        try SignedCheckpoint(signing: checkpoint, key: key) {
            Array(try self.signer.signature(for: $0))
        }.note
    }

    private func number(_ key: FileAttributeKey, of file: String) throws -> Int? {
        let attributes = try FileManager.default.attributesOfItem(atPath: "\(folder)/\(file)")
        return attributes[key] as? Int
    }

    private func mode(_ file: String) throws -> Int? { try number(.posixPermissions, of: file) }

    @Test func `a copy is continued with what is missing alone`() async throws {
        let (directory, key) = try export(records: 300)
        let former = try former(directory, key)
        #expect(former == (try checkpoint(300)))
        let (taken, note) = try await incoming(directory, key: key)
        let full = TilePath(.entries, index: 0)
        #expect(!taken.contains(full) && taken.contains(TilePath(.entries, index: 1)))
        #expect(try mode(".incoming") == 0o700)
        let newest = try checkpoint(700)
        try directory.requireNotShorter(newest, than: former)
        try directory.requireContinuation(note, key: key, of: former, taking: taken)
        try directory.takeIn(taken, signedBy: note)
        #expect(!FileManager.default.fileExists(atPath: directory.incoming.path))
        #expect(try mode("checkpoint") == 0o600)
        #expect(try mode("tile/entries/001") == 0o600)
        guard case .intact(let log) = try directory.verify(key: key) else {
            Issue.record("not intact")
            return
        }
        #expect(log.checkpoint.checkpoint == newest)
        #expect(log.unknownFiles.isEmpty && log.unsignedFiles.isEmpty)
    }

    @Test(arguments: ["tile/entries/001", "tile/entries/002.p/188", "tile/0/001", "tile/1/000.p/2"])
    func `a changed file is not taken in, and the copy stays what it was`(
        file: String
    ) async throws {
        let (directory, key) = try export(records: 300)
        let former = try former(directory, key)
        let (taken, note) = try await incoming(directory, key: key)
        var bytes = try directory.incoming.read(file)
        bytes[bytes.count / 2] ^= 1
        try directory.incoming.write(bytes, to: file)
        #expect(
            status {
                try directory.requireContinuation(note, key: key, of: former, taking: taken)
            } == .tampered
        )
        // The partial tiles that prove its last records are there still.
        guard case .intact(let log) = try directory.verify(key: key) else {
            Issue.record("not intact")
            return
        }
        #expect(log.checkpoint.checkpoint == former)
        #expect(log.unknownFiles.isEmpty)
        // It is kept as evidence, and is in no other run's way.
        #expect(!FileManager.default.fileExists(atPath: directory.incoming.path))
        #expect(try AuditDirectory("\(folder)/.refused").read(file) == bytes)
        let (again, _) = try await incoming(directory, key: key)
        try directory.requireContinuation(note, key: key, of: former, taking: again)
        try directory.takeIn(again, signedBy: note)
        #expect(try directory.formerCheckpoint(key: key)?.size == 700)
    }

    @Test func `a file that was lost is judged too, though the former checkpoint signs it`()
        async throws
    {
        let (directory, key) = try export(records: 300)
        let former = try former(directory, key)
        let lost = "tile/entries/000"
        var bytes = try directory.read(lost)
        try FileManager.default.removeItem(atPath: "\(folder)/\(lost)")
        let (taken, note) = try await incoming(directory, key: key)
        #expect(taken.contains(TilePath(.entries, index: 0)))
        bytes[bytes.count / 2] ^= 1
        try directory.incoming.write(bytes, to: lost)
        #expect(
            status {
                try directory.requireContinuation(note, key: key, of: former, taking: taken)
            } == .tampered
        )
    }

    @Test func `a file that cannot be read here is no sign of tampering`() async throws {
        let (directory, key) = try export(records: 300)
        let former = try former(directory, key)
        let (taken, note) = try await incoming(directory, key: key)
        let place = "\(folder)/tile/entries/001"
        let waits = "\(directory.incoming.path)/tile/entries/001"
        for path in [place, waits] {
            try? FileManager.default.removeItem(atPath: path)
            try FileManager.default.createDirectory(
                atPath: path,
                withIntermediateDirectories: false
            )
        }
        #expect(
            status {
                try directory.requireContinuation(note, key: key, of: former, taking: taken)
            } == .failed
        )
        #expect(FileManager.default.fileExists(atPath: directory.incoming.path))
    }

    @Test func `an interrupted first copy is begun no second time`() async throws {
        let directory = AuditDirectory(folder)
        #expect(try directory.isNew())
        let (_, key) = try export(records: 300)
        // As a crash leaves it: files, and no checkpoint.
        for file in [TilePath.checkpoint, AuditDirectory.keyFile] {
            try FileManager.default.removeItem(atPath: "\(folder)/\(file)")
        }
        let half = "\(folder)/\(TilePath.checkpoint).12.34.new"
        try Data("half".utf8).write(to: URL(filePath: half))
        let (taken, note) = try await incoming(directory, key: key)
        #expect(try directory.isNew())
        _ = try AuditDirectoryLock(directory)
        #expect(!FileManager.default.fileExists(atPath: half))
        #expect(try directory.isNew())
        #expect(try directory.formerCheckpoint(key: key) == nil)
        #expect(!taken.contains(TilePath(.entries, index: 0)))
        try directory.requireContinuation(note, key: key, of: nil, taking: taken)
        try directory.takeIn(taken, signedBy: note)
        try directory.keep(key)
        #expect(try directory.hasCheckpoint())
        #expect(try !directory.isNew())
        try Data("mine".utf8).write(to: URL(filePath: "\(folder)/notes"))
        #expect(try !AuditDirectory(folder).isNew())
    }

    @Test func `one program at a time writes into a copy`() throws {
        let (directory, key) = try export(records: 3)
        do {
            let lock = try AuditDirectoryLock(directory)
            #expect(status { _ = try AuditDirectoryLock(directory) } == .failed)
            withExtendedLifetime(lock) {}
        }
        _ = try AuditDirectoryLock(directory)
        guard case .intact(let log) = try directory.verify(key: key) else {
            Issue.record("not intact")
            return
        }
        #expect(log.unknownFiles.isEmpty)
    }

    @Test func `a key that is there is not written again`() throws {
        let (directory, key) = try export(records: 3)
        func inode() throws -> Int? {
            try number(.systemFileNumber, of: AuditDirectory.keyFile)
        }
        let before = try #require(try inode())
        try directory.keep(key)
        #expect(try inode() == before)
        try directory.write([], to: AuditDirectory.keyFile)
        try directory.keep(key)
        #expect(try directory.read(AuditDirectory.keyFile) == Array("\(key)\n".utf8))
    }

    /// All files of the log of so many records.
    private static func grown(
        _ directory: AuditDirectory,
        to records: Int
    ) throws -> [String: [UInt8]] {
        let leaves = (0..<records).map { Array("{\"record\":\($0)}".utf8) }
        let log = try TileIntegration(appending: leaves, to: MerkleFrontier()) {
            try directory.read($0)
        }
        return Dictionary(uniqueKeysWithValues: log.files.map { ($0.path.description, $0.bytes) })
    }

    private func status(_ body: () throws -> Void) -> signet.ExitStatus? {
        do {
            try body()
            return nil
        } catch {
            return (error as? CommandFailure)?.status
        }
    }

    @Test func `a log that does not continue the copy is refused, with its own exit status`() throws
    {
        let (directory, key) = try export(records: 300)
        let former = try former(directory, key)
        let (shorter, same) = (try checkpoint(299), try checkpoint(300))
        let other = try checkpoint(300, from: 1)
        #expect(status { try directory.requireNotShorter(shorter, than: former) } == .tampered)
        #expect(status { try directory.requireNotShorter(same, than: former) } == nil)
        #expect(status { try directory.requireNotShorter(other, than: former) } == .tampered)
        // Longer, and of another history: its files do not lead to the former root.
        let forked = AuditDirectory(folder + "/fork")
        defer { try? forked.remove() }
        let leaves = (0..<301).map { Array("{\"fork\":\($0)}".utf8) }
        let log = try TileIntegration(appending: leaves, to: MerkleFrontier()) {
            try forked.read($0)
        }
        for file in log.files {
            try directory.incoming.write(file.bytes, to: file.path.description)
        }
        let forkedNote = try note(Checkpoint(origin: key.name, frontier: log.frontier), key)
        let files = log.files.map(\.path)
        func judge(_ former: Checkpoint?) throws {
            try directory.requireContinuation(forkedNote, key: key, of: former, taking: files)
        }
        #expect(status { try judge(nil) } == nil)
        #expect(status { try judge(former) } == .tampered)
        // The copy is as it was, but for what waits beside it.
        guard case .intact(let intact) = try directory.verify(key: key) else {
            Issue.record("not intact")
            return
        }
        #expect(intact.unknownFiles.isEmpty)
    }

    @Test func `a copy of another log is not continued`() throws {
        let (directory, _) = try export(records: 3)
        let other = try NoteVerifierKey(
            name: "example.org/audit/1",
            publicKey: Array(Curve25519.Signing.PrivateKey().publicKey.rawRepresentation)
        )
        #expect(status { _ = try directory.formerCheckpoint(key: other) } == .tampered)
        #expect(try AuditDirectory(folder + "/none").formerCheckpoint(key: other) == nil)
    }

    @Test func `of a full tile only what the checkpoint covers is kept`() {
        let entries: [UInt8] = [0, 1, 7, 0, 0, 1, 0] + [UInt8](repeating: 5, count: 256)
        func cut(_ width: Int) -> [UInt8]? {
            AuditDirectory.beginning(entries, of: TilePath(.entries, index: 0, width: width))
        }
        #expect(cut(1) == [0, 1, 7])
        #expect(cut(2) == [0, 1, 7, 0, 0])
        #expect(cut(3) == entries)
        #expect(cut(4) == nil)
        let hashes = [UInt8](repeating: 1, count: 64)
        let tile = TilePath(.hashes(level: 0), index: 0, width: 1)
        #expect(AuditDirectory.beginning(hashes, of: tile)?.count == 32)
    }
}
