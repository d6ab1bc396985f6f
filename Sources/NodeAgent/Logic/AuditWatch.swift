// SPDX-License-Identifier: Apache-2.0

package import AuditLog

/// A remembered state of the audit log, from which the server proves the next one.
package struct CheckpointMark: Hashable, Sendable {
    package let size: UInt64
    package let root: MerkleHash

    package init(size: UInt64, root: MerkleHash) {
        self.size = size
        self.root = root
    }
}

/// What the agent remembers of its server's audit log, and whether that was ever contradicted.
package struct AuditWatch: Sendable {
    /// What became of a checkpoint.
    package enum Verdict: Hashable, Sendable {
        /// The log contradicts its past: keep the note as evidence, in words.
        case alarm(String)
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

    /// What to send with the next request; nil before the first checkpoint.
    package var mark: CheckpointMark? {
        memory.latest.map { CheckpointMark(size: $0.checkpoint.size, root: $0.checkpoint.root) }
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
        switch memory.received(note: note, proof: proof(note, path, from: asked)) {
        case .alarm(let reason):
            let isNew = alarm == nil
            alarm = alarm ?? reason.description
            return isNew ? .alarm(reason.description) : .nothing
        case .askForProof, .unchanged: return .nothing
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
