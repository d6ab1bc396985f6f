// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms

/// What a power cut leaves of that which nobody has synced.
enum Survival: Hashable, CustomStringConvertible {
    /// Everything, as after a killed program.
    case all
    /// Nothing.
    case none
    /// Any part of it: each name, each length and each sector by the throw of a coin.
    case some(seed: UInt64)
    /// Everything but sectors at the end of the last write.
    case torn(seed: UInt64)

    var description: String {
        switch self {
        case .all: "all unsynced"
        case .none: "nothing unsynced"
        case .some(let seed): "some unsynced (\(seed))"
        case .torn(let seed): "torn (\(seed))"
        }
    }
}

/// A disk after a prefix of what was recorded: what is certainly on it, and what may be.
///
/// A file's content is certain when the file was synced, a name when its directory was. Renaming is
/// atomic, a sector too; everything else may be lost, torn or reordered.
struct RecordedDisk {
    private static let sectorBytes = 512

    private enum Change {
        case truncate(Int)
        case write(offset: Int, Data)
    }

    /// From a file's creation to its end; the same inode may have several such lives.
    private struct Life {
        var synced = Data()
        var unsynced: [Change] = []
    }

    private enum Node: Hashable {
        case directory
        case file(Int)
    }

    /// One act on names of one directory: all of it or nothing survives.
    private struct NameChange {
        let directory: String
        let names: [(String, Node?)]
    }

    private var lives: [Life] = []
    private var livesByInode: [UInt64: Int] = [:]
    /// Names as the programs see them.
    private var current: [String: Node] = [:]
    private var synced: [String: Node] = [:]
    private var unsyncedNames: [NameChange] = []
    /// The life and the size of the last write, if the last act was one.
    private var lastWrite: Int?

    /// Whether anything is lost by a cut now.
    var isClean: Bool {
        unsyncedNames.isEmpty && lives.allSatisfy { $0.unsynced.isEmpty }
    }

    /// Whether the last act was a write of more than one sector.
    var canTear: Bool {
        guard let lastWrite, case .write(_, let data)? = lives[lastWrite].unsynced.last else {
            return false
        }
        return data.count > Self.sectorBytes
    }

    mutating func apply(_ act: RecordedEvent.Act) throws {
        lastWrite = nil
        switch act {
        case .create(let path, let inode):
            lives.append(Life())
            livesByInode[inode] = lives.count - 1
            change([(path, .file(lives.count - 1))])
        case .makeDirectory(let path): change([(path, .directory)])
        case .rename(let from, let to):
            guard let node = current[from], node != .directory, parent(from) == parent(to) else {
                throw ProgramFailure("the model knows no renaming of \(from) to \(to)")
            }
            change([(from, nil), (to, node)])
        case .sync(let inode):
            let life = try life(inode)
            lives[life].synced = Self.content(lives[life])
            lives[life].unsynced = []
        case .syncDirectory(let path): syncNames(in: path)
        case .truncate(let inode, let length):
            try lives[life(inode)].unsynced.append(.truncate(length))
        case .unlink(let path): change([(path, nil)])
        case .write(let inode, let offset, let bytes):
            let life = try life(inode)
            lives[life].unsynced.append(.write(offset: offset, Data(bytes)))
            lastWrite = life
        }
    }

    /// The path of a file that is there now; nil for one that has no name.
    func path(ofInode inode: UInt64) -> String? {
        guard let life = livesByInode[inode] else { return nil }
        return current.first { $0.value == .file(life) }?.key
    }

    private func life(_ inode: UInt64) throws -> Int {
        guard let life = livesByInode[inode] else {
            throw ProgramFailure("inode \(inode) was written and never created")
        }
        return life
    }

    private mutating func change(_ names: [(String, Node?)]) {
        for (path, node) in names { current[path] = node }
        // The directory itself was made by the test.
        if names.allSatisfy({ $0.0.isEmpty }) { return }
        unsyncedNames.append(NameChange(directory: parent(names[0].0), names: names))
    }

    private mutating func syncNames(in directory: String) {
        for change in unsyncedNames where change.directory == directory {
            for (path, node) in change.names { synced[path] = node }
        }
        unsyncedNames.removeAll { $0.directory == directory }
    }

    private func parent(_ path: String) -> String {
        path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
    }

    // MARK: - After the cut

    /// The files that are there after a power cut; nil stands for a directory.
    func afterCut(_ survival: Survival) -> [String: Data?] {
        var coin = Coin(survival)
        var names = synced
        for change in unsyncedNames where coin.keepsName() {
            for (path, node) in change.names { names[path] = node }
        }
        var files: [String: Data?] = [:]
        for path in names.keys.sorted() {
            // What is below a directory that is lost is lost with it.
            let above = parent(path)
            guard above.isEmpty || files[above] != nil, let node = names[path] else { continue }
            switch node {
            case .directory: files[path] = .some(nil)
            case .file(let index): files[path] = content(index, survival, &coin)
            }
        }
        return files
    }

    private func content(_ index: Int, _ survival: Survival, _ coin: inout Coin) -> Data {
        let life = lives[index]
        switch survival {
        case .all: return Self.content(life)
        case .none: return life.synced
        case .some:
            var data = life.synced
            for change in life.unsynced {
                switch coin.fate() {
                case .kept: Self.apply(change, to: &data)
                case .lost: break
                case .torn: Self.apply(change, to: &data) { coin.keepsSector() }
                }
            }
            return data
        case .torn:
            guard index == lastWrite, let last = life.unsynced.last else {
                return Self.content(life)
            }
            var before = life
            before.unsynced.removeLast()
            var data = Self.content(before)
            var isKept = true
            Self.apply(last, to: &data) {
                isKept = isKept && coin.keepsSector()
                return isKept
            }
            return data
        }
    }

    private static func content(_ life: Life) -> Data {
        var data = life.synced
        for change in life.unsynced { apply(change, to: &data) }
        return data
    }

    private static func apply(_ change: Change, to data: inout Data) {
        switch change {
        case .truncate(let length): data.setCount(length)
        case .write(let offset, let bytes): data.write(bytes, at: offset)
        }
    }

    /// Applies the sectors of a write that survive.
    private static func apply(
        _ change: Change,
        to data: inout Data,
        keepsSector: () -> Bool
    ) {
        guard case .write(let offset, let bytes) = change else { return }
        for part in sectors(offset..<(offset + bytes.count)) where keepsSector() {
            let first = bytes.startIndex + part.lowerBound - offset
            data.write(bytes[first..<(first + part.count)], at: part.lowerBound)
        }
    }

    /// Cuts a range at the ends of sectors.
    private static func sectors(_ range: Range<Int>) -> [Range<Int>] {
        var parts: [Range<Int>] = []
        var start = range.lowerBound
        while start < range.upperBound {
            let end = min(range.upperBound, (start / sectorBytes + 1) * sectorBytes)
            parts.append(start..<end)
            start = end
        }
        return parts
    }
}

extension Data {
    /// Cuts off, or fills up with zeros.
    fileprivate mutating func setCount(_ count: Int) {
        if self.count > count {
            removeSubrange(count...)
        } else {
            append(Data(count: count - self.count))
        }
    }

    fileprivate mutating func write(_ bytes: Data, at offset: Int) {
        let end = offset + bytes.count
        if count < end { setCount(end) }
        replaceSubrange(offset..<end, with: bytes)
    }
}

/// What decides in the same way for the same seed.
private struct Coin {
    /// What becomes of one change of a file.
    enum Fate {
        case kept
        case lost
        case torn
    }

    private var state: UInt64
    private let survival: Survival

    init(_ survival: Survival) {
        self.survival = survival
        switch survival {
        case .all, .none: state = 0
        case .some(let seed), .torn(let seed): state = seed
        }
    }

    mutating func keepsName() -> Bool {
        switch survival {
        case .all, .torn: true
        case .none: false
        case .some: next() & 1 == 0
        }
    }

    mutating func keepsSector() -> Bool { next() & 1 == 0 }

    mutating func fate() -> Fate {
        switch next() % 3 {
        case 0: .kept
        case 1: .lost
        default: .torn
        }
    }

    /// SplitMix64.
    private mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
