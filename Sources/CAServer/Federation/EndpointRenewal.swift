// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import Issuance

/// When the certificate of the bundle endpoint is made anew
/// (docs/decisions/0021-federation.md, "Being fetched").
///
/// A partner that does not know the authority of the certificate cannot fetch the bundle that would
/// tell him of it, and would be shut out for good.
package struct EndpointRenewal: Hashable, Sendable {
    /// The authority that signed the certificate.
    package let authorityID: String
    /// When it is to be replaced, by its age alone.
    package let renewAt: Date
    /// When it begins; later than now if the clock was ahead when it was made.
    package let notBefore: Date
    /// When it ends.
    package let notAfter: Date

    /// Takes what is known of the certificate that is shown.
    package init(authorityID: String, renewAt: Date, notBefore: Date, notAfter: Date) {
        self.authorityID = authorityID
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
        /// It is time, but partners have not had the time to fetch the new authority.
        case wait(until: Date)
    }

    /// Decides.
    ///
    /// - Parameters:
    ///   - present: The certificate that is shown; nil: there is none.
    ///   - isDistrusted: Whether its authority is.
    ///   - signer: The authority by which the next one would be.
    ///   - hold: How long partners have to fetch an authority.
    ///   - now: The wall clock.
    /// - Returns: `renew` in any case when nobody with a right clock takes the certificate.
    package static func step(
        present: Self?,
        isDistrusted: Bool,
        signer: Authority,
        hold: Duration,
        now: Date
    ) -> Step {
        guard let present, present.notBefore <= now, now < present.notAfter else { return .renew }
        guard isDistrusted || now >= present.renewAt else { return .keep }
        // Whoever believes the one believes the other; and is not helped by it.
        if signer.id == present.authorityID { return isDistrusted ? .keep : .renew }
        guard let publishedAt = signer.publishedAt else { return .wait(until: present.notAfter) }
        let known = publishedAt.addingTimeInterval(hold / .seconds(1))
        return now < known ? .wait(until: min(known, present.notAfter)) : .renew
    }
}
