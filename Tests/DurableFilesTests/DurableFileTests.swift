// SPDX-License-Identifier: Apache-2.0

import DurableFiles
import Foundation
import Testing

struct DurableFileTests {
    let directory = FileManager.default.temporaryDirectory.path + "/signet-" + UUID().uuidString

    func inDirectory(_ body: (String) throws -> Void) throws {
        try DurableFile.makeDirectory(directory, mode: 0o700)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try body(directory)
    }

    @Test func `what was written is read, with its mode, and nothing is left beside it`() throws {
        try inDirectory { directory in
            let path = directory + "/key"
            try DurableFile.write([1, 2, 3], to: path, mode: 0o600)
            try DurableFile.write([4, 5], to: path, mode: 0o600)
            #expect(try DurableFile.readSecret(path, bytesMax: 16) == [4, 5])
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["key"])
        }
    }

    /// Else the first program to start shuts those of other users out of /var/lib/signet.
    @Test func `only the last directory is closed, and its parents are passed by all`() throws {
        try inDirectory { directory in
            func mode(_ path: String) throws -> Int? {
                try FileManager.default.attributesOfItem(atPath: directory + path)[
                    .posixPermissions
                ] as? Int
            }
            // As open as this process makes any.
            try FileManager.default.createDirectory(
                atPath: directory + "/open",
                withIntermediateDirectories: false
            )
            let open = try #require(try mode("/open")) & 0o755
            try DurableFile.makeDirectory(directory + "/signet/all/agent", mode: 0o700)
            #expect(try mode("/signet") == open)
            #expect(try mode("/signet/all") == open)
            #expect(try mode("/signet/all/agent") == 0o700)
            try DurableFile.makeDirectory(directory + "/signet/all/agent/keys", mode: 0o700)
            #expect(try mode("/signet/all/agent") == 0o700)
        }
    }

    @Test func `a secret that others may read is refused with the remedy`() throws {
        try inDirectory { directory in
            let path = directory + "/key"
            try DurableFile.write([1], to: path, mode: 0o640)
            let error = #expect(throws: FileError.self) {
                try DurableFile.readSecret(path, bytesMax: 16)
            }
            #expect(error?.reason == .exposed(mode: 0o640))
            #expect(error?.description.contains("chmod 600") == true)
        }
    }

    @Test func `a file beyond the limit, a directory and a missing file are refused`() throws {
        try inDirectory { directory in
            let path = directory + "/large"
            try DurableFile.write(Array(repeating: 0, count: 17), to: path, mode: 0o600)
            #expect(throws: FileError.self) { try DurableFile.read(path, bytesMax: 16) }
            #expect(throws: FileError.self) { try DurableFile.read(directory, bytesMax: 16) }
            let missing = #expect(throws: FileError.self) {
                try DurableFile.read(directory + "/none", bytesMax: 16)
            }
            #expect(missing?.isNotFound == true)
        }
    }

    @Test func `the room of a file system is that of the files on it`() throws {
        try inDirectory { directory in
            let room = try DurableFile.room(at: directory)
            #expect(room.bytes > 0 && room.freeBytes <= room.bytes)
            let path = directory + "/key"
            try DurableFile.write([1], to: path, mode: 0o600)
            #expect(try DurableFile.room(at: path).bytes == room.bytes)
            let missing = #expect(throws: FileError.self) {
                try DurableFile.room(at: directory + "/none")
            }
            #expect(missing?.isNotFound == true)
        }
    }

    @Test func `what a crash left half written is removed, and nothing else`() throws {
        try inDirectory { directory in
            let kept = ["key", "key.new", "a.1.new", "a.1.x.new", "000.p", "x.12.34.old"]
            for name in kept + ["key.12.34.new", "authority-0a.key.1.4294967295.new"] {
                try DurableFile.write([1], to: "\(directory)/\(name)", mode: 0o600)
            }
            try DurableFile.removeUnfinished(in: directory)
            let found = try FileManager.default.contentsOfDirectory(atPath: directory)
            #expect(Set(found) == Set(kept))
        }
    }

    @Test func `a write that cannot be renamed leaves no temporary file`() throws {
        try inDirectory { directory in
            try DurableFile.makeDirectory(directory + "/taken/full", mode: 0o700)
            #expect(throws: FileError.self) {
                try DurableFile.write([1], to: directory + "/taken", mode: 0o600)
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["taken"])
        }
    }

    @Test func `a lock is held by one at a time`() throws {
        try inDirectory { directory in
            do {
                let first = try FileLock(directory + "/lock")
                #expect(throws: FileError.self) { _ = try FileLock(directory + "/lock") }
                _ = consume first
            }
            _ = try FileLock(directory + "/lock")
        }
    }
}
