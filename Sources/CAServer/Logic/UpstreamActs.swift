// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import ControlAPI
package import Datastore
package import FoundationEssentials
package import Issuance
internal import NodeSync
package import SPIFFE

/// What is above authorities: roots enter and leave the bundle, and an authority is published with
/// all that certified it (docs/decisions/0020-authorities-under-another.md).
extension ServerLogic {
    /// Who publishes and removes roots: the configuration, or what the upstream says.
    package static let upstream = Actor.system("upstream")

    /// Takes what is above a new authority, and looks once more at what may have changed since its
    /// chain was checked.
    ///
    /// - Parameters:
    ///   - authority: The new one.
    ///   - roots: The key IDs of the roots that are configured.
    ///   - now: The wall clock.
    ///   - transaction: What is known.
    /// - Throws: `APIError` (`upstreamRefused`) if something above is tainted or revoked, or the root
    ///   is configured or in the bundle no more.
    func recordAncestry(
        of authority: Authority,
        below roots: Set<String>,
        now: Date,
        in transaction: Transaction
    ) throws {
        guard let ancestry = authority.ancestry else { return }
        try recordAncestry(ancestry, of: authority.id, below: roots, now: now, in: transaction)
    }

    /// The same of whatever the upstream has certified, by the ID of its key.
    func recordAncestry(
        _ ancestry: AuthorityAncestry,
        of keyID: String,
        below roots: Set<String>,
        now: Date,
        in transaction: Transaction
    ) throws {
        for id in ancestry.keyIDs {
            guard try transaction.upstream(id: id)?.distrust == nil,
                try transaction.upstreamRevocation(id: id) == nil,
                try transaction.authority(id: id) == nil,
                try transaction.downstreamAuthority(id: id) == nil
            else { throw APIError(upstream: .distrusted) }
        }
        guard try transaction.upstreamRevocation(id: keyID) == nil else {
            throw APIError(upstream: .distrusted)
        }
        // One that is only in the bundle still is to leave it.
        guard roots.contains(ancestry.rootID),
            try transaction.bundleRoots().contains(where: { $0.id == ancestry.rootID })
        else { throw APIError(upstream: .rootUnknown) }
        for record in try unrecorded(ancestry.chain, now: now, in: transaction) {
            try transaction.put(record)
        }
    }

    /// What is not on record yet of certificates above authorities.
    ///
    /// - Parameters:
    ///   - chain: DER of each, whose way to a root was checked.
    ///   - now: The wall clock.
    ///   - transaction: What is known.
    /// - Returns: The records to put.
    /// - Throws: `DatastoreError`, and what reading a certificate throws.
    package func unrecorded(
        _ chain: [[UInt8]],
        now: Date,
        in transaction: ReadTransaction
    ) throws -> [UpstreamRecord] {
        try chain.compactMap { der in
            let read = try LeafCertificate(der: der)
            let id = read.keyIdentifier.description
            // Agents are told of both by their key IDs: one key is never both.
            guard try transaction.authority(id: id) == nil,
                try transaction.downstreamAuthority(id: id) == nil
            else { return nil }
            // It is refused already.
            guard try transaction.upstreamRevocation(id: id) == nil else { return nil }
            let known = try transaction.upstream(id: id)
            // A root stays one, whoever certified its key besides; an older certificate of a key says
            // nothing new.
            if let known, known.kind == .root || known.notAfter >= read.notAfter { return nil }
            return UpstreamRecord(
                id: id,
                kind: .intermediate,
                certificateDER: der,
                publishedAt: known?.publishedAt ?? now,
                notAfter: read.notAfter,
                distrust: known?.distrust
            )
        }
    }

    /// What has to be done for the bundle to have the roots that are configured.
    package struct RootChanges: Sendable {
        /// A root to publish.
        package struct Root: Sendable {
            package let id: String
            package let certificateDER: [UInt8]
            let notAfter: Date
            /// What is known of its key already; nil: nothing.
            let known: UpstreamRecord?
        }

        /// Those that are new, or have another certificate.
        package fileprivate(set) var published: [Root] = []
        /// Those that are configured no more, with nothing below.
        package fileprivate(set) var removed: [UpstreamRecord] = []

        package var isEmpty: Bool { published.isEmpty && removed.isEmpty }
    }

    /// Looks which roots are to be published, and which are configured no more and have no authority
    /// but revoked ones below.
    ///
    /// - Parameters:
    ///   - configured: DER of each; a revoked one is left out.
    ///   - revoked: The IDs of keys that the upstream says are revoked.
    ///   - transaction: What is known.
    /// - Returns: What is to be done.
    /// - Throws: `APIError` (`upstreamRefused`) for one that is no root of this trust domain;
    ///   `DatastoreError`.
    package func rootChanges(
        _ configured: [[UInt8]],
        without revoked: Set<String> = [],
        in transaction: ReadTransaction
    ) throws -> RootChanges {
        var changes = RootChanges()
        var wanted: Set<String> = []
        for der in configured {
            let read = try requireRoot(der)
            let id = read.keyIdentifier.description
            guard wanted.insert(id).inserted else { continue }
            // None that is to leave enters, nor again with another certificate.
            guard !revoked.contains(id), try transaction.upstreamRevocation(id: id) == nil else {
                continue
            }
            let known = try transaction.upstream(id: id)
            if let known {
                // What a restore knows from the log alone is no root yet, whatever its certificate.
                let isPublished = known.kind == .root && known.certificateDER == der
                guard !known.isRevoked, !isPublished else { continue }
            }
            changes.published.append(
                RootChanges.Root(
                    id: id,
                    certificateDER: der,
                    notAfter: read.notAfter,
                    known: known
                )
            )
        }
        let authorities = try transaction.bundleAuthorities()
        let unwanted = try transaction.bundleRoots().filter { root in
            !wanted.contains(root.id) && !authorities.contains { $0.ancestry?.rootID == root.id }
        }
        // Servers below are believed by their roots too.
        let downstream = unwanted.isEmpty ? [] : try transaction.downstreamAuthorities()
        changes.removed = unwanted.filter { root in
            !downstream.contains { !$0.isRevoked && $0.ancestry.rootID == root.id }
        }
        return changes
    }

    /// Publishes the roots that are configured, and takes those out that are so no more.
    ///
    /// - Parameters:
    ///   - configured: DER of each.
    ///   - revoked: As for `rootChanges`.
    ///   - now: The wall clock.
    ///   - transaction: Where it happens.
    /// - Returns: What was done.
    /// - Throws: As `rootChanges`; `APIError` (`tooManyAuthorities`), or that the clock is not
    ///   believed, by which leaves would be dated.
    @discardableResult
    package func settleRoots(
        _ configured: [[UInt8]],
        without revoked: Set<String> = [],
        now: Date,
        in transaction: Transaction
    ) throws -> RootChanges {
        let changes = try rootChanges(configured, without: revoked, in: transaction)
        if !changes.isEmpty { try requireClock(now, in: transaction) }
        for root in changes.removed { try remove(root, now: now, in: transaction) }
        for root in changes.published { try publish(root, now: now, in: transaction) }
        return changes
    }

    private func publish(
        _ root: RootChanges.Root,
        now: Date,
        in transaction: Transaction
    ) throws {
        // Both are told to agents by their key IDs: one key is never both.
        guard try transaction.authority(id: root.id) == nil,
            try transaction.downstreamAuthority(id: root.id) == nil
        else {
            throw APIError(upstream: .keyTaken)
        }
        let count = try transaction.bundleAuthorities().count + transaction.bundleRoots().count
        // One that was on record between a root and authorities was in no bundle yet.
        let isRoot = root.known?.kind == .root
        guard isRoot || count < TrustBundle.authoritiesMax else {
            throw APIError(
                .failedPrecondition,
                "tooManyAuthorities",
                "the bundle already holds \(TrustBundle.authoritiesMax) authorities and roots; name "
                    + "fewer roots, or wait until an authority has left"
            )
        }
        try transaction.put(
            UpstreamRecord(
                id: root.id,
                kind: .root,
                certificateDER: root.certificateDER,
                publishedAt: isRoot ? root.known?.publishedAt ?? now : now,
                notAfter: root.notAfter,
                distrust: root.known?.distrust
            )
        )
        let revision = try transaction.recordBundleChange()
        let publication = RootPublication(
            root: keyIdentifier(ofAuthority: root.id),
            certificate: root.certificateDER,
            notAfter: AuditTime(root.notAfter),
            revision: revision.number
        )
        try transaction.append(.rootPublished(publication), by: Self.upstream, at: now)
    }

    private func remove(
        _ root: UpstreamRecord,
        now: Date,
        in transaction: Transaction
    ) throws {
        // A tainted one is revoked by it, as an authority is.
        if let distrust = root.distrust {
            _ = try revokeUpstream(
                root.id,
                reason: distrust.reason,
                by: Self.upstream,
                now: now,
                in: transaction
            )
            return
        }
        try transaction.deleteUpstream(id: root.id)
        let revision = try transaction.recordBundleChange()
        let removal = RootRemoval(
            root: keyIdentifier(ofAuthority: root.id),
            revision: revision.number
        )
        try transaction.append(.rootRemoved(removal), by: Self.upstream, at: now)
    }

    /// What the chain for a new key is held to.
    ///
    /// - Parameters:
    ///   - spki: SubjectPublicKeyInfo of the key.
    ///   - known: The ID of an authority of a server below, of the same key; nil: the key is new.
    ///   - transaction: What is known.
    /// - Returns: What `UpstreamChain` asks for.
    /// - Throws: `DatastoreError`.
    package func upstreamExpectation(
        spki: [UInt8],
        besides known: String? = nil,
        in transaction: ReadTransaction
    ) throws -> UpstreamChain.Expectation {
        let (authorities, upstreams) = (try transaction.authorities(), try transaction.upstreams())
        let downstream = try transaction.downstreamAuthorities().filter { $0.id != known }
        let distrusted = [AuthorityRecord.taintedState, AuthorityRecord.revokedState]
        let refused = try transaction.upstreamRevocations().map(\.id)
        return UpstreamChain.Expectation(
            trustDomain: trustDomain,
            lifetimes: lifetimes,
            spki: spki,
            subjectsTaken: Set(
                (authorities.map(\.certificateDER) + downstream.map(\.certificateDER))
                    .compactMap { UpstreamChain.subject(of: $0) }
            ),
            keysTaken: Set(authorities.map(\.id) + downstream.map(\.id)),
            distrusted: Set(upstreams.filter { $0.distrust != nil }.map(\.id))
                .union(authorities.filter { distrusted.contains($0.state) }.map(\.id))
                .union(downstream.map(\.id))
                .union(refused)
        )
    }

    /// Reads a root that shall be published.
    ///
    /// - Throws: `APIError` (`upstreamRefused`).
    private func requireRoot(_ der: [UInt8]) throws(APIError) -> LeafCertificate {
        if let refusal = UpstreamChain.problem(ofRoot: der, trustDomain: trustDomain) {
            throw APIError(upstream: refusal)
        }
        guard let read = try? LeafCertificate(der: der) else {
            throw APIError(upstream: .certificateMalformed)
        }
        return read
    }
}

extension APIError {
    /// The reason given when a chain or root breaks a rule.
    static let upstreamRefused = "upstreamRefused"

    /// What breaks a rule of `UpstreamChain`.
    init(upstream refusal: UpstreamRefusal) {
        self.init(.failedPrecondition, Self.upstreamRefused, refusal.description)
    }
}
