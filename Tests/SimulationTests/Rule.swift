// SPDX-License-Identifier: Apache-2.0

/// What holds in every world at every moment: all that the checkers watch over, in one place.
///
/// An agent is *settled* when it has been undisturbed (`AvailabilityChecker`) for
/// `AvailabilityChecker.recovery`. What a rule says of agents it says of those that are not banned.
enum Rule: String, CaseIterable, Sendable {
    /// `AuditChecker`. Each certificate that left the server is in exactly one leaf, which tells of
    /// this very certificate. The tree only grows, over crashes too, and each checkpoint that was
    /// published, or that an agent remembers, is a state that it had. No agent raises the alarm.
    case audit
    /// `AvailabilityChecker`. Whom an entry means has a valid SVID `recovery` after the last
    /// disturbance, and keeps it through each that is short enough. `AuthorityChecker`. Who is locked
    /// out by what admins order of authorities has a new token and an identity soon.
    case availability
    /// `DurabilityChecker`. What the server said is done is in its database after every crash, and
    /// nothing else is: documents, entries, nodes, tokens, authorities, their lists, intents.
    case durability
    /// `FederationChecker`. The server believes of a partner only what that once published, while there
    /// is a document for it, and nothing older than what it believed by the same document. An agent
    /// tells its proxy of partners what its revision says. No proxy admits a chain by an authority
    /// that is not in the bundle of the chain's own trust domain. `taking` after its endpoint has begun
    /// to serve the newest bundle, that one is believed, and by the proxies of settled agents
    /// `promptness` later, as is every other change; what was not confirmed for `staleAfter` is
    /// believed by nobody.
    case federation
    /// `IssuanceChecker`. What is signed was allowed when it was: node and entry say so, it lives no
    /// longer than they say, its identity is not revoked. No serial is used twice, no holder has more
    /// certificates than renewals make. An agent shows a workload what its revision grants, and
    /// nothing else.
    case issuance
    /// `RevisionChecker`. Revisions go forward at both ends, over restarts too; nobody has or is
    /// believed to have what was not committed; whoever has a revision has exactly what was declared
    /// by then.
    case revisions
    /// `RevocationChecker`. A certificate that was revoked, by itself, with its identity or with its
    /// node, is refused by the proxy of each settled agent `promptness` later, and shown by no such
    /// agent; with its identity, tokens of before are withheld too. Nobody refuses what nobody revoked.
    /// The newest list of its authority has it `listing` after that, and workloads of settled agents
    /// have that list `promptness` later. No list names what counts, none that is shown is another than
    /// the server's, and of each authority they go forward. Every authority has a list that has not
    /// ended. `AuthorityChecker`. What a revoked authority signed is shown by no settled agent and
    /// taken by none of their proxies, nor by the server; it signs nothing any more.
    case revocation
    /// `RotationChecker`. No authority signs too early or too late; whatever is at hand verifies with
    /// the bundle at hand, always. `AuthorityChecker`. What a tainted authority signed is replaced in
    /// time.
    case rotation
}
