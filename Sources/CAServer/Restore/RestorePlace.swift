// SPDX-License-Identifier: Apache-2.0

internal import DurableFiles
internal import FoundationEssentials
internal import NodeSync
internal import SPIFFE

/// Where a restore works, and what it leaves, below one data directory.
struct RestorePlace: Sendable {
    let dataDirectory: String

    /// Where everything is made.
    ///
    /// Without `ready` in it nothing has happened.
    var restoring: String { "\(dataDirectory)/restoring" }
    /// Where a rehearsal works.
    var rehearsing: String { "\(dataDirectory)/rehearsing" }
    /// Says that what is made is whole, and what has to go where.
    var ready: String { "\(restoring)/ready" }
    /// The logs of before, by the epoch that followed each.
    var logs: String { "\(dataDirectory)/logs" }

    func log(before epoch: String) -> String { "\(logs)/\(epoch)" }

    /// What was replaced when an epoch began.
    func replaced(before epoch: String) -> String { "\(dataDirectory)/replaced-\(epoch)" }

    static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

    /// The names in a directory, sorted; none if there is no such directory.
    static func names(in directory: String) throws -> [String] {
        guard exists(directory) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
    }

    /// The names in a directory that are epochs', as those of former logs are: whatever else lies
    /// there is no log.
    static func epochs(in directory: String) throws -> [String] {
        try names(in: directory).filter { Hexadecimal.bytes($0)?.count == Epoch.byteCount }
    }

    /// Requires, before a start, that no restore was begun and not finished.
    ///
    /// - Throws: `ServerStartError.restoreUnfinished`.
    func requireNone() throws(ServerStartError) {
        guard Self.exists(restoring) else { return }
        throw .restoreUnfinished(path: restoring, isReady: Self.exists(ready))
    }

    /// Empties the directory that a restore works in, and makes it.
    func prepare(_ directory: String) throws {
        if Self.exists(directory) { try FileManager.default.removeItem(atPath: directory) }
        try DurableFile.makeDirectory(directory, mode: 0o700)
    }
}

/// The content of `ready`.
struct RestorePlan: Hashable, Sendable {
    /// What becomes of the log that is in the data directory.
    enum FormerLog: String, Sendable {
        /// It is the one that was brought forward.
        case kept
        /// It is another one, or none.
        case replaced
    }

    private static let header = "signet-restore/v1"
    /// Most bytes of the file.
    static let bytesMax = 1024

    /// The epoch that begins, in hexadecimal.
    let epoch: String
    let formerLog: FormerLog

    init(epoch: String, formerLog: FormerLog) {
        self.epoch = epoch
        self.formerLog = formerLog
    }

    var encoded: [UInt8] { Array("\(Self.header)\n\(epoch)\n\(formerLog.rawValue)\n".utf8) }

    /// Reads what `encoded` wrote; nil for anything else.
    init?(_ bytes: [UInt8]) {
        let lines = String(decoding: bytes, as: UTF8.self)
            .split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count == 4, lines[0] == Self.header, lines[3].isEmpty,
            Hexadecimal.bytes(String(lines[1]))?.count == 16,
            let formerLog = FormerLog(rawValue: String(lines[2]))
        else { return nil }
        self.init(epoch: String(lines[1]), formerLog: formerLog)
    }
}

/// Puts what a restore has made to its places.
///
/// Each step looks at what is there, so that it goes on from wherever it was killed.
struct RestorePlacement {
    private let place: RestorePlace
    private let plan: RestorePlan

    /// - Throws: `FileError`; `RestoreError.unfinished` for a file `ready` that this release did not
    ///   write.
    init(_ place: RestorePlace) throws {
        let bytes = try DurableFile.read(place.ready, bytesMax: RestorePlan.bytesMax)
        guard let plan = RestorePlan(bytes) else { throw RestoreError.unfinished(place.restoring) }
        self.place = place
        self.plan = plan
    }

    /// Does what is left to do.
    ///
    /// - Throws: `FileError`; run it again then.
    func run() throws {
        let replaced = place.replaced(before: plan.epoch)
        try DurableFile.makeDirectory(replaced, mode: 0o700)
        try DurableFile.makeDirectory(place.logs, mode: 0o700)
        let database = "\(place.dataDirectory)/server.sqlite"
        let newDatabase = "\(place.restoring)/server.sqlite"
        // While the new one waits, what is there is the former one.
        if RestorePlace.exists(newDatabase) {
            for suffix in ["-wal", "-shm", ""] {
                try move(database + suffix, to: "\(replaced)/server.sqlite\(suffix)")
            }
            let log =
                plan.formerLog == .kept ? place.log(before: plan.epoch) : "\(replaced)/audit"
            try move("\(place.dataDirectory)/audit", to: log)
        }
        try placeLogs(replaced)
        try placeKeys()
        try move(newDatabase, to: database)
        // In one step, and the last: nothing tells of the restore afterwards but what it made.
        let done = "\(replaced)/restoring"
        try DurableFile.move(place.restoring, to: done)
        try FileManager.default.removeItem(atPath: done)
    }

    /// Moves what is there; what is not was moved before, or never was.
    private func move(_ path: String, to target: String) throws {
        guard RestorePlace.exists(path) else { return }
        try DurableFile.move(path, to: target)
    }

    private func placeLogs(_ replaced: String) throws {
        let copied = "\(place.restoring)/logs"
        for name in try RestorePlace.names(in: copied) {
            let target = place.log(before: name)
            if RestorePlace.exists(target) {
                // Of one name, but it is the copy that was read.
                try DurableFile.makeDirectory("\(replaced)/logs", mode: 0o700)
                try DurableFile.move(target, to: "\(replaced)/logs/\(name)")
            }
            try move("\(copied)/\(name)", to: target)
        }
        let succession = "\(place.restoring)/\(RestoredLogs.successionFile)"
        guard RestorePlace.exists(succession) else { return }
        let log = place.log(before: plan.epoch)
        try DurableFile.makeDirectory(log, mode: 0o700)
        try move(succession, to: "\(log)/\(RestoredLogs.successionFile)")
    }

    private func placeKeys() throws {
        let (made, keys) = ("\(place.restoring)/keys", "\(place.dataDirectory)/keys")
        try DurableFile.makeDirectory(keys, mode: 0o700)
        // The former log's key goes with the last of them.
        let audit = KeyFiles.Name.audit.file
        let names = try RestorePlace.names(in: made)
        for name in names.filter({ $0 != audit }) + names.filter({ $0 == audit }) {
            try move("\(made)/\(name)", to: "\(keys)/\(name)")
        }
    }
}
