// SPDX-License-Identifier: Apache-2.0

import DurableFiles
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) final class FileStreamTests {
    private let folder = FileManager.default.temporaryDirectory
        .appending(path: "streams-\(UInt64.random(in: 0 ... .max))").path

    init() throws {
        try FileManager.default.createDirectory(
            atPath: folder,
            withIntermediateDirectories: false
        )
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private var names: [String] {
        get throws { try FileManager.default.contentsOfDirectory(atPath: folder) }
    }

    @Test func `a file that is finished is there whole, in its mode`() throws {
        let path = "\(folder)/file"
        try Data("old".utf8).write(to: URL(filePath: path))
        do {
            var writer = try DurableFileWriter(path, mode: 0o600)
            try writer.write([1, 2])
            #expect(try DurableFile.read(path, bytesMax: 10) == Array("old".utf8))
            try writer.write([3])
            try writer.finish()
        }
        #expect(try DurableFile.read(path, bytesMax: 10) == [1, 2, 3])
        #expect(try names == ["file"])
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
    }

    @Test func `a file that is not finished leaves nothing`() throws {
        do {
            let writer = try DurableFileWriter("\(folder)/file", mode: 0o600)
            try writer.write([1, 2])
            #expect(try names.count == 1)
            // It lives until here.
            try writer.write([3])
        }
        #expect(try names.isEmpty)
        #expect(throws: FileError.self) {
            _ = try DurableFileWriter("\(folder)/none/file", mode: 0o600)
        }
    }

    @Test func `a file is read in pieces, of which only the last may be short`() throws {
        let path = "\(folder)/file"
        try Data((0..<10)).write(to: URL(filePath: path))
        let reader = try FileReader(path)
        let pieces = [try reader.read(4), try reader.read(6), try reader.read(4)]
        #expect(pieces == [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9], []])
        let other = try FileReader(path)
        let short = try other.read(11)
        #expect(short == Array(0..<10))
        #expect(throws: FileError.self) { _ = try FileReader(folder) }
        #expect(throws: FileError.self) { _ = try FileReader("\(folder)/none") }
    }
}
