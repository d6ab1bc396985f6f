// SPDX-License-Identifier: Apache-2.0

internal import SPIFFE

/// An act was asked for that others have to approve before it is done
/// (docs/decisions/0023-approvals.md).
package struct ChangeProposal: Hashable, Sendable, AuditPayload {
    /// The proposal's ID.
    package let proposal: [UInt8]
    /// SHA-256 of the proposal's content.
    package let contentSHA256: [UInt8]
    /// What kind of act it is: `documents`, `token`, `unban`, or the verb of an act on an authority.
    package let act: String
    /// What it is about, if not about documents: the name of a node, the ID of an authority; cut to
    /// `AuditText.wordBytesMax`.
    package let subject: String
    /// Why, in the words of whoever asks for it; cut to `AuditText.sentenceBytesMax`.
    package let reason: String
    /// When it is over if it has not been done by then.
    package let endsAt: AuditTime
    /// The documents that it would change.
    package internal(set) var documents: [DocumentChange]

    package init(
        proposal: [UInt8],
        contentSHA256: [UInt8],
        act: String,
        subject: String = "",
        reason: String = "",
        endsAt: AuditTime,
        documents: [DocumentChange]
    ) {
        self.proposal = proposal
        self.contentSHA256 = contentSHA256
        self.act = AuditText.word(act)
        self.subject = AuditText.word(subject)
        self.reason = AuditText.sentence(reason)
        self.endsAt = endsAt
        self.documents = documents
    }

    func write(to fields: inout FieldWriter) {
        fields.set("act", act)
        fields.set("contentSHA256", contentSHA256)
        fields.set("documents", documents) { document, fields in document.write(to: &fields) }
        fields.set("endsAt", endsAt)
        fields.set("proposal", proposal)
        fields.set("reason", unlessEmpty: reason)
        fields.set("subject", unlessEmpty: subject)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            proposal: try fields.bytes("proposal"),
            contentSHA256: try fields.bytes("contentSHA256"),
            act: try fields.text("act"),
            subject: try fields.textOrEmpty("subject"),
            reason: try fields.textOrEmpty("reason"),
            endsAt: try fields.time("endsAt"),
            documents: try fields.objects("documents", DocumentChange.init)
        )
    }

    func index(into subjects: inout AuditSubjects) {
        for document in documents where !document.key.namespace.isEmpty {
            subjects.namespaces.insert(document.key.namespace)
        }
    }
}

/// Somebody approved what another has proposed.
package struct ChangeApproval: Hashable, Sendable, AuditPayload {
    /// The proposal's ID.
    package let proposal: [UInt8]
    /// SHA-256 of the content that he approved.
    package let contentSHA256: [UInt8]
    /// How many approvals count now.
    package let approved: UInt64
    /// How many are needed.
    package let needed: UInt64
    /// Whether the act was done with this one; its own leaves stand before this.
    package let isCarriedOut: Bool
    /// Who had approved it and may not do the act any more, so that it counts no longer; as many as
    /// may be needed at most.
    package let struck: [String]

    package init(
        proposal: [UInt8],
        contentSHA256: [UInt8],
        approved: UInt64,
        needed: UInt64,
        isCarriedOut: Bool,
        struck: [String]
    ) {
        self.proposal = proposal
        self.contentSHA256 = contentSHA256
        self.approved = approved
        self.needed = needed
        self.isCarriedOut = isCarriedOut
        self.struck = struck
    }

    func write(to fields: inout FieldWriter) {
        fields.set("approved", approved)
        if isCarriedOut { fields.set("carriedOut", 1) }
        fields.set("contentSHA256", contentSHA256)
        fields.set("needed", needed)
        fields.set("proposal", proposal)
        if !struck.isEmpty { fields.set("struck", struck) }
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            proposal: try fields.bytes("proposal"),
            contentSHA256: try fields.bytes("contentSHA256"),
            approved: try fields.number("approved"),
            needed: try fields.number("needed"),
            isCarriedOut: fields.has("carriedOut") ? try fields.number("carriedOut") == 1 : false,
            struck: fields.has("struck") ? try fields.texts("struck") { $0 } : []
        )
    }

    func index(into subjects: inout AuditSubjects) {
        for actor in struck where actor.hasPrefix("spiffe://") { subjects.spiffeIDs.insert(actor) }
    }
}

/// A proposal ended without having been done.
package struct ChangeDrop: Hashable, Sendable, AuditPayload {
    /// Why a proposal ends.
    package enum Cause: String, CaseIterable, Sendable {
        /// Who proposed it may not do it any more.
        case denied
        /// Its time is over.
        case expired
        /// What it was judged by has changed.
        case stale
        /// What it was proposed with is trusted no more.
        case struck
        /// By who proposed it, or because nothing needs approval any more.
        case withdrawn
    }

    /// The proposal's ID.
    package let proposal: [UInt8]
    package let cause: Cause

    package init(proposal: [UInt8], cause: Cause) {
        self.proposal = proposal
        self.cause = cause
    }

    func write(to fields: inout FieldWriter) {
        fields.set("cause", cause.rawValue)
        fields.set("proposal", proposal)
    }

    init(_ fields: inout FieldReader) throws(AuditRecordParsingError) {
        self.init(
            proposal: try fields.bytes("proposal"),
            cause: try fields.parsed("cause", Cause.init(rawValue:))
        )
    }

    func index(into subjects: inout AuditSubjects) {}
}
