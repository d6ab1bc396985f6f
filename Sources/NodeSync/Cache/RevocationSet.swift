// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE

/// How an authority is distrusted.
package enum AuthorityStanding: Hashable, Sendable {
    /// What it signed counts no more.
    case revoked
    /// What it signed is to be replaced.
    case tainted

    /// Judges the authorities of a verified path, each of which counts.
    ///
    /// - Parameters:
    ///   - path: The computed IDs of their keys, as `VerifiedPeer` has them.
    ///   - known: What is known of one of them.
    /// - Returns: How the path is distrusted; nil if none of them is.
    package static func worst(
        of path: [[UInt8]],
        _ known: ([UInt8]) -> AuthorityStanding?
    ) -> AuthorityStanding? {
        let found = path.compactMap(known)
        return found.contains(.revoked) ? .revoked : found.first
    }
}

/// All revocations in force, arranged so that one SVID is judged without reading them all.
struct RevocationSet: Sendable {
    private struct Leaf: Hashable {
        let authorityKeyID: [UInt8]
        let serial: [UInt8]
    }

    private var revocations: [String: Revocation] = [:]
    private(set) var authorities: Set<[UInt8]> = []
    private var taintedAuthorities: Set<[UInt8]> = []
    private var identities: [SPIFFEID: Date] = [:]
    private var leaves: [Leaf: Date] = [:]
    private var nodes: Set<AgentName> = []
    /// Those of identities, authorities and leaves, sorted, one for each: what proxies are told.
    private(set) var forProxies: [Revocation] = []

    /// Most revocations that proxies are told of: what they take; the oldest identities and the
    /// leaves that end first are left out, and no server makes more.
    static let forProxiesMax = 20_000

    /// Puts in and takes out by name; costs as much as there are revocations, once per batch.
    ///
    /// Leaves that have ended are not taken in: after a change of epoch those of the old one stay
    /// among the resources (decision 0003).
    ///
    /// - Returns: The authorities that are tainted now and were not before.
    mutating func change(_ changes: [String: Revocation?], now: Date) -> Set<[UInt8]> {
        let taintedBefore = taintedAuthorities
        for (name, revocation) in changes { revocations[name] = revocation }
        authorities = []
        taintedAuthorities = []
        identities = [:]
        leaves = [:]
        nodes = []
        for revocation in revocations.values {
            switch revocation {
            case .authority(let keyID): authorities.insert(keyID)
            case .identity(let id, let before):
                identities[id] = max(identities[id] ?? .distantPast, before)
            case .leaf(let keyID, let serial, let notAfter):
                guard !Revocation.hasEnded(leafNotAfter: notAfter, at: now) else { continue }
                leaves[Leaf(authorityKeyID: keyID, serial: serial)] = notAfter
            case .node(let name): nodes.insert(name)
            case .taintedAuthority(let keyID): taintedAuthorities.insert(keyID)
            }
        }
        let places = max(0, Self.forProxiesMax - authorities.count - taintedAuthorities.count)
        // More than one server makes are of two epochs: those of the old one are of less use.
        let newest = identities.sorted { ($0.value, $0.key) > ($1.value, $1.key) }.prefix(places)
        forProxies = newest.sorted { $0.key < $1.key }
            .map { .identity($0.key, issuedBefore: $0.value) }
        forProxies += sorted(authorities).map { .authority(keyID: $0) }
        forProxies += sorted(taintedAuthorities).map { .taintedAuthority(keyID: $0) }
        let room = max(0, Self.forProxiesMax - forProxies.count)
        forProxies += leaves.sorted { one, other in
            guard one.value == other.value else { return one.value > other.value }
            // The same set has one order, so that nobody is told of it twice.
            return (one.key.serial + one.key.authorityKeyID)
                .lexicographicallyPrecedes(other.key.serial + other.key.authorityKeyID)
        }
        .prefix(room)
        .map {
            .leaf(authorityKeyID: $0.key.authorityKeyID, serial: $0.key.serial, notAfter: $0.value)
        }
        return taintedAuthorities.subtracting(taintedBefore)
    }

    private func sorted(_ keyIDs: Set<[UInt8]>) -> [[UInt8]] {
        keyIDs.sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// What was said of an authority; nil if nothing was.
    func distrust(of keyID: [UInt8]) -> AuthorityStanding? {
        if authorities.contains(keyID) { return .revoked }
        return taintedAuthorities.contains(keyID) ? .tainted : nil
    }

    /// Before which moment what was issued for an identity is refused; nil if it is not revoked.
    func before(of id: SPIFFEID) -> Date? { identities[id] }

    /// Whether an SVID on a node may no longer be served.
    func revokes(_ issued: IssuedSVID, on node: String) -> Bool {
        if nodes.contains(AgentName(node)) || authorities.contains(issued.authorityKeyID) {
            return true
        }
        if let before = identities[issued.svid.id],
            Revocation.revokes(leafNotBefore: issued.notBefore, issuedBefore: before)
        {
            return true
        }
        return leaves[
            Leaf(authorityKeyID: issued.authorityKeyID, serial: issued.svid.serial)
        ] != nil
    }
}
