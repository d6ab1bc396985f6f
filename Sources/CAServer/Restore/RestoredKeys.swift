// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import FoundationEssentials

/// The keys that a restore needs, from copies or from the data directory
/// (docs/decisions/0022-backup-and-restore.md, "Restore", steps 6 and 7).
struct RestoredKeys: Sendable {
    /// Of the data directory.
    let own: KeyFiles
    /// Of the copies; nil if nobody named any.
    let copied: KeyFiles?

    /// - Parameters:
    ///   - configuration: How key files are written, in both places.
    ///   - copies: The directory of the copies, with `keys/` in it; nil: there are none.
    /// - Throws: `SecretError` or `FileError` when the passphrase cannot be read.
    init(_ configuration: ServerConfiguration, copies: String?) throws {
        let form = try configuration.keyFileForm()
        own = KeyFiles(directory: configuration.keyDirectory, form: form)
        copied = copies.map { KeyFiles(directory: "\($0)/keys", form: form) }
    }

    /// The key of a log that is to be read.
    ///
    /// - Returns: nil if it is lost.
    /// - Throws: `FileError`, `KeyFileError`, `SignerError` for one that is there and does not open.
    func auditKey() throws -> AuditKey? {
        let bytes = try copied?.read(.audit) ?? own.read(.audit)
        return try bytes.map { try AuditKey(rawRepresentation: $0) }
    }

    /// The key that signs for a log, if it is in either place.
    ///
    /// - Throws: What is wrong with a copy of it; what is wrong with the own one makes no difference,
    ///   since it goes.
    func auditKey(of log: NoteVerifierKey) throws -> AuditKey? {
        let found = [try copied?.read(.audit), copied == nil ? try own.read(.audit) : ownAudit]
        for bytes in found.compactMap(\.self) {
            let key = try AuditKey(rawRepresentation: bytes)
            if key.publicKey == log.publicKey { return key }
        }
        return nil
    }

    private var ownAudit: [UInt8]? { (try? own.read(.audit)) ?? nil }

    /// Writes the new log's key, and those of copies that are of use.
    ///
    /// Of upstream authorities each one is: which certificate will be in place nobody knows here, and
    /// a start judges them (`Server.reportUpstreamKeys`).
    ///
    /// - Parameters:
    ///   - audit: The new log's.
    ///   - keys: What the authorities there are need.
    ///   - directory: Where they wait for their place.
    /// - Returns: How many keys came from copies, those of upstream authorities apart.
    /// - Throws: `FileError`, `KeyFileError`: a copy that does not open is no copy.
    func write(
        _ audit: AuditKey,
        _ keys: Set<AuthorityKey>,
        into directory: String
    ) throws -> (authorities: Int, upstreams: Int) {
        let made = KeyFiles(directory: directory, form: own.form)
        try made.write(audit.rawRepresentation, .audit)
        func copy(_ names: [KeyFiles.Name]) throws -> Int {
            var count = 0
            for name in names {
                guard let bytes = try copied?.read(name) else { continue }
                try made.write(bytes, name)
                count += 1
            }
            return count
        }
        return (try copy(keys.map(\.file)), try copy(copied.map(Self.upstreams) ?? []))
    }

    /// How many of some keys are in files once the restore has its place.
    func count(of keys: Set<AuthorityKey>) -> Int {
        keys.count { key in
            [own, copied].compactMap(\.self).contains {
                RestorePlace.exists($0.path(key.file))
            }
        }
    }

    /// How many keys of upstream authorities are.
    ///
    /// - Throws: What reading a directory throws.
    func upstreamCount() throws -> Int {
        Set(try [own, copied].compactMap(\.self).flatMap(Self.upstreams)).count
    }

    private static func upstreams(_ files: KeyFiles) throws -> [KeyFiles.Name] {
        try files.names().filter { name in
            if case .upstream = name { true } else { false }
        }
    }
}
