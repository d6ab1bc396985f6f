// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
package import Authorization
internal import ControlAPI
package import Datastore
internal import FoundationEssentials
package import SPIFFE

/// A join token that an admin asks for.
package struct JoinTokenOrder: Sendable {
    /// Longest time that a join token may wait for its machine.
    package static let secondsMax: UInt32 = 7 * 86_400
    /// Most bytes of all selectors together, as JSON writes them: with the node's own they must fit
    /// into one leaf of the audit log, which has 16 KiB.
    package static let selectorBytesMax = 8 << 10

    /// SHA-256 of the secret.
    package let hash: [UInt8]
    /// The name the node will have.
    package let name: String
    /// The selectors the node will have, beside those of its name.
    package let selectors: [Selector]
    package let ttlSeconds: UInt32

    package init(hash: [UInt8], name: String, selectors: [Selector], ttlSeconds: UInt32) {
        self.hash = hash
        self.name = name
        self.selectors = selectors
        self.ttlSeconds = ttlSeconds
    }

    /// Refuses lifetimes and selectors that no token may have.
    fileprivate func check() throws(APIError) {
        guard (1...Self.secondsMax).contains(ttlSeconds) else {
            throw APIError(
                .invalidArgument,
                "tokenLifetime",
                "a token lives 1 to \(Self.secondsMax) seconds"
            )
        }
        let bytes = selectors.reduce(0) { $0 + Self.recordedBytes($1.description) }
        guard bytes <= Self.selectorBytesMax else {
            throw APIError(
                .invalidArgument,
                "selectorsTooLarge",
                "the node selectors have \(bytes) bytes together, at most "
                    + "\(Self.selectorBytesMax) are allowed; shorten them or give fewer"
            )
        }
        guard selectors.allSatisfy({ $0.type != "agent" && $0.type != "unix" }) else {
            throw APIError(
                .invalidArgument,
                "selectorReserved",
                "node selectors of type agent and unix are given by Signet itself"
            )
        }
    }
}

extension JoinTokenOrder {
    /// What a text takes in a list of a leaf: in quotes, with a comma, some characters escaped.
    private static func recordedBytes(_ text: String) -> Int {
        text.utf8.reduce(3) { count, byte in
            count + (byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") ? 2 : 1)
        }
    }
}

/// What admins do to nodes: admit, ban, evict.
extension ServerLogic {
    /// Stores a new join token.
    ///
    /// - Throws: `APIError` when the caller may not, the name or a selector is malformed or
    ///   reserved, or the node exists already.
    package func createToken(
        _ order: JoinTokenOrder,
        by standing: AdminStanding,
        in transaction: Transaction
    ) throws -> SPIFFEID {
        let (id, name) = (try agentID(order.name), order.name)
        try standing.require(.tokenCreate, spiffeID: id.description)
        try order.check()
        try requireNothingWaits(in: transaction)
        // A role narrowed by SPIFFE ID prefixes admits agents of certain names; selectors decide
        // which entries a node gets.
        guard order.selectors.isEmpty || standing.may(.tokenCreate) else {
            throw APIError(
                .permissionDenied,
                "selectorsNotYours",
                "node selectors are chosen only by who may create tokens without a SPIFFE ID "
                    + "prefix; leave them out"
            )
        }
        let selectors = Set(order.selectors).union(try ownSelectors(ofNode: name))
        try requireNoEscalation(admitting: selectors, by: standing, in: transaction)
        try requireNoDownstream(admitting: selectors, by: standing, in: transaction)
        if let node = try transaction.node(named: name) {
            throw APIError(
                .conflict,
                "nodeExists",
                node.ban == nil
                    ? "agent \(name) exists; evict it first if the machine is new"
                    : "agent \(name) is banned; unban or evict it first"
            )
        }
        let expires = standing.now.addingTimeInterval(Double(order.ttlSeconds))
        try transaction.put(
            JoinTokenRecord(
                hash: order.hash,
                name: name,
                selectors: Set(order.selectors),
                expiresAt: expires,
                createdBy: standing.actor.description,
                createdAt: standing.now
            )
        )
        try transaction.append(
            .tokenCreated(
                TokenCreation(
                    agent: id,
                    expires: AuditTime(expires),
                    selectors: order.selectors.sorted(),
                    tokenID: Hexadecimal.text(order.hash.prefix(8))
                )
            ),
            by: standing.actor,
            at: standing.now
        )
        return id
    }

    /// A token pins what signs: the machine would believe whoever has a copy of a key of which the
    /// upstream says that it is revoked.
    private func requireNothingWaits(in transaction: ReadTransaction) throws {
        guard let key = try transaction.upstreamRevocations().first(where: \.isWaiting) else {
            return
        }
        throw APIError(
            .failedPrecondition,
            "revocationWaits",
            "the upstream revoked \(key.id), which signs or is above what signs: no token pins it; ask "
                + "again when another authority signs (signet authority show)"
        )
    }

    /// Whoever runs a node gets the identities of its scope: he must not become an admin by it who
    /// may do what he may not do now.
    private func requireNoEscalation(
        admitting selectors: Set<Selector>,
        by standing: AdminStanding,
        in transaction: ReadTransaction
    ) throws {
        for entry in try transaction.entries(node: selectors) {
            guard let escalation = standing.escalation(registering: entry.spiffeID) else {
                continue
            }
            throw APIError(
                .permissionDenied,
                "grantExceedsOwn",
                "a node with these selectors gets the identity of an admin: \(escalation)"
            )
        }
    }

    /// Whoever runs a node that a downstream entry selects, or will once it is approved, can be anybody
    /// of the trust domain.
    private func requireNoDownstream(
        admitting selectors: Set<Selector>,
        by standing: AdminStanding,
        in transaction: ReadTransaction
    ) throws {
        guard !standing.may(.authorityDownstream) else { return }
        let shown = Set(selectors.map(\.description))
        let isStored = try transaction.entries(node: selectors).contains(where: \.isDownstream)
        let isWaiting = try transaction.proposedGivers().contains {
            $0.isDownstream && $0.nodeSelectors.allSatisfy(shown.contains)
        }
        guard isStored || isWaiting else { return }
        throw APIError(
            .permissionDenied,
            "downstreamNotYours",
            "a node with these selectors can have authorities certified, by which it can be anybody of "
                + "the trust domain: that takes \(AdminVerb.authorityDownstream)"
        )
    }

    /// What an admin does to a node's standing.
    package enum StandingChange: Hashable, Sendable {
        case ban
        case evict
        case unban

        /// The right that it takes.
        package var verb: AdminVerb {
            switch self {
            case .ban, .unban: .nodeBan
            case .evict: .nodeEvict
            }
        }
    }

    /// Longest reason in bytes: what a leaf keeps of one.
    package static let reasonBytesMax = 1024

    /// Changes what a node may do.
    ///
    /// - Returns: the node as it was.
    /// - Throws: `APIError` when the caller may not, or there is no such node.
    package func change(
        _ change: StandingChange,
        ofNode name: String,
        reason: String,
        by caller: AdminStanding,
        in transaction: Transaction
    ) throws -> NodeRecord {
        let id = try agentID(name)
        try caller.require(change.verb, spiffeID: id.description)
        guard reason.utf8.count <= Self.reasonBytesMax else {
            throw APIError(
                .invalidArgument,
                "reasonTooLong",
                "a reason has at most \(Self.reasonBytesMax) bytes"
            )
        }
        guard let node = try transaction.node(named: name) else {
            throw APIError(
                .notFound,
                "nodeUnknown",
                "there is no agent \(name); see signet agent list"
            )
        }
        // Whoever lets a node in again gives it its entries, as by a token.
        if change == .unban {
            try requireNoEscalation(admitting: node.selectors, by: caller, in: transaction)
            try requireNoDownstream(admitting: node.selectors, by: caller, in: transaction)
        }
        let standing = NodeStanding(agent: node.spiffeID, reason: reason)
        let event: AuditEvent
        switch change {
        case .ban:
            try transaction.banNode(named: name, reason: reason, now: caller.now)
            event = .nodeBanned(standing)
        case .evict:
            try transaction.evictNode(named: name, now: caller.now)
            event = .nodeEvicted(standing)
        case .unban:
            try transaction.unbanNode(named: name)
            event = .nodeUnbanned(standing)
        }
        // What was given out before must not bring the name back.
        if change != .unban { try transaction.deleteJoinTokens(name: name, unusedOnly: true) }
        try transaction.append(event, by: caller.actor, at: caller.now)
        if change != .unban {
            try strike(node: name, by: caller.actor, at: caller.now, in: transaction)
            try revokeDownstream(
                transaction.downstreamAuthorities(ofNode: name),
                .node,
                reason: reason,
                by: caller.actor,
                now: caller.now,
                in: transaction
            )
        }
        return node
    }
}
