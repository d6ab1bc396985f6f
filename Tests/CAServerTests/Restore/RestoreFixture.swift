// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import Clocks
import Datastore
import Foundation
import Issuance
import Logging
import NodeSync
import SPIFFE
import Testing

/// A server's directory, its backup, and what is restored of both.
struct RestoreFixture {
    private static let passphrase = "open sesame"

    let directory: TestDirectory
    /// What certifies its authorities; nil: they are self-signed.
    let upstream: UpstreamFixture?
    /// Where the backup is.
    var backup: String { "\(directory.path)/server.signetbackup" }
    /// Where copies of the log and the keys are.
    var copies: String { "\(directory.path)/copies" }
    var data: String { "\(directory.path)/data" }
    var database: String { "\(data)/server.sqlite" }

    init(isBelowRoot: Bool = false) throws {
        let directory = try TestDirectory()
        self.directory = directory
        upstream = try isBelowRoot ? UpstreamFixture(in: directory) : nil
        let isWritten = FileManager.default.createFile(
            atPath: "\(directory.path)/backup-passphrase",
            contents: Data(Self.passphrase.utf8),
            attributes: [.posixPermissions: 0o600]
        )
        try #require(isWritten)
    }

    /// Makes a configuration this server's.
    func change(_ configuration: inout ServerConfiguration) {
        upstream?.configure(&configuration)
        configuration.keyFileCost = .least
        configuration.backupPassphrase = .file("\(directory.path)/backup-passphrase")
    }

    /// Serves until `body` returns; all of the log is published then, unless the server may have ended.
    @discardableResult
    func serving<Value: Sendable>(
        isWhole: Bool = true,
        _ body: (TestServer) async throws -> Value
    ) async throws -> Value {
        try await withServer(in: directory) {
            change(&$0)
        } _: { server in
            let value = try await body(server)
            if isWhole { try await server.requireIntactLog() }
            return value
        }
    }

    /// Writes the file of a backup.
    func makeBackup(_ server: TestServer) async throws {
        let (file, _) = try await server.backup()
        try Data(file).write(to: URL(fileURLWithPath: backup))
    }

    /// Restores, by default from the backup and what is in the data directory.
    @discardableResult
    func restore(
        _ source: RestoreOrder.Source? = nil,
        copies: String? = nil,
        checkpoints: [String] = [],
        isRehearsal: Bool = false,
        into data: String? = nil
    ) async throws -> RestoreReport {
        var configuration = try HeldServer.configuration(directory)
        if let data {
            configuration = ServerConfiguration(
                trustDomain: configuration.trustDomain,
                dataDirectory: data
            )
            configuration.keyStorage = .plain
        }
        change(&configuration)
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return try await Restoration.run(
            RestoreOrder(
                source ?? .backup(backup),
                copies: copies,
                checkpoints: checkpoints,
                isRehearsal: isRehearsal
            ),
            configuration,
            clock: SystemClock(),
            logger: logger
        )
    }

    /// Copies the log and the keys as they are now.
    func copy(_ names: [String] = ["audit", "keys"]) throws {
        try FileManager.default.createDirectory(
            atPath: copies,
            withIntermediateDirectories: true
        )
        for name in names {
            try FileManager.default.copyItem(
                atPath: "\(data)/\(name)",
                toPath: "\(copies)/\(name)"
            )
        }
    }

    /// What the database says, while no server runs.
    func read<Value>(_ body: (ReadTransaction) throws -> Value) throws -> Value {
        let store = try ServerStore(path: database)
        defer { try? store.close() }
        return try store.readNow(body)
    }

    /// The verifier key of the log whose key is in a directory.
    func logKey(_ origin: String, in keys: String) throws -> NoteVerifierKey {
        let vault = try KeyVault(directory: keys, form: .plain, place: .memory, keyType: .p256)
        return try NoteVerifierKey(
            name: origin,
            publicKey: vault.auditKey(isNew: false).publicKey
        )
    }

    /// The content of every file but the lock.
    func content() throws -> [String: Data] {
        var found: [String: Data] = [:]
        for file in try files(below: data) where !["lock", "rehearsing.lock"].contains(file) {
            found[file] = try Data(contentsOf: URL(fileURLWithPath: "\(data)/\(file)"))
        }
        return found
    }
}
