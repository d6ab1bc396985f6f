// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE

/// All revocations in force, arranged so that one SVID is judged without reading them all.
struct RevocationSet: Sendable {
    private struct Leaf: Hashable {
        let authorityKeyID: [UInt8]
        let serial: [UInt8]
    }

    private var revocations: [String: Revocation] = [:]
    private var authorities: Set<[UInt8]> = []
    private var identities: [SPIFFEID: Date] = [:]
    private var leaves: Set<Leaf> = []
    private var nodes: Set<AgentName> = []
    /// Those of identities, sorted, one for each: what proxies are told.
    private(set) var ofIdentities: [Revocation] = []

    /// Puts in and takes out by name; costs as much as there are revocations, once per batch.
    mutating func change(_ changes: [String: Revocation?]) {
        for (name, revocation) in changes { revocations[name] = revocation }
        authorities = []
        identities = [:]
        leaves = []
        nodes = []
        for revocation in revocations.values {
            switch revocation {
            case .authority(let keyID): authorities.insert(keyID)
            case .identity(let id, let before):
                identities[id] = max(identities[id] ?? .distantPast, before)
            case .leaf(let keyID, let serial):
                leaves.insert(Leaf(authorityKeyID: keyID, serial: serial))
            case .node(let name): nodes.insert(name)
            }
        }
        ofIdentities = identities.sorted { $0.key < $1.key }
            .map { .identity($0.key, issuedBefore: $0.value) }
    }

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
        return leaves.contains(
            Leaf(authorityKeyID: issued.authorityKeyID, serial: issued.svid.serial)
        )
    }
}
