// SPDX-License-Identifier: Apache-2.0

/// An agent's memory of one log: the last checkpoint it saw and proved to follow from those
/// before it.
///
/// Whoever steals the server's disk and keys can write another history, but cannot make it follow
/// from what agents remember.
package struct CheckpointMemory: Hashable, Sendable {
    /// Checkpoints in a row that may come without any proof before it is an alarm: a server whose
    /// tiles cannot be read has no proof for a moment, one that never has hides something.
    package static let unprovenMax = 3
    /// Most logs that were left whose keys are remembered, one for each restore.
    package static let formerKeysMax = 16

    /// What to do about a received checkpoint.
    package enum Action: Hashable, Sendable {
        /// The log contradicts what was remembered: keep the old note, raise the alarm, and keep
        /// the received note as evidence.
        case alarm(Alarm)
        /// It cannot be judged, for want of a proof from this size or because the memory moved on
        /// after the request: nothing is remembered, the next request asks from this size.
        case askForProof(from: UInt64)
        /// It is of a log that was left for the one that follows it, and nothing of it counts: the
        /// machine of before a restore was started again.
        case formerLog(NoteVerifierKey)
        /// Store this note durably instead of the one before.
        case remember(note: [UInt8])
        /// The same checkpoint as before.
        case unchanged
    }

    /// How a log contradicts its own past.
    package enum Alarm: Hashable, Sendable, CustomStringConvertible {
        /// Two checkpoints of one size have different roots.
        case forked(size: UInt64)
        /// The proof from the remembered size to the new one does not hold.
        case inconsistent(remembered: UInt64, received: UInt64)
        /// The log has become shorter: it was restored from a backup, or cut.
        case shrunk(remembered: UInt64, received: UInt64)
        /// The server sends checkpoints but never a proof from the remembered size.
        case unproven(remembered: UInt64, received: UInt64)
        /// Not a checkpoint that the remembered key signed.
        case unreadable(CheckpointError)

        package var description: String {
            switch self {
            case .forked(let size):
                "the audit log shows two different histories of \(size) records"
            case .inconsistent(let remembered, let received):
                "the audit log of \(received) records does not continue the one of "
                    + "\(remembered) records seen before"
            case .shrunk(let remembered, let received):
                "the audit log had \(remembered) records and now shows \(received)"
            case .unproven(let remembered, let received):
                "the server does not prove that its audit log of \(received) records continues "
                    + "the one of \(remembered) records seen before"
            case .unreadable(let error): "\(error)"
            }
        }
    }

    /// How the memory went over to the log that follows.
    package struct Following: Hashable, Sendable {
        package let succession: LogSuccession
        /// What was remembered of the log that ended; nil if nothing was.
        package let last: SignedCheckpoint?
        /// Whether all that was seen is known to be in the log as it ended; else records are lost.
        package let isProved: Bool
    }

    package private(set) var key: NoteVerifierKey
    /// The keys of the logs that were left, the oldest first.
    package private(set) var formerKeys: [NoteVerifierKey]
    /// The last checkpoint remembered; nil before the first.
    package private(set) var latest: SignedCheckpoint?
    private var unproven = 0

    /// Restores a memory.
    ///
    /// - Parameters:
    ///   - key: The log's key, remembered since the first contact; another key is another log.
    ///   - note: The note stored last; nil if there is none.
    ///   - formerKeys: The keys of the logs that were left, the oldest first.
    /// - Throws: `CheckpointError` if the stored note is not one that the key signed: the file was
    ///   damaged or altered, which is an alarm too.
    package init(
        key: NoteVerifierKey,
        note: [UInt8]?,
        formerKeys: [NoteVerifierKey] = []
    ) throws(CheckpointError) {
        self.key = key
        self.formerKeys = formerKeys.suffix(Self.formerKeysMax)
        guard let note else { return }
        latest = try SignedCheckpoint(parsing: note, key: key)
    }

    /// The size from which the next checkpoint must be proved; 0 needs no proof.
    package var rememberedSize: UInt64 { latest?.checkpoint.size ?? 0 }

    /// Judges a checkpoint that the server sent.
    ///
    /// Several requests may be under way at once, so an answer may be overtaken by a newer one:
    /// its proof then does not begin at the remembered size, which is no alarm.
    ///
    /// - Parameters:
    ///   - note: The signed note.
    ///   - proof: The proof from the size that the request named to the note's; nil or an empty
    ///     one if the server sent none.
    /// - Returns: What the caller must do; the memory itself has already moved.
    package mutating func received(note: [UInt8], proof: ConsistencyProof?) -> Action {
        let received: SignedCheckpoint
        do {
            received = try SignedCheckpoint(parsing: note, key: key)
        } catch {
            let former = formerKeys.first { (try? SignedCheckpoint(parsing: note, key: $0)) != nil }
            return former.map { .formerLog($0) } ?? .alarm(.unreadable(error))
        }
        guard let old = latest?.checkpoint else { return remember(received) }
        let new = received.checkpoint
        if new == old { return .unchanged }
        if new.size == old.size { return .alarm(.forked(size: new.size)) }
        if let proof, proof.oldSize != old.size { return .askForProof(from: old.size) }
        if new.size < old.size {
            return .alarm(.shrunk(remembered: old.size, received: new.size))
        }
        if old.size == 0 { return remember(received) }
        guard let proof, proof.newSize == new.size, !proof.path.isEmpty else {
            unproven += 1
            guard unproven >= Self.unprovenMax else { return .askForProof(from: old.size) }
            return .alarm(.unproven(remembered: old.size, received: new.size))
        }
        guard proof.joins(oldRoot: old.root, newRoot: new.root) else {
            return .alarm(.inconsistent(remembered: old.size, received: new.size))
        }
        return remember(received)
    }

    /// Goes over to the log that follows, if the key of the one that is remembered says so.
    ///
    /// - Parameters:
    ///   - note: The signed succession.
    ///   - proof: The proof from the remembered size to the end that the succession names; nil or an
    ///     empty one if the server sent none.
    /// - Returns: How it went over; nil if it is no succession of this log, and nothing has changed.
    package mutating func follow(_ note: [UInt8], proof: [MerkleHash]?) -> Following? {
        guard let succession = try? LogSuccession(parsing: note, key: key) else { return nil }
        let (last, end) = (latest, succession.former)
        var isProved = true
        if let old = last?.checkpoint {
            isProved =
                old == end
                || old.size <= end.size
                    && ConsistencyProof(
                        oldSize: old.size,
                        newSize: end.size,
                        path: proof ?? []
                    ).joins(oldRoot: old.root, newRoot: end.root)
        }
        formerKeys = Self.left(formerKeys, key, for: succession.newKey)
        key = succession.newKey
        latest = nil
        unproven = 0
        return Following(succession: succession, last: last, isProved: isProved)
    }

    /// Takes over from the memory of another log, which was left without a succession.
    ///
    /// The machine that writes it may be started again.
    package mutating func leave(_ former: Self) {
        formerKeys = Self.left(former.formerKeys, former.key, for: key)
    }

    /// The logs that were left, the oldest first, when one is for another.
    private static func left(
        _ keys: [NoteVerifierKey],
        _ last: NoteVerifierKey,
        for next: NoteVerifierKey
    ) -> [NoteVerifierKey] {
        ((keys + [last]).filter { $0 != next }).suffix(formerKeysMax)
    }

    private mutating func remember(_ received: SignedCheckpoint) -> Action {
        latest = received
        unproven = 0
        return .remember(note: received.note)
    }
}
