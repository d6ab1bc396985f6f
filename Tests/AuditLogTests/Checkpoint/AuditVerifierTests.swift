// SPDX-License-Identifier: Apache-2.0

import AuditLog
import TestSeeds
import Testing

@Suite struct AuditVerifierTests {
    @Test(arguments: [0, 1, 2, 5, 255, 256, 257, 512, 600])
    func `a sound log is intact`(size: Int) throws {
        let log = try TestLog(size: size)
        guard case .intact(let intact) = log.verify() else {
            Issue.record("\(log.verify())")
            return
        }
        #expect(intact.checkpoint.checkpoint.size == UInt64(size))
        #expect(intact.unsignedFiles.isEmpty)
        #expect(intact.unknownFiles.isEmpty)
    }

    @Test func `every record is visited once, in order`() throws {
        let log = try TestLog(size: 300)
        var visited: [[UInt8]] = []
        let verdict = AuditVerifier(key: log.key, read: log.read).verify { index, leaf in
            #expect(index == UInt64(visited.count))
            visited.append(Array(leaf))
        }
        #expect(verdict.defect == nil)
        #expect(visited == log.leaves)
    }

    /// The records that a walk from the middle visits, and its verdict.
    private static func walk(
        _ log: TestLog,
        after known: Checkpoint,
        remembered: [Checkpoint] = []
    ) -> (records: [UInt64: [UInt8]], verdict: AuditVerdict) {
        var records: [UInt64: [UInt8]] = [:]
        let verdict = AuditVerifier(key: log.key, remembered: remembered, read: log.read)
            .verify(after: known) { records[$0] = Array($1) }
        return (records, verdict)
    }

    @Test(arguments: [0, 1, 255, 256, 257, 511, 512, 599, 600] as [UInt64])
    func `a log is read from the middle, to the same end`(size: UInt64) throws {
        let log = try TestLog(size: 600)
        let (records, verdict) = Self.walk(log, after: log.checkpoint(size))
        #expect(verdict.defect == nil)
        #expect(records.count == 600 - Int(size))
        for (index, leaf) in records {
            #expect(index >= size && log.leaves[Int(index)] == leaf)
        }
    }

    @Test func `from the middle, another history is found on either side of it`() throws {
        let log = try TestLog(size: 600)
        let other = try TestLog(leaves: TestLog.leaves(1..<601))
        for size in [1, 256, 300, 512, 600] as [UInt64] {
            let (_, verdict) = Self.walk(log, after: other.checkpoint(size))
            #expect(verdict.defect?.kind == .historyRewritten(size: size), "\(size)")
        }
        let (_, cut) = try Self.walk(log, after: TestLog(size: 601).checkpoint(601))
        #expect(cut.defect?.kind == .recordsCutOff(rememberedSize: 601))
        // One that is remembered from before the middle is judged by a proof.
        let known = log.checkpoint(520)
        for size in [5, 256, 513, 530] as [UInt64] {
            #expect(
                Self.walk(log, after: known, remembered: [log.checkpoint(size)]).1.defect == nil
            )
            let (_, verdict) = Self.walk(log, after: known, remembered: [other.checkpoint(size)])
            #expect(verdict.defect?.kind == .historyRewritten(size: size), "\(size)")
        }
    }

    @Test func `from the middle, a changed record after it is found, one before it is not read`()
        throws
    {
        var log = try TestLog(size: 600)
        let known = log.checkpoint(520)
        let path = TilePath(.entries, index: 2, width: 88).description
        let bytes = try log.read(path)
        log.files[path]?[bytes.count - 1] ^= 1
        #expect(Self.walk(log, after: known).verdict.defect?.firstRecord == 599)
        log.files[path] = bytes
        log.files[TilePath(.entries, index: 0).description] = nil
        #expect(Self.walk(log, after: known).verdict.defect == nil)
    }

    /// Every bit of every file of a small log that grew twice, so that older forms of its tiles
    /// lie beside the newer ones.
    @Test func `a changed bit anywhere in a small log is found and named`() throws {
        var log = try TestLog(size: 3)
        try log.append(TestLog.leaves(3..<7))
        try log.publish()
        #expect(log.files.count == 5)
        for (path, bytes) in log.files {
            for position in bytes.indices {
                for bit in 0..<8 {
                    check(log, path, position, flip: 1 << UInt8(bit))
                }
            }
        }
    }

    /// Every part of a log with two levels and a full tile; the small log above has every bit.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func `a changed byte in a log of two levels is found and named`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let log = try TestLog(size: 259)
        for path in log.files.keys.sorted() {
            let bytes = try log.read(path)
            var position = Int.random(in: 0..<32, using: &random)
            while position < bytes.count {
                check(log, path, position, flip: UInt8.random(in: 1...255, using: &random))
                position += Int.random(in: 1...32, using: &random)
            }
        }
    }

    @Test(arguments: [1, 2] as [UInt64])
    func `a changed byte in a log of three levels is found and named`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let log = try TestLog(size: 65_536 + 300)
        let path = try #require(
            ["tile/1/000", "tile/2/000.p/1", "tile/1/001.p/1", "tile/0/255"]
                .randomElement(using: &random)
        )
        let bytes = try log.read(path)
        check(log, path, Int.random(in: 0..<bytes.count, using: &random), flip: 0x10)
    }

    @Test func `a missing or cut file is found and named`() throws {
        let log = try TestLog(size: 259)
        for path in log.files.keys {
            var damaged = log
            damaged.files[path] = nil
            #expect(damaged.verify().defect?.path == path)
            for count in [0, 1, 31] {
                let bytes = try log.read(path)
                damaged.files[path] = Array(bytes.prefix(min(count, bytes.count - 1)))
                #expect(damaged.verify().defect?.path == path, "\(path) cut to \(count)")
            }
            damaged.files[path] = try log.read(path) + [0]
            #expect(damaged.verify().defect?.path == path, "\(path) grown")
        }
    }

    @Test func `the first of several bad records is named`() throws {
        var log = try TestLog(size: 600)
        for path in ["tile/entries/001", "tile/entries/002.p/88", "tile/0/001"] {
            log.files[path]?[100] ^= 1
        }
        let defect = try #require(log.verify().defect)
        // Byte 100 of the second hash tile is in its fourth hash: 256 + 3. An entry takes ten bytes.
        #expect(defect.firstRecord == 259)
        #expect(defect.path == "tile/0/001")
    }

    @Test func `a record rewritten in its bundle and its tile is still found`() throws {
        var log = try TestLog(size: 600)
        var leaves = log.leaves
        leaves[300] = Array("leaf 3xx".utf8)
        let forged = try TestLog(leaves: leaves)
        for path in ["tile/entries/001", "tile/0/001"] { log.files[path] = forged.files[path] }
        let defect = try #require(log.verify().defect)
        #expect(defect.kind == .rewrittenAfterSigning)
        #expect(defect.records == 256..<512)
        #expect(defect.path == "tile/0/001")
    }

    @Test func `a whole tree that was not signed is found`() throws {
        var log = try TestLog(size: 600)
        var forged = try TestLog(leaves: TestLog.leaves(1..<601))
        forged.files["checkpoint"] = log.files["checkpoint"]
        log.files = forged.files
        let defect = try #require(log.verify().defect)
        #expect(defect.kind == .rewrittenAfterSigning)
        #expect(defect.path == "checkpoint")
    }

    /// What a thief of the server's disk and signing key can do, and what gives him away.
    @Test func `a history signed again is found by a checkpoint remembered elsewhere`() throws {
        let honest = try TestLog(size: 40)
        let remembered = honest.checkpoint(30)
        var leaves = honest.leaves
        leaves[7] = Array("nothing happened".utf8)
        let forged = try TestLog(leaves: leaves)
        #expect(forged.verify().defect == nil)
        #expect(
            forged.verify(remembered: [remembered]).defect?.kind == .historyRewritten(size: 30)
        )
        #expect(honest.verify(remembered: [remembered]).defect == nil)

        let cut = try TestLog(leaves: Array(honest.leaves.prefix(20)))
        #expect(cut.verify().defect == nil)
        let defect = cut.verify(remembered: [remembered]).defect
        #expect(defect?.kind == .recordsCutOff(rememberedSize: 30))
        // A record after the remembered size is beyond what the memory can vouch for.
        leaves = honest.leaves
        leaves[35] = Array("nothing happened".utf8)
        #expect(try TestLog(leaves: leaves).verify(remembered: [remembered]).defect == nil)
    }

    @Test func `tiles beyond the checkpoint and foreign files are told apart`() throws {
        var log = try TestLog(size: 3)
        try log.append(TestLog.leaves(3..<5))
        log.files["tile/0/000.tmp"] = [1]
        guard case .intact(let intact) = log.verify() else {
            Issue.record("\(log.verify())")
            return
        }
        #expect(intact.checkpoint.checkpoint.size == 3)
        #expect(intact.unsignedFiles == ["tile/0/000.p/5", "tile/entries/000.p/5"])
        #expect(intact.unknownFiles == ["tile/0/000.tmp"])
    }

    @Test func `a full tile stands in for a partial one that was deleted`() throws {
        var log = try TestLog(size: 250)
        let checkpoint = log.files["checkpoint"]
        try log.append(TestLog.leaves(250..<300))
        log.files["checkpoint"] = checkpoint
        log.files["tile/0/000.p/250"] = nil
        log.files["tile/entries/000.p/250"] = nil
        #expect(log.verify().defect == nil)
    }

    @Test func `another log's key verifies nothing`() throws {
        let log = try TestLog(size: 3)
        let key = try NoteVerifierKey(parsing: SignedCheckpointTests.goSum)
        let verdict = AuditVerifier(key: key, read: log.read).verify()
        #expect(verdict.defect?.kind == .checkpoint(.notSignedByKey))
    }

    @Test func `a defect is told in one sentence`() throws {
        var log = try TestLog(size: 3)
        log.files["tile/entries/000.p/3"]?[3] ^= 1
        #expect(
            log.verify().defect?.description
                == "record 0 (tile/entries/000.p/3): the record is not the one that was logged "
                + "and signed"
        )
        log = try TestLog(size: 3)
        log.files["checkpoint"]?[30] ^= 1
        #expect(
            log.verify().defect?.description
                == "checkpoint: the checkpoint's signature is not that of its text"
        )
    }

    /// Changes one byte and expects the defect to name the file and the record it belongs to.
    private func check(_ log: TestLog, _ path: String, _ position: Int, flip: UInt8) {
        var changed = log
        changed.files[path]?[position] ^= flip
        let place = "\(path) byte \(position) flipped by \(flip)"
        guard let defect = changed.verify().defect else {
            Issue.record("not found: \(place)")
            return
        }
        #expect(defect.path == path, "\(place): \(defect)")
        guard let tile = TilePath(parsing: path) else {
            #expect(defect.records == nil)
            return
        }
        if defect.kind == .supersededTileChanged { return }
        #expect(
            defect.firstRecord == record(at: position, of: tile, in: log),
            "\(place): \(defect)"
        )
    }

    private func record(at position: Int, of tile: TilePath, in log: TestLog) -> UInt64 {
        switch tile.content {
        case .hashes(let level):
            return (tile.index * 256 + UInt64(position / 32)) << UInt64(8 * level)
        case .entries:
            var record = tile.index * 256
            var end = 2 + log.leaves[Int(record)].count
            while end <= position {
                record += 1
                end += 2 + log.leaves[Int(record)].count
            }
            return record
        }
    }
}

extension AuditVerdict {
    fileprivate var defect: AuditDefect? {
        if case .broken(let defect) = self { defect } else { nil }
    }
}
