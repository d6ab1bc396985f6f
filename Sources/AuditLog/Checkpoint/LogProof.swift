// SPDX-License-Identifier: Apache-2.0

/// Why a text does not prove that a record was logged.
package enum LogProofError: Error, Hashable, Sendable, CustomStringConvertible {
    case checkpoint(CheckpointError)
    /// Not a proof of the format C2SP tlog-proof v1.
    case malformed
    /// The proof is of another record, or does not lead to the signed root.
    case recordNotProved

    package var description: String {
        switch self {
        case .checkpoint(let error): error.description
        case .malformed: "not a proof of the form \(LogProof.header)"
        case .recordNotProved: "the proof does not lead from this record to the signed root"
        }
    }
}

/// Proves offline that one record is in a log: index, inclusion proof and signed checkpoint in
/// one text (C2SP tlog-proof v1, file extension `.tlog-proof`).
package struct LogProof: Hashable, Sendable {
    package static let header = "c2sp.org/tlog-proof@v1"
    /// A proof has at most 56 hashes of 45 bytes and a checkpoint.
    package static let bytesMax = SignedCheckpoint.bytesMax + 4096

    package let index: UInt64
    package let checkpoint: SignedCheckpoint
    /// The hashes beside the record's way to the root, from the leaf up.
    package let path: [MerkleHash]

    /// Joins a proof and the checkpoint that it leads to; nil if their sizes differ.
    package init?(_ proof: InclusionProof, checkpoint: SignedCheckpoint) {
        guard proof.size == checkpoint.checkpoint.size else { return nil }
        self.init(index: proof.index, checkpoint: checkpoint, path: proof.path)
    }

    private init(index: UInt64, checkpoint: SignedCheckpoint, path: [MerkleHash]) {
        self.index = index
        self.checkpoint = checkpoint
        self.path = path
    }

    /// The proof as text.
    package var encoded: [UInt8] {
        var text = "\(Self.header)\nindex \(index)\n"
        for hash in path { text += hash.base64 + "\n" }
        return Array((text + "\n").utf8) + checkpoint.note
    }

    /// Reads a proof and checks it against a record and the log's key.
    ///
    /// - Throws: `LogProofError`; what is returned is proved.
    package init(
        parsing bytes: [UInt8],
        of leaf: [UInt8],
        key: NoteVerifierKey
    ) throws(LogProofError) {
        guard bytes.count <= Self.bytesMax else { throw .malformed }
        var rest = bytes[...]
        guard Self.line(&rest) == Self.header, var line = Self.line(&rest) else {
            throw .malformed
        }
        // Extra data is not authenticated and of no use to us.
        if line.hasPrefix("extra ") {
            guard let next = Self.line(&rest) else { throw .malformed }
            line = next
        }
        guard line.hasPrefix("index "), let index = UInt64(line.dropFirst(6)),
            line == "index \(index)"
        else { throw .malformed }
        var path: [MerkleHash] = []
        while true {
            guard let line = Self.line(&rest) else { throw .malformed }
            if line.isEmpty { break }
            guard let hash = Base64.bytes(line).flatMap({ MerkleHash($0) }) else {
                throw .malformed
            }
            path.append(hash)
        }
        let signed: SignedCheckpoint
        do {
            signed = try SignedCheckpoint(parsing: Array(rest), key: key)
        } catch {
            throw .checkpoint(error)
        }
        let head = signed.checkpoint
        let proof = InclusionProof(index: index, size: head.size, path: path)
        guard proof.leads(from: MerkleHash(leaf: leaf), to: head.root) else {
            throw .recordNotProved
        }
        self.init(index: index, checkpoint: signed, path: path)
    }

    /// Takes one line off the bytes; nil if no newline or no UTF-8 is left.
    private static func line(_ bytes: inout ArraySlice<UInt8>) -> String? {
        guard let end = bytes.firstIndex(of: 0x0A) else { return nil }
        let line = String(validating: bytes[..<end], as: UTF8.self)
        bytes = bytes[(end + 1)...]
        return line
    }
}
