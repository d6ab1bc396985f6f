// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
package import ControlAPI
package import Datastore
package import FoundationEssentials
package import Issuance
package import SPIFFE

/// One workload certificate that an agent asks for.
package struct WorkloadSigningRequest: Hashable, Sendable {
    package let entryID: String
    package let spiffeID: String
    package let csr: [UInt8]
    package let variables: [String: String]
    /// When the SVID that this one replaces expires; serves only the order of signing.
    package let replacesNotAfter: Date?
    /// The Proxy that is to hold the key, as `namespace/name`; nil: the workload itself.
    package let proxy: String?

    package init(
        entryID: String,
        spiffeID: String,
        csr: [UInt8],
        variables: [String: String],
        replacesNotAfter: Date? = nil,
        proxy: String? = nil
    ) {
        self.entryID = entryID
        self.spiffeID = spiffeID
        self.csr = csr
        self.variables = variables
        self.replacesNotAfter = replacesNotAfter
        self.proxy = proxy
    }
}

/// What the approval of a batch rests on; it must still hold when the intent is committed.
package struct SigningBasis: Sendable {
    package let node: NodeRecord
    package let entries: [String: RegistrationEntry]
    /// The Proxies that are to hold keys, by reference.
    package let proxies: [String: ProxyGrant]
    /// Until when nothing is signed for some of the IDs asked for, by the ID.
    package let revokedUntil: [String: Date]
}

/// What became of each request of a batch, in order.
package enum SigningOutcome: Hashable, Sendable {
    /// The index in the batch.
    case prepared(Int)
    case refused(APIError)
}

extension ServerLogic {
    /// Reads the caller's node and what its requests rest on.
    ///
    /// - Throws: `APIError` when the node is unknown or banned, or the certificate shown is not of
    ///   its current key.
    package func signingBasis(
        for peer: VerifiedPeer,
        requests: [WorkloadSigningRequest],
        in transaction: ReadTransaction
    ) throws -> SigningBasis {
        var proxies: [String: ProxyGrant] = [:]
        for reference in Set(requests.compactMap(\.proxy)) {
            proxies[reference] = try transaction.proxyGrant(reference)
        }
        return try signingBasis(
            for: peer,
            entries: Set(requests.map(\.entryID)),
            ids: Set(requests.map(\.spiffeID)),
            proxies: proxies,
            in: transaction
        )
    }

    /// The same of requests for SVIDs of either kind.
    func signingBasis(
        for peer: VerifiedPeer,
        entries entryIDs: Set<String>,
        ids: Set<String>,
        proxies: [String: ProxyGrant] = [:],
        in transaction: ReadTransaction
    ) throws -> SigningBasis {
        let node = try standing(of: peer, in: transaction)
        var entries: [String: RegistrationEntry] = [:]
        for id in entryIDs { entries[id] = try transaction.entry(id: id) }
        var revokedUntil: [String: Date] = [:]
        for id in ids { revokedUntil[id] = try transaction.revocation(of: id)?.issuedBefore }
        return SigningBasis(
            node: node,
            entries: entries,
            proxies: proxies,
            revokedUntil: revokedUntil
        )
    }

    /// Approves and prepares what may be signed; the others are refused one by one.
    package func prepare(
        _ requests: [WorkloadSigningRequest],
        on basis: SigningBasis,
        batch: inout IssuanceBatch,
        issuer: Issuer,
        now: Date,
        using generator: inout some RandomNumberGenerator
    ) -> [SigningOutcome] {
        var outcomes: [SigningOutcome] = []
        for request in requests {
            do {
                let warrant = try approve(request, on: basis, issuer: issuer, now: now)
                try batch.prepare(warrant, using: &generator)
                outcomes.append(.prepared(batch.certificates.count - 1))
            } catch {
                outcomes.append(.refused(APIError(issuance: error)))
            }
        }
        return outcomes
    }

    private func approve(
        _ request: WorkloadSigningRequest,
        on basis: SigningBasis,
        issuer: Issuer,
        now: Date
    ) throws -> IssuanceWarrant {
        guard let entry = basis.entries[request.entryID] else {
            throw APIError(entryUnknown: request.entryID)
        }
        if let proxy = request.proxy {
            try approve(proxy, holding: request, of: entry, on: basis, now: now)
        }
        if let until = basis.revokedUntil[request.spiffeID], now < until {
            throw APIError(identityRevoked: request.spiffeID, until: until, now: now)
        }
        return try issuer.approve(
            CertificateRequest(der: request.csr),
            entry: entry,
            claiming: SPIFFEID(request.spiffeID),
            node: TemplateNode(name: basis.node.name, selectors: basis.node.selectors),
            workload: request.variables,
            now: now
        )
    }

    /// Commits the intent to sign, if everything it rests on still holds.
    ///
    /// Of the refusals the first `leavesMax`, at most `refusalLeavesMax`, get a leaf.
    ///
    /// - Parameters:
    ///   - certificates: What is about to be signed.
    ///   - proxies: Which Proxy holds the key of which certificate, by place; see `proxies(of:)`.
    ///   - refusals: What is not.
    ///   - leavesMax: How many refusals may get a leaf.
    ///   - basis: What the approval rests on.
    ///   - peer: The caller.
    ///   - now: The wall clock, of the approval too.
    ///   - transaction: Everything happens in it, or nothing.
    /// - Throws: `APIError` (`unavailable`) when the node, an entry, a Proxy or the authority has
    ///   changed since, or an identity was revoked; the whole batch may then be tried again.
    package func commitSigning(
        _ certificates: [PreparedCertificate],
        proxies: [Int: String],
        refusals: [(request: WorkloadSigningRequest, error: APIError)],
        leavesMax: Int = refusalLeavesMax,
        on basis: SigningBasis,
        for peer: VerifiedPeer,
        now: Date,
        in transaction: Transaction
    ) throws {
        try requireUnchanged(basis, of: peer, in: transaction)
        try requireUnchanged(Set(proxies.values), of: basis, in: transaction)
        try requireUnrevoked(certificates, in: transaction)
        try record(
            certificates,
            proxies: proxies,
            namespaces: basis.entries.mapValues(\.namespace),
            agent: peer.id,
            node: basis.node.name,
            by: .spiffe(peer.id),
            now: now,
            in: transaction
        )
        try record(
            refusals.map {
                SigningRefusal(
                    entryID: $0.request.entryID,
                    spiffeID: $0.request.spiffeID,
                    error: $0.error
                )
            },
            what: "sign entry",
            leavesMax: leavesMax,
            on: basis,
            for: peer,
            now: now,
            in: transaction
        )
    }

    /// A request of a batch that is not signed.
    struct SigningRefusal {
        let entryID: String
        let spiffeID: String
        let error: APIError
    }

    /// Requires that node and entries are what an approval rests on.
    ///
    /// - Throws: `APIError` (`entryChanged`), or why the node may not speak.
    func requireUnchanged(
        _ basis: SigningBasis,
        of peer: VerifiedPeer,
        in transaction: ReadTransaction
    ) throws {
        let node = try standing(of: peer, in: transaction)
        let isUnchanged = try basis.entries.allSatisfy { id, entry in
            try transaction.entry(id: id)?.revision == entry.revision
        }
        // Evicted and back with the same key, a node may have other selectors.
        guard isUnchanged, node.selectors == basis.node.selectors else {
            throw APIError(
                .unavailable,
                APIError.entryChanged,
                "an entry has just changed; ask again"
            )
        }
    }

    /// Records the first refusals of a batch, each with a leaf.
    func record(
        _ refusals: [SigningRefusal],
        what: String,
        leavesMax: Int,
        on basis: SigningBasis,
        for peer: VerifiedPeer,
        now: Date,
        in transaction: Transaction
    ) throws {
        let leaves = min(leavesMax, Self.refusalLeavesMax)
        for refusal in refusals.prefix(leaves) {
            let more = refusals.count - leaves
            try transaction.append(
                .requestRefused(
                    RequestRefusal(
                        what: "\(what) \(refusal.entryID)",
                        reason: refusal.error.description
                            + (more > 0 ? " (and \(more) more refusals in the batch)" : ""),
                        namespace: basis.entries[refusal.entryID]?.namespace ?? "",
                        spiffeID: try? SPIFFEID(refusal.spiffeID)
                    )
                ),
                by: .spiffe(peer.id),
                at: now
            )
        }
    }

    /// The caller's node, if it may still speak.
    ///
    /// - Throws: `APIError` when it was evicted or banned, or when the key of the certificate
    ///   shown is not the node's newest one.
    package func standing(
        of peer: VerifiedPeer,
        in transaction: ReadTransaction
    ) throws -> NodeRecord {
        guard let name = agentName(of: peer.id) else {
            throw APIError(.permissionDenied, "notAnAgent", "only agents may ask for this")
        }
        guard let node = try transaction.node(named: name) else {
            throw APIError(
                .permissionDenied,
                "nodeUnknown",
                "agent \(name) was evicted or never attested; it needs a new join token"
            )
        }
        guard node.ban == nil else {
            throw APIError(.permissionDenied, "nodeBanned", "agent \(name) is banned")
        }
        guard node.keySPKISHA256 == peer.spkiSHA256 else {
            throw APIError(
                .permissionDenied,
                "keySuperseded",
                "agent \(name) has a newer key than the one shown: two machines use one identity"
            )
        }
        return node
    }
}

extension APIError {
    /// What an agent is told of an error on the way to a certificate.
    init(issuance error: any Error) {
        switch error {
        case let error as APIError: self = error
        case let error as CertificateRequestError:
            self.init(.invalidArgument, "certificateRequest", error.description)
        case let error as SPIFFEIDError:
            self.init(.invalidArgument, "spiffeID", error.description)
        case let error as IssuanceRefusal:
            let kind: Kind =
                switch error {
                case .authorityExpiresTooSoon, .authorityNotYetValid, .clockOutOfRange:
                    .unavailable
                default: .permissionDenied
                }
            self.init(kind, error.ruleName, error.description)
        case let error as IssuanceError:
            self.init(.unavailable, "issuance", error.description)
        default: self.init(datastore: error)
        }
    }
}

extension IssuanceRefusal {
    /// The rule's name in answers, metrics and logs; it stays when the case is renamed.
    var ruleName: String {
        switch self {
        case .authorityExpiresTooSoon: "authorityExpiresTooSoon"
        case .authorityNotYetValid: "authorityNotYetValid"
        case .clockOutOfRange: "clockOutOfRange"
        case .dnsNameMalformed: "dnsNameMalformed"
        case .dnsNameOutsideProfile: "dnsNameOutsideProfile"
        case .dnsNameTwice: "dnsNameTwice"
        case .dnsNamesTooMany: "dnsNamesTooMany"
        case .entryExpired: "entryExpired"
        case .idDiffersFromEntry: "idDiffersFromEntry"
        case .idReserved: "idReserved"
        case .idTemplate: "idTemplate"
        case .idWithoutPath: "idWithoutPath"
        case .keyOfAuthority: "keyOfAuthority"
        case .keyOutsideProfile: "keyOutsideProfile"
        case .lifetimeExceedsProfile: "lifetimeExceedsProfile"
        case .lifetimeTooLong: "lifetimeTooLong"
        case .lifetimeTooShort: "lifetimeTooShort"
        case .nameMalformed: "nameMalformed"
        case .nodeOutsideEntry: "nodeOutsideEntry"
        case .trustDomainDiffers: "trustDomainDiffers"
        }
    }
}
