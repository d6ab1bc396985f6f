// SPDX-License-Identifier: Apache-2.0

/// What the decision store took within a minute, by one hash over it.
///
/// docs/decisions/0011-decision-log.md has the leaves of the tree.
package struct DecisionDigest: Hashable, Sendable, AuditPayload {
    /// The store's ID; a store that was deleted begins again with another one.
    package let store: [UInt8]
    /// Sequence number of the first segment that the digest covers.
    package let first: UInt64
    /// Sequence number of the last one.
    package let last: UInt64
    /// How many segments it covers; fewer than the numbers from first to last if the store was put
    /// back to an older state.
    package let segments: UInt64
    /// How many records they have.
    package let records: UInt64
    /// How many more were lost, as their agents say.
    package let lost: UInt64
    /// The lowest sequence number that the store keeps the content of.
    package let oldest: UInt64
    /// Root of the RFC 6962 tree over the segments.
    package let root: [UInt8]

    /// Numbers that JSON does not hold exactly become the largest that it does.
    package init(
        store: [UInt8],
        first: UInt64,
        last: UInt64,
        segments: UInt64,
        records: UInt64,
        lost: UInt64,
        oldest: UInt64,
        root: MerkleHash
    ) {
        let largest = UInt64(CanonicalJSON.integerMax)
        self.store = store
        self.first = first
        self.last = last
        self.segments = segments
        self.records = min(records, largest)
        self.lost = min(lost, largest)
        self.oldest = oldest
        self.root = root.bytes
    }

    func write(to fields: inout FieldWriter) {
        fields.set("first", first)
        fields.set("last", last)
        fields.set("lost", lost)
        fields.set("oldest", oldest)
        fields.set("records", records)
        fields.set("root", root)
        fields.set("segments", segments)
        fields.set("store", store)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        guard let root = MerkleHash(try fields.bytes("root")) else {
            throw .fieldMalformed("root")
        }
        self.init(
            store: try fields.bytes("store"),
            first: try fields.number("first"),
            last: try fields.number("last"),
            segments: try fields.number("segments"),
            records: try fields.number("records"),
            lost: try fields.number("lost"),
            oldest: try fields.number("oldest"),
            root: root
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}
