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
    /// - Parameters:
    ///   - admission: What was verified about the caller.
    ///   - key: SHA-256 of the SubjectPublicKeyInfo whose possession the caller has proved.
    ///   - now: The wall clock.
    ///   - transaction: What is known.
    /// - Returns: The name that the agent is admitted under.
    /// - Throws: `APIError` naming the rule that forbids it. To callers without identity all
    ///   reasons about tokens are one, and all about coming back: which tokens and which agents
    ///   exist is nobody's business.
    package func admittedName(
        _ admission: AgentAdmission,
        key: [UInt8],
        now: Date,
        in transaction: ReadTransaction
    ) throws -> String {
        switch admission {
        case .joinToken(let hash):
            guard let token = try transaction.joinToken(hash: hash) else {
                throw Self.tokenRefused
            }
            return token.name
        case .readmission(let name):
            return try returning(name, key: key, now: now, in: transaction).name
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
        // Whoever has a copy of it would be the node again, with its old certificate or by
        // readmission, and nobody would see it.
        guard try !transaction.isWithdrawn(nodeKey: certificate.spkiSHA256) else {
            throw Self.keyWithdrawn
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

    private static let keyWithdrawn = APIError(
        .permissionDenied,
        "keyWithdrawn",
        "this key was a node's that was evicted; the agent has to join with a new key"
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
            evidence: Hexadecimal.text(hash.prefix(8)),
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
            evidence: Hexadecimal.text(token.hash.prefix(8)),
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
        let node = try returning(name, key: certificate.spkiSHA256, now: now, in: transaction)
        let readmission = NodeReadmission(
            agent: certificate.id,
            expiredAt: AuditTime(node.notAfter),
            previousSerial: node.serial,
            publicKeySHA256: certificate.spkiSHA256
        )
        return (.nodeReadmitted(readmission), node.selectors, node.attestationMethod)
    }

    /// The node that may come back by itself.
    private func returning(
        _ name: String,
        key: [UInt8],
        now: Date,
        in transaction: ReadTransaction
    ) throws -> NodeRecord {
        guard let node = try transaction.node(named: name), node.ban == nil,
            node.keySPKISHA256 == key,
            now < node.notAfter.addingTimeInterval(Self.readmissionSeconds)
        else { throw Self.readmissionRefused }
        return node
    }
}
