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
    /// - Throws: `APIError` (`upstreamRefused`) if something above is tainted or revoked, or the root
    ///   is in the bundle no more.
    func recordAncestry(
        of authority: Authority,
        now: Date,
        in transaction: Transaction
    ) throws {
        guard let ancestry = authority.ancestry else { return }
        for id in ancestry.keyIDs {
            guard try transaction.upstream(id: id)?.distrust == nil,
                try transaction.authority(id: id) == nil
            else { throw APIError(upstream: .distrusted) }
        }
        guard try transaction.bundleRoots().contains(where: { $0.id == ancestry.rootID }) else {
            throw APIError(upstream: .rootUnknown)
        }
        for (id, der) in zip(ancestry.keyIDs, ancestry.chain) {
            let known = try transaction.upstream(id: id)
            let read = try LeafCertificate(der: der)
            // An older certificate of the key says nothing new.
            if let known, known.notAfter >= read.notAfter { continue }
            try transaction.put(
                UpstreamRecord(
                    id: id,
                    kind: .intermediate,
                    certificateDER: der,
                    publishedAt: known?.publishedAt ?? now,
                    notAfter: read.notAfter
                )
            )
        }
    }

    /// Publishes the roots that are configured, and takes those out that are configured no more once
    /// no authority but revoked ones is below.
    ///
    /// - Parameters:
    ///   - configured: DER of each; a revoked one is left out.
    ///   - now: The wall clock.
    ///   - transaction: Where it happens.
    /// - Returns: Whether the bundle changed.
    /// - Throws: `APIError` (`upstreamRefused`) for one that is no root of this trust domain, or too
    ///   many for the bundle; `DatastoreError`.
    package func settleRoots(
        _ configured: [[UInt8]],
        now: Date,
        in transaction: Transaction
    ) throws -> Bool {
        var wanted: [String: (der: [UInt8], notAfter: Date)] = [:]
        for der in configured {
            let read = try requireRoot(der)
            wanted[read.keyIdentifier.description] = (der, read.notAfter)
        }
        let isRemoved = try removeRoots(except: Set(wanted.keys), now: now, in: transaction)
        var isPublished = false
        for (id, root) in wanted.sorted(by: { $0.key < $1.key }) {
            let known = try transaction.upstream(id: id)
            if let known, known.isRevoked || known.certificateDER == root.der { continue }
            let count = try transaction.bundleAuthorities().count + transaction.bundleRoots().count
            guard known != nil || count < TrustBundle.authoritiesMax else {
                throw APIError(
                    .failedPrecondition,
                    "tooManyAuthorities",
                    "the bundle already holds \(TrustBundle.authoritiesMax) authorities and roots; "
                        + "name fewer roots, or wait until an authority has left"
                )
            }
            try transaction.put(
                UpstreamRecord(
                    id: id,
                    kind: .root,
                    certificateDER: root.der,
                    publishedAt: known?.publishedAt ?? now,
                    notAfter: root.notAfter,
                    distrust: known?.distrust
                )
            )
            let revision = try transaction.recordBundleChange()
            let publication = RootPublication(
                root: keyIdentifier(ofAuthority: id),
                certificate: root.der,
                notAfter: AuditTime(root.notAfter),
                revision: revision.number
            )
            try transaction.append(.rootPublished(publication), by: Self.upstream, at: now)
            isPublished = true
        }
        return isRemoved || isPublished
    }

    /// A root is the trust domain, with every CA below it: hence its URI.
    ///
    /// - Throws: `APIError` (`upstreamRefused`).
    package func requireRoot(_ der: [UInt8]) throws(APIError) -> LeafCertificate {
        guard let read = try? LeafCertificate(der: der) else {
            throw APIError(upstream: .certificateMalformed)
        }
        guard read.isCA, let usage = read.keyUsage, usage.contains(.keyCertSign),
            read.uriNames == [trustDomain.id.description]
        else { throw APIError(upstream: .rootOfAnother) }
        return read
    }

    private func removeRoots(
        except wanted: Set<String>,
        now: Date,
        in transaction: Transaction
    ) throws -> Bool {
        var isRemoved = false
        for root in try transaction.bundleRoots() where !wanted.contains(root.id) {
            let isNeeded = try transaction.bundleAuthorities().contains {
                $0.ancestry?.rootID == root.id
            }
            guard !isNeeded else { continue }
            try transaction.deleteUpstream(id: root.id)
            let revision = try transaction.recordBundleChange()
            let removal = RootRemoval(
                root: keyIdentifier(ofAuthority: root.id),
                revision: revision.number
            )
            try transaction.append(.rootRemoved(removal), by: Self.upstream, at: now)
            isRemoved = true
        }
        return isRemoved
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
