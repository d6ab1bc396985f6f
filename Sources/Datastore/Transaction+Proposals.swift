// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB

/// The certificate that somebody showed when he proposed or approved something.
package struct ShownCertificate: Hashable, Sendable {
    package let serial: [UInt8]
    /// Who signed it.
    package let authorityID: String
    /// The name of the node it was issued to; nil if that is not on record, as after a restore.
    package let node: String?

    package init(serial: [UInt8], authorityID: String, node: String?) {
        self.serial = serial
        self.authorityID = authorityID
        self.node = node
    }
}

/// What is asked of a proposal without reading its content.
package struct ProposalTopic: Hashable, Sendable {
    /// What kind of act it is.
    package let act: String
    /// The node or authority that it is about; empty for documents.
    package let subject: String
    /// How many things it changes.
    package let changeCount: Int
    /// The rights that it takes, each with the kind of document that it takes it for.
    package let rights: [String]
    /// The SPIFFE IDs that its RoleBindings would name.
    package let boundIDs: [String]
    /// What it would let give identities, whoever they are of by then.
    package let givers: [ProposedGiver]

    package init(
        act: String,
        subject: String = "",
        changeCount: Int = 1,
        rights: [String] = [],
        boundIDs: [String] = [],
        givers: [ProposedGiver] = []
    ) {
        self.act = act
        self.subject = subject
        self.changeCount = changeCount
        self.rights = rights
        self.boundIDs = boundIDs
        self.givers = givers
    }
}

/// A proposal without its content.
package struct ProposalSummary: Hashable, Sendable {
    package let id: [UInt8]
    package let actor: String
    package let topic: ProposalTopic
    package let sha256: [UInt8]
    package let madeAt: Date
    package let endsAt: Date

    package init(
        id: [UInt8],
        actor: String,
        topic: ProposalTopic,
        sha256: [UInt8],
        madeAt: Date,
        endsAt: Date
    ) {
        self.id = id
        self.actor = actor
        self.topic = topic
        self.sha256 = sha256
        self.madeAt = madeAt
        self.endsAt = endsAt
    }
}

/// An act that waits until others have approved it (docs/decisions/0023-approvals.md).
package struct ProposalRecord: Hashable, Sendable {
    /// Most that are open, so that they bound the size of the file and can be looked over.
    package static let openMax = 64
    /// Most that are open of one actor: nobody keeps others from proposing.
    package static let openOfActorMax = 8
    /// Longest content in bytes: what somebody can read before he approves it.
    package static let contentBytesMax = 262_144
    /// Most nodes beside the first from which its proposer has made it again.
    package static let moreNodesMax = 16
    /// How long an ID is, in bytes.
    package static let idByteCount = 8

    /// Random bytes, `idByteCount` of them.
    package let id: [UInt8]
    /// Who proposed it, as the audit log names him.
    package let actor: String
    /// What the proposer showed; nil for a local user of the server.
    package let certificate: ShownCertificate?
    /// The names of other nodes whose certificates he has shown when he proposed it again.
    package let moreNodes: [String]
    package let topic: ProposalTopic
    /// Canonical JSON of the act, and of the versions that it was judged by.
    package let content: [UInt8]
    /// SHA-256 of the content.
    package let sha256: [UInt8]
    package let madeAt: Date
    /// When it is over if it has not been done by then.
    package let endsAt: Date

    package init(
        id: [UInt8],
        actor: String,
        certificate: ShownCertificate?,
        moreNodes: [String] = [],
        topic: ProposalTopic,
        content: [UInt8],
        sha256: [UInt8],
        madeAt: Date,
        endsAt: Date
    ) {
        self.id = id
        self.actor = actor
        self.certificate = certificate
        self.moreNodes = moreNodes
        self.topic = topic
        self.content = content
        self.sha256 = sha256
        self.madeAt = madeAt
        self.endsAt = endsAt
    }

    /// The same without its content.
    package var summary: ProposalSummary {
        ProposalSummary(
            id: id,
            actor: actor,
            topic: topic,
            sha256: sha256,
            madeAt: madeAt,
            endsAt: endsAt
        )
    }
}

/// That somebody has approved a proposal.
package struct ApprovalRecord: Hashable, Sendable {
    package let proposalID: [UInt8]
    /// Who approved it, as the audit log names him.
    package let actor: String
    /// What the approver showed; nil for a local user of the server.
    package let certificate: ShownCertificate?
    package let approvedAt: Date

    package init(
        proposalID: [UInt8],
        actor: String,
        certificate: ShownCertificate?,
        approvedAt: Date
    ) {
        self.proposalID = proposalID
        self.actor = actor
        self.certificate = certificate
        self.approvedAt = approvedAt
    }
}

/// What somebody proposed or approved with, and can be trusted no more.
package enum StruckParty: Hashable, Sendable {
    /// An identity that is revoked.
    case actor(String)
    /// An authority that is tainted or revoked.
    case authority(String)
    /// A certificate that is revoked, by its serial number.
    case certificate(serial: [UInt8])
    /// A node that is banned or evicted, by its name.
    case node(String)
}

extension ReadTransaction {
    /// The proposal with an ID; nil when there is none.
    package func proposal(id: [UInt8]) throws(DatastoreError) -> ProposalRecord? {
        try first("SELECT * FROM proposals WHERE id = ?", [id.stored], ProposalRecord.init)
    }

    /// What an actor has proposed with a content; nil when that is not open.
    package func proposal(
        actor: String,
        sha256: [UInt8]
    ) throws(DatastoreError) -> ProposalRecord? {
        try first(
            "SELECT * FROM proposals WHERE actor = ? AND sha256 = ?",
            [actor, sha256.stored],
            ProposalRecord.init
        )
    }

    /// All proposals, the oldest first, also those whose time is over and that nobody ended yet.
    package func proposals() throws(DatastoreError) -> [ProposalSummary] {
        try all(
            "SELECT \(ProposalSummary.columns) FROM proposals ORDER BY made_at, id LIMIT ?",
            [ProposalRecord.openMax],
            ProposalSummary.init
        )
    }

    /// What a proposal is about, without its content; nil when there is none.
    package func proposalTopic(id: [UInt8]) throws(DatastoreError) -> ProposalTopic? {
        try first(
            "SELECT \(ProposalSummary.columns) FROM proposals WHERE id = ?",
            [id.stored],
            ProposalTopic.init
        )
    }

    /// Whether the time of any proposal is over at `now`.
    package func isAnyProposalOver(at now: Date) throws(DatastoreError) -> Bool {
        try first(
            "SELECT 1 AS n FROM proposals WHERE ends_at <= ? LIMIT 1",
            [now.storedMilliseconds]
        ) { row in
            try row.value("n", as: Int.self)
        } != nil
    }

    /// The SPIFFE IDs that the RoleBindings of all proposals would name.
    package func proposedSubjects() throws(DatastoreError) -> Set<String> {
        Set(
            try all(
                """
                SELECT DISTINCT json_each.value AS bound
                FROM proposals, json_each(coalesce(proposals.bound_ids, '[]'))
                """
            ) { row in
                try row.value("bound", as: String.self)
            }
        )
    }

    /// The approvals of a proposal, the oldest first.
    package func approvals(of proposalID: [UInt8]) throws(DatastoreError) -> [ApprovalRecord] {
        try all(
            "SELECT * FROM approvals WHERE proposal = ? ORDER BY approved_at, actor",
            [proposalID.stored],
            ApprovalRecord.init
        )
    }

    /// How many proposals there are, and how many of them are of an actor.
    package func proposalCounts(
        actor: String
    ) throws(DatastoreError) -> (open: Int, ofActor: Int) {
        try first(
            """
            SELECT count(*) AS n, count(CASE WHEN actor = ? THEN 1 END) AS own FROM proposals
            """,
            [actor]
        ) { row in
            (try row.value("n", as: Int.self), try row.value("own", as: Int.self))
        } ?? (0, 0)
    }
}

extension Transaction {
    /// Stores a proposal.
    ///
    /// The caller has looked whether there is room: `ProposalRecord.openMax` and the other limits
    /// are no rules of the table.
    ///
    /// - Throws: `DatastoreError.constraint` when the ID is taken, or the actor has an open proposal
    ///   of the same content.
    package func insert(_ proposal: ProposalRecord) throws(DatastoreError) {
        let topic = proposal.topic
        let (rights, boundIDs) = (try storedJSON(topic.rights), try storedJSON(topic.boundIDs))
        let givers = try storedJSON(topic.givers)
        let moreNodes = try storedJSON(proposal.moreNodes)
        try execute(
            """
            INSERT INTO proposals (id, actor, serial, authority, node, more_nodes, sha256, made_at,
                ends_at, act, subject, change_count, rights, bound_ids, givers, content)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [proposal.id.stored, proposal.actor] + proposal.certificate.storedColumns + [
                moreNodes, proposal.sha256.stored, proposal.madeAt.storedMilliseconds,
                proposal.endsAt.storedMilliseconds, topic.act, topic.subject, topic.changeCount,
                rights, boundIDs, givers, proposal.content.stored,
            ]
        )
    }

    /// Stores an approval; one who approves again counts once, with what he shows now.
    ///
    /// - Throws: `DatastoreError.constraint` when there is no such proposal.
    package func record(_ approval: ApprovalRecord) throws(DatastoreError) {
        try execute(
            """
            INSERT INTO approvals (proposal, actor, serial, authority, node, approved_at)
            VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (proposal, actor) DO UPDATE SET serial = excluded.serial,
                authority = excluded.authority, node = excluded.node,
                approved_at = excluded.approved_at
            """,
            [approval.proposalID.stored, approval.actor] + approval.certificate.storedColumns
                + [approval.approvedAt.storedMilliseconds]
        )
    }

    /// Remembers one more node of the proposer's, and takes back what was approved from there.
    ///
    /// The caller has looked whether there is room: `ProposalRecord.moreNodesMax`.
    ///
    /// - Throws: `DatastoreError`.
    package func add(
        node: String,
        toProposal id: [UInt8],
        beside nodes: [String]
    ) throws(DatastoreError) {
        try execute(
            "UPDATE proposals SET more_nodes = ? WHERE id = ?",
            [try storedJSON(nodes + [node]), id.stored]
        )
        try execute("DELETE FROM approvals WHERE proposal = ? AND node = ?", [id.stored, node])
    }

    /// Deletes a proposal with its approvals.
    ///
    /// - Returns: False if there was none.
    @discardableResult
    package func deleteProposal(id: [UInt8]) throws(DatastoreError) -> Bool {
        try execute("DELETE FROM proposals WHERE id = ?", [id.stored]) == 1
    }

    /// Takes back what an actor approved.
    ///
    /// - Returns: False if he had not.
    @discardableResult
    package func deleteApproval(
        of proposalID: [UInt8],
        actor: String
    ) throws(DatastoreError) -> Bool {
        try execute(
            "DELETE FROM approvals WHERE proposal = ? AND actor = ?",
            [proposalID.stored, actor]
        ) == 1
    }

    /// Deletes the proposals whose time is over at `now`, with their approvals.
    ///
    /// - Parameter now: A time that is believed; a clock that ran ahead would end what is open.
    /// - Returns: What was deleted, the oldest first.
    /// - Throws: `DatastoreError`.
    package func endProposals(at now: Date) throws(DatastoreError) -> [ProposalSummary] {
        try deleteProposals(where: "ends_at <= ?", now.storedMilliseconds)
    }

    /// Deletes what was proposed and approved with something that is trusted no more.
    ///
    /// - Returns: The proposals that were deleted, the oldest first; others may have lost approvals.
    /// - Throws: `DatastoreError`.
    package func strike(_ party: StruckParty) throws(DatastoreError) -> [ProposalSummary] {
        switch party {
        case .actor(let actor): try strike("actor = ?", actor)
        case .authority(let id): try strike("authority = ?", id)
        case .certificate(let serial): try strike("serial = ?", serial.stored)
        case .node(let name): try strike("node = ?", name)
        }
    }

    private func strike(
        _ condition: String,
        _ value: some DatabaseValueConvertible
    ) throws(DatastoreError) -> [ProposalSummary] {
        try execute("DELETE FROM approvals WHERE \(condition)", [value])
        return try deleteProposals(where: condition, value)
    }

    private func deleteProposals(
        where condition: String,
        _ value: some DatabaseValueConvertible
    ) throws(DatastoreError) -> [ProposalSummary] {
        let found = try all(
            """
            SELECT \(ProposalSummary.columns) FROM proposals WHERE \(condition)
            ORDER BY made_at, id
            """,
            [value],
            ProposalSummary.init
        )
        for proposal in found { try deleteProposal(id: proposal.id) }
        return found
    }
}

extension ProposalTopic {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        self.init(
            act: try row.value("act"),
            subject: try row.value("subject"),
            changeCount: try row.value("change_count"),
            rights: try row.json("rights", default: []),
            boundIDs: try row.json("bound_ids", default: []),
            givers: try row.json("givers", default: [])
        )
    }
}

extension ProposalSummary {
    fileprivate static let columns = """
        id, actor, sha256, made_at, ends_at, act, subject, change_count, rights, bound_ids, givers
        """

    fileprivate init(_ row: Row) throws(DatastoreError) {
        self.init(
            id: try row.bytes("id"),
            actor: try row.value("actor"),
            topic: try ProposalTopic(row),
            sha256: try row.bytes("sha256"),
            madeAt: try row.date("made_at"),
            endsAt: try row.date("ends_at")
        )
    }
}

extension ProposalRecord {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        self.init(
            id: try row.bytes("id"),
            actor: try row.value("actor"),
            certificate: try ShownCertificate.read(row),
            moreNodes: try row.json("more_nodes", default: []),
            topic: try ProposalTopic(row),
            content: try row.bytes("content"),
            sha256: try row.bytes("sha256"),
            madeAt: try row.date("made_at"),
            endsAt: try row.date("ends_at")
        )
    }
}

extension ApprovalRecord {
    fileprivate init(_ row: Row) throws(DatastoreError) {
        self.init(
            proposalID: try row.bytes("proposal"),
            actor: try row.value("actor"),
            certificate: try ShownCertificate.read(row),
            approvedAt: try row.date("approved_at")
        )
    }
}

extension ShownCertificate {
    fileprivate static func read(_ row: Row) throws(DatastoreError) -> Self? {
        guard let serial = try row.optionalBytes("serial") else { return nil }
        return Self(
            serial: serial,
            authorityID: try row.value("authority"),
            node: try row.optional("node")
        )
    }
}

extension ShownCertificate? {
    /// The columns `serial`, `authority` and `node`.
    fileprivate var storedColumns: StatementArguments {
        [self?.serial.stored, self?.authorityID, self?.node]
    }
}
