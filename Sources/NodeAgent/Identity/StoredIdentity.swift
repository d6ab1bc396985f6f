// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
package import SPIFFE

/// What the file `identity` holds: who the agent is, whom it trusts and where the server is.
package struct StoredIdentity: Hashable, Sendable {
    package var id: SPIFFEID
    /// DER, leaf first.
    package var certificateChain: [[UInt8]]
    /// By this machine's clock, when the certificate came.
    package var issuedAt: Date
    package var notAfter: Date
    /// The bundle of the own trust domain, as last received.
    package var bundle: TrustBundle
    /// `host:port` each.
    package var serverAddresses: [String]
    /// The verifier key of the server's audit log, from the first contact.
    package var auditKey: String
    /// The keys of the logs that this one follows since restores of the server, the oldest first.
    package var formerAuditKeys: [String] = []
    /// The hash of the join token's secret that this identity came with; nil if it is not known.
    package var joinTokenHash: [UInt8]?

    package init(
        id: SPIFFEID,
        certificateChain: [[UInt8]],
        issuedAt: Date,
        notAfter: Date,
        bundle: TrustBundle,
        serverAddresses: [String],
        auditKey: String,
        joinTokenHash: [UInt8]? = nil
    ) {
        self.id = id
        self.certificateChain = certificateChain
        self.issuedAt = issuedAt
        self.notAfter = notAfter
        self.bundle = bundle
        self.serverAddresses = serverAddresses
        self.auditKey = auditKey
        self.joinTokenHash = joinTokenHash
    }

    package var trustDomain: TrustDomain { id.trustDomain }

    /// Which authority signed the certificate, as it says itself; empty if it does not.
    package var authorityKeyID: [UInt8] {
        certificateChain.first.flatMap { try? LeafCertificate(der: $0) }?.authorityKeyID ?? []
    }

    /// Takes a renewed certificate together with the bundle that came with it.
    ///
    /// Both go into one write of the file: a chain beside a bundle that does not know its
    /// authority, as a crash between two writes would leave them, keeps the agent from starting.
    ///
    /// - Parameters:
    ///   - chain: The new chain, verified with `new`.
    ///   - now: This machine's clock.
    ///   - new: The server's bundle; an older one than what is known is ignored.
    package mutating func renew(_ chain: IssuedChain, issuedAt now: Date, bundle new: TrustBundle) {
        certificateChain = chain.chain
        issuedAt = now
        notAfter = chain.notAfter
        if new.trustDomain == trustDomain, new.sequenceNumber > bundle.sequenceNumber {
            bundle = new
        }
    }
}

extension StoredIdentity {
    private struct Form: Codable {
        var auditKey: String
        var authorities: [Data]
        var bundleSequence: UInt64
        var certificateChain: [Data]
        /// Nil without any, and in a file of a release that knew none.
        var formerAuditKeys: [String]?
        /// Nil in a file of a release that knew none.
        var intermediates: [Data]?
        var issuedAtMilliseconds: Int64
        var joinTokenHash: Data?
        var refreshHintSeconds: Int
        var serverAddresses: [String]
        var spiffeID: String
    }

    /// The content of the file.
    package func encoded() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(
            try encoder.encode(
                Form(
                    auditKey: auditKey,
                    authorities: bundle.x509Authorities.map { Data($0) },
                    bundleSequence: bundle.sequenceNumber,
                    certificateChain: certificateChain.map { Data($0) },
                    formerAuditKeys: formerAuditKeys.isEmpty ? nil : formerAuditKeys,
                    intermediates: bundle.x509Intermediates.isEmpty
                        ? nil : bundle.x509Intermediates.map { Data($0) },
                    issuedAtMilliseconds: Int64((issuedAt.timeIntervalSince1970 * 1000).rounded()),
                    joinTokenHash: joinTokenHash.map { Data($0) },
                    refreshHintSeconds: bundle.refreshHintSeconds,
                    serverAddresses: serverAddresses,
                    spiffeID: id.description
                )
            )
        )
    }

    /// Reads the content of the file; nil if it holds no agent's identity.
    package init?(encoded bytes: [UInt8]) {
        guard let form = try? JSONDecoder().decode(Form.self, from: Data(bytes)),
            let id = try? SPIFFEID(form.spiffeID), id.agentName(in: id.trustDomain) != nil,
            let first = form.certificateChain.first,
            let leaf = try? LeafCertificate(der: Array(first)), leaf.spiffeID == id,
            form.authorities.count <= TrustBundle.authoritiesMax,
            form.intermediates?.count ?? 0 <= TrustBundle.authoritiesMax
        else { return nil }
        self.init(
            id: id,
            certificateChain: form.certificateChain.map { Array($0) },
            issuedAt: Date(timeIntervalSince1970: Double(form.issuedAtMilliseconds) / 1000),
            notAfter: leaf.notAfter,
            bundle: TrustBundle(
                trustDomain: id.trustDomain,
                x509Authorities: form.authorities.map { Array($0) },
                x509Intermediates: (form.intermediates ?? []).map { Array($0) },
                sequenceNumber: form.bundleSequence,
                refreshHintSeconds: form.refreshHintSeconds
            ),
            serverAddresses: form.serverAddresses,
            auditKey: form.auditKey,
            joinTokenHash: form.joinTokenHash.map { Array($0) }
        )
        formerAuditKeys = form.formerAuditKeys ?? []
    }
}
