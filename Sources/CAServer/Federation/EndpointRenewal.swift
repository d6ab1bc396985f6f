// SPDX-License-Identifier: Apache-2.0

package import Datastore
package import FoundationEssentials
package import Issuance
internal import SPIFFE

/// What the path of a certificate ends in, and so what verifiers have to know: the authority that signed
/// it, or the root that this one is below (docs/decisions/0020-authorities-under-another.md).
package struct PublishedAnchor: Hashable, Sendable {
    /// Its key ID in hexadecimal.
    package let id: String
    /// Since when the bundle has it; nil if it has not.
    package let publishedAt: Date?

    /// Finds that of an authority.
    ///
    /// - Parameters:
    ///   - authority: What signs.
    ///   - upstreams: What is on record above authorities.
    package init(of authority: Authority, among upstreams: [UpstreamRecord]) {
        guard let rootID = authority.ancestry?.rootID else {
            (id, publishedAt) = (authority.id, authority.publishedAt)
            return
        }
        let root = upstreams.first { $0.id == rootID && $0.kind == .root && !$0.isRevoked }
        (id, publishedAt) = (rootID, root?.publishedAt)
    }
}

/// When the certificate of the bundle endpoint is made anew
/// (docs/decisions/0021-federation.md, "Being fetched").
///
/// A partner that does not know what the certificate's path ends in cannot fetch the bundle that would
/// tell him of it, and would be shut out for good.
package struct EndpointRenewal: Hashable, Sendable {
    /// The authority that signed the certificate.
    package let authorityID: String
    /// The key ID of what its path ends in.
    package let anchorID: String
    /// When it is to be replaced, by its age alone.
    package let renewAt: Date
    /// When it begins; later than now if the clock was ahead when it was made.
    package let notBefore: Date
    /// When it ends.
    package let notAfter: Date

    /// Takes what is known of the certificate that is shown.
    package init(
        authorityID: String,
        anchorID: String,
        renewAt: Date,
        notBefore: Date,
        notAfter: Date
    ) {
        self.authorityID = authorityID
        self.anchorID = anchorID
        self.renewAt = renewAt
        self.notBefore = notBefore
        self.notAfter = notAfter
    }

    /// What to do now.
    package enum Step: Hashable, Sendable {
        /// Nothing.
        case keep
        /// Make a key and a certificate.
        case renew
        /// It is time, but partners have not had the time to fetch what the next path ends in.
        case wait(until: Date)
    }

    /// Decides.
    ///
    /// - Parameters:
    ///   - present: The certificate that is shown; nil: there is none.
    ///   - isDistrusted: Whether its authority is.
    ///   - signerID: The authority by which the next one would be.
    ///   - anchor: What its path would end in.
    ///   - hold: How long partners have to fetch what is new in the bundle.
    ///   - now: The wall clock.
    /// - Returns: `renew` in any case when nobody with a right clock takes the certificate.
    package static func step(
        present: Self?,
        isDistrusted: Bool,
        signerID: String,
        anchor: PublishedAnchor,
        hold: Duration,
        now: Date
    ) -> Step {
        guard let present, present.notBefore <= now, now < present.notAfter else { return .renew }
        guard isDistrusted || now >= present.renewAt else { return .keep }
        // Another by a distrusted authority is no better, and would be made again and again.
        if isDistrusted && signerID == present.authorityID { return .keep }
        // Whoever believes the one believes the other; and is not helped by it.
        if anchor.id == present.anchorID { return .renew }
        guard let publishedAt = anchor.publishedAt else { return .wait(until: present.notAfter) }
        let known = publishedAt.addingTimeInterval(hold / .seconds(1))
        return now < known ? .wait(until: min(known, present.notAfter)) : .renew
    }
}
