// SPDX-License-Identifier: Apache-2.0

import AuditLog
import TestSeeds
import Testing

@Suite struct TilePathTests {
    @Test(arguments: [
        (TilePath(.hashes(level: 0), index: 0), "tile/0/000"),
        (TilePath(.hashes(level: 0), index: 1_234_067), "tile/0/x001/x234/067"),
        (TilePath(.hashes(level: 1), index: 273, width: 112), "tile/1/273.p/112"),
        (TilePath(.entries, index: 1000), "tile/entries/x001/000"),
        (TilePath(.entries, index: 999, width: 1), "tile/entries/999.p/1"),
        (TilePath(.hashes(level: 7), index: 0, width: 1), "tile/7/000.p/1"),
    ])
    func `a tile lies where C2SP tlog-tiles says`(path: TilePath, text: String) {
        #expect(path.description == text)
        #expect(TilePath(parsing: text) == path)
    }

    @Test func `partial forms lie in one directory`() {
        let path = TilePath(.entries, index: 1067, width: 9)
        #expect(path.description == "tile/entries/x001/067.p/9")
        #expect(path.partialsDirectory == "tile/entries/x001/067.p")
    }

    @Test(arguments: [
        "", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000",
        "tile/0/x000", "tile/0/x000/000", "tile/0/001/000", "tile/0/x001/x000", "tile/8/000",
        "tile/-1/000", "tile/+0/000", "tile/00/000", "tile/0/000.p", "tile/0/000.p/",
        "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/+1",
        "tile/0/000/1", "tile/0/-01", "tile/0/+01", "tile/entry/000", "/tile/0/000", "tile//0/000",
        "tile/0/x001/000/", "tile/0/x999/x999/x999/x999/x999/x999/999", "checkpoint", ".p/1",
        "tile/0/.p/1", "tile/.p/1",
    ])
    func `what is not the path of a tile is refused`(text: String) {
        #expect(TilePath(parsing: text) == nil)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `paths are read back, and altered ones never trap`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let alphabet = Array("tile/entries.px0123456789".utf8)
        for _ in 0..<500 {
            let path = TilePath(
                Bool.random(using: &random)
                    ? .entries : .hashes(level: Int.random(in: 0...7, using: &random)),
                index: UInt64.random(in: 0..<(1 << 48), using: &random)
                    >> UInt64.random(
                        in: 0...47,
                        using: &random
                    ),
                width: Int.random(in: 1...256, using: &random)
            )
            #expect(TilePath(parsing: path.description) == path)
            var bytes = Array(path.description.utf8)
            let position = Int.random(in: 0..<bytes.count, using: &random)
            bytes[position] = alphabet[Int.random(in: 0..<alphabet.count, using: &random)]
            let text = String(decoding: bytes, as: UTF8.self)
            if let read = TilePath(parsing: text) { #expect(read.description == text) }
        }
    }
}
