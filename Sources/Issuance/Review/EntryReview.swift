// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// Why a revision of an entry could not have granted a certificate.
package enum EntryGrantDefect: String, Hashable, Sendable, CaseIterable {
    case dnsNames
    /// The entry ended before the certificate does.
    case expires
    /// No values of the template's variables give the ID.
    case id
    case lifetime
}

extension RegistrationEntry {
    /// Why this revision could not have granted a certificate; nil if it could.
    ///
    /// What the agent asserted and what its node showed are on no record, so neither is looked at: a
    /// template may have become any ID of its form.
    ///
    /// - Parameters:
    ///   - id: What the certificate says.
    ///   - dnsNames: The same; nil if the record does not say it.
    ///   - issuedAt: When it was signed.
    ///   - notAfter: When it ends.
    ///   - defaultLifetime: What an entry gave then that does not say a lifetime; nil: not known, and
    ///     not judged.
    ///   - trustDomain: The server's own.
    /// - Returns: The first rule that is broken.
    package func grantDefect(
        id: SPIFFEID,
        dnsNames: [String]?,
        issuedAt: Date,
        notAfter: Date,
        defaultLifetime: Duration? = nil,
        in trustDomain: TrustDomain
    ) -> EntryGrantDefect? {
        guard id.trustDomain == trustDomain, !id.isReserved,
            let template = try? IDTemplate(parsing: spiffeID), template.mayBecome(id)
        else { return .id }
        if let dnsNames, dnsNames != self.dnsNames { return .dnsNames }
        if let expires, notAfter > expires { return .expires }
        let lifetime = x509SVIDTTLSeconds.map { Duration.seconds($0) } ?? defaultLifetime
        if let lifetime, notAfter > issuedAt.addingTimeInterval(lifetime / .seconds(1)) {
            return .lifetime
        }
        return nil
    }
}
