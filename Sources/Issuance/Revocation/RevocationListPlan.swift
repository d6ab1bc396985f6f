// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// The lists that a server has to sign now, decided for all of its authorities at once
/// (docs/decisions/0018-certificate-revocation-lists.md).
///
/// Places are those of all lists together. Certificates that are revoked by their serial number
/// have the first ones; then revoked identities, each whole or not at all, the one with the fewest
/// certificates first, so that who asks for many certificates leaves out nobody but himself.
package struct RevocationListPlan: Hashable, Sendable {
    /// Most certificates on all lists of a server together: all that can be revoked by serial
    /// number fit, and no list comes near the 1 MiB of a message to agents.
    package static let placesMax = CertificateRevocationList.entriesMax
    /// How long ago a list begins, for verifiers whose clocks are behind.
    package static let backdate: Duration = .seconds(5 * 60)
    /// How long after its beginning a list ends.
    package static let lifetime: Duration = .seconds(24 * 3600)
    /// The age at which a list is signed again although nothing has changed.
    package static let renewalAge: Duration = .seconds(12 * 3600)
    /// The same when another list is signed anyway, so that verifiers hear of both at once.
    package static let joinedRenewalAge: Duration = .seconds(6 * 3600)
    /// How long the last certificate has ended when an authority's last list is signed.
    package static let endedFor: Duration = .seconds(60)

    /// A certificate with an entry that is on record.
    package struct Certificate: Hashable, Sendable {
        package let authorityID: String
        /// Big-endian, without leading zeros.
        package let serial: [UInt8]
        package let notAfter: Date

        package init(authorityID: String, serial: [UInt8], notAfter: Date) {
            self.authorityID = authorityID
            self.serial = serial
            self.notAfter = notAfter
        }
    }

    /// A certificate that is revoked by its serial number.
    package struct RevokedSerial: Hashable, Sendable {
        package let certificate: Certificate
        /// When that was done.
        package let revokedAt: Date

        package init(_ certificate: Certificate, revokedAt: Date) {
            self.certificate = certificate
            self.revokedAt = revokedAt
        }
    }

    /// An identity that is revoked, with its certificates that are.
    package struct RevokedHolder: Hashable, Sendable {
        package let spiffeID: SPIFFEID
        /// When that was done, not the moment up to which it is refused.
        package let revokedAt: Date
        /// Every one that begins before that moment, in any order; ended ones may be missing.
        package let certificates: [Certificate]
        /// How many there are by authority, if they were not read: it then gets no place.
        package let unread: [String: Int]

        /// Takes an identity whose certificates were all read.
        package init(spiffeID: SPIFFEID, revokedAt: Date, certificates: [Certificate]) {
            self.spiffeID = spiffeID
            self.revokedAt = revokedAt
            self.certificates = certificates
            unread = [:]
        }

        /// Takes an identity with more certificates than can have places.
        package init(spiffeID: SPIFFEID, revokedAt: Date, unread: [String: Int]) {
            self.spiffeID = spiffeID
            self.revokedAt = revokedAt
            certificates = []
            self.unread = unread
        }
    }

    /// What is revoked and has no place on a list.
    package struct LeftOut: Hashable, Sendable {
        /// The identities, each with how many of its certificates have no place, or were counted.
        package internal(set) var identities: [SPIFFEID: Int] = [:]
        /// Certificates that are revoked by serial number; none unless there are more than places.
        package internal(set) var serials: [Certificate] = []
        /// Certificates that belong on a list which cannot be signed now.
        package internal(set) var waiting: [Certificate] = []
        /// How many certificates by authority, those whose record is gone included.
        package internal(set) var certificates: [String: Int] = [:]

        /// Every certificate has its place.
        package init() {}

        /// Whether every certificate has its place.
        package var isEmpty: Bool { certificates.isEmpty && identities.isEmpty }

        mutating func add(_ count: Int, of authorityID: String) {
            guard count > 0 else { return }
            certificates[authorityID, default: 0] += count
        }
    }

    /// The lists to sign, in the order of their authorities' IDs; empty if nothing has changed and
    /// none is due.
    package let lists: [RevocationListContent]
    package let leftOut: LeftOut

    /// Decides what is on which list.
    ///
    /// A list that cannot be signed now stays as it is and keeps its places; only certificates that
    /// are revoked by serial number may then go beyond the places of all.
    ///
    /// - Parameters:
    ///   - authorities: This server's in the bundle, each once.
    ///   - serials: What is revoked by serial number.
    ///   - identities: What is revoked with its identity, each once.
    ///   - places: How many certificates may be on all lists together: this server's share of
    ///     `placesMax`.
    ///   - now: The wall clock, which is believed.
    package init(
        authorities: [ListedAuthority],
        serials: [RevokedSerial],
        identities: [RevokedHolder],
        places: Int = placesMax,
        now: Date
    ) {
        var round = RevocationListRound(
            authorities: authorities,
            places: min(max(places, 0), Self.placesMax),
            now: now
        )
        round.place(serials)
        round.place(identities)
        round.placeRest()
        lists = round.lists()
        leftOut = round.leftOut
    }

    /// The first list of an authority, on which nothing is: signed before it is published.
    ///
    /// - Returns: nil if it cannot be signed now, since the clock is before the authority's
    ///   beginning or after its end.
    package static func firstList(of authority: Authority, now: Date) -> RevocationListContent? {
        guard
            let listed = ListedAuthority(
                authority,
                lastCertificateNotAfter: nil,
                hasKey: true,
                previous: nil
            )
        else { return nil }
        return Self(authorities: [listed], serials: [], identities: [], now: now).lists.first
    }

    /// Whether a list is due although nothing was revoked: the first, a renewal or the last.
    ///
    /// It needs no look at what is revoked, so that it can be asked every minute.
    package static func isDue(_ authorities: [ListedAuthority], now: Date) -> Bool {
        !Self(authorities: authorities, serials: [], identities: [], now: now).lists.isEmpty
    }
}
