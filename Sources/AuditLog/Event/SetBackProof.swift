// SPDX-License-Identifier: Apache-2.0

package import SPIFFE

/// An agent has a checkpoint that the log's key has signed and that this log contradicts: the server
/// was set back to an older state without a restore
/// (docs/decisions/0022-backup-and-restore.md, "Agents").
package struct SetBackProof: Hashable, Sendable, AuditPayload {
    /// Who has it.
    package let agent: SPIFFEID
    /// What it says of the log.
    package let seenSize: UInt64
    package let seenRoot: MerkleHash
    /// How many records there are.
    package let size: UInt64

    package init(agent: SPIFFEID, seenSize: UInt64, seenRoot: MerkleHash, size: UInt64) {
        self.agent = agent
        self.seenSize = seenSize
        self.seenRoot = seenRoot
        self.size = size
    }

    func write(to fields: inout FieldWriter) {
        fields.set("agent", agent)
        fields.set("seenRoot", seenRoot.bytes)
        fields.set("seenSize", seenSize)
        fields.set("size", size)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            agent: try fields.id("agent"),
            seenSize: try fields.number("seenSize"),
            seenRoot: try fields.parsed("seenRoot") {
                Hexadecimal.bytes($0).flatMap { MerkleHash($0) }
            },
            size: try fields.number("size")
        )
    }

    func index(into subjects: inout AuditSubjects) {
        subjects.spiffeIDs.insert(agent.description)
    }
}
