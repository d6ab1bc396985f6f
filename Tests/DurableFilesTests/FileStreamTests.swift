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

    @Test func `what a killed process has left is overwritten, and stays one file`() throws {
        let path = "\(folder)/file"
        // As it stands there when the process is gone, longer than what follows.
        try Data(repeating: 7, count: 100).write(to: URL(filePath: path + ".new"))
        do {
            var writer = try DurableFileWriter(path, mode: 0o600)
            #expect(try names == ["file.new"])
            try writer.write([1, 2])
            try writer.finish()
        }
        #expect(try DurableFile.read(path, bytesMax: 1000) == [1, 2])
        #expect(try names == ["file"])
    }

    @Test func `two do not write one file at a time`() throws {
        let path = "\(folder)/file"
        do {
            var writer = try DurableFileWriter(path, mode: 0o600)
            try writer.write([1])
            let refused = #expect(throws: FileError.self) {
                _ = try DurableFileWriter(path, mode: 0o600)
            }
            #expect(refused?.isLocked == true)
            // The second has disturbed nothing.
            try writer.write([2])
            try writer.finish()
        }
        #expect(try DurableFile.read(path, bytesMax: 10) == [1, 2])
        var next = try DurableFileWriter(path, mode: 0o600)
        try next.write([3])
        try next.finish()
        #expect(try DurableFile.read(path, bytesMax: 10) == [3])
    }

    @Test func `nothing that has another name is written over`() throws {
        let (path, other) = ("\(folder)/file", "\(folder)/other")
        try Data("mine".utf8).write(to: URL(filePath: other))
        let makes: [() throws -> Void] = [
            { try FileManager.default.linkItem(atPath: other, toPath: path + ".new") },
            {
                try FileManager.default.createSymbolicLink(
                    atPath: path + ".new",
                    withDestinationPath: other
                )
            },
        ]
        for make in makes {
            try make()
            #expect(throws: FileError.self) { _ = try DurableFileWriter(path, mode: 0o600) }
            #expect(try DurableFile.read(other, bytesMax: 10) == Array("mine".utf8))
            try FileManager.default.removeItem(atPath: path + ".new")
        }
    }

    @Test func `what is renamed is at its new place alone`() throws {
        let (path, place) = ("\(folder)/file", "\(folder)/place")
        try Data([1]).write(to: URL(filePath: path))
        try Data([2]).write(to: URL(filePath: place))
        try DurableFile.move(path, to: place)
        #expect(try names == ["place"])
        #expect(try DurableFile.read(place, bytesMax: 10) == [1])
        #expect(throws: FileError.self) { try DurableFile.move(path, to: place) }
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
