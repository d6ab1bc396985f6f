// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// Why a record cannot become leaves; the act it records must then not happen.
package enum AuditRecordError: Error, Hashable, Sendable {
    /// The actor's text would be read back as another actor.
    case actorAmbiguous
    /// An integer that JSON does not hold exactly, by its field.
    case integerOutOfRange(field: String)
    /// A leaf of more than `AuditRecord.bytesMax` bytes that cannot be split.
    case tooLarge(bytes: Int)
}

/// One record of the audit log: who did what, and when.
package struct AuditRecord: Hashable, Sendable {
    /// The version of the leaf format, in every leaf as `v`.
    package static let version: Int64 = 1
    /// Largest leaf.
    ///
    /// It keeps a bundle of 256 leaves under 4 MiB and a leaf far under the 65,535
    /// bytes that tiles can hold.
    package static let bytesMax = 16 * 1024

    /// Most items of a list in one leaf: as many as usually fit, so that a long list is rarely
    /// encoded twice.
    package static let itemsPerLeafMax = 40

    /// Which part of a record a leaf holds when the whole did not fit into one.
    package struct Part: Hashable, Sendable {
        /// From 1.
        package let number: Int
        package let count: Int
    }

    package let event: AuditEvent
    package let actor: Actor
    package let time: AuditTime
    /// Nil for a record that one leaf holds.
    package let part: Part?

    /// Makes a record.
    ///
    /// - Parameters:
    ///   - event: What happened.
    ///   - actor: Who did it.
    ///   - time: The wall clock when it happened.
    package init(event: AuditEvent, actor: Actor, time: Date) {
        self.init(event: event, actor: actor, time: AuditTime(time), part: nil)
    }

    init(event: AuditEvent, actor: Actor, time: AuditTime, part: Part?) {
        self.event = event
        self.actor = actor
        self.time = time
        self.part = part
    }

    /// The leaves of the record, to be appended next to each other in the transaction of the act.
    ///
    /// One, unless a list of SVIDs or documents is too long for it: then the list is spread over
    /// several leaves that say so in `part` and `parts`. Nothing is left out.
    ///
    /// - Throws: `AuditRecordError`; the act must then not happen.
    package func leaves() throws(AuditRecordError) -> [AuditLeaf] {
        let items = event.itemCount
        var parts = (items - 1) / Self.itemsPerLeafMax + 1
        while true {
            let leaves = try split(items: items, parts: parts)
            let largest = leaves.lazy.map(\.bytes.count).max() ?? 0
            if largest <= Self.bytesMax { return leaves }
            guard parts < items else { throw .tooLarge(bytes: largest) }
            parts = min(items, parts + parts / 4 + 1)
        }
    }

    private func split(items: Int, parts: Int) throws(AuditRecordError) -> [AuditLeaf] {
        if parts <= 1 { return [try AuditLeaf(self)] }
        var leaves: [AuditLeaf] = []
        for number in 1...parts {
            // Every part has an item, since there are at most as many parts as items.
            let range = items * (number - 1) / parts..<items * number / parts
            let record = Self(
                event: event.keeping(items: range),
                actor: actor,
                time: time,
                part: Part(number: number, count: parts)
            )
            try leaves.append(AuditLeaf(record))
        }
        return leaves
    }

    func encoded() throws(AuditRecordError) -> [UInt8] {
        guard Actor(auditText: actor.description) == actor else { throw .actorAmbiguous }
        var fields = FieldWriter()
        event.payload.write(to: &fields)
        fields.set("actor", actor.description)
        fields.set("event", event.name.rawValue)
        fields.set("time", time)
        fields.set("v", UInt64(Self.version))
        if let part {
            fields.set("part", UInt64(part.number))
            fields.set("parts", UInt64(part.count))
        }
        if let field = fields.outOfRange { throw .integerOutOfRange(field: field) }
        return CanonicalJSON.object(fields.members).encoded
    }
}

/// One leaf, ready to be appended, with the columns it is found by.
package struct AuditLeaf: Hashable, Sendable {
    /// RFC 8785 JSON.
    package let bytes: [UInt8]
    /// The RFC 6962 leaf hash of `bytes`.
    package let hash: MerkleHash
    package let event: AuditEvent.Name
    package let actor: String
    package let time: AuditTime
    /// Namespaces that the leaf names, sorted.
    package let namespaces: [String]
    /// Certificate serials that the leaf names, in lower-case hexadecimal, sorted.
    package let serials: [String]
    /// SPIFFE IDs that the leaf names beside its actor, sorted.
    package let spiffeIDs: [String]

    /// Encodes a record of whatever size.
    fileprivate init(_ record: AuditRecord) throws(AuditRecordError) {
        bytes = try record.encoded()
        hash = MerkleHash(leaf: bytes)
        event = record.event.name
        actor = record.actor.description
        time = record.time
        var subjects = AuditSubjects()
        record.event.payload.index(into: &subjects)
        namespaces = subjects.namespaces.sorted()
        serials = subjects.serials.sorted()
        spiffeIDs = subjects.spiffeIDs.sorted()
    }

    /// Reads a leaf back, with its columns.
    ///
    /// - Throws: `AuditRecordParsingError`, as `AuditRecord.init(parsing:)` does.
    package init(parsing bytes: [UInt8]) throws(AuditRecordParsingError) {
        let record = try AuditRecord(parsing: bytes)
        do {
            try self.init(record)
        } catch {
            throw .notCanonical
        }
    }
}
