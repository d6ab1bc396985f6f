// SPDX-License-Identifier: Apache-2.0

internal import Crypto
package import DurableFiles
internal import FoundationEssentials
package import Issuance
internal import Synchronization

/// Where a server keeps its private keys.
package enum KeyStorage: Hashable, Sendable {
    /// A directory of mode 0700; each key is a file of mode 0600.
    case disk(directory: String)
    /// Authorities' keys nowhere, so that a restart makes new ones; the audit log's key below
    /// `auditDirectory`, because a log whose key is lost cannot be continued.
    case memory(auditDirectory: String)

    fileprivate var directory: String {
        switch self {
        case .disk(let directory), .memory(let directory): directory
        }
    }
}

/// The private keys of one server: its authorities', its audit log's.
///
/// No other part of the server ever sees the bytes of a key.
package final class KeyVault: Sendable {
    /// A P-256 key in PKCS #8 has 138 bytes; anything much longer is no key of ours.
    package static let keyFileBytesMax = 4096

    private let storage: KeyStorage
    private let signers = Mutex<[String: MemorySigner]>([:])

    /// Prepares the storage; a key that a crash left half written is destroyed.
    ///
    /// - Throws: `FileError` when the directory cannot be made.
    package init(_ storage: KeyStorage) throws(FileError) {
        self.storage = storage
        try DurableFile.makeDirectory(storage.directory, mode: 0o700)
        try DurableFile.removeUnfinished(in: storage.directory)
    }

    /// Makes a new P-256 key; it is kept by nobody until `keep`.
    package func makeAuthorityKey() throws(SignerError) -> MemorySigner {
        try MemorySigner(pkcs8DER: Array(P256.Signing.PrivateKey().derRepresentation))
    }

    /// Keeps the key of an authority; it is on disk when this returns.
    package func keep(_ signer: MemorySigner, authorityID: String) throws(FileError) {
        if case .disk = storage {
            try DurableFile.write(signer.pkcs8DER, to: path(authorityID), mode: 0o600)
        }
        signers.withLock { $0[authorityID] = signer }
    }

    /// The key of an authority, nil when this server does not hold it.
    ///
    /// - Throws: `FileError` when the file is there and must not be used; `SignerError` when it
    ///   holds no key.
    package func signer(authorityID: String) throws -> MemorySigner? {
        if let signer = signers.withLock({ $0[authorityID] }) { return signer }
        guard case .disk = storage else { return nil }
        guard let bytes = try Self.secret(at: path(authorityID)) else { return nil }
        let signer = try MemorySigner(pkcs8DER: bytes)
        signers.withLock { $0[authorityID] = signer }
        return signer
    }

    /// Forgets the key of an authority that has left the bundle.
    package func drop(authorityID: String) throws(FileError) {
        signers.withLock { $0[authorityID] = nil }
        if case .disk = storage { try DurableFile.remove(path(authorityID)) }
    }

    /// Destroys key files that a crash, or a change of `keysInMemory`, has left behind.
    ///
    /// - Parameter kept: The authorities that sign or will sign.
    /// - Throws: when the directory cannot be read or a file cannot be removed.
    package func sweep(keeping kept: Set<String>) throws {
        for name in try FileManager.default.contentsOfDirectory(atPath: storage.directory) {
            guard name.hasPrefix(Self.filePrefix), name.hasSuffix(Self.fileSuffix) else { continue }
            let id = String(name.dropFirst(Self.filePrefix.count).dropLast(Self.fileSuffix.count))
            guard !kept.contains(id) else { continue }
            signers.withLock { $0[id] = nil }
            try DurableFile.remove("\(storage.directory)/\(name)")
        }
    }

    private static let filePrefix = "authority-"
    private static let fileSuffix = ".key"

    /// The Ed25519 key that signs the audit log's checkpoints, made at the first call.
    ///
    /// - Throws: `FileError`, `SignerError`; with `isNew` false a missing key is an error, because
    ///   a new one would let the log's past be rewritten.
    package func auditKey(isNew: Bool) throws -> AuditKey {
        let path = "\(storage.directory)/audit.key"
        if let bytes = try Self.secret(at: path) { return try AuditKey(rawRepresentation: bytes) }
        guard isNew else {
            throw SignerError.unavailable(reason: "\(path), the audit log's key, is missing")
        }
        let key = AuditKey()
        try DurableFile.write(key.rawRepresentation, to: path, mode: 0o600)
        return key
    }

    /// The content of a key file; nil when there is none.
    private static func secret(at path: String) throws(FileError) -> [UInt8]? {
        do throws(FileError) {
            return try DurableFile.readSecret(path, bytesMax: keyFileBytesMax)
        } catch  where error.isNotFound {
            return nil
        }
    }

    private func path(_ authorityID: String) -> String {
        guard case .disk(let directory) = storage else { return "" }
        return "\(directory)/\(Self.filePrefix)\(authorityID)\(Self.fileSuffix)"
    }
}

/// The Ed25519 key of the audit log (RFC 8032), separate from every authority.
package struct AuditKey: Sendable {
    private let key: Curve25519.Signing.PrivateKey

    init() {
        key = Curve25519.Signing.PrivateKey()
    }

    init(rawRepresentation: [UInt8]) throws(SignerError) {
        do {
            key = try Curve25519.Signing.PrivateKey(rawRepresentation: rawRepresentation)
        } catch {
            throw .keyUnreadable(reason: "not an Ed25519 private key")
        }
    }

    fileprivate var rawRepresentation: [UInt8] { Array(key.rawRepresentation) }

    /// The 32 bytes of the public key.
    package var publicKey: [UInt8] { Array(key.publicKey.rawRepresentation) }

    /// Signs a note (RFC 8032 section 5.1.6).
    package func signature(for bytes: [UInt8]) throws(SignerError) -> [UInt8] {
        do {
            return Array(try key.signature(for: bytes))
        } catch {
            throw .unavailable(reason: "Ed25519 failed in the cryptographic library")
        }
    }
}
