// SPDX-License-Identifier: Apache-2.0

/// Why bytes are not a checkpoint that the key signed.
package enum CheckpointError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The signature of the known key does not fit the text.
    case badSignature
    /// The text is longer than `SignedCheckpoint.bytesMax`.
    case noteTooLarge
    /// Not a note: no UTF-8, a control character, no signature line, or one that cannot be read.
    case notANote
    /// No signature line carries the name and the ID of the key.
    case notSignedByKey
    case originDiffers(String)
    case rootMalformed
    case sizeMalformed
    case tooManySignatures

    package var description: String {
        switch self {
        case .badSignature: "the checkpoint's signature is not that of its text"
        case .noteTooLarge: "the checkpoint is larger than \(SignedCheckpoint.bytesMax) bytes"
        case .notANote: "the file is not a signed note"
        case .notSignedByKey: "no signature of the checkpoint is by the given key"
        case .originDiffers(let origin): "the checkpoint is of another log, \(origin)"
        case .rootMalformed: "the third line is not the base64 of a root hash"
        case .sizeMalformed: "the second line is not a tree size"
        case .tooManySignatures:
            "the checkpoint has more than \(SignedCheckpoint.signaturesMax) signatures"
        }
    }
}

/// What a log says about itself: how many leaves it has and their root
/// (C2SP tlog-checkpoint, "Note text").
package struct Checkpoint: Hashable, Sendable {
    /// Names the log: `<trust domain>/audit/<server ID>`, with `/<epoch>` after a restore.
    package let origin: String
    package let size: UInt64
    package let root: MerkleHash

    package init(origin: String, size: UInt64, root: MerkleHash) {
        self.origin = origin
        self.size = size
        self.root = root
    }

    /// The checkpoint of a tree, given by its frontier.
    package init(origin: String, frontier: MerkleFrontier) {
        self.init(origin: origin, size: frontier.size, root: frontier.root)
    }

    /// The text that is signed: origin, size and root, each on a line.
    package var text: String { "\(origin)\n\(size)\n\(root.base64)\n" }

    /// Reads the text of a note.
    ///
    /// Extension lines are refused: our logs write none, and an auditor could not check them.
    init(parsing text: String) throws(CheckpointError) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count == 4, lines[3].isEmpty, !lines[0].isEmpty else { throw .notANote }
        guard let size = UInt64(lines[1]), "\(size)" == lines[1], size <= MerkleFrontier.sizeMax
        else { throw .sizeMalformed }
        guard let bytes = Base64.bytes(lines[2]), let root = MerkleHash(bytes),
            size > 0 || root == .emptyRoot
        else { throw .rootMalformed }
        self.init(origin: String(lines[0]), size: size, root: root)
    }
}
