// SPDX-License-Identifier: Apache-2.0

package import DurableFiles
internal import FoundationEssentials
package import Issuance
internal import SPIFFE
internal import Synchronization

/// Where authorities' private keys are kept.
package enum AuthorityKeyPlace: Sendable {
    /// In the vault's directory.
    case files
    /// Nowhere, so that a restart makes new ones.
    case memory
    /// In a process beside the server that signs for it; as for a token, files from before sign on.
    case service(KeyServiceKeys)
    /// In a token of a PKCS #11 module; keys that are in files from before sign on from there, until
    /// their authorities are retired.
    case token(PKCS11Keys)
}

/// One of the two keys of an authority (docs/decisions/0017-jwt-keys-and-services.md).
package struct AuthorityKey: Hashable, Sendable {
    /// What a key signs.
    package enum Purpose: Hashable, Sendable, CaseIterable {
        /// Certificates and revocation lists.
        case certificates
        case tokens
    }

    let authorityID: String
    let purpose: Purpose
    /// Its SubjectPublicKeyInfo, by which a key service finds it; nil: there is none, or the
    /// authority's ID tells it.
    let publicKey: [UInt8]?

    package init(
        _ authorityID: String,
        for purpose: Purpose = .certificates,
        publicKey: [UInt8]? = nil
    ) {
        self.authorityID = authorityID
        self.purpose = purpose
        self.publicKey = publicKey
    }

    /// An authority has one key of each purpose.
    package static func == (left: Self, right: Self) -> Bool {
        left.authorityID == right.authorityID && left.purpose == right.purpose
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(authorityID)
        hasher.combine(purpose)
    }

    /// The key that a file holds; nil for the audit log's, and for those that no sweep may destroy.
    fileprivate init?(_ file: KeyFiles.Name) {
        switch file {
        case .audit, .upstream: return nil
        case .authority(let id): self.init(id)
        case .token(let id): self.init(id, for: .tokens)
        }
    }

    /// The file that holds it.
    var file: KeyFiles.Name {
        switch purpose {
        case .certificates: .authority(authorityID)
        case .tokens: .token(authorityID)
        }
    }
}

/// The private keys of one server: its authorities', its audit log's.
///
/// No other part of the server ever sees the bytes of a key. Calls may wait for a disk, for a
/// device or for the making of an RSA key: a task makes them by `apart`.
package final class KeyVault: Sendable {
    /// Whether signatures wait for a device or a service, so that they are made by `apart`.
    package let signaturesWait: Bool

    let place: AuthorityKeyPlace
    let files: KeyFiles
    let keyType: AuthorityKeyType
    private let tokenKeyType: AuthorityKeyType
    private let signers = Mutex<[AuthorityKey: any Signer]>([:])
    private let lanes = CallLanes(label: "signet.server.keys")

    /// Prepares the directory; a key that a crash left half written is destroyed.
    ///
    /// - Parameters:
    ///   - directory: Of mode 0700; it holds the audit log's key in any case, because a log whose
    ///     key is lost cannot be continued.
    ///   - form: How files in it are written.
    ///   - place: Where authorities' keys are.
    ///   - keyType: What the next authority's key is.
    ///   - tokenKeyType: What its key for tokens is; the same if not said.
    /// - Throws: `FileError` when the directory cannot be made.
    package init(
        directory: String,
        form: KeyFileForm,
        place: AuthorityKeyPlace,
        keyType: AuthorityKeyType,
        tokenKeyType: AuthorityKeyType? = nil
    ) throws(FileError) {
        self.place = place
        self.keyType = keyType
        self.tokenKeyType = tokenKeyType ?? keyType
        files = KeyFiles(directory: directory, form: form)
        signaturesWait =
            switch place {
            case .files, .memory: false
            case .service, .token: true
            }
        try DurableFile.makeDirectory(directory, mode: 0o700)
        try DurableFile.removeUnfinished(in: directory)
    }

    /// Runs what may wait on a thread that no task needs.
    package func apart<Value: Sendable>(
        _ body: @escaping @Sendable (KeyVault) throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            lanes.run { continuation.resume(with: Result { try body(self) }) }
        }
    }

    /// The same for what is no key but waits as long.
    ///
    /// - Returns: What it returned or threw.
    package func outcome<Value: Sendable>(
        _ body: @escaping @Sendable () throws -> Value
    ) async -> Result<Value, any Error> {
        await withCheckedContinuation { continuation in
            lanes.run { continuation.resume(returning: Result { try body() }) }
        }
    }

    /// Makes a new key of the configured type; it is kept by nobody until `keep`.
    ///
    /// - Throws: `SignerError`, `KeyServiceError`, `PKCS11Error`.
    package func makeAuthorityKey(
        for purpose: AuthorityKey.Purpose = .certificates
    ) throws -> any Signer {
        let keyType = purpose == .tokens ? tokenKeyType : keyType
        return switch place {
        case .files, .memory: try MemorySigner.new(keyType)
        case .service(let keys): try keys.make(keyType)
        case .token(let keys): try keys.make(keyType)
        }
    }

    /// Keeps the key of an authority; it is where it shall be when this returns.
    ///
    /// - Throws: `FileError`, `KeyFileError`, `PKCS11Error`, `SignerError`; none for a key service,
    ///   which has it since it was made.
    package func keep(
        _ signer: any Signer,
        authorityID: String,
        for purpose: AuthorityKey.Purpose = .certificates
    ) throws {
        let name = AuthorityKey(authorityID, for: purpose)
        var kept = signer
        switch (place, signer) {
        case (.files, let signer as MemorySigner):
            try files.write(signer.pkcs8DER, name.file)
        case (.memory, is MemorySigner): break
        // It has no name but what it is.
        case (.service, is KeyServiceSigner): break
        case (.token(let keys), let signer as PKCS11Signer):
            kept = try keys.keep(signer, name)
        default: throw SignerError.keyUnreadable(reason: "the key was made for another place")
        }
        signers.withLock { [kept] in $0[name] = kept }
    }

    /// The key of an authority, nil when this server does not hold it.
    ///
    /// - Parameters:
    ///   - authorityID: Whose it is.
    ///   - purpose: Which of its two.
    ///   - publicKey: Its SubjectPublicKeyInfo as the record has it; a key service finds one for
    ///     tokens by nothing else.
    /// - Returns: What signs with it; nil as said.
    /// - Throws: `FileError` when the file is there and must not be used, `KeyFileError` when it is
    ///   in another form or does not open, `SignerError` when it holds no key; `PKCS11Error` or
    ///   `KeyServiceError` when token or service is away, which is not the same as not holding it.
    package func signer(
        authorityID: String,
        for purpose: AuthorityKey.Purpose = .certificates,
        publicKey: [UInt8]? = nil
    ) throws -> (any Signer)? {
        let name = AuthorityKey(authorityID, for: purpose, publicKey: publicKey)
        if let signer = signers.withLock({ $0[name] }) { return signer }
        let found = try find(name)
        if let found { signers.withLock { $0[name] = found } }
        return found
    }

    /// Whether both keys of an authority are where they are kept, whatever was found of them before.
    ///
    /// A token or service that was set back has lost what was made since. Keys in memory are nowhere
    /// else.
    ///
    /// - Parameters:
    ///   - authorityID: Whose they are.
    ///   - tokenKeySPKI: SubjectPublicKeyInfo of the one for tokens.
    /// - Returns: Whether both are there.
    /// - Throws: What `signer(authorityID:for:publicKey:)` throws.
    package func keepsKeys(of authorityID: String, tokenKeySPKI: [UInt8]) throws -> Bool {
        if case .memory = place { return true }
        let names = [
            AuthorityKey(authorityID),
            AuthorityKey(authorityID, for: .tokens, publicKey: tokenKeySPKI),
        ]
        return try names.allSatisfy { try find($0) != nil }
    }

    /// The key as it is kept.
    private func find(_ name: AuthorityKey) throws -> (any Signer)? {
        switch place {
        case .files: try fileSigner(name)
        case .memory: nil
        case .service(let keys): try keys.signer(name) ?? fileSigner(name)
        case .token(let keys): try keys.signer(name) ?? fileSigner(name)
        }
    }

    private func fileSigner(_ name: AuthorityKey) throws -> MemorySigner? {
        try files.read(name.file).map { try MemorySigner(pkcs8DER: $0) }
    }

    /// Destroys every key of an authority but some: those that are of no more use, and what a crash
    /// or a change of `keyStorage` has left behind.
    ///
    /// - Parameter kept: What is of use: `AuthorityKey.kept(of:ended:now:)`.
    /// - Throws: The first of what went wrong; everything else is destroyed all the same.
    package func sweep(keeping kept: Set<AuthorityKey>) throws {
        signers.withLock { signers in signers = signers.filter { kept.contains($0.key) } }
        var problem: (any Error)?
        var inFiles: Set<AuthorityKey> = []
        do {
            for file in try files.names() {
                guard let name = AuthorityKey(file) else { continue }
                inFiles.insert(name)
                guard !kept.contains(name) else { continue }
                do { try files.remove(file) } catch { problem = problem ?? error }
            }
        } catch {
            problem = error
        }
        do {
            switch place {
            case .files, .memory: break
            case .service(let keys): try keys.sweep(keeping: kept, besides: inFiles)
            case .token(let keys): try keys.sweep(keeping: kept)
            }
        } catch { problem = problem ?? error }
        if let problem { throw problem }
    }

    /// The authorities of which the vault has keys for certificates outside of its memory.
    ///
    /// A key service does not say what a key is for: those for tokens are among them, by the IDs that
    /// authorities of these keys would have.
    ///
    /// - Throws: `PKCS11Error`, `KeyServiceError`, and what reading the directory throws.
    package func authorityIDs() throws -> Set<String> {
        var found: Set<String> = []
        for file in try files.names() {
            if case .authority(let id) = file { found.insert(id) }
        }
        switch place {
        case .files, .memory: break
        case .service(let keys): found.formUnion(try keys.authorityIDs())
        case .token(let keys): found.formUnion(try keys.authorityIDs())
        }
        return found
    }

    /// Whether a key of an authority is here, and is the one of its record: a file is named by
    /// whoever wrote it.
    ///
    /// - Throws: What `signer(authorityID:for:)` throws.
    package func holdsKey(
        of authority: Authority,
        for purpose: AuthorityKey.Purpose
    ) throws -> Bool {
        let recorded =
            switch purpose {
            case .certificates: try? LeafCertificate(der: authority.certificateDER).spkiBytes
            case .tokens: authority.tokenKeySPKI
            }
        guard let recorded else { return false }
        let found = try signer(
            authorityID: authority.id,
            for: purpose,
            publicKey: purpose == .tokens ? recorded : nil
        )
        return found?.subjectPublicKeyInfo == recorded
    }

    /// The Ed25519 key that signs the audit log's checkpoints, made at the first call.
    ///
    /// - Throws: `FileError`, `KeyFileError`, `SignerError`; with `isNew` false a missing key is an
    ///   error, because a new one would let the log's past be rewritten.
    package func auditKey(isNew: Bool) throws -> AuditKey {
        if let bytes = try files.read(.audit) { return try AuditKey(rawRepresentation: bytes) }
        guard isNew else {
            throw SignerError.unavailable(
                reason: "\(files.path(.audit)), the audit log's key, is missing"
            )
        }
        let key = AuditKey()
        try files.write(key.rawRepresentation, .audit)
        return key
    }

    /// Writes the files that are in another form in the configured one.
    ///
    /// - Returns: The files that were written.
    /// - Throws: `FileError`, `KeyFileError`; files before the one that failed are written.
    package func reseal(from old: KeyFileForm) throws -> [String] { try files.reseal(from: old) }
}
