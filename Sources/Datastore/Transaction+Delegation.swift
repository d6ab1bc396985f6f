// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import GRDB
package import SPIFFE

/// That an exchanged token was about to be signed that names somebody who does not hold it: the
/// subject, or an actor before the last (docs/decisions/0024-token-exchange.md).
///
/// Who holds it has a `TokenHolder`. These have none there, or a ban of the holder's node would
/// revoke them everywhere.
package struct DelegationParty: Hashable, Sendable {
    package let id: SPIFFEID
    /// The last `iat`.
    package let issuedAt: Date
    /// The last `exp`.
    package let notAfter: Date

    package init(id: SPIFFEID, issuedAt: Date, notAfter: Date) {
        self.id = id
        self.issuedAt = issuedAt
        self.notAfter = notAfter
    }
}

/// Which wording of which policy permits a hop, and for how long; what it names is not read.
package struct DelegationGrant: Hashable, Sendable {
    /// The uid of the policy's document.
    package let policyID: String
    /// The document's version: another one may name others.
    package let version: UInt64
    package let expires: Date?

    fileprivate init(_ stored: StoredDelegationPolicy) {
        (policyID, version, expires) = (stored.uid, stored.version, stored.expires)
    }

    /// That of a policy that was read whole.
    package init(_ policy: DelegationPolicy) {
        (policyID, version, expires) = (policy.id, policy.version, policy.expires)
    }
}

/// What a name in a policy is there, as it is stored.
private enum DelegationRole: String, CaseIterable {
    case subject, actor, audience
}

extension ReadTransaction {
    /// The policy that permits a hop longest; nil if none names it.
    ///
    /// Its end is not looked at: when the longest one is over, every other is too. Of equal ones it
    /// is the first by namespace and name.
    package func delegationPolicy(
        permitting hop: DelegationHop
    ) throws(DatastoreError) -> DelegationPolicy? {
        try stored(permitting: hop).map(policy)
    }

    /// Which policy `delegationPolicy(permitting:)` would give, by three index entries and a row: for
    /// whoever has read it and holds up others.
    package func delegationGrant(
        permitting hop: DelegationHop
    ) throws(DatastoreError) -> DelegationGrant? {
        try stored(permitting: hop).map { DelegationGrant($0) }
    }

    private func stored(
        permitting hop: DelegationHop
    ) throws(DatastoreError) -> StoredDelegationPolicy? {
        try first(
            """
            SELECT delegation_policies.* FROM delegation_terms AS subjects
            JOIN delegation_terms AS actors
                ON actors.role = 'actor' AND actors.value = ? AND actors.uid = subjects.uid
            JOIN delegation_terms AS audiences
                ON audiences.role = 'audience' AND audiences.value = ?
                AND audiences.uid = subjects.uid
            JOIN delegation_policies ON delegation_policies.uid = subjects.uid
            WHERE subjects.role = 'subject' AND subjects.value = ?
            ORDER BY expires IS NOT NULL, expires DESC, namespace, name LIMIT 1
            """,
            [hop.actor.description, hop.audience, hop.subject.description],
            StoredDelegationPolicy.init
        )
    }

    /// The policy of a DelegationPolicy document, by its uid.
    package func delegationPolicy(id: String) throws(DatastoreError) -> DelegationPolicy? {
        try first(
            "SELECT * FROM delegation_policies WHERE uid = ?",
            [id],
            StoredDelegationPolicy.init
        ).map(policy)
    }

    /// How many policies there are.
    package func delegationPolicyCount() throws(DatastoreError) -> Int {
        try first("SELECT count(*) AS n FROM delegation_policies") { row in
            try row.value("n", as: Int.self)
        } ?? 0
    }

    /// Reads what a policy names.
    private func policy(
        _ stored: StoredDelegationPolicy
    ) throws(DatastoreError) -> DelegationPolicy {
        var names: [DelegationRole: [String]] = [:]
        let terms = try all(
            "SELECT role, value FROM delegation_terms WHERE uid = ?",
            [stored.uid]
        ) { row in
            (try row.value("role", as: String.self), try row.value("value", as: String.self))
        }
        for (word, value) in terms {
            guard let role = DelegationRole(rawValue: word) else {
                throw .corrupt("column role is \"\(word)\"")
            }
            names[role, default: []].append(value)
        }
        return DelegationPolicy(
            id: stored.uid,
            namespace: stored.namespace,
            name: stored.name,
            version: stored.version,
            subjects: try SPIFFEID.stored(names[.subject] ?? []),
            actors: try SPIFFEID.stored(names[.actor] ?? []),
            audiences: names[.audience] ?? [],
            expires: stored.expires
        )
    }
}

extension Transaction {
    /// Writes what a DelegationPolicy says that is stored already; what it said before goes.
    ///
    /// - Throws: `DatastoreError.constraint` when there is no such document.
    package func put(_ policy: DelegationPolicy) throws(DatastoreError) {
        try execute("DELETE FROM delegation_policies WHERE uid = ?", [policy.id])
        try execute(
            """
            INSERT INTO delegation_policies (uid, namespace, name, version, expires)
            VALUES (?, ?, ?, ?, ?)
            """,
            [
                policy.id, policy.namespace, policy.name, policy.version.stored,
                policy.expires?.storedMilliseconds,
            ]
        )
        for role in DelegationRole.allCases {
            let values: [String]
            switch role {
            case .subject: values = policy.subjects.map(\.description)
            case .actor: values = policy.actors.map(\.description)
            case .audience: values = policy.audiences.map { String(decoding: $0, as: UTF8.self) }
            }
            for value in values {
                try execute(
                    "INSERT INTO delegation_terms (role, value, uid) VALUES (?, ?, ?)",
                    [role.rawValue, value, policy.id]
                )
            }
        }
    }

    /// Records who is about to be named in exchanged tokens that somebody else holds; what was
    /// recorded before stays as far as it is later.
    package func record(_ parties: [DelegationParty]) throws(DatastoreError) {
        for party in parties {
            try execute(
                """
                INSERT INTO delegation_parties (spiffe_id, issued_at, not_after) VALUES (?, ?, ?)
                ON CONFLICT (spiffe_id) DO UPDATE SET
                    issued_at = max(issued_at, excluded.issued_at),
                    not_after = max(not_after, excluded.not_after)
                """,
                [
                    party.id.description, party.issuedAt.storedMilliseconds,
                    party.notAfter.storedMilliseconds,
                ]
            )
        }
    }

    /// Forgets those whose last token expired before `time`, at most `limit`.
    ///
    /// - Returns: Whether there may be more.
    package func trimDelegationParties(
        expiredBefore time: Date,
        limit: Int
    ) throws(DatastoreError) -> Bool {
        try execute(
            """
            DELETE FROM delegation_parties WHERE spiffe_id IN (
                SELECT spiffe_id FROM delegation_parties WHERE not_after < ? LIMIT ?)
            """,
            [time.storedMilliseconds, limit]
        ) == limit
    }
}

/// A row of a policy, without what it names.
private struct StoredDelegationPolicy {
    let uid: String
    let namespace: String
    let name: String
    let version: UInt64
    let expires: Date?

    init(_ row: Row) throws(DatastoreError) {
        uid = try row.value("uid")
        namespace = try row.value("namespace")
        name = try row.value("name")
        version = try row.number("version")
        expires = try row.optionalDate("expires")
    }
}

extension SPIFFEID {
    fileprivate static func stored(_ texts: [String]) throws(DatastoreError) -> Set<SPIFFEID> {
        var ids: Set<SPIFFEID> = []
        for text in texts {
            do throws(SPIFFEIDError) {
                ids.insert(try SPIFFEID(text))
            } catch {
                throw .corrupt("a stored SPIFFE ID: \(error)")
            }
        }
        return ids
    }
}
