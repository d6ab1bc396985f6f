// SPDX-License-Identifier: Apache-2.0

package import AuditLog
package import ControlAPI
package import Datastore
package import FoundationEssentials
package import Issuance
internal import NodeSync
package import SPIFFE

/// What the server does inside its transactions, without waiting, clock or network.
///
/// The services call it with the real clock and datastore; the simulation calls the same functions
/// with its own. Each act that must be recorded appends its audit leaf in the same transaction.
package struct ServerLogic: Sendable {
    /// How far the wall clock may be behind the latest signature before signing stops.
    package static let clockBehindMax: TimeInterval = 10
    /// How long after its SVID expired an agent may come back with the key it had.
    package static let readmissionSeconds: TimeInterval = 7 * 86_400
    /// How long after a join token was used the same key is answered again: the answer may have
    /// been lost, and whoever waits longer than that for it can be given a new token.
    package static let repetitionSecondsMax: TimeInterval = 600
    /// Most refusals of one request that are written as leaves of their own.
    package static let refusalLeavesMax = 8

    package let trustDomain: TrustDomain
    package let serverID: String
    package let lifetimes: SVIDLifetimes
    package let profiles: CertificateProfiles
    /// How long an authority is published before it signs.
    package let hold: Duration
    /// Whether tokens are exchanged: `apply` warns while they are not.
    package let exchangesTokens: Bool

    package init(
        trustDomain: TrustDomain,
        serverID: String,
        lifetimes: SVIDLifetimes,
        profiles: CertificateProfiles = .standard,
        hold: Duration = AuthorityRotation.publicationHold,
        exchangesTokens: Bool = false
    ) {
        self.trustDomain = trustDomain
        self.serverID = serverID
        self.lifetimes = lifetimes
        self.profiles = profiles
        self.hold = hold
        self.exchangesTokens = exchangesTokens
    }

    /// The ID of the agent of a name.
    ///
    /// - Throws: `APIError` when the name is not one path segment.
    package func agentID(_ name: String) throws(APIError) -> SPIFFEID {
        do {
            try SPIFFEID.check(segment: Array(name.utf8))
            return try SPIFFEID(trustDomain: trustDomain, path: "/signet/agent/\(name)")
        } catch {
            throw APIError(
                .invalidArgument,
                "agentNameMalformed",
                "agent name \"\(name)\": \(error)"
            )
        }
    }

    /// The name in an agent's ID; nil for any other ID.
    package func agentName(of id: SPIFFEID) -> String? {
        let prefix = "/signet/agent/"
        guard id.trustDomain == trustDomain, id.path.hasPrefix(prefix) else { return nil }
        let name = String(id.path.dropFirst(prefix.count))
        return name.contains("/") ? nil : name
    }

    /// Why nothing is signed at `now`: the wall clock went back (design section 8).
    func clockProblem(_ now: Date, in transaction: ReadTransaction) throws -> ClockProblem? {
        guard let highWater = try transaction.clockHighWater(),
            now < highWater.addingTimeInterval(-Self.clockBehindMax)
        else { return nil }
        return .behind(lastSignature: highWater)
    }

    /// Refuses to sign when the wall clock went back, else remembers the time.
    func requireClock(_ now: Date, in transaction: Transaction) throws {
        if let problem = try clockProblem(now, in: transaction) { throw APIError(problem) }
        try transaction.raiseClockHighWater(to: now)
    }

    /// Records what is about to be signed: one leaf for all, and an intent for each.
    func record(
        _ certificates: [PreparedCertificate],
        proxies: [Int: String] = [:],
        namespaces: [String: String],
        agent: SPIFFEID?,
        node: String,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws {
        guard let first = certificates.first else { return }
        guard let authority = try transaction.authority(id: first.authorityID),
            authority.state == AuthorityRecord.activeState
        else {
            throw APIError(
                .unavailable,
                APIError.authorityChanged,
                "the signing authority has just changed; retry"
            )
        }
        try requireClock(now, in: transaction)
        let issuance = SVIDIssuance(
            agent: agent,
            authority: keyIdentifier(ofAuthority: first.authorityID),
            profile: SVIDIssuance.Profile(rawValue: first.role.rawValue) ?? .workload,
            svids: certificates.enumerated().map { place, certificate in
                IssuedSVID(
                    spiffeID: certificate.id,
                    serial: certificate.serial.bytes,
                    notAfter: AuditTime(certificate.notAfter),
                    tbsSHA256: certificate.tbsSHA256,
                    entry: certificate.entry.map {
                        IssuedSVID.Entry(
                            id: $0.id,
                            namespace: namespaces[$0.id] ?? "",
                            revision: $0.revision
                        )
                    },
                    proxy: proxies[place]
                )
            }
        )
        let leaf = try transaction.append(.svidsIssued(issuance), by: actor, at: now)
        let revision = try transaction.revision().number
        try transaction.record(
            certificates.enumerated().map { place, certificate in
                IssuanceIntent(
                    serial: certificate.serial.bytes,
                    authorityID: certificate.authorityID,
                    spiffeID: certificate.id.description,
                    entryID: certificate.entry?.id,
                    entryRevision: certificate.entry?.revision,
                    tbsSHA256: certificate.tbsSHA256,
                    notBefore: certificate.notBefore,
                    notAfter: certificate.notAfter,
                    node: node,
                    proxy: proxies[place],
                    spki: certificate.spki,
                    dnsNames: certificate.dnsNames,
                    revision: revision,
                    leafIndex: leaf
                )
            }
        )
    }
}

extension APIError {
    /// The reason given when another authority signs since the certificate was prepared.
    static let authorityChanged = "authorityChanged"
    /// The reason given when an entry, or the node, changed since the certificate was prepared.
    static let entryChanged = "entryChanged"
    /// The reason given when an identity was revoked, for a later time or while it was prepared.
    static let identityRevoked = "identityRevoked"
    /// The reason given when a Proxy changed since the certificate for it was prepared.
    static let proxyChanged = "proxyChanged"

    /// Whether the same request may succeed at once, prepared from what is there now.
    var isOvertaken: Bool {
        [
            Self.authorityChanged, Self.delegationChanged, Self.entryChanged, Self.identityRevoked,
            Self.proxyChanged,
        ].contains(reason)
    }
}

extension Transaction {
    /// Appends the leaves of one record.
    ///
    /// - Returns: the index of the first.
    @discardableResult
    package func append(
        _ event: AuditEvent,
        by actor: Actor,
        at now: Date
    ) throws -> UInt64 {
        var first: UInt64?
        for leaf in try AuditRecord(event: event, actor: actor, time: now).leaves() {
            let index = try appendLeaf(
                bytes: leaf.bytes,
                hash: leaf.hash.bytes,
                fields: AuditLeafFields(
                    time: leaf.time.date,
                    event: leaf.event.rawValue,
                    actor: leaf.actor,
                    namespaces: leaf.namespaces,
                    spiffeIDs: leaf.spiffeIDs,
                    serials: leaf.serials
                )
            )
            first = first ?? index
        }
        return first ?? 0
    }
}

/// The key identifier that an authority's ID, as the datastore has it, writes.
func keyIdentifier(ofAuthority id: String) -> [UInt8] { Hexadecimal.bytes(id) ?? [] }
