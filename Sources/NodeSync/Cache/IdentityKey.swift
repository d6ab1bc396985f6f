// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// Who holds the key of an identity: the same identity has another key for each holder.
package enum IdentityHolder: Hashable, Sendable, Comparable {
    /// The workloads that the entry means.
    case workload
    /// The process that attests to the Proxy `namespace/name`.
    case proxy(String)

    /// `namespace/name` of the Proxy; nil for a workload.
    package var proxy: String? {
        switch self {
        case .proxy(let reference): reference
        case .workload: nil
        }
    }
}

/// One identity that an entry grants on this node, with one key: a template grants several, and
/// each holder has its own.
package struct IdentityKey: Hashable, Sendable, Comparable, CustomStringConvertible {
    package let entryID: String
    /// The whole ID, with all variables filled in.
    package let spiffeID: SPIFFEID
    package let holder: IdentityHolder

    package init(entryID: String, spiffeID: SPIFFEID, holder: IdentityHolder = .workload) {
        self.entryID = entryID
        self.spiffeID = spiffeID
        self.holder = holder
    }

    package var description: String {
        let proxy = holder.proxy.map { ", proxy \($0)" } ?? ""
        return "\(spiffeID) (entry \(entryID)\(proxy))"
    }

    package static func < (lhs: Self, rhs: Self) -> Bool {
        (lhs.entryID, lhs.spiffeID, lhs.holder) < (rhs.entryID, rhs.spiffeID, rhs.holder)
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
    /// A tainted authority signed the SVID at hand: replace it soon, but not all at the same time.
    package let isTainted: Bool

    package init(
        key: IdentityKey,
        demand: IdentityDemand,
        validity: SVIDValidity?,
        isOutdated: Bool = false,
        isTainted: Bool = false
    ) {
        self.key = key
        self.demand = demand
        self.validity = validity
        self.isOutdated = isOutdated
        self.isTainted = isTainted
    }
}

/// An SVID as it was signed, with what the cache must know of its leaf.
package struct IssuedSVID: Hashable, Sendable {
    package let svid: X509SVID
    /// The DNS names in the leaf.
    package let dnsNames: [String]
    /// Which authority signed the leaf: its authority key identifier.
    package let authorityKeyID: [UInt8]
    /// What the leaf says: the server's clock, 60 s before it signed.
    ///
    /// Revocations are judged by it, never by `svid.issuedAt`, which is this machine's clock.
    package let notBefore: Date
    package let holder: IdentityHolder

    package init(
        svid: X509SVID,
        dnsNames: [String],
        authorityKeyID: [UInt8],
        notBefore: Date,
        holder: IdentityHolder = .workload
    ) {
        self.svid = svid
        self.dnsNames = dnsNames
        self.authorityKeyID = authorityKeyID
        self.notBefore = notBefore
        self.holder = holder
    }

    package var key: IdentityKey {
        IdentityKey(entryID: svid.entryID, spiffeID: svid.id, holder: holder)
    }

    package var validity: SVIDValidity {
        SVIDValidity(issuedAt: svid.issuedAt, notAfter: svid.notAfter)
    }
}

/// What a decoded revocation takes away, or will.
package enum Revocation: Hashable, Sendable {
    /// Everything an authority signed, by subject key identifier.
    case authority(keyID: [UInt8])
    /// Nothing yet: what the authority signed counts, and is to be replaced before it does not
    /// (docs/decisions/0014-life-of-an-authority.md).
    case taintedAuthority(keyID: [UInt8])
    /// Every SVID of an identity that was issued before an instant, a whole second.
    case identity(SPIFFEID, issuedBefore: Date)
    /// One leaf, which ends at a whole second: what ends is no longer to be remembered.
    case leaf(authorityKeyID: [UInt8], serial: [UInt8], notAfter: Date)
    /// Everything on an agent's node.
    case node(AgentName)
}

extension Revocation {
    /// How late a verifier's clock may be: what has ended counts as ended only so much later.
    package static let clockSkewSeconds: Double = 60

    /// Whether a revocation of a leaf refuses nothing any more.
    package static func hasEnded(leafNotAfter: Date, at now: Date) -> Bool {
        leafNotAfter.addingTimeInterval(clockSkewSeconds) < now
    }

    /// Whether a revocation of an identity up to `issuedBefore` takes away a leaf.
    ///
    /// Leaves are backdated by exactly `X509SVID.backdatingSeconds`, so that notBefore tells when
    /// they were issued, by the clock of the server that set `issuedBefore` (decision 0009).
    package static func revokes(leafNotBefore: Date, issuedBefore: Date) -> Bool {
        leafNotBefore.addingTimeInterval(X509SVID.backdatingSeconds) < issuedBefore
    }
}
