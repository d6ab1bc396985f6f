// SPDX-License-Identifier: Apache-2.0

import Foundation
import MTLSProxy
import NodeSync
import SPIFFE

/// Which certificates are refused although their time is not over, as the server said.
struct RefusalRecord {
    /// A certificate with an entry that counts no longer.
    struct Refused {
        let certificate: IssuedFact
        /// The certificate as a proxy would show it.
        let shown: ProxyIdentity
        /// When the server said so.
        let at: Duration
    }

    /// An identity of which nothing counts that was issued before a moment, tokens included.
    struct RevokedIdentity {
        let id: SPIFFEID
        let before: Date
        /// When the server said so, and what its clock showed.
        let at: Duration
        let wall: Date
    }

    /// In the order in which they were refused.
    private(set) var all: [Refused] = []
    private var places: [[UInt8]: Int] = [:]
    /// The last revocation of each identity.
    private(set) var identities: [String: RevokedIdentity] = [:]
    /// From when on an identity that lost a certificate can be had again, by right clocks.
    private(set) var freeAt: [String: Duration] = [:]

    /// How a certificate was refused; nil if it counts.
    func refusal(of serial: [UInt8]) -> Refused? { places[serial].map { all[$0] } }

    /// Whether a certificate is of an identity that was revoked up to a moment after its beginning.
    func isOfRevokedIdentity(_ fact: IssuedFact) -> Bool {
        guard fact.entryID != nil, let revoked = identities[fact.spiffeID] else { return false }
        return Revocation.revokes(leafNotBefore: fact.notBefore, issuedBefore: revoked.before)
    }

    /// One certificate is refused.
    mutating func revoked(_ fact: IssuedFact, at now: Duration) {
        guard places[fact.serial] == nil, let shown = ProxyIdentity(fact) else { return }
        places[fact.serial] = all.count
        all.append(Refused(certificate: fact, shown: shown, at: now))
        freeAt[fact.spiffeID] = max(freeAt[fact.spiffeID] ?? .zero, now)
    }

    /// Everything is refused that was issued for an identity before a moment.
    mutating func revoked(
        identity: String,
        before moment: Date,
        of issued: [IssuedFact],
        at now: Duration,
        wall: Date
    ) {
        guard let id = try? SPIFFEID(identity) else { return }
        // Of one identity the moment only ever rises.
        let last = max(identities[identity]?.before ?? .distantPast, moment)
        identities[identity] = RevokedIdentity(id: id, before: last, at: now, wall: wall)
        for fact in issued where fact.spiffeID == identity && isOfRevokedIdentity(fact) {
            revoked(fact, at: now)
        }
        let wait = Duration.seconds(max(0, moment.timeIntervalSince(wall)))
        freeAt[identity] = max(freeAt[identity] ?? .zero, now + wait)
    }
}

extension ProxyIdentity {
    /// A certificate that the server let out; nil if its ID is none.
    init?(_ fact: IssuedFact) {
        guard let id = try? SPIFFEID(fact.spiffeID) else { return nil }
        self.init(
            id: id,
            certificateChain: [fact.der],
            privateKeyPKCS8: [],
            authorityKeyID: Hexadecimal.bytes(fact.authorityID) ?? [],
            serial: fact.serial,
            notBefore: fact.notBefore,
            notAfter: fact.notAfter
        )
    }
}

/// A revocation list that the server committed.
struct ListFact {
    let authorityID: String
    let number: Int64
    let nextUpdate: Date
    /// Without leading zeros, as those of certificates.
    let serials: Set<[UInt8]>
    let der: [UInt8]
}
