// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import ControlAPI
package import Datastore
package import FoundationEssentials
package import Issuance
internal import NodeSync
package import SPIFFE

/// What an agent asks for, for a server that is a workload of its node.
package struct DownstreamOrder: Hashable, Sendable {
    package let entryID: String
    package let request: DownstreamRequest
    /// How long from now the certificate shall be valid.
    package let lifetimeSeconds: Int64

    package init(entryID: String, request: DownstreamRequest, lifetimeSeconds: Int64) {
        self.entryID = entryID
        self.request = request
        self.lifetimeSeconds = lifetimeSeconds
    }
}

/// How many authorities are certified for servers below.
package enum DownstreamLimits {
    /// Most valid ones of one entry: a server makes one a day, and some more while its admins hurry.
    package static let ofEntryMax = 16
    /// Most valid ones in all: each can be revoked, and agents and proxies are told of all revocations
    /// at once.
    package static let countMax = 512
    /// Most of a server that is below another one itself, revoked ones included until they end: there
    /// all of them are of one entry, and so are its own, of which nobody can say what is revoked here.
    package static let belowAgentMax = 8
    /// Most valid ones of one entry there: two while a server rotates, and one to spare.
    package static let ofEntryBelowAgentMax = 3
    /// Longest ID of an entry that is looked for.
    package static let entryIDBytesMax = 64
    /// Least time between two new ones of an entry.
    package static let interval: Duration = .seconds(60)
    /// Shortest certificate: what a server needs for the shortest SVIDs that there are.
    package static let lifetimeSecondsMin =
        SVIDLifetimes.svidMin.components.seconds * Int64(SVIDLifetimes.authorityPerSVIDMin)
}

/// What the server goes by that is in no database.
package struct DownstreamGround: Sendable {
    /// The key IDs of the roots that are configured.
    let roots: Set<String>
    /// Whether the server is below another one itself, which counts all of them as its own.
    let isBelowAgent: Bool
    /// How many other keys were certified and could not be recorded, and have not ended.
    let uncommitted: Int
    /// Most in all.
    let countMax: Int
    let now: Date

    package init(
        roots: Set<String>,
        isBelowAgent: Bool = false,
        uncommitted: Int = 0,
        countMax: Int? = nil,
        now: Date
    ) {
        self.roots = roots
        self.isBelowAgent = isBelowAgent
        self.uncommitted = uncommitted
        self.countMax =
            countMax
            ?? (isBelowAgent ? DownstreamLimits.belowAgentMax : DownstreamLimits.countMax)
        self.now = now
    }

    /// Most valid ones of an entry.
    var ofEntryMax: Int {
        isBelowAgent ? DownstreamLimits.ofEntryBelowAgentMax : DownstreamLimits.ofEntryMax
    }
}

/// What lets an authority be certified; it is asked for anew when that is committed.
package struct DownstreamBasis: Sendable {
    package let node: NodeRecord
    package let entry: RegistrationEntry
    /// What was certified for the same key before.
    package let known: DownstreamRecord?
    /// How long from now the certificate may be valid: until the entry ends.
    package let lifetimeSeconds: Int64
}

/// Certifying authorities of servers below (docs/decisions/0020-authorities-under-another.md,
/// "Nested"): who gets such a certificate can be anybody of the trust domain.
extension ServerLogic {
    /// Judges whether an authority may be certified, but for how many there are.
    ///
    /// - Parameters:
    ///   - order: What is asked for.
    ///   - peer: The agent that asks.
    ///   - ground: The roots and the clock.
    ///   - transaction: What is known.
    /// - Returns: What it rests on.
    /// - Throws: `APIError`, of each rule its own.
    package func downstreamBasis(
        of order: DownstreamOrder,
        for peer: VerifiedPeer,
        on ground: DownstreamGround,
        in transaction: ReadTransaction
    ) throws -> DownstreamBasis {
        let node = try standing(of: peer, in: transaction)
        try requireTrusted(peer, in: transaction)
        guard try transaction.hold() == nil else {
            throw APIError(.unavailable, "held", "the server is held, and signs nothing")
        }
        // Nothing is asked of the upstream that could not be recorded then.
        if let problem = try clockProblem(ground.now, in: transaction) {
            throw APIError(problem)
        }
        let entry = try downstreamEntry(order.entryID, of: node, now: ground.now, in: transaction)
        guard order.request.serverID != serverID else {
            throw APIError(
                .permissionDenied,
                "serverIDTaken",
                "the request has this server's own ID, \(serverID), in its subject: the server below "
                    + "runs with a copy of this one's data directory"
            )
        }
        let lifetime = try lifetime(of: order, entry, now: ground.now)
        let key = order.request.publicKey
        let known = try transaction.downstreamAuthority(id: key.keyID)
        // What is above may have named it before its record was revoked.
        guard try transaction.upstreamRevocation(id: key.keyID) == nil else {
            throw Self.keyRevoked(key.keyID)
        }
        if let known {
            try requireSame(known, entry, node)
        } else {
            try requireNewKey(key, of: entry, in: transaction)
        }
        try requireNewSubject(order.request, in: transaction)
        return DownstreamBasis(node: node, entry: entry, known: known, lifetimeSeconds: lifetime)
    }

    /// Whoever has the key of a distrusted authority may have made the agent's certificate.
    ///
    /// An agent replaces a certificate of a tainted one within minutes.
    private func requireTrusted(_ peer: VerifiedPeer, in transaction: ReadTransaction) throws {
        let distrusted = [AuthorityRecord.taintedState, AuthorityRecord.revokedState]
        for keyID in peer.path {
            let id = Hexadecimal.text(keyID)
            let state = try transaction.authority(id: id)?.state
            guard try transaction.upstream(id: id)?.distrust == nil,
                state.map({ !distrusted.contains($0) }) ?? true
            else {
                throw APIError(
                    .permissionDenied,
                    "authorityDistrusted",
                    "an authority of the agent's own certificate is tainted or revoked: ask again when "
                        + "the agent has renewed it, within minutes"
                )
            }
        }
    }

    private func downstreamEntry(
        _ id: String,
        of node: NodeRecord,
        now: Date,
        in transaction: ReadTransaction
    ) throws -> RegistrationEntry {
        // One that is for other nodes is told from none to nobody.
        guard let entry = try transaction.entry(id: id), entry.matches(node: node.selectors) else {
            throw APIError(
                .permissionDenied,
                "entryUnknown",
                "this node has no entry \(id.prefix(64)); signet entry list shows what there is"
            )
        }
        let name = "\(entry.namespace)/\(entry.name)"
        guard entry.isDownstream, !entry.spiffeID.contains("{") else {
            throw APIError(
                .permissionDenied,
                "entryNotDownstream",
                "entry \(name) does not say downstream: true, so no authority is certified for it"
            )
        }
        if let expires = entry.expires, expires <= now {
            throw APIError(
                .permissionDenied,
                "entryExpired",
                "entry \(name) ended at \(AuditTime(expires)); write a later metadata.expires"
            )
        }
        let identity = try SPIFFEID(entry.spiffeID)
        if let until = try transaction.revocation(of: identity)?.issuedBefore, now < until {
            throw APIError(identityRevoked: entry.spiffeID, until: until, now: now)
        }
        return entry
    }

    private func lifetime(
        of order: DownstreamOrder,
        _ entry: RegistrationEntry,
        now: Date
    ) throws(APIError) -> Int64 {
        let (least, most) = (
            DownstreamLimits.lifetimeSecondsMin, lifetimes.authority.components.seconds
        )
        guard order.lifetimeSeconds >= least else {
            throw APIError(
                .invalidArgument,
                "lifetimeTooShort",
                "an authority lives for \(least) s at least, and \(order.lifetimeSeconds) s are asked "
                    + "for"
            )
        }
        guard order.lifetimeSeconds <= most else {
            throw APIError(
                .invalidArgument,
                "lifetimeTooLong",
                "the authority shall live for \(order.lifetimeSeconds) s, and those of the server "
                    + "above live for \(most): lower authorityTTL below, or raise it above"
            )
        }
        let algorithm = order.request.publicKey.algorithm
        guard profiles[ProfileKind.authority].limits.allows(algorithm) else {
            throw APIError(
                .permissionDenied,
                "keyOutsideProfile",
                "a key of kind \(algorithm) is outside the profile file authority.json of the server "
                    + "above"
            )
        }
        // Nothing is certified beyond the entry that allows it.
        guard let expires = entry.expires else { return order.lifetimeSeconds }
        let left = Int64(max(0, expires.timeIntervalSince(now)))
        guard left >= least else {
            throw APIError(
                .permissionDenied,
                "entryExpired",
                "entry \(entry.namespace)/\(entry.name) ends in \(left) s, and an authority lives for "
                    + "\(least) s at least; write a later metadata.expires"
            )
        }
        return min(order.lifetimeSeconds, left)
    }

    // MARK: - What was certified, and how much more may be

    /// The answer that a key got before, if it is what would be certified now.
    ///
    /// - Parameters:
    ///   - basis: What lets it be certified.
    ///   - order: What is asked for.
    ///   - ground: The roots and the clock.
    ///   - transaction: What is known.
    /// - Returns: DER of the certificate and of those above it; nil: it has to be certified anew.
    /// - Throws: `DatastoreError`.
    package func downstreamAnswer(
        _ basis: DownstreamBasis,
        to order: DownstreamOrder,
        on ground: DownstreamGround,
        in transaction: ReadTransaction
    ) throws -> [[UInt8]]? {
        guard let known = basis.known,
            let read = try? LeafCertificate(der: known.certificateDER),
            read.notBefore <= ground.now,
            try isUsable(known.ancestry, on: ground, in: transaction)
        else { return nil }
        let left = Duration.seconds(read.notAfter.timeIntervalSince(ground.now))
        let wished = Duration.seconds(basis.lifetimeSeconds)
        guard left >= wished / 2, left <= wished + UpstreamChain.lifetimeSlack else { return nil }
        return [known.certificateDER] + known.ancestry.chain
    }

    private func isUsable(
        _ ancestry: AuthorityAncestry,
        on ground: DownstreamGround,
        in transaction: ReadTransaction
    ) throws -> Bool {
        guard ground.roots.contains(ancestry.rootID),
            try transaction.bundleRoots().contains(where: { $0.id == ancestry.rootID })
        else { return false }
        return try ancestry.keyIDs.allSatisfy {
            try transaction.upstream(id: $0)?.distrust == nil
                && transaction.upstreamRevocation(id: $0) == nil
        }
    }

    /// Requires that there are not too many already.
    ///
    /// - Throws: `APIError` (`exhausted`).
    package func requireRoom(
        for basis: DownstreamBasis,
        on ground: DownstreamGround,
        in transaction: ReadTransaction
    ) throws {
        let own = try transaction.downstreamAuthorities(ofEntry: basis.entry.id)
        if let last = own.map(\.certifiedAt).max() {
            let age = Duration.seconds(ground.now.timeIntervalSince(last))
            // One of a clock that was ahead holds up nobody.
            if age >= .zero, age < DownstreamLimits.interval {
                throw Self.tooSoon(DownstreamLimits.interval - age)
            }
        }
        // The same key takes no place of its own.
        let isKnown = basis.known?.isValid(at: ground.now) ?? false
        let ofEntry = own.count { $0.isValid(at: ground.now) } - (isKnown ? 1 : 0)
        // The server above counts those that are revoked here alone, and what was not recorded.
        let all =
            try transaction.validDownstreamCount(
                at: ground.now,
                countingRevoked: ground.isBelowAgent
            ) - (isKnown ? 1 : 0) + ground.uncommitted
        guard ofEntry < ground.ofEntryMax else {
            throw APIError(
                .exhausted,
                "downstreamOfEntry",
                "\(ofEntry) authorities of entry \(basis.entry.namespace)/\(basis.entry.name) are valid, "
                    + "and no more may be; wait until one has ended, or revoke those that no server "
                    + "has any more (signet authority show)"
            )
        }
        guard all < ground.countMax else {
            throw APIError(
                .exhausted,
                "downstreamFull",
                ground.isBelowAgent
                    ? "\(all) authorities of servers below have not ended, and no more may be; wait until "
                        + "one has: the server above counts revoked ones too"
                    : "\(all) authorities of servers below are valid, and no more may be; wait until one "
                        + "has ended, or revoke those that no server has any more (signet authority show)"
            )
        }
    }

    /// The refusal of a second one within a minute.
    static func tooSoon(_ wait: Duration) -> APIError {
        APIError(
            .exhausted,
            "downstreamRate",
            "an entry gets one authority certified each "
                + "\(DownstreamLimits.interval.components.seconds) s; ask again in "
                + "\(wait.components.seconds + 1) s, with the same key",
            retryAfter: wait
        )
    }

    /// What the upstream's answer is held to.
    package func downstreamExpectation(
        of order: DownstreamOrder,
        _ basis: DownstreamBasis,
        in transaction: ReadTransaction
    ) throws -> UpstreamChain.Expectation {
        var expectation = try upstreamExpectation(
            spki: order.request.publicKey.subjectPublicKeyInfo,
            besides: basis.known?.id,
            in: transaction
        )
        let (wished, slack) = (
            Duration.seconds(basis.lifetimeSeconds), UpstreamChain.lifetimeSlack
        )
        // What is above may end before. Of less than half the key would be certified again and again.
        expectation.lifetime = (wished / 2 - slack)...(wished + slack)
        return expectation
    }

    /// Requires that a chain is of the order, and ends as early as the entry says by now.
    private func require(
        _ chain: UpstreamChain,
        for order: DownstreamOrder,
        _ basis: DownstreamBasis,
        now: Date
    ) throws {
        let read = try LeafCertificate(der: chain.certificate)
        guard read.spkiBytes == order.request.publicKey.subjectPublicKeyInfo else {
            throw APIError(upstream: .keyDiffers)
        }
        let most = Duration.seconds(basis.lifetimeSeconds) + UpstreamChain.lifetimeSlack
        guard chain.notAfter <= now.addingTimeInterval(most / .seconds(1)) else {
            throw APIError(
                .unavailable,
                APIError.entryChanged,
                "the entry has just changed, and ends earlier; ask again"
            )
        }
    }

    /// Records what was certified, if everything that let it be still does: from the commit on it is
    /// given to its agent, and what is not committed to nobody.
    ///
    /// - Parameters:
    ///   - chain: What the upstream answered, checked.
    ///   - order: What was asked for.
    ///   - peer: The agent that asked.
    ///   - ground: The roots and the clock, of this moment.
    ///   - transaction: Where all of it happens.
    /// - Returns: What the agent is given.
    /// - Throws: `APIError`; nothing has happened then, but that a certificate exists which nobody has.
    package func commitDownstream(
        _ chain: UpstreamChain,
        of order: DownstreamOrder,
        for peer: VerifiedPeer,
        on ground: DownstreamGround,
        in transaction: Transaction
    ) throws -> (record: DownstreamRecord, answer: [[UInt8]]) {
        try requireClock(ground.now, in: transaction)
        let basis = try downstreamBasis(of: order, for: peer, on: ground, in: transaction)
        try requireRoom(for: basis, on: ground, in: transaction)
        try require(chain, for: order, basis, now: ground.now)
        try recordAncestry(
            chain.ancestry,
            of: order.request.publicKey.keyID,
            below: ground.roots,
            now: ground.now,
            in: transaction
        )
        let (entry, end) = (basis.entry, max(chain.notAfter, basis.known?.notAfter ?? .distantPast))
        let record = DownstreamRecord(
            id: order.request.publicKey.keyID,
            entry: DownstreamRecord.Entry(
                id: entry.id,
                namespace: entry.namespace,
                name: entry.name,
                revision: entry.revision,
                spiffeID: entry.spiffeID
            ),
            node: basis.node.name,
            serverID: order.request.serverID,
            certificateDER: chain.certificate,
            ancestry: chain.ancestry,
            certifiedAt: ground.now,
            notBefore: chain.notBefore,
            // An older certificate of the key may end later.
            notAfter: end
        )
        try transaction.put(record)
        let certification = DownstreamCertification(
            authority: keyIdentifier(ofAuthority: record.id),
            certificate: chain.certificate,
            above: AuthorityPreparation.Above(
                chain: chain.ancestry.chain,
                issuer: keyIdentifier(ofAuthority: chain.ancestry.issuerID),
                root: keyIdentifier(ofAuthority: chain.ancestry.rootID)
            ),
            agent: peer.id,
            entry: IssuedSVID.Entry(
                id: entry.id,
                namespace: entry.namespace,
                revision: entry.revision
            ),
            entryName: entry.name,
            spiffeID: try SPIFFEID(entry.spiffeID),
            serverID: record.serverID,
            notBefore: AuditTime(chain.notBefore),
            notAfter: AuditTime(chain.notAfter)
        )
        try transaction.append(
            .downstreamAuthorityCertified(certification),
            by: .spiffe(peer.id),
            at: ground.now
        )
        return (record, [chain.certificate] + chain.ancestry.chain)
    }
}
