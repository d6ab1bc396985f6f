// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// One identity that an entry grants on this node: a template grants several.
package struct IdentityKey: Hashable, Sendable, Comparable, CustomStringConvertible {
    package let entryID: String
    /// The whole ID, with all variables filled in.
    package let spiffeID: SPIFFEID

    package init(entryID: String, spiffeID: SPIFFEID) {
        self.entryID = entryID
        self.spiffeID = spiffeID
    }

    package var description: String { "\(spiffeID) (entry \(entryID))" }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.entryID, lhs.spiffeID) < (rhs.entryID, rhs.spiffeID)
    }
}

/// A workload's open stream; numbers are given by the shell and never used again.
package struct SubscriberID: Hashable, Sendable, Comparable {
    package let number: UInt64

    package init(_ number: UInt64) {
        self.number = number
    }

    package static func < (lhs: Self, rhs: Self) -> Bool { lhs.number < rhs.number }
}

/// How much an identity is wanted.
package enum IdentityDemand: UInt8, Hashable, Sendable {
    /// No entry grants it any more, or no workload asks for what only it could name.
    case none
    /// Granted; signed ahead so that its workload need not wait.
    case prefetch
    /// A workload's stream is open for it.
    case subscribed
}

/// How long an SVID is good for.
package struct SVIDValidity: Hashable, Sendable {
    package let issuedAt: Date
    package let notAfter: Date

    package init(issuedAt: Date, notAfter: Date) {
        self.issuedAt = issuedAt
        self.notAfter = notAfter
    }
}

/// An identity whose demand, or whose need for an SVID, changed.
package struct DemandChange: Hashable, Sendable {
    package let key: IdentityKey
    package let demand: IdentityDemand
    /// The SVID at hand; nil if there is none that may be served.
    package let validity: SVIDValidity?
    /// The SVID at hand differs from what the entry says now: replace it without waiting for half
    /// of its life.
    package let isOutdated: Bool

    package init(
        key: IdentityKey,
        demand: IdentityDemand,
        validity: SVIDValidity?,
        isOutdated: Bool = false
    ) {
        self.key = key
        self.demand = demand
        self.validity = validity
        self.isOutdated = isOutdated
    }
}

/// An SVID as it was signed, with what the cache must know of its leaf.
package struct IssuedSVID: Hashable, Sendable {
    package let svid: X509SVID
    /// The DNS names in the leaf.
    package let dnsNames: [String]
    /// Which authority signed the leaf: its authority key identifier.
    package let authorityKeyID: [UInt8]

    package init(svid: X509SVID, dnsNames: [String], authorityKeyID: [UInt8]) {
        self.svid = svid
        self.dnsNames = dnsNames
        self.authorityKeyID = authorityKeyID
    }

    package var key: IdentityKey { IdentityKey(entryID: svid.entryID, spiffeID: svid.id) }

    package var validity: SVIDValidity {
        SVIDValidity(issuedAt: svid.issuedAt, notAfter: svid.notAfter)
    }
}

/// What a decoded revocation takes away.
package enum Revocation: Hashable, Sendable {
    /// Everything an authority signed, by subject key identifier.
    case authority(keyID: [UInt8])
    /// Every SVID of an identity that was issued before an instant.
    case identity(SPIFFEID, issuedBefore: Date)
    /// One leaf.
    case leaf(authorityKeyID: [UInt8], serial: [UInt8])
    /// Everything on an agent's node.
    case node(AgentName)
}
