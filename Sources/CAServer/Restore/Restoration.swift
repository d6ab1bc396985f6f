// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
package import Clocks
internal import Datastore
internal import DurableFiles
internal import FoundationEssentials
internal import Glibc
internal import Issuance
package import Logging
internal import NodeSync
internal import SPIFFE
internal import Telemetry

/// Restores a server that is stopped, from a backup or its own database and the log
/// (docs/decisions/0022-backup-and-restore.md, "Restore").
///
/// Everything is made beside what is there, then `ready` is written; before that nothing has happened,
/// and after it whoever runs a restore finishes this one.
package struct Restoration {
    private let configuration: ServerConfiguration
    private let order: RestoreOrder
    private let clock: any NodeClock
    private let logger: Logger
    private let place: RestorePlace
    /// Where it works.
    private let directory: String

    private init(
        _ order: RestoreOrder,
        _ configuration: ServerConfiguration,
        _ clock: any NodeClock,
        _ logger: Logger
    ) {
        self.order = order
        self.configuration = configuration
        self.clock = clock
        self.logger = logger
        place = RestorePlace(dataDirectory: configuration.dataDirectory)
        directory = order.isRehearsal ? place.rehearsing : place.restoring
    }

    /// Restores.
    ///
    /// - Parameters:
    ///   - order: What is wanted.
    ///   - configuration: The server's.
    ///   - clock: The wall clock of the machine.
    ///   - logger: Where what is worth a warning is told.
    /// - Returns: What was made; after a rehearsal, what would be.
    /// - Throws: `RestoreError`, `ServerStartError` while the server runs, and what else kept it from
    ///   being made. Unless a file system failed after everything was ready, nothing has happened.
    package static func run(
        _ order: RestoreOrder,
        _ configuration: ServerConfiguration,
        clock: any NodeClock,
        logger: Logger
    ) async throws -> RestoreReport {
        let restoration = Self(order, configuration, clock, logger)
        // What another user made would not be the server's, and a lock or a directory would stay.
        try requireOwner(of: configuration.dataDirectory)
        try DurableFile.makeDirectory(configuration.dataDirectory, mode: 0o700)
        if order.isRehearsal {
            let lock = try ServerLock("\(restoration.place.rehearsing).lock")
            defer { withExtendedLifetime(lock) {} }
            return try await restoration.rehearse()
        }
        let lock = try ServerLock(configuration.lockPath)
        defer { withExtendedLifetime(lock) {} }
        return try await restoration.restore()
    }

    /// Requires that a directory, if it is there, belongs to who runs this.
    ///
    /// - Throws: `RestoreError.otherUser`.
    private static func requireOwner(of path: String) throws {
        guard RestorePlace.exists(path) else { return }
        let uid = try DurableFile.owner(of: path)
        guard uid != DurableFile.ownUID else { return }
        throw RestoreError.otherUser(path: path, uid: uid)
    }

    private func rehearse() async throws -> RestoreReport {
        if RestorePlace.exists(place.ready) {
            throw RestoreError.unfinished(place.restoring)
        }
        try place.prepare(directory)
        // It holds what a backup holds, and is not encrypted.
        defer { try? FileManager.default.removeItem(atPath: directory) }
        return try await make().report
    }

    private func restore() async throws -> RestoreReport {
        if RestorePlace.exists(place.ready) {
            try RestorePlacement(place).run()
            return .finished
        }
        try place.prepare(directory)
        let report = try await makeReady()
        try RestorePlacement(place).run()
        return report
    }

    /// Makes everything and says so; what cannot be made whole is removed, so that the server may
    /// start.
    private func makeReady() async throws -> RestoreReport {
        do {
            let made = try await make()
            try DurableFile.write(made.plan.encoded, to: place.ready, mode: 0o600)
            return made.report
        } catch {
            if !RestorePlace.exists(place.ready) {
                try? FileManager.default.removeItem(atPath: directory)
            }
            throw error
        }
    }

    /// Makes everything in the directory that it works in.
    private func make() async throws -> (plan: RestorePlan, report: RestoreReport) {
        if let copies = order.copies { try requireCopies(copies) }
        let keys = try RestoredKeys(configuration, copies: order.copies)
        let database = "\(directory)/server.sqlite"
        let source = try await begin(keys, to: database)
        let copies = order.copies ?? configuration.dataDirectory
        let logs = try RestoredLogs(
            in: copies,
            key: source.logKey,
            known: source.log,
            checkpoints: order.checkpoints
        )
        var generator = SystemRandomness()
        let made = RestoredDatabase(
            source: source,
            logs: logs,
            logic: ServerLogic(
                trustDomain: source.trustDomain,
                serverID: source.serverID,
                lifetimes: configuration.lifetimes,
                hold: configuration.hold
            ),
            epoch: Epoch(using: &generator),
            actor: .localUser(uid: geteuid(), host: configuration.hostName),
            now: clock.wallTime
        )
        let outcome = try perform(made, on: database)
        let auditKey = AuditKey()
        let isFollowed = try writeSuccession(keys, made, to: auditKey)
        let copied = try keys.write(auditKey, outcome.keys, into: try subdirectory("keys"))
        try copyLogs(made)
        let plan = RestorePlan(epoch: made.epoch.hex, formerLog: formerLog(logs))
        let lines = reportLines(
            made,
            outcome,
            isFollowed: isFollowed,
            keys: [keyLine(keys, of: outcome.keys, copied: copied.authorities)]
                + (try upstreamLines(keys, copied: copied.upstreams))
        )
        return (plan, RestoreReport(lines: lines))
    }

    private func subdirectory(_ name: String) throws -> String {
        let path = "\(directory)/\(name)"
        try DurableFile.makeDirectory(path, mode: 0o700)
        return path
    }

    private func requireCopies(_ copies: String) throws {
        guard ["audit", "logs", "keys"].contains(where: { RestorePlace.exists("\(copies)/\($0)") })
        else { throw RestoreError.noCopies(copies) }
    }

    private func perform(
        _ made: RestoredDatabase,
        on database: String
    ) throws -> RestoredDatabase.Outcome {
        let store = try ServerStore(path: database)
        let result = Result { try store.writeNow { try made.make(in: $0) } }
        try store.close()
        let outcome = try result.get()
        // The file alone gets its place.
        for suffix in ["-wal", "-shm"] where RestorePlace.exists(database + suffix) {
            throw DatastoreError.cannotOpen("\(database)\(suffix) was left behind")
        }
        return outcome
    }

    // MARK: - What it begins with

    private func begin(_ keys: RestoredKeys, to database: String) async throws -> RestoreSource {
        switch order.source {
        case .backup(let path):
            guard let passphrase = configuration.backupPassphrase else {
                throw RestoreError.noPassphrase
            }
            let source = try RestoreSource(
                decrypting: path,
                passphrase: try passphrase.secret(),
                to: database
            )
            try requireSame(source)
            return source
        case .inPlace:
            guard RestorePlace.exists(configuration.databasePath) else {
                throw RestoreError.databaseMissing(configuration.databasePath)
            }
            let path = try ownDatabase()
            var options = DatastoreOptions()
            let isTheServers = path == configuration.databasePath
            options.access = order.isRehearsal && isTheServers ? .readOnly : .readWrite
            options.checksIntegrity = true
            let store = try ServerStore(path: path, options: options)
            defer { try? store.close() }
            if !order.isRehearsal { try await publishRest(of: store) }
            let source = try RestoreSource(
                copying: store,
                at: path,
                key: try keys.auditKey(),
                to: database
            )
            try requireSame(source)
            return source
        case .unfinished: throw RestoreError.nothingBegun
        }
    }

    /// The data directory's own database; in a rehearsal a copy of one of an earlier release, as that
    /// has to be migrated.
    private func ownDatabase() throws -> String {
        let path = configuration.databasePath
        guard order.isRehearsal, try RestoredFile.isOfEarlierRelease(path) else { return path }
        let copy = "\(directory)/before.sqlite"
        try RestoredFile.copy(path, to: copy)
        return copy
    }

    /// Requires that the backup is of the server that the configuration and the directory are of.
    private func requireSame(_ source: RestoreSource) throws {
        guard source.trustDomain == configuration.trustDomain else {
            throw RestoreError.otherTrustDomain(
                backup: source.trustDomain.name,
                here: configuration.trustDomain.name
            )
        }
        let path = configuration.databasePath
        guard RestorePlace.exists(path), source.backup != nil else { return }
        do {
            // Also of a database of an earlier release.
            guard let here = try RestoredFile.serverID(of: path), here != source.serverID
            else { return }
            throw RestoreError.otherServer(backup: source.serverID, here: here)
        } catch let error as DatastoreError {
            // It may be why somebody restores.
            logger.warning(
                "whose database it is that is replaced is not known",
                metadata: ["path": "\(path)", "error": "\(error)"]
            )
        }
    }

    /// Publishes the records that are in the database alone, so that the log has all of them.
    private func publishRest(of store: ServerStore) async throws {
        let own = try RestoredKeys(configuration, copies: nil)
        guard let key = try own.auditKey(),
            let identity = try store.readNow({ try $0.identity() })
        else { return }
        let origin = try store.readNow { try $0.auditOrigin() } ?? identity.firstLogOrigin
        let published = try RestoredLogs(
            in: configuration.dataDirectory,
            key: try NoteVerifierKey(name: origin, publicKey: key.publicKey),
            known: Checkpoint(origin: origin, size: 0, root: .emptyRoot),
            checkpoints: []
        )
        guard let log = published.last, log.directory == configuration.auditDirectory,
            log.end.size < (try store.readNow { try $0.auditSize() })
        else { return }
        let publisher = try AuditPublisher(
            origin: origin,
            directory: configuration.auditDirectory,
            signer: key,
            datastore: store,
            clock: clock,
            logger: logger,
            metrics: MetricRegistry(of: .server),
            health: Health(ready: ["audit"])
        )
        while try await publisher.publish() {}
    }

    // MARK: - Logs

    private func formerLog(_ logs: RestoredLogs) -> RestorePlan.FormerLog {
        logs.last?.directory == configuration.auditDirectory ? .kept : .replaced
    }

    /// Lets the former log's key say that the new one follows.
    ///
    /// - Returns: Whether the key is there.
    private func writeSuccession(
        _ keys: RestoredKeys,
        _ made: RestoredDatabase,
        to auditKey: AuditKey
    ) throws -> Bool {
        guard let last = made.logs.last, let key = try keys.auditKey(of: last.key) else {
            return false
        }
        let succession = try LogSuccession(
            of: made.former,
            by: last.key,
            to: NoteVerifierKey(name: made.origin, publicKey: auditKey.publicKey)
        ) { try key.signature(for: $0) }
        try DurableFile.write(
            succession.note,
            to: "\(directory)/\(RestoredLogs.successionFile)",
            mode: 0o600
        )
        return true
    }

    /// Copies the logs that are somewhere else: each that was read to where the server will look for
    /// it, below the name of the epoch that followed it.
    ///
    /// Its files and what says that another one follows may have been in two places: agents are shown
    /// both from one.
    private func copyLogs(_ made: RestoredDatabase) throws {
        var places: Set<String> = []
        for log in made.logs.logs {
            guard let directory = log.directory else { continue }
            let isLast = log.succession == nil
            // The data directory's own is moved.
            if isLast, directory == configuration.auditDirectory { continue }
            guard let name = isLast ? made.epoch.hex : log.nextEpoch else { continue }
            places.formUnion([directory, "\(order.copies ?? "")/logs/\(name)"])
            let isInPlace =
                directory == place.log(before: name)
                && (isLast || RestorePlace.exists("\(directory)/\(RestoredLogs.successionFile)"))
            if !isInPlace { try copyLog(directory, to: name, log) }
        }
        guard let copies = order.copies else { return }
        for name in try RestorePlace.epochs(in: "\(copies)/logs") {
            let log = "\(copies)/logs/\(name)"
            if !places.contains(log) { try copyLog(log, to: name, nil) }
        }
    }

    /// Copies a log; one that was `read` with the note up to which it was: its own may be a newer one
    /// by now, which the succession beside it would contradict.
    private func copyLog(_ log: String, to name: String, _ read: RestoredLog?) throws {
        let target = "\(directory)/logs/\(name)"
        let noteFiles = [TilePath.checkpoint, RestoredLogs.successionFile]
        for file in try FileManager.default.subpathsOfDirectory(atPath: log)
        where TilePath(parsing: file) != nil || (read == nil && noteFiles.contains(file)) {
            let bytes = try DurableFile.read("\(log)/\(file)", bytesMax: EntryBundle.bytesMax)
            try write(bytes, to: "\(target)/\(file)")
        }
        if let note = read?.note { try write(note, to: "\(target)/\(TilePath.checkpoint)") }
        if let succession = read?.succession {
            try write(succession.note, to: "\(target)/\(RestoredLogs.successionFile)")
        }
    }

    /// Writes a file, and makes the directory it is in.
    private func write(_ bytes: [UInt8], to path: String) throws {
        let parent = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? directory
        try DurableFile.makeDirectory(parent, mode: 0o700)
        try DurableFile.write(bytes, to: path, mode: 0o600)
    }

    // MARK: - Report

    private func reportLines(
        _ made: RestoredDatabase,
        _ outcome: RestoredDatabase.Outcome,
        isFollowed: Bool,
        keys: [String]
    ) -> [String] {
        var lines = [
            order.isRehearsal ? "nothing was changed; this would be restored:" : "restored:",
            made.source.backup.map {
                "the database of backup \(Hexadecimal.text($0.id)) of \($0.time)"
            } ?? "the database of the data directory",
            "\(outcome.records) record(s) of the log brought forward, " + missing(outcome),
            "\(outcome.nodes) node(s) and \(outcome.authorities.count) authorit(ies) that the log alone "
                + "knows, \(outcome.documents) document(s) changed since",
        ]
        lines += keys
        lines.append(
            "the log is \(made.origin), and follows \(made.former.origin) with \(made.former.size) "
                + "record(s)"
        )
        if made.now < outcome.latest {
            lines.append(
                "this machine's clock shows \(AuditTime(made.now)), which is before that record: set it "
                    + "before the server is started"
            )
        }
        if !isFollowed {
            lines.append(
                "the former log's key is not there: each agent raises an alarm, which a new join token "
                    + "ends"
            )
        }
        if !outcome.authoritiesUnknown.isEmpty {
            lines.append(
                "of \(outcome.authoritiesUnknown.count) authorit(ies) an earlier release has logged no "
                    + "certificate: they are in no bundle, and agents of theirs need a new join token"
            )
        }
        lines += made.logs.unread.map { "\($0) cannot be read and was passed over" }
        let uncompared = made.logs.logs.reduce(0) { $0 + $1.uncompared }
        if uncompared > 0 {
            lines.append(
                "\(uncompared) checkpoint(s) could not be compared: the files of their log are not there"
            )
        }
        if outcome.revocationsLeft > 0 {
            lines.append("\(outcome.revocationsLeft) revocation(s) found no room")
        }
        return lines + (order.isRehearsal ? [] : [RestoreReport.next])
    }

    /// What may be missing.
    private func missing(_ outcome: RestoredDatabase.Outcome) -> String {
        let latest = "the last one known of \(AuditTime(outcome.latest)); "
        guard outcome.lastRecordAt == nil else {
            return latest + "what was taken away later has to be taken away again"
        }
        let seen = outcome.seenSize.map { ", of which an agent has seen \($0)" } ?? ""
        return latest
            + "but the server was set back: records are missing\(seen), from a moment on that nobody "
            + "knows. What was taken away since the snapshot was made has to be taken away again"
    }

    private func keyLine(
        _ keys: RestoredKeys,
        of needed: Set<AuthorityKey>,
        copied: Int
    ) -> String {
        "\(keys.count(of: needed)) of \(needed.count) key file(s) of authorities are there, "
            + "\(copied) from copies\(otherKeys)"
    }

    private var otherKeys: String {
        switch configuration.keyStorage {
        case .pkcs11: "; the PKCS #11 token has others"
        case .service: "; the key service has others"
        case .encrypted, .memory, .plain: ""
        }
    }

    /// What a server below an offline root needs besides: without its roots it does not even start.
    private func upstreamLines(_ keys: RestoredKeys, copied: Int) throws -> [String] {
        let present = try keys.upstreamCount()
        var lines: [String] = []
        if present > 0 || configuration.upstream == .disk {
            lines.append(
                "\(present) key file(s) of upstream authorities are there, \(copied) from copies"
                    + otherKeys
            )
        }
        let files = [
            ("upstreamCertificate", configuration.upstreamCertificate),
            ("upstreamRoots", configuration.upstreamRoots),
        ]
        for case (let name, let path?) in files where !RestorePlace.exists(path) {
            lines.append(
                "\(name): \(path) is not there: bring it back before the server is started"
            )
        }
        return lines
    }
}
