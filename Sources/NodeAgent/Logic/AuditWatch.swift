// SPDX-License-Identifier: Apache-2.0

package import AuditLog

/// A remembered state of the audit log, from which the server proves the next one.
package struct CheckpointMark: Hashable, Sendable {
    /// The name of the log.
    package let origin: String
    package let size: UInt64
    package let root: MerkleHash

    package init(origin: String, size: UInt64, root: MerkleHash) {
        self.origin = origin
        self.size = size
        self.root = root
    }
}

/// A succession as an answer has it: the signed note, and the consistency proof from what was
/// remembered to the end that it names.
package struct ReceivedSuccession: Hashable, Sendable {
    package let note: [UInt8]
    package let path: [[UInt8]]

    package init(note: [UInt8], path: [[UInt8]]) {
        self.note = note
        self.path = path
    }
}

/// What the agent remembers of its server's audit log, and whether that was ever contradicted.
package struct AuditWatch: Sendable {
    /// What became of a checkpoint.
    package enum Verdict: Hashable, Sendable {
        /// The log contradicts its past: keep the note as evidence, in words.
        case alarm(String)
        /// It is of a log that the agent has left.
        case formerLog(NoteVerifierKey)
        /// Nothing to keep: the same, or not to be judged.
        case nothing
        /// Keep this note in place of the one before.
        case remember(note: [UInt8])
    }

    private var memory: CheckpointMemory
    /// What was found wrong, in words; stays until an operator removes the file.
    package private(set) var alarm: String?

    package init(_ memory: CheckpointMemory, alarm: String?) {
        self.memory = memory
        self.alarm = alarm
    }

    /// Most logs that an answer leads over, as many as a server sends.
    package static let successionsMax = 16

    /// The key of the log that is remembered.
    package var key: NoteVerifierKey { memory.key }

    /// The keys of the logs that were left, the oldest first.
    package var formerKeys: [NoteVerifierKey] { memory.formerKeys }

    /// The note that is remembered; nil before the first.
    package var note: [UInt8]? { memory.latest?.note }

    /// What to send with the next request; nil before the first checkpoint.
    package var mark: CheckpointMark? {
        memory.latest.map {
            CheckpointMark(
                origin: memory.key.name,
                size: $0.checkpoint.size,
                root: $0.checkpoint.root
            )
        }
    }

    /// Successions came with an answer, one after the other.
    ///
    /// - Returns: How each was followed, in order. What is not signed by the key of the log that is
    ///   remembered then is passed over.
    package mutating func followed(
        _ successions: [ReceivedSuccession]
    ) -> [CheckpointMemory.Following] {
        successions.prefix(Self.successionsMax).compactMap { received in
            let hashes = received.path.compactMap { MerkleHash($0) }
            return memory.follow(
                received.note,
                proof: hashes.count == received.path.count ? hashes : nil
            )
        }
    }

    /// A checkpoint came with an answer.
    ///
    /// - Parameters:
    ///   - note: The signed note.
    ///   - path: The consistency proof's hashes.
    ///   - asked: What the request said was remembered. An answer to an older mark than the
    ///     present one was overtaken: its proof begins elsewhere, and the next answer is judged.
    /// - Returns: What to keep of it.
    package mutating func received(
        note: [UInt8],
        path: [[UInt8]],
        asked: CheckpointMark?
    ) -> Verdict {
        // It was asked of the log before: what is remembered of this one is newer.
        if let asked, asked.origin != memory.key.name, memory.latest != nil { return .nothing }
        switch memory.received(note: note, proof: proof(note, path, from: asked)) {
        case .alarm(let reason):
            let isNew = alarm == nil
            alarm = alarm ?? reason.description
            return isNew ? .alarm(reason.description) : .nothing
        case .askForProof, .unchanged: return .nothing
        case .formerLog(let key): return .formerLog(key)
        case .remember(let note): return .remember(note: note)
        }
    }

    private func proof(
        _ note: [UInt8],
        _ path: [[UInt8]],
        from asked: CheckpointMark?
    ) -> ConsistencyProof? {
        guard let signed = try? SignedCheckpoint(parsing: note, key: memory.key) else { return nil }
        let hashes = path.compactMap { MerkleHash($0) }
        guard hashes.count == path.count else { return nil }
        return ConsistencyProof(
            oldSize: asked?.size ?? 0,
            newSize: signed.checkpoint.size,
            path: hashes
        )
    }
}
