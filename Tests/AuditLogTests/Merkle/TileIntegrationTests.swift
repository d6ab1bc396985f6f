// SPDX-License-Identifier: Apache-2.0

import AuditLog
import TestSeeds
import Testing

@Suite struct TileIntegrationTests {
    /// The example of C2SP tlog-tiles: a tree of 70,000 leaves.
    @Test func `a tree of 70,000 leaves has the tiles of the specification`() throws {
        var log = try TestLog()
        try log.append(TestLog.leaves(0..<70_000))
        let paths = log.files.keys.compactMap { TilePath(parsing: $0) }
        #expect(paths.count == log.files.count)
        func widths(_ content: TilePath.Content) -> [Int] {
            paths.filter { $0.content == content }.sorted { $0.index < $1.index }.map(\.width)
        }
        let full = [Int](repeating: 256, count: 273)
        #expect(widths(.hashes(level: 0)) == full + [112])
        #expect(widths(.hashes(level: 1)) == [256, 17])
        #expect(widths(.hashes(level: 2)) == [1])
        #expect(widths(.entries) == full + [112])
        var tree = log.tree
        #expect(try tree.frontier() == log.frontier)
    }

    @Test func `a tree of 256 leaves has a full tile and one hash above it`() throws {
        let log = try TestLog(size: 256)
        #expect(
            Set(log.files.keys) == [
                "checkpoint", "tile/0/000", "tile/1/000.p/1", "tile/entries/000",
            ]
        )
    }

    @Test func `a bundle holds each leaf after its length`() throws {
        var log = try TestLog()
        try log.append([Array("abc".utf8), [], [UInt8](repeating: 7, count: 300)])
        let bundle = try log.read("tile/entries/000.p/3")
        #expect(bundle.prefix(9) == [0, 3, 97, 98, 99, 0, 0, 1, 44])
        #expect(try EntryBundle.leaves(in: bundle, count: 3).map(Array.init) == log.leaves)
        #expect(throws: EntryBundle.Malformed.trailingBytes) {
            try EntryBundle.leaves(in: bundle, count: 2)
        }
        #expect(throws: EntryBundle.Malformed.endsInside(position: 3)) {
            try EntryBundle.leaves(in: bundle, count: 4)
        }
    }

    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func `pieces of any size give the same tiles as one piece`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let size = Int.random(in: 500...1500, using: &random)
        var whole = try TestLog()
        try whole.append(TestLog.leaves(0..<size))
        var pieces = try TestLog()
        var next = 0
        while next < size {
            let end = min(size, next + Int.random(in: 0...300, using: &random))
            try pieces.append(TestLog.leaves(next..<end))
            next = end
        }
        #expect(pieces.frontier == whole.frontier)
        for (path, bytes) in whole.files { #expect(pieces.files[path] == bytes) }
    }

    @Test func `a tree continues from full tiles after its partial ones are gone`() throws {
        var log = try TestLog(size: 250)
        let old = log.frontier
        try log.append(TestLog.leaves(250..<260))
        var files = log.files
        for path in files.keys where path.hasPrefix("tile/0/000.p/") { files[path] = nil }
        for path in files.keys where path.hasPrefix("tile/entries/000.p/") { files[path] = nil }
        let again = try TileIntegration(appending: TestLog.leaves(250..<260), to: old) { path in
            guard let bytes = files[path] else { throw TestLog.NoSuchFile() }
            return bytes
        }
        #expect(again.frontier == log.frontier)
        for file in again.files { #expect(log.files[file.path.description] == file.bytes) }
    }

    @Test func `no leaves, no files`() throws {
        var log = try TestLog(size: 300)
        let before = log.files
        try log.append([])
        #expect(log.files == before)
    }

    /// Otherwise one bad byte on disk would be hashed into every later checkpoint.
    @Test func `a damaged partial tile is not built upon`() throws {
        let sound = try TestLog(size: 258)
        for path in ["tile/0/001.p/2", "tile/1/000.p/1", "tile/entries/001.p/2"] {
            let bytes = try sound.read(path)
            for position in bytes.indices {
                var log = sound
                var changed = bytes
                changed[position] ^= 1
                log.files[path] = changed
                #expect(throws: TileIntegrationError.self, "\(path) byte \(position)") {
                    try log.append(TestLog.leaves(258..<259))
                }
            }
            var log = sound
            log.files[path] = nil
            #expect(throws: TileIntegrationError.self) {
                try log.append(TestLog.leaves(258..<259))
            }
        }
    }

    @Test func `a damaged newest bundle is noticed also when it is exactly full`() throws {
        for size in [0, 255, 256, 257, 512] {
            var tree = try TestLog(size: size).tree
            try tree.requireNewestFullEntries()
        }
        let sound = try TestLog(size: 512)
        let path = "tile/entries/001"
        let bytes = try sound.read(path)
        for position in bytes.indices {
            var log = sound
            log.files[path]?[position] ^= 1
            var tree = log.tree
            #expect(throws: TileIntegrationError.self, "byte \(position)") {
                try tree.requireNewestFullEntries()
            }
        }
        var log = sound
        log.files[path] = nil
        var tree = log.tree
        #expect(throws: TileIntegrationError.self) { try tree.requireNewestFullEntries() }
    }

    @Test func `a full tree takes no more leaves`() {
        let hash = MerkleHash(leaf: [])
        let full = MerkleFrontier(size: MerkleFrontier.sizeMax, peaks: [hash])
        #expect(throws: TileIntegrationError.treeFull) {
            try TileIntegration(appending: [[]], to: try #require(full)) { _ in [] }
        }
    }
}
