// SPDX-License-Identifier: Apache-2.0

package import Issuance

/// The keys of upstream authorities on disk, which a ceremony certifies
/// (docs/decisions/0020-authorities-under-another.md).
///
/// They have names of their own, which no sweep knows: a wrong path must not cost a ceremony.
extension KeyVault {
    /// Makes the key of an upstream authority; it is kept by nobody until `keepUpstream`, but in a key
    /// service, which has it since it was made.
    ///
    /// - Throws: As `makeAuthorityKey`.
    package func makeUpstreamKey() throws -> any Signer {
        if case .service(let keys) = place { return try keys.upstream.make(keyType) }
        return try makeAuthorityKey()
    }

    /// Keeps the key of an upstream authority; it is where it shall be when this returns.
    ///
    /// - Parameters:
    ///   - signer: A key of `makeUpstreamKey`.
    ///   - id: Its key ID.
    /// - Throws: `FileError`, `KeyFileError`, `PKCS11Error`, `SignerError`; with `keyStorage: memory`
    ///   there is no such key.
    package func keepUpstream(_ signer: any Signer, id: String) throws {
        switch (place, signer) {
        case (.files, let signer as MemorySigner):
            try files.write(signer.pkcs8DER, .upstream(id))
        case (.service, is KeyServiceSigner): break
        case (.token(let keys), let signer as PKCS11Signer):
            _ = try keys.keepUpstream(signer, id: id)
        default:
            throw SignerError.keyUnreadable(reason: "no key of an upstream authority is kept here")
        }
    }

    /// The key of an upstream authority, nil when this server does not hold it.
    ///
    /// - Throws: As `signer(authorityID:)`.
    package func upstreamSigner(id: String) throws -> (any Signer)? {
        switch place {
        case .files: return try upstreamFile(id)
        case .memory: return nil
        case .service(let keys):
            if let signer = try keys.upstream.signer(AuthorityKey(id)) { return signer }
            return try upstreamFile(id)
        case .token(let keys):
            // A key from before keyStorage was changed certifies on from its file.
            if let signer = try keys.upstreamSigner(id: id) { return signer }
            return try upstreamFile(id)
        }
    }

    /// The IDs of the upstream authorities whose keys are here, sorted.
    ///
    /// - Throws: As `signer(authorityID:)`.
    package func upstreamIDs() throws -> [String] {
        var ids: Set<String> = []
        for case .upstream(let id) in try files.names() { ids.insert(id) }
        switch place {
        case .files, .memory: break
        case .service(let keys): ids.formUnion(try keys.upstream.authorityIDs())
        case .token(let keys): ids.formUnion(try keys.upstreamIDs())
        }
        return ids.sorted()
    }

    /// Destroys the key of an upstream authority that was revoked; one that is not here is no error.
    ///
    /// - Throws: `FileError`, `PKCS11Error`.
    package func destroyUpstream(id: String) throws {
        try files.remove(.upstream(id))
        switch place {
        case .files, .memory: break
        case .service(let keys): try keys.upstream.destroy(authorityID: id)
        case .token(let keys): try keys.destroyUpstream(id: id)
        }
    }

    private func upstreamFile(_ id: String) throws -> (any Signer)? {
        try files.read(.upstream(id)).map { try MemorySigner(pkcs8DER: $0) }
    }
}
