// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import ControlAPI
package import Datastore
package import FoundationEssentials
package import Issuance
internal import NodeAttestation
package import SPIFFE

/// How an agent came to its certificate; decides what the transaction checks and records.
package enum AgentAdmission: Sendable {
    /// First contact with a join token, known by the hash of its secret.
    case joinToken(hash: [UInt8])
    /// Back after its SVID expired, with the key it had.
    case readmission(name: String)
    /// Before its SVID expires.
    case renewal(VerifiedPeer)
}

extension ServerLogic {
    /// Who would be admitted, read before the certificate is prepared; `commit` checks it again.
    ///
    /// - Throws: `APIError` naming the rule that forbids it. To callers without identity all
    ///   reasons about tokens are one: which tokens exist is nobody's business.
    package func admittedName(
        _ admission: AgentAdmission,
        in transaction: ReadTransaction
    ) throws -> String {
        switch admission {
        case .joinToken(let hash):
            guard let token = try transaction.joinToken(hash: hash) else {
                throw Self.tokenRefused
            }
            return token.name
        case .readmission(let name):
            guard let node = try transaction.node(named: name), node.ban == nil else {
                throw Self.readmissionRefused
            }
            return name
        case .renewal(let peer): return try standing(of: peer, in: transaction).name
        }
    }

    /// Admits the agent and records its certificate, prepared for the name `admittedName` gave.
    ///
    /// - Parameters:
    ///   - certificate: Prepared, not signed.
    ///   - admission: What was verified.
    ///   - now: The wall clock.
    ///   - transaction: Everything happens in it, or nothing.
    /// - Returns: the node as it is now.
    /// - Throws: `APIError` naming the rule that forbids it; `DatastoreError`.
    package func commit(
        _ certificate: PreparedCertificate,
        for admission: AgentAdmission,
        now: Date,
        in transaction: Transaction
    ) throws -> NodeRecord {
        let name = agentName(of: certificate.id) ?? ""
        let admitted: (event: AuditEvent, selectors: Set<Selector>, method: String)
        switch admission {
        case .joinToken(let hash):
            admitted = try redeem(hash, certificate, name, now: now, in: transaction)
        case .readmission:
            admitted = try readmit(certificate, name, now: now, in: transaction)
        case .renewal(let peer):
            let node = try standing(of: peer, in: transaction)
            let renewal = NodeRenewal(
                agent: certificate.id,
                previousSerial: node.serial,
                publicKeySHA256: certificate.spkiSHA256
            )
            admitted = (.nodeRenewed(renewal), node.selectors, node.attestationMethod)
        }
        let node = NodeRecord(
            name: name,
            spiffeID: certificate.id,
            selectors: admitted.selectors,
            keySPKISHA256: certificate.spkiSHA256,
            attestationMethod: admitted.method,
            serial: certificate.serial.bytes,
            notAfter: certificate.notAfter,
            createdAt: now,
            lastSeen: now
        )
        try transaction.put(node)
        try transaction.append(admitted.event, by: .spiffe(certificate.id), at: now)
        try record(
            [certificate],
            namespaces: [:],
            agent: certificate.id,
            node: name,
            by: .spiffe(certificate.id),
            now: now,
            in: transaction
        )
        return node
    }

    /// The selectors a node has by its name alone, beside those of its token.
    package func ownSelectors(ofNode name: String) throws -> Set<Selector> {
        [try Selector(type: "agent", value: name)]
    }

    private static let tokenRefused = APIError(
        .permissionDenied,
        "joinTokenRefused",
        "the join token is unknown, used or expired; make a new one with signet token create"
    )

    private static let readmissionRefused = APIError(
        .permissionDenied,
        "readmissionRefused",
        "this agent cannot come back by itself; give it a new join token"
    )

    private func redeem(
        _ hash: [UInt8],
        _ certificate: PreparedCertificate,
        _ name: String,
        now: Date,
        in transaction: Transaction
    ) throws -> (event: AuditEvent, selectors: Set<Selector>, method: String) {
        let token: JoinTokenRecord
        switch try transaction.redeemJoinToken(hash: hash, now: now) {
        case .redeemed(let redeemed) where redeemed.name == name: token = redeemed
        case .alreadyUsed(let used) where used.name == name:
            return try repeatAttestation(used, certificate, now: now, in: transaction)
        default: throw Self.tokenRefused
        }
        // A second token of the same name must not take a node over.
        if let node = try transaction.node(named: name) {
            guard node.ban == nil else {
                throw APIError(.permissionDenied, "nodeBanned", "agent \(name) is banned")
            }
            throw APIError(
                .conflict,
                "nodeExists",
                "agent \(name) has joined already; evict it first if this machine replaces it"
            )
        }
        let selectors = token.selectors.union(try ownSelectors(ofNode: name))
        let attestation = AuditLog.NodeAttestation(
            agent: certificate.id,
            attestor: "join_token",
            evidence: Hex.text(hash.prefix(8)),
            selectors: selectors.sorted(),
            publicKeySHA256: certificate.spkiSHA256
        )
        return (.nodeAttested(attestation), selectors, "join_token")
    }

    /// Answers a node again whose first answer was lost: for a short time, for the key that the
    /// token brought in, and as long as the node that it made is there and not banned.
    ///
    /// Who holds the secret alone gets nothing: the request proves possession of its key, and the
    /// key must be the node's. Which of the conditions failed is not told.
    private func repeatAttestation(
        _ token: JoinTokenRecord,
        _ certificate: PreparedCertificate,
        now: Date,
        in transaction: Transaction
    ) throws -> (event: AuditEvent, selectors: Set<Selector>, method: String) {
        guard let usedAt = token.usedAt,
            now < usedAt.addingTimeInterval(Self.repetitionSecondsMax),
            let node = try transaction.node(named: token.name), node.ban == nil,
            // Another time is another node: this one was evicted, and the name came back.
            node.createdAt == usedAt,
            node.keySPKISHA256 == certificate.spkiSHA256
        else { throw Self.tokenRefused }
        let repetition = NodeAttestationRepetition(
            agent: certificate.id,
            attestor: node.attestationMethod,
            evidence: Hex.text(token.hash.prefix(8)),
            previousSerial: node.serial,
            publicKeySHA256: certificate.spkiSHA256
        )
        return (.nodeAttestationRepeated(repetition), node.selectors, node.attestationMethod)
    }

    private func readmit(
        _ certificate: PreparedCertificate,
        _ name: String,
        now: Date,
        in transaction: Transaction
    ) throws -> (event: AuditEvent, selectors: Set<Selector>, method: String) {
        guard let node = try transaction.node(named: name), node.ban == nil,
            node.keySPKISHA256 == certificate.spkiSHA256,
            now < node.notAfter.addingTimeInterval(Self.readmissionSeconds)
        else { throw Self.readmissionRefused }
        let readmission = NodeReadmission(
            agent: certificate.id,
            expiredAt: AuditTime(node.notAfter),
            previousSerial: node.serial,
            publicKeySHA256: certificate.spkiSHA256
        )
        return (.nodeReadmitted(readmission), node.selectors, node.attestationMethod)
    }
}

extension ServerLogic {
    /// Longest time that a join token may wait for its machine.
    package static let tokenSecondsMax: UInt32 = 7 * 86_400

    /// Stores a new join token.
    ///
    /// - Throws: `APIError` when the name or a selector is malformed or reserved, or the node
    ///   exists already.
    package func createToken(
        hash: [UInt8],
        name: String,
        selectors: [Selector],
        ttlSeconds: UInt32,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws -> SPIFFEID {
        let id = try agentID(name)
        guard (1...Self.tokenSecondsMax).contains(ttlSeconds) else {
            throw APIError(
                .invalidArgument,
                "tokenLifetime",
                "a token lives 1 to \(Self.tokenSecondsMax) seconds"
            )
        }
        guard selectors.allSatisfy({ $0.type != "agent" && $0.type != "unix" }) else {
            throw APIError(
                .invalidArgument,
                "selectorReserved",
                "node selectors of type agent and unix are given by Signet itself"
            )
        }
        if let node = try transaction.node(named: name) {
            throw APIError(
                .conflict,
                "nodeExists",
                node.ban == nil
                    ? "agent \(name) exists; evict it first if the machine is new"
                    : "agent \(name) is banned; unban or evict it first"
            )
        }
        let expires = now.addingTimeInterval(Double(ttlSeconds))
        try transaction.put(
            JoinTokenRecord(
                hash: hash,
                name: name,
                selectors: Set(selectors),
                expiresAt: expires,
                createdBy: actor.description,
                createdAt: now
            )
        )
        try transaction.append(
            .tokenCreated(
                TokenCreation(
                    agent: id,
                    expires: AuditTime(expires),
                    selectors: selectors.sorted(),
                    tokenID: Hex.text(hash.prefix(8))
                )
            ),
            by: actor,
            at: now
        )
        return id
    }

    /// Deletes the unused tokens of a name: what was given out before a ban or an eviction must not
    /// bring the name back.
    private func withdrawTokens(of name: String, in transaction: Transaction) throws {
        let limit = 500
        var after: [UInt8] = []
        while true {
            let page = try transaction.joinTokens(after: after, limit: limit)
            for token in page where token.name == name && token.usedAt == nil {
                try transaction.deleteJoinToken(hash: token.hash)
            }
            guard page.count == limit, let last = page.last else { return }
            after = last.hash
        }
    }

    /// What an admin does to a node's standing.
    package enum StandingChange: Hashable, Sendable {
        case ban
        case evict
        case unban
    }

    /// Changes what a node may do.
    ///
    /// - Returns: the node as it was.
    /// - Throws: `APIError` when there is no such node.
    package func change(
        _ change: StandingChange,
        ofNode name: String,
        reason: String,
        by actor: Actor,
        now: Date,
        in transaction: Transaction
    ) throws -> NodeRecord {
        guard let node = try transaction.node(named: name) else {
            throw APIError(
                .notFound,
                "nodeUnknown",
                "there is no agent \(name); see signet agent list"
            )
        }
        let standing = NodeStanding(agent: node.spiffeID, reason: reason)
        switch change {
        case .ban:
            try transaction.banNode(named: name, reason: reason, now: now)
            try withdrawTokens(of: name, in: transaction)
            try transaction.append(.nodeBanned(standing), by: actor, at: now)
        case .evict:
            try transaction.evictNode(named: name)
            try withdrawTokens(of: name, in: transaction)
            try transaction.append(.nodeEvicted(standing), by: actor, at: now)
        case .unban:
            try transaction.unbanNode(named: name)
            try transaction.append(.nodeUnbanned(standing), by: actor, at: now)
        }
        return node
    }
}
