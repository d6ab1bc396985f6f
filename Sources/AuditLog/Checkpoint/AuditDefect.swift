// SPDX-License-Identifier: Apache-2.0

/// The first fault that a walk over a log found.
package struct AuditDefect: Hashable, Sendable, CustomStringConvertible {
    /// What is wrong.
    package enum Kind: Hashable, Sendable {
        /// The checkpoint is not one that the key signed.
        case checkpoint(CheckpointError)
        /// The record's bytes are not those that the signed tree holds.
        case entryChanged
        /// The bundle ends inside the record, or goes on after its last one.
        case entryMalformed
        /// A file has a length that its place in the tree forbids.
        case fileLength(bytes: Int)
        /// A file that the tree needs cannot be read.
        case fileUnreadable(reason: String)
        /// A hash of the tree is not the one that the records below it give, and the signed root
        /// does not cover it.
        case hashChanged
        /// A checkpoint remembered elsewhere has another root for the same size: the log was
        /// rewritten and signed again.
        case historyRewritten(size: UInt64)
        /// A checkpoint remembered elsewhere is of a longer log: records were cut off.
        case recordsCutOff(rememberedSize: UInt64)
        /// Records and hashes agree with each other, and not with what was signed.
        case rewrittenAfterSigning
        /// An older form of a tile is not the beginning of the verified one.
        case supersededTileChanged
    }

    package let kind: Kind
    /// The file that is wrong, below the log's directory.
    package let path: String
    /// The records that cannot be trusted because of it, the first bad one first; nil if the
    /// fault is not in a record's way to the root.
    package let records: Range<UInt64>?

    package init(kind: Kind, path: String, records: Range<UInt64>?) {
        self.kind = kind
        self.path = path
        self.records = records
    }

    /// The first record that cannot be trusted.
    package var firstRecord: UInt64? { records?.lowerBound }

    package var description: String {
        let place: String
        switch records {
        case .some(let records) where records.count == 1:
            place = "record \(records.lowerBound) (\(path))"
        case .some(let records) where !records.isEmpty:
            place = "records \(records.lowerBound) to \(records.upperBound - 1) (\(path))"
        default: place = path
        }
        return "\(place): \(sentence)"
    }

    private var sentence: String {
        switch kind {
        case .checkpoint(let error): error.description
        case .entryChanged: "the record is not the one that was logged and signed"
        case .entryMalformed: "the file does not hold the records it should"
        case .fileLength(let bytes): "the file has \(bytes) bytes, which its place forbids"
        case .fileUnreadable(let reason): "the file cannot be read: \(reason)"
        case .hashChanged: "the hash is not that of the records below it"
        case .historyRewritten(let size):
            "a remembered checkpoint of \(size) records has another root: the log was rewritten "
                + "and signed again"
        case .recordsCutOff(let size): "a remembered checkpoint has \(size) records"
        case .rewrittenAfterSigning:
            "records and hashes agree with each other and not with the signed root"
        case .supersededTileChanged: "the older form of the tile differs from the signed one"
        }
    }
}
