// SPDX-License-Identifier: Apache-2.0

package import Backup
internal import AuditLog
package import Datastore
internal import FoundationEssentials
internal import Issuance
internal import NodeSync
internal import SPIFFE

/// A restored database that is brought forward by the records of the log
/// (docs/decisions/0022-backup-and-restore.md, "Restore").
package struct ReplayedDatabase {
    /// Authorities of which the log has the hash alone: they are in no bundle.
    package private(set) var authoritiesUnknown: Set<String> = []
    /// Authorities that the log alone knows.
    package private(set) var authoritiesFound: Set<String> = []
    /// Nodes that the log alone knows.
    package private(set) var nodesFound: Set<String> = []
    /// How many revocations found no room.
    package internal(set) var revocationsLeft = 0

    /// Of the server that the database is of.
    let logic: ServerLogic
    /// Authorities whose records a clock that was ahead may have let go, as they were.
    private var authoritiesForgotten: [String: AuthorityRecord] = [:]
    /// The same of authorities of servers below.
    var downstreamForgotten: [String: DownstreamRecord] = [:]

    /// - Parameter logic: Of the server that the database is of.
    package init(logic: ServerLogic) {
        self.logic = logic
    }

    /// Does what a record says, in the transaction of all of them.
    ///
    /// - Throws: `DatastoreError`: `.constraint` for what cannot have followed.
    package mutating func perform(
        _ step: ReplayStep,
        in transaction: Transaction
    ) throws {
        switch step {
        case .authorityPublished, .authorityActivated, .authorityRetired, .authorityTainted,
            .authorityRevoked, .authorityRemoved, .authorityForgotten, .listSigned:
            try performOnAuthority(step, in: transaction)
        case .upstreamDistrusted(let keyID, let distrust):
            try performAbove(keyID, distrust, in: transaction)
        case .downstreamCertified(let authority): try record(authority, in: transaction)
        case .downstreamRevoked(let keyID, let why):
            try revokeBelow(keyID, why, in: transaction)
        case .upstreamKeysNamed(let keys, let waiting, let time):
            for key in keys { try name(key, isWaiting: false, at: time, in: transaction) }
            for key in waiting { try name(key, isWaiting: true, at: time, in: transaction) }
        case .upstreamKeysForgotten(let keys):
            for key in keys { try forget(key, in: transaction) }
        case .nodeAttested, .nodeKey, .nodeBanned, .nodeUnbanned, .nodeEvicted:
            try performOnNode(step, in: transaction)
        // Authorities that began later have records of their own.
        case .clockLowered(let time): try logic.deleteListsAhead(of: time, in: transaction)
        case .certificates(let issued): try record(issued, in: transaction)
        case .tokens(let issued): try record(issued, in: transaction)
        case .delegationParties(let ids, let issuedAt, let notAfter):
            try transaction.record(
                ids.map { DelegationParty(id: $0, issuedAt: issuedAt, notAfter: notAfter) }
            )
        case .foreignBundleChanged(let trustDomain, let sequence):
            try transaction.withholdFederatedBundle(of: trustDomain, sequenceNumber: sequence)
        case .identityRevoked(let revocation): try put(revocation, in: transaction)
        case .certificateRevoked(let serial, let why):
            // One that is not on record had ended before the backup forgot it.
            guard let intent = try transaction.intent(serial: serial) else { return }
            try revoke([intent], why, in: transaction)
        case .holdingsRevoked(let agent, let why):
            let held = try logic.held(
                byNode: try name(of: agent),
                since: why.time.addingTimeInterval(-ServerLogic.clockSkewSeconds),
                in: transaction
            )
            try revoke(held.intents, why, in: transaction)
        }
    }

    // MARK: - Authorities

    private mutating func performOnAuthority(
        _ step: ReplayStep,
        in transaction: Transaction
    ) throws {
        switch step {
        case .authorityPublished(let authority): try publish(authority, in: transaction)
        case .authorityActivated(let keyID, let time):
            // The one before has a record of its own, unless a restore of then did not know it.
            let before = try transaction.authorities()
                .filter { $0.serverID == logic.serverID && $0.state == AuthorityRecord.activeState }
            for record in before { try transaction.put(record.with(state: .old)) }
            try change(keyID, in: transaction) { $0.with(state: .active, activatedAt: time) }
        case .authorityRetired(let keyID):
            try change(keyID, in: transaction) { $0.with(state: .old) }
        case .authorityTainted(let keyID, let why):
            try change(keyID, in: transaction) {
                $0.with(state: .tainted, distrust: why.distrust(taintedAt: why.time))
            }
            try recordDistrust(of: keyID, isRemoval: false, in: transaction)
        case .authorityRevoked(let keyID, let why):
            // Once more, after a clock that was ahead had let its record go.
            let id = Hexadecimal.text(keyID)
            if try transaction.authority(id: id) == nil, let known = authoritiesForgotten[id] {
                try transaction.put(known)
            }
            try change(keyID, in: transaction) {
                $0.with(
                    state: .revoked,
                    distrust: why.distrust(taintedAt: $0.distrust?.taintedAt, revokedAt: why.time)
                )
            }
            try recordDistrust(of: keyID, isRemoval: false, in: transaction)
            try leaveBundle(keyID, in: transaction)
        case .authorityRemoved(let keyID):
            try leaveBundle(keyID, in: transaction)
            try transaction.deleteAuthority(id: Hexadecimal.text(keyID))
        case .authorityForgotten(let keyID):
            let id = Hexadecimal.text(keyID)
            authoritiesForgotten[id] = try transaction.authority(id: id)?.asPublished
            try transaction.deleteAuthority(id: id)
            try transaction.deleteUpstream(id: id)
            try forgetBelow(id, in: transaction)
            try recordDistrust(of: keyID, isRemoval: true, in: transaction)
        case .listSigned(let keyID, let thisUpdate, let nextUpdate):
            let id = Hexadecimal.text(keyID)
            guard try transaction.authority(id: id) != nil else { return }
            try transaction.putLostList(of: id, thisUpdate: thisUpdate, nextUpdate: nextUpdate)
        default: break
        }
    }

    private mutating func publish(
        _ authority: ReplayedAuthority,
        in transaction: Transaction
    ) throws {
        let id = Hexadecimal.text(authority.keyID)
        guard let certificate = authority.certificate else {
            authoritiesUnknown.insert(id)
            return
        }
        let found = Authority(
            id: id,
            serverID: authority.serverID,
            state: .prepared,
            certificateDER: certificate,
            ancestry: try ancestry(authority, in: transaction),
            tokenKeySPKI: authority.tokenKey,
            publishedAt: authority.publishedAt,
            notBefore: authority.notBefore,
            notAfter: authority.notAfter
        )
        try requireNew(found, in: transaction)
        authoritiesFound.insert(id)
        try transaction.put(AuthorityRecord(found))
        try transaction.recordBundleChange()
    }

    /// A record puts nothing in the place of an authority that is known: whoever writes the log would
    /// give another certificate to one of which the key is here, and so a bundle of his own.
    private func requireNew(_ authority: Authority, in transaction: Transaction) throws {
        do throws(AuthorityError) {
            try authority.requireOwnCertificate()
        } catch {
            throw DatastoreError.constraint("authority \(authority.id) of the log: \(error)")
        }
        guard try transaction.authority(id: authority.id) == nil else {
            throw DatastoreError.constraint(
                "the log has a second record of authority \(authority.id)'s certificate"
            )
        }
        try logic.requireNewKeys(of: authority, in: transaction)
    }

    /// Changes the record of an authority; one that is not on record is passed over.
    private func change(
        _ keyID: [UInt8],
        in transaction: Transaction,
        _ body: (AuthorityRecord) -> AuthorityRecord
    ) throws {
        guard let record = try transaction.authority(id: Hexadecimal.text(keyID)) else { return }
        try transaction.put(body(record))
    }

    private func leaveBundle(_ keyID: [UInt8], in transaction: Transaction) throws {
        let number = try transaction.recordBundleChange().number
        try transaction.deleteRevocationList(of: Hexadecimal.text(keyID), number: number)
    }

    func recordDistrust(
        of keyID: [UInt8],
        isRemoval: Bool,
        in transaction: Transaction
    ) throws {
        try transaction.recordDistrust(
            of: Hexadecimal.text(keyID),
            number: transaction.advanceRevision().number,
            isRemoval: isRemoval
        )
    }

    // MARK: - Nodes

    private mutating func performOnNode(
        _ step: ReplayStep,
        in transaction: Transaction
    ) throws {
        switch step {
        case .nodeAttested(let node):
            let name = try name(of: node.agent)
            nodesFound.insert(name)
            // Its certificate follows, in a record of its own.
            try transaction.put(
                NodeRecord(
                    name: name,
                    spiffeID: node.agent,
                    selectors: node.selectors,
                    keySPKISHA256: node.keySHA256,
                    attestationMethod: node.method,
                    serial: [],
                    notAfter: node.at,
                    createdAt: node.at,
                    lastSeen: node.at
                )
            )
        case .nodeKey(let agent, let key, let time):
            guard let node = try transaction.node(named: name(of: agent)) else { return }
            try transaction.put(node.with(key: key, lastSeen: time))
        case .nodeBanned(let agent, let why):
            try transaction.banNode(named: name(of: agent), reason: why.reason, now: why.time)
        case .nodeUnbanned(let agent): try transaction.unbanNode(named: name(of: agent))
        case .nodeEvicted(let agent, let time):
            let name = try name(of: agent)
            try transaction.evictNode(named: name, now: time)
            nodesFound.remove(name)
        default: break
        }
    }

    func name(of agent: SPIFFEID) throws -> String {
        guard let name = logic.agentName(of: agent) else {
            throw DatastoreError.constraint("\(agent) is no agent of \(logic.trustDomain)")
        }
        return name
    }

    // MARK: - What was issued

    private func record(
        _ issued: ReplayedCertificates,
        in transaction: Transaction
    ) throws {
        let authorityID = Hexadecimal.text(issued.authority)
        let node = try issued.agent.map { try name(of: $0) } ?? ""
        let intents = issued.svids.map { svid in
            IssuanceIntent(
                serial: svid.serial,
                authorityID: authorityID,
                spiffeID: svid.spiffeID.description,
                entryID: svid.entry?.id,
                entryRevision: svid.entry?.revision,
                tbsSHA256: svid.tbsSHA256,
                notAfter: svid.notAfter.date,
                node: node,
                proxy: svid.proxy,
                // The record does not say it.
                revision: 0,
                leafIndex: issued.leaf
            )
        }
        if try transaction.authority(id: authorityID) == nil {
            try transaction.insert(intents)
        } else {
            try transaction.record(intents)
        }
        guard issued.profile == .agent, let svid = issued.svids.last,
            let known = try transaction.node(named: node)
        else { return }
        try transaction.put(
            known.with(
                serial: svid.serial,
                notAfter: svid.notAfter.date,
                lastSeen: issued.at
            )
        )
    }

    private func record(_ issued: ReplayedTokens, in transaction: Transaction) throws {
        let authorityID = Hexadecimal.text(issued.authority)
        let node = try name(of: issued.agent)
        let holders = issued.holders.map { holder in
            TokenHolder(
                node: node,
                entryID: holder.entryID,
                spiffeID: holder.spiffeID.description,
                authorityID: authorityID,
                issuedAt: issued.issuedAt,
                notAfter: holder.notAfter
            )
        }
        if try transaction.authority(id: authorityID) == nil {
            try transaction.insert(holders)
        } else {
            try transaction.record(holders)
        }
    }

    // MARK: - Revocations

    private mutating func put(
        _ revocation: ReplayedRevocation,
        in transaction: Transaction
    ) throws {
        let known = try transaction.revocation(of: revocation.spiffeID)
        if known == nil, try transaction.revocationCount() >= RevokedIdentity.countMax {
            revocationsLeft += 1
            return
        }
        try transaction.put(
            RevokedIdentity(
                spiffeID: revocation.spiffeID,
                name: ServerLogic.name(ofRevoked: revocation.spiffeID),
                issuedBefore: max(revocation.issuedBefore, known?.issuedBefore ?? .distantPast),
                ends: max(revocation.ends, known?.ends ?? .distantPast),
                reason: revocation.why.reason,
                actor: revocation.why.actor.description,
                revokedAt: revocation.why.time
            ),
            number: transaction.advanceRevision().number
        )
    }

    private mutating func revoke(
        _ intents: [IssuanceIntent],
        _ why: ReplayedReason,
        in transaction: Transaction
    ) throws {
        guard !intents.isEmpty else { return }
        let room = max(0, RevokedCertificate.countMax - (try transaction.revokedCertificateCount()))
        let number = try transaction.advanceRevision().number
        for intent in intents.prefix(room) {
            let certificate = RevokedCertificate(
                intent,
                ends: intent.notAfter.addingTimeInterval(ServerLogic.clockSkewSeconds),
                reason: why.reason,
                actor: why.actor.description,
                revokedAt: why.time
            )
            try transaction.put(certificate, number: number)
        }
        revocationsLeft += max(0, intents.count - room)
    }
}

extension ReplayedReason {
    fileprivate func distrust(taintedAt: Date?, revokedAt: Date? = nil) -> AuthorityDistrust {
        AuthorityDistrust(
            taintedAt: taintedAt,
            revokedAt: revokedAt,
            reason: reason,
            actor: actor.description
        )
    }
}

extension NodeRecord {
    /// The record with another key or certificate; what is not said stays.
    fileprivate func with(
        key: [UInt8]? = nil,
        serial newSerial: [UInt8]? = nil,
        notAfter newEnd: Date? = nil,
        lastSeen seen: Date
    ) -> Self {
        Self(
            name: name,
            spiffeID: spiffeID,
            selectors: selectors,
            keySPKISHA256: key ?? keySPKISHA256,
            attestationMethod: attestationMethod,
            serial: newSerial ?? serial,
            notAfter: newEnd ?? notAfter,
            createdAt: createdAt,
            lastSeen: seen
        )
    }
}
