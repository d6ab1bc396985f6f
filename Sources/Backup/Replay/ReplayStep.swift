// SPDX-License-Identifier: Apache-2.0

package import AuditLog
package import FoundationEssentials
package import SPIFFE

/// One thing that a record of the log made of the database, as far as the record says it; to be done
/// in the order of the records (docs/decisions/0022-backup-and-restore.md, "Restore").
///
/// Authorities are named by their subject key identifiers, nodes by their agents' IDs.
package enum ReplayStep: Hashable, Sendable {
    /// A new authority is in the bundle.
    case authorityPublished(ReplayedAuthority)
    /// It signs.
    case authorityActivated([UInt8], at: Date)
    /// It signs no more.
    case authorityRetired([UInt8])
    case authorityTainted([UInt8], ReplayedReason)
    case authorityRevoked([UInt8], ReplayedReason)
    /// It has left the bundle, after all that it signed has ended.
    case authorityRemoved([UInt8])
    /// Nothing of it is on record any more.
    case authorityForgotten([UInt8])

    /// A root or an upstream authority, by the ID of its key, is trusted no more; what this made of
    /// the authorities below has records of its own.
    case upstreamDistrusted([UInt8], ReplayedUpstreamDistrust)
    /// The upstream named keys as revoked that nothing here had, and others that were to be revoked
    /// once another authority signed.
    case upstreamKeysNamed([[UInt8]], waiting: [[UInt8]], at: Date)
    /// They are refused no more.
    case upstreamKeysForgotten([[UInt8]])

    /// An authority of a server below was certified, for the first time or once more.
    case downstreamCertified(ReplayedDownstream)
    /// One is believed no more.
    case downstreamRevoked([UInt8], ReplayedReason)

    /// A node was admitted for the first time, or again after it was evicted.
    case nodeAttested(ReplayedNode)
    /// It has this key now (SHA-256 of its SubjectPublicKeyInfo).
    case nodeKey(agent: SPIFFEID, keySHA256: [UInt8], at: Date)
    case nodeBanned(agent: SPIFFEID, ReplayedReason)
    case nodeUnbanned(agent: SPIFFEID)
    /// It is gone, and the key that it had at this place is withdrawn.
    case nodeEvicted(agent: SPIFFEID, at: Date)
    /// All that the node's workloads and proxies held at this place is refused: the record has
    /// numbers alone. Identities that were revoked for it have steps of their own.
    case holdingsRevoked(agent: SPIFFEID, ReplayedReason)

    /// The clock was set back to this: what was dated later is no more.
    case clockLowered(to: Date)
    case certificates(ReplayedCertificates)
    case tokens(ReplayedTokens)
    /// Who is named in an exchanged token that somebody else holds.
    case delegationParties([SPIFFEID], issuedAt: Date, notAfter: Date)
    /// Another bundle of this trust domain was believed, or none any more; `sequence` is the number
    /// that was remembered with it.
    case foreignBundleChanged(TrustDomain, sequence: UInt64?)
    case identityRevoked(ReplayedRevocation)
    case certificateRevoked(serial: [UInt8], ReplayedReason)
    /// An authority's list was signed, of which nothing but its number and times is known.
    case listSigned(authority: [UInt8], thisUpdate: Date, nextUpdate: Date)
}

/// Why something was done, by whom and when.
package struct ReplayedReason: Hashable, Sendable {
    package let reason: String
    package let actor: Actor
    /// By the wall clock of then.
    package let time: Date

    package init(reason: String, actor: Actor, time: Date) {
        self.reason = reason
        self.actor = actor
        self.time = time
    }
}

/// An authority as its record has it.
package struct ReplayedAuthority: Hashable, Sendable {
    package let keyID: [UInt8]
    package let serverID: String
    /// DER, compared with the record's hash; nil in records of releases that had the hash alone, with
    /// which nothing can put it into a bundle again.
    package let certificate: [UInt8]?
    /// SubjectPublicKeyInfo of the key that signs JWT-SVIDs; nil without one.
    package let tokenKey: [UInt8]?
    package let publishedAt: Date
    package let notBefore: Date
    package let notAfter: Date
    /// What certified it; nil if it is self-signed.
    package let above: AuthorityPreparation.Above?
}

/// How something above authorities is trusted no more.
package struct ReplayedUpstreamDistrust: Hashable, Sendable {
    /// DER, of its key as whoever performs the step has to see: it may be on no other record.
    package let certificate: [UInt8]
    /// Whether it was revoked; else it was tainted.
    package let isRevoked: Bool
    package let why: ReplayedReason
}

/// An authority of a server below, as its record has it.
package struct ReplayedDownstream: Hashable, Sendable {
    package let keyID: [UInt8]
    /// DER, of its key as whoever performs the step has to see.
    package let certificate: [UInt8]
    package let above: AuthorityPreparation.Above
    package let agent: SPIFFEID
    package let entry: IssuedSVID.Entry
    package let entryName: String
    package let spiffeID: SPIFFEID
    package let serverID: String
    package let at: Date
    package let notBefore: Date
    package let notAfter: Date
}

/// A node as it was admitted.
package struct ReplayedNode: Hashable, Sendable {
    package let agent: SPIFFEID
    package let selectors: Set<Selector>
    /// How it proved itself.
    package let method: String
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    package let keySHA256: [UInt8]
    package let at: Date
}

/// Certificates that were about to be signed.
package struct ReplayedCertificates: Hashable, Sendable {
    /// Of whom they are: of the nodes' agents, which they are then the newest of, of a server, or of
    /// workloads.
    package let profile: SVIDIssuance.Profile
    /// Who asked; nil: the server for itself.
    package let agent: SPIFFEID?
    package let authority: [UInt8]
    package let svids: [IssuedSVID]
    /// The place of the record in the log.
    package let leaf: UInt64
    package let at: Date
}

/// Holders of JWT-SVIDs that were about to be signed.
package struct ReplayedTokens: Hashable, Sendable {
    /// Who may have one.
    package struct Holder: Hashable, Sendable {
        package let spiffeID: SPIFFEID
        package let entryID: String
        package let notAfter: Date
    }

    package let agent: SPIFFEID
    package let authority: [UInt8]
    package let holders: [Holder]
    /// Whole seconds, as tokens say it.
    package let issuedAt: Date
}

/// A revoked identity.
package struct ReplayedRevocation: Hashable, Sendable {
    package let spiffeID: SPIFFEID
    package let issuedBefore: Date
    /// The latest moment at which something may end that it refuses.
    package let ends: Date
    package let why: ReplayedReason
}
