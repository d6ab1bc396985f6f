// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// The permission to prepare exactly one certificate; only `Issuer` grants it.
///
/// It cannot be copied: whoever prepares a certificate uses it up.
package struct IssuanceWarrant: ~Copyable, Sendable {
    package let role: SubjectRole
    package let id: SPIFFEID
    /// The entry that the certificate is issued for, with its revision; nil for agents and servers.
    package let entry: EntryReference?
    package let dnsNames: [String]
    package let publicKey: SubjectPublicKey
    /// The authority for which the warrant was granted.
    package let authorityID: String
    let notBefore: CertificateTime
    let notAfter: CertificateTime

    fileprivate init(
        role: SubjectRole,
        id: SPIFFEID,
        entry: EntryReference?,
        dnsNames: [String],
        publicKey: SubjectPublicKey,
        authorityID: String,
        validity: (notBefore: CertificateTime, notAfter: CertificateTime)
    ) {
        self.role = role
        self.id = id
        self.entry = entry
        self.dnsNames = dnsNames
        self.publicKey = publicKey
        self.authorityID = authorityID
        self.notBefore = validity.notBefore
        self.notAfter = validity.notAfter
    }
}

/// Which version of which registration entry a certificate was issued for.
package struct EntryReference: Hashable, Sendable, Codable {
    package let id: String
    package let revision: UInt64

    package init(id: String, revision: UInt64) {
        self.id = id
        self.revision = revision
    }
}

/// What to do when the authority expires before the certificate would.
package enum AuthorityEnd: Hashable, Sendable {
    /// Let the certificate end with the authority, if it still lives `SVIDLifetimes.svidMin`.
    case cut
    /// Refuse with `IssuanceRefusal.authorityExpiresTooSoon`.
    case refuse
}

extension Issuer {
    /// Approves a workload's certificate.
    ///
    /// - Parameters:
    ///   - request: The key, proven.
    ///   - entry: The entry as it is in the datastore now.
    ///   - id: The ID that the agent asked for.
    ///   - node: The agent as the server has verified and attested it.
    ///   - workload: The template variables that the agent asserts.
    ///   - now: The wall clock.
    /// - Returns: A warrant whose certificate ends with the entry at the latest.
    /// - Throws: `IssuanceRefusal` naming the first rule that the request breaks.
    package func approve(
        _ request: CertificateRequest,
        entry: RegistrationEntry,
        claiming id: SPIFFEID,
        node: TemplateNode,
        workload: [String: String] = [:],
        now: Date
    ) throws(IssuanceRefusal) -> IssuanceWarrant {
        try entry.checkGrant(of: id, in: trustDomain, node: node, workload: workload, now: now)
        try Self.check(dnsNames: entry.dnsNames)
        let lifetime = entry.x509SVIDTTLSeconds.map { Duration.seconds($0) } ?? lifetimes.workload
        guard lifetime <= lifetimes.workloadMax else { throw .lifetimeTooLong }
        guard lifetime >= SVIDLifetimes.svidMin else { throw .lifetimeTooShort }
        return try grant(
            role: .workload,
            lifetime: lifetime,
            id: id,
            entry: EntryReference(id: entry.id, revision: entry.revision),
            dnsNames: entry.dnsNames,
            request: request,
            validity: validity(lifetime, now: now, end: .refuse, expires: entry.expires)
        )
    }

    /// Approves an agent's own certificate, `spiffe://<trust domain>/signet/agent/<name>`.
    ///
    /// The caller has attested the node or verified its current SVID.
    ///
    /// - Throws: `IssuanceRefusal` naming the rule that the request breaks.
    package func approveAgent(
        _ request: CertificateRequest,
        name: String,
        atAuthorityEnd end: AuthorityEnd = .refuse,
        now: Date
    ) throws(IssuanceRefusal) -> IssuanceWarrant {
        try grant(
            role: .agent,
            lifetime: lifetimes.agent,
            id: reservedID(.agent, name),
            entry: nil,
            dnsNames: [],
            request: request,
            validity: validity(lifetimes.agent, now: now, end: end, expires: nil)
        )
    }

    /// Approves a server's own certificate, `spiffe://<trust domain>/signet/server/<id>`.
    ///
    /// `dnsNames` are the host names under which clients without a SPIFFE library reach it.
    ///
    /// - Throws: `IssuanceRefusal` naming the rule that the request breaks.
    package func approveServer(
        _ request: CertificateRequest,
        serverID: String,
        dnsNames: [String] = [],
        atAuthorityEnd end: AuthorityEnd = .refuse,
        now: Date
    ) throws(IssuanceRefusal) -> IssuanceWarrant {
        try Self.check(dnsNames: dnsNames)
        return try grant(
            role: .server,
            lifetime: lifetimes.server,
            id: reservedID(.server, serverID),
            entry: nil,
            dnsNames: dnsNames,
            request: request,
            validity: validity(lifetimes.server, now: now, end: end, expires: nil)
        )
    }

    /// Approves the certificate of what serves the trust domain's bundle to other trust domains,
    /// `spiffe://<trust domain>/signet/bundle`.
    ///
    /// Profile and lifetime are a server's; it opens nothing as a server.
    ///
    /// - Throws: `IssuanceRefusal` naming the rule that the request breaks.
    package func approveBundleEndpoint(
        _ request: CertificateRequest,
        atAuthorityEnd end: AuthorityEnd = .refuse,
        now: Date
    ) throws(IssuanceRefusal) -> IssuanceWarrant {
        try grant(
            role: .bundleEndpoint,
            lifetime: lifetimes.server,
            id: reservedID(path: SPIFFEID.bundleEndpointPath),
            entry: nil,
            dnsNames: [],
            request: request,
            validity: validity(lifetimes.server, now: now, end: end, expires: nil)
        )
    }

    private func grant(
        role: SubjectRole,
        lifetime: Duration,
        id: SPIFFEID,
        entry: EntryReference?,
        dnsNames: [String],
        request: CertificateRequest,
        validity: (notBefore: CertificateTime, notAfter: CertificateTime)
    ) throws(IssuanceRefusal) -> IssuanceWarrant {
        guard request.publicKey != authorityKey else { throw .keyOfAuthority }
        let limits = profiles[role].limits
        if let max = limits.lifetimeMax, lifetime > max { throw .lifetimeExceedsProfile(max: max) }
        guard limits.allows(request.publicKey.algorithm) else {
            throw .keyOutsideProfile(request.publicKey.algorithm)
        }
        if let name = limits.dnsNameOutside(dnsNames) { throw .dnsNameOutsideProfile(name) }
        return IssuanceWarrant(
            role: role,
            id: id,
            entry: entry,
            dnsNames: dnsNames,
            publicKey: request.publicKey,
            authorityID: authority.id,
            validity: validity
        )
    }

    private func reservedID(
        _ role: SubjectRole,
        _ name: String
    ) throws(IssuanceRefusal) -> SPIFFEID {
        guard name.utf8.count <= Self.nodeNameBytesMax else { throw .nameMalformed }
        do throws(SPIFFEIDError) {
            try SPIFFEID.check(segment: Array(name.utf8))
        } catch {
            throw .nameMalformed
        }
        return try reservedID(path: "\(SPIFFEID.reservedPathPrefix)\(role.rawValue)/\(name)")
    }

    private func reservedID(path: String) throws(IssuanceRefusal) -> SPIFFEID {
        do throws(SPIFFEIDError) {
            return try SPIFFEID(trustDomain: trustDomain, path: path)
        } catch {
            throw .nameMalformed
        }
    }

    private static func check(dnsNames: [String]) throws(IssuanceRefusal) {
        guard dnsNames.count <= dnsNamesMax else { throw .dnsNamesTooMany(dnsNames.count) }
        var seen: Set<String> = []
        for name in dnsNames {
            guard DNSName.isWellFormed(name) else { throw .dnsNameMalformed(name) }
            guard seen.insert(name).inserted else { throw .dnsNameTwice(name) }
        }
    }

    /// From `now` less the backdate until `now` plus the lifetime; inside the authority's validity
    /// and not after `expires`.
    private func validity(
        _ lifetime: Duration,
        now: Date,
        end: AuthorityEnd,
        expires: Date?
    ) throws(IssuanceRefusal) -> (notBefore: CertificateTime, notAfter: CertificateTime) {
        guard let instant = CertificateTime(now), var notAfter = instant.adding(lifetime) else {
            throw .clockOutOfRange
        }
        guard instant >= authorityNotBefore else { throw .authorityNotYetValid }
        if let expires, expires < notAfter.date {
            guard let cut = CertificateTime(expires) else { throw .entryExpired }
            notAfter = cut
        }
        if notAfter > authorityNotAfter {
            guard end == .cut else { throw .authorityExpiresTooSoon }
            notAfter = authorityNotAfter
        }
        let left = notAfter.secondsSince1970 - instant.secondsSince1970
        guard left >= SVIDLifetimes.svidMin.components.seconds else {
            throw notAfter == authorityNotAfter ? .authorityExpiresTooSoon : .entryExpired
        }
        let backdated = instant.adding(.zero - lifetimes.backdate) ?? instant
        // Right after an authority was made a clock that goes back a little leaves no room for all
        // of it. The certificate then counts as issued later than it was: a revocation lies after
        // the last notBefore on record, so it refuses that one too.
        return (max(backdated, authorityNotBefore), notAfter)
    }
}
