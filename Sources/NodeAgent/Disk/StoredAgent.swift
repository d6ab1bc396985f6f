// SPDX-License-Identifier: Apache-2.0

package import AuditLog
package import FoundationEssentials
package import NodeSync
internal import SPIFFE

/// Everything an agent finds of itself when it starts.
package struct StoredAgent: Sendable {
    package var key: NodeKey
    package var identity: StoredIdentity
    package var sync: PersistedSync?
    package var memory: CheckpointMemory
    /// What was found wrong with the audit log, in words; nil if nothing was.
    package var auditAlarm: String?

    package init(
        key: NodeKey,
        identity: StoredIdentity,
        sync: PersistedSync? = nil,
        memory: CheckpointMemory,
        auditAlarm: String? = nil
    ) {
        self.key = key
        self.identity = identity
        self.sync = sync
        self.memory = memory
        self.auditAlarm = auditAlarm
    }

    private static func key(in directory: AgentDirectory) throws(AgentFileError) -> NodeKey? {
        guard let content = try directory.read(.key) else { return nil }
        guard let key = NodeKey(pkcs8: content) else {
            throw AgentFile.key.damaged(directory.path(of: .key), "it holds no P-256 key")
        }
        return key
    }

    /// Reads everything and checks that it belongs together.
    ///
    /// - Parameters:
    ///   - directory: Where the files are.
    ///   - now: The wall clock; an SVID that has expired needs no path to the bundle any more, and
    ///     one without a path counts as expired.
    /// - Returns: The agent; nil if it has no identity yet.
    /// - Throws: `AgentFileError` naming the file and what to do.
    package static func read(
        from directory: AgentDirectory,
        now: Date
    ) async throws(AgentFileError) -> StoredAgent? {
        guard let content = try directory.read(.identity) else {
            for file in [AgentFile.sync, .checkpoint] where try directory.read(file) != nil {
                throw file.damaged(directory.path(of: file), "there is no identity beside it")
            }
            return nil
        }
        let path = directory.path(of: .identity)
        guard var identity = StoredIdentity(encoded: content) else {
            throw AgentFile.identity.damaged(path, "it holds no agent identity")
        }
        let key = try key(of: identity, in: directory)
        try await check(&identity, key, now: now, path: path)
        return StoredAgent(
            key: key,
            identity: identity,
            sync: try sync(in: directory),
            memory: try memory(identity, in: directory),
            auditAlarm: try directory.read(.alarm).map { String(decoding: $0, as: UTF8.self) }
        )
    }

    /// The key of the identity.
    ///
    /// If the agent ended between writing its new identity and moving the key it joined with to its
    /// place, that is done now. The key of a contact that is not over is of no concern to an
    /// identity whose own key is in its place, so damage to it is none to the identity.
    private static func key(
        of identity: StoredIdentity,
        in directory: AgentDirectory
    ) throws(AgentFileError) -> NodeKey {
        let key = try key(in: directory)
        let leaf = identity.certificateChain.first.flatMap { try? LeafCertificate(der: $0) }
        let isWhole = leaf != nil && key?.spkiSHA256 == leaf?.spkiSHA256
        if let joining = try joiningKey(in: directory, isNeeded: !isWhole), let leaf,
            joining.key.spkiSHA256 == leaf.spkiSHA256
        {
            do {
                try directory.write(joining.key.pkcs8, to: .key)
                try directory.remove(.joiningKey)
            } catch {
                throw AgentFileError(
                    path: directory.path(of: .key),
                    problem: "\(error)",
                    remedy: "let this user write there; the disk may be full or read-only"
                )
            }
            return joining.key
        }
        guard let key else {
            throw AgentFile.key.damaged(directory.path(of: .key), "it is missing")
        }
        return key
    }

    private static func joiningKey(
        in directory: AgentDirectory,
        isNeeded: Bool
    ) throws(AgentFileError) -> JoiningKey? {
        do throws(AgentFileError) {
            return try JoiningKey.read(from: directory)
        } catch {
            guard !isNeeded else { throw error }
            return nil
        }
    }

    /// Whether the SVID expired so long ago that the server does not readmit the agent, or the
    /// agent cannot verify it.
    package func isLapsed(at now: Date) -> Bool {
        now > identity.notAfter
            && OwnSVID.lapse(identity.notAfter, bundle: identity.bundle, at: now) != nil
    }

    /// This new identity with the memory of an earlier one of the same agent.
    ///
    /// What was synchronised stays in force until the server sends something newer, and what is
    /// known of its audit log is not forgotten. Of another log it is remembered that it was left: the
    /// machine that writes it may be started again.
    package func continuing(_ old: StoredAgent?) -> StoredAgent {
        var result = self
        result.sync = old?.sync
        guard let old else { return result }
        if old.identity.auditKey == identity.auditKey {
            result.memory = old.memory
            result.identity.formerAuditKeys = old.identity.formerAuditKeys
            result.auditAlarm = old.auditAlarm
        } else {
            result.memory.leave(old.memory)
            result.identity.formerAuditKeys = result.memory.formerKeys.map(\.description)
        }
        return result
    }

    /// Writes what a first contact gave.
    ///
    /// A crash in between leaves the identity without a checkpoint, never the other way round, and
    /// with its key as the one that the agent joined with.
    func write(to directory: AgentDirectory, replacing old: StoredAgent?) throws {
        if old?.identity.auditKey != identity.auditKey {
            try directory.remove(.checkpoint)
            try directory.remove(.alarm)
        }
        try directory.write(try identity.encoded(), to: .identity)
        if let note = memory.latest?.note { try directory.write(note, to: .checkpoint) }
        try directory.write(key.pkcs8, to: .key)
        try directory.remove(.joiningKey)
    }

    private static func check(
        _ identity: inout StoredIdentity,
        _ key: NodeKey,
        now: Date,
        path: String
    ) async throws(AgentFileError) {
        guard let first = identity.certificateChain.first,
            let leaf = try? LeafCertificate(der: first), leaf.spkiSHA256 == key.spkiSHA256
        else {
            throw AgentFile.identity.damaged(path, "its certificate is not for the key beside it")
        }
        guard now <= leaf.notAfter else { return }
        do throws(PeerVerificationError) {
            _ = try await PeerVerifier(bundles: [identity.trustDomain: identity.bundle])
                .verify(chain: identity.certificateChain, now: max(now, leaf.notBefore))
        } catch .noPath {
            // An authority leaves the bundle when it is revoked, or after its last SVID ended, when
            // it is this machine's clock that is behind. Either way this one is over, and the agent
            // comes back as after any end.
            identity.notAfter = min(identity.notAfter, now.addingTimeInterval(-1))
        } catch {
            throw AgentFile.identity.damaged(path, "certificate and bundle do not match: \(error)")
        }
    }

    private static func sync(
        in directory: AgentDirectory
    ) throws(AgentFileError) -> PersistedSync? {
        guard let content = try directory.read(.sync) else { return nil }
        guard let sync = PersistedSync(encoded: content) else {
            throw AgentFile.sync.damaged(
                directory.path(of: .sync),
                "it holds no synchronised state"
            )
        }
        return sync
    }

    private static func memory(
        _ identity: StoredIdentity,
        in directory: AgentDirectory
    ) throws(AgentFileError) -> CheckpointMemory {
        let auditKey: NoteVerifierKey
        do { auditKey = try NoteVerifierKey(parsing: identity.auditKey) } catch {
            throw AgentFile.identity.damaged(
                directory.path(of: .identity),
                "its audit key cannot be read: \(error)"
            )
        }
        // An empty one is one that should have been removed.
        let note = try directory.read(.checkpoint).flatMap { $0.isEmpty ? nil : $0 }
        // One that cannot be read is the alarm that it would have been without it.
        let formerKeys = identity.formerAuditKeys.compactMap { try? NoteVerifierKey(parsing: $0) }
        do {
            return try CheckpointMemory(key: auditKey, note: note, formerKeys: formerKeys)
        } catch {
            throw AgentFile.checkpoint.damaged(directory.path(of: .checkpoint), "\(error)")
        }
    }
}
