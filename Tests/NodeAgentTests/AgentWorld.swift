// SPDX-License-Identifier: Apache-2.0

import AuditLog
import ControlAPI
import Crypto
import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE
import TestPKI
import TestSeeds

/// A trust domain with one authority, one audit log and one agent named web-1.
struct AgentWorld {
    let now: Date
    let authority: TestAuthority
    let auditKey = Curve25519.Signing.PrivateKey()
    let epoch: Epoch
    let boot: Duration = .seconds(1000)

    /// The authority ends at `authorityNotAfter`, by default a day after `now`.
    init(now: Date = testNow, authorityNotAfter: Date? = nil) throws {
        self.now = now
        authority = try TestAuthority.root("example.org", now: now) { profile in
            if let authorityNotAfter { profile.notAfter = authorityNotAfter }
        }
        var generator = SeededGenerator(seed: 1)
        epoch = Epoch(using: &generator)
    }

    static let agentID = "spiffe://example.org/signet/agent/web-1"

    var noteKey: NoteVerifierKey {
        get throws {
            try NoteVerifierKey(
                name: "example.org/audit/one",
                publicKey: Array(auditKey.publicKey.rawRepresentation)
            )
        }
    }

    /// What the agent has on disk after its first contact.
    func stored(
        sync: PersistedSync? = nil,
        id: String = Self.agentID,
        notAfter: Date? = nil
    ) throws -> StoredAgent {
        let leaf = try authority.leaf(id) { profile in
            if let notAfter {
                profile.notBefore = notAfter.addingTimeInterval(-7200)
                profile.notAfter = notAfter
            }
        }
        let read = try LeafCertificate(der: leaf.der)
        let key = try unwrapped(NodeKey(pkcs8: Array(leaf.key.derRepresentation)))
        return StoredAgent(
            key: key,
            identity: StoredIdentity(
                id: try SPIFFEID(id),
                certificateChain: leaf.chain,
                issuedAt: read.notBefore,
                notAfter: read.notAfter,
                bundle: authority.bundle,
                serverAddresses: ["127.0.0.1:1"],
                auditKey: try noteKey.description
            ),
            sync: sync,
            memory: try CheckpointMemory(key: noteKey, note: nil)
        )
    }

    func entry(
        _ name: String,
        id: String? = nil,
        node: [String] = ["role:web"],
        workload: [String],
        bounds: [String: VariableBound] = [:],
        hint: String = "",
        federatesWith: [String] = [],
        age: Double = 0
    ) throws -> RegistrationEntry {
        RegistrationEntry(
            id: "entry-\(name)",
            namespace: "default",
            name: name,
            revision: 1,
            createdAt: now.addingTimeInterval(-age),
            spiffeID: id ?? "spiffe://example.org/\(name)",
            variableBounds: bounds,
            nodeSelectors: try node.map { try Selector($0) },
            workloadSelectors: try workload.map { try Selector($0) },
            federatesWith: federatesWith,
            hint: hint
        )
    }

    func revision(_ number: UInt64) -> Revision { Revision(epoch: epoch, number: number) }

    /// A whole snapshot, as the server sends it.
    func snapshot(
        _ number: UInt64,
        _ entries: [RegistrationEntry],
        bundles: [TrustBundle] = [],
        extra: [Resource] = []
    ) throws -> [SyncMessage] {
        var resources = [try ResourcePayload.bundle(authority.bundle).resource] + extra
        resources += try bundles.map { try ResourcePayload.federatedBundle($0).resource }
        resources += try entries.map { try ResourcePayload.entry($0).resource }
        return [
            .snapshotBegin(revision(number)), .snapshotPage(index: 0, resources: resources),
            .snapshotEnd(resourceCount: resources.count),
        ]
    }

    func delta(_ from: UInt64, _ to: UInt64, _ changes: [ResourceChange]) -> SyncMessage {
        .delta(SyncDelta(epoch: epoch, from: from, to: to, changes: changes))
    }

    /// What the server signs for an identity.
    func issued(_ key: IdentityKey, at instant: Date? = nil) throws -> NodeSync.IssuedSVID {
        let leaf = try authority.leaf(key.spiffeID.description)
        let svid = try leaf.svid(entryID: key.entryID)
        return NodeSync.IssuedSVID(
            svid: X509SVID(
                id: svid.id,
                certificateChain: svid.certificateChain,
                privateKeyPKCS8: svid.privateKeyPKCS8,
                issuedAt: instant ?? now,
                notAfter: svid.notAfter,
                hint: "",
                entryID: key.entryID,
                serial: svid.serial
            ),
            dnsNames: [],
            authorityKeyID: [],
            notBefore: (instant ?? now).addingTimeInterval(-60),
            holder: key.holder
        )
    }

    /// A checkpoint that the log's key signed.
    func note(size: UInt64, root: MerkleHash) throws -> [UInt8] {
        try SignedCheckpoint(
            signing: Checkpoint(origin: "example.org/audit/one", size: size, root: root),
            key: noteKey
        ) { Array(try auditKey.signature(for: $0)) }.note
    }
}

struct Missing: Error {}

func unwrapped<Value>(_ value: Value?) throws -> Value {
    guard let value else { throw Missing() }
    return value
}

extension Set<Selector> {
    init(_ texts: String...) throws {
        self = Set(try texts.map { try Selector($0) })
    }
}
