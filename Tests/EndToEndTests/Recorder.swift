// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms

/// The library that is preloaded into a program (Recorder/recorder.c), and what it has recorded of
/// one directory.
struct Recorder: Sendable {
    private let library: String
    private let root: String
    private let log: String
    private let fault: String
    private let clock: String
    private let death: String

    /// Builds the library into the machine's directory.
    ///
    /// - Parameters:
    ///   - root: The directory that is recorded.
    ///   - machine: Where the record is kept.
    /// - Throws: `ProgramFailure` when there is no C compiler, or it refuses.
    init(of root: String, for machine: Machine) async throws {
        self.root = root
        library = "\(machine.path)/recorder.so"
        log = "\(root).record"
        fault = "\(root).fault"
        clock = "\(machine.path)/clock"
        death = "\(root).kill"
        guard !FileManager.default.fileExists(atPath: library) else { return }
        let source = "\(Installation.repository.path)/Tests/EndToEndTests/Recorder/recorder.c"
        let built = try await Installation.run(
            Installation.tool("cc"),
            [
                "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared", "-o", library, source,
                "-ldl", "-lpthread",
            ],
            directory: machine.path
        )
        guard built.isSuccess else { throw ProgramFailure(built.report) }
        try Data(count: 8).write(to: URL(fileURLWithPath: clock))
    }

    /// What a program gets whose disk can be made to fail.
    var faultEnvironment: [String: String] {
        ["LD_PRELOAD": library, "RECORDER_ROOT": root, "RECORDER_FAULT": fault]
    }

    /// What a program gets that is recorded and whose clock can be moved.
    var recordEnvironment: [String: String] {
        [
            "LD_PRELOAD": library, "RECORDER_ROOT": root, "RECORDER_LOG": log,
            "RECORDER_CLOCK": clock,
        ]
    }

    /// What a program gets that is recorded and can be killed at one of its operations.
    var killEnvironment: [String: String] {
        ["LD_PRELOAD": library, "RECORDER_ROOT": root, "RECORDER_LOG": log, "RECORDER_KILL": death]
    }

    /// Lets the program kill itself right after the given number of operations from now on; nil
    /// takes that back for the next program.
    func kill(afterOperations count: Int?) throws {
        if let count {
            try Data(String(count).utf8).write(to: URL(fileURLWithPath: death), options: .atomic)
        } else {
            try FileManager.default.removeItem(atPath: death)
        }
    }

    /// What a program gets whose clock moves with those of the others.
    var clockEnvironment: [String: String] {
        ["LD_PRELOAD": library, "RECORDER_CLOCK": clock]
    }

    /// Moves the wall clock of all programs of the machine.
    func setClock(ahead seconds: Int) throws {
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: clock))
        try handle.write(
            contentsOf: Data((0..<8).map { UInt8(truncatingIfNeeded: seconds >> ($0 * 8)) })
        )
        try handle.close()
    }

    /// How many bytes of the record there are.
    var position: Int {
        get throws {
            let attributes = try FileManager.default.attributesOfItem(atPath: log)
            return attributes[.size] as? Int ?? 0
        }
    }

    /// Lets the disk fail from now on (`ENOSPC`, `EROFS`, `EIO`); nil mends it.
    func fail(with kind: String?) throws {
        if let kind {
            try Data(kind.utf8).write(to: URL(fileURLWithPath: fault), options: .atomic)
        } else {
            try FileManager.default.removeItem(atPath: fault)
        }
    }

    /// The record so far.
    func events() throws -> [RecordedEvent] {
        try RecordedEvent.parse(
            [UInt8](Data(contentsOf: URL(fileURLWithPath: log))),
            below: root
        )
    }
}

extension [RecordedEvent] {
    /// The record as it would be if some syncs had not happened, which no program can notice.
    ///
    /// - Parameter lie: Whether the sync of this file or directory is one of them.
    /// - Returns: The other events.
    /// - Throws: `ProgramFailure` for a record that makes no sense.
    func pretendingToSync(_ lie: (_ path: String) -> Bool) throws -> [RecordedEvent] {
        var disk = RecordedDisk()
        var kept: [RecordedEvent] = []
        for event in self {
            try disk.apply(event.act)
            switch event.act {
            case .sync(let inode) where lie(disk.path(ofInode: inode) ?? ""): continue
            case .syncDirectory(let path) where lie(path + "/"): continue
            default: kept.append(event)
            }
        }
        return kept
    }
}

/// One thing that a program did to its files.
///
/// Paths are below the recorded directory.
struct RecordedEvent {
    enum Act {
        case create(String, inode: UInt64)
        case makeDirectory(String)
        case rename(String, to: String)
        case sync(inode: UInt64)
        case syncDirectory(String)
        case truncate(inode: UInt64, length: Int)
        case unlink(String)
        case write(inode: UInt64, offset: Int, [UInt8])
    }

    let act: Act
    /// Where its record ends.
    let position: Int

    var isSync: Bool {
        switch act {
        case .sync, .syncDirectory: true
        default: false
        }
    }

    static func parse(_ record: [UInt8], below root: String) throws -> [RecordedEvent] {
        var events: [RecordedEvent] = []
        var reader = Reader(bytes: record)
        while !reader.isAtEnd {
            let kind = try reader.number(bytes: 1)
            let pathLength = Int(try reader.number(bytes: 4))
            let inode = try reader.number(bytes: 8)
            let offset = Int(try reader.number(bytes: 8))
            let dataLength = Int(try reader.number(bytes: 4))
            let path = relative(try reader.take(pathLength), to: root)
            let data = try reader.take(dataLength)
            let act: Act =
                switch kind {
                case 1: .create(path, inode: inode)
                case 2: .write(inode: inode, offset: offset, Array(data))
                case 3: .truncate(inode: inode, length: offset)
                case 4: .sync(inode: inode)
                case 5: .syncDirectory(path)
                case 6: .rename(path, to: relative(data, to: root))
                case 7: .unlink(path)
                case 8: .makeDirectory(path)
                default: throw ProgramFailure("a record of kind \(kind)")
                }
            events.append(RecordedEvent(act: act, position: reader.position))
        }
        return events
    }

    private static func relative(_ path: ArraySlice<UInt8>, to root: String) -> String {
        let text = String(decoding: path, as: UTF8.self)
        return text == root ? "" : String(text.dropFirst(root.count + 1))
    }

    private struct Reader {
        let bytes: [UInt8]
        var position = 0

        var isAtEnd: Bool { position == bytes.count }

        mutating func take(_ count: Int) throws -> ArraySlice<UInt8> {
            guard position + count <= bytes.count else { throw ProgramFailure("a torn record") }
            defer { position += count }
            return bytes[position..<(position + count)]
        }

        mutating func number(bytes count: Int) throws -> UInt64 {
            try take(count).reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
    }
}
