// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Backup
import CAServer
import Clocks
import ControlAPI
import Crypto
import Datastore
import Foundation
import Issuance
import NodeSync
import SPIFFE
import Testing

/// Who writes the log brings no root into the bundle, and has nothing trusted again
/// (docs/decisions/0022-backup-and-restore.md, "Attacks considered").
@Suite(.timeLimit(.minutes(1)))
struct ReplayedUpstreamTests {
    /// Brings a database forward by these events.
    private static func perform(
        _ events: [AuditEvent],
        _ logic: ServerLogic,
        in transaction: Transaction
    ) throws {
        var replay = LogReplay(
            serverID: logic.serverID,
            backupID: [],
            from: 0,
            longest: logic.lifetimes.workloadMax,
            skew: ServerLogic.clockSkewSeconds
        )
        var database = ReplayedDatabase(logic: logic)
        var index: UInt64 = 0
        for event in events {
            let record = AuditRecord(event: event, actor: .system("test"), time: Date())
            for leaf in try record.leaves() {
                for step in try replay.take(leaf.bytes, at: index) {
                    try database.perform(step, in: transaction)
                }
                index += 1
            }
        }
    }

    private static func act(_ id: String, _ certificate: [UInt8]) throws -> UpstreamDistrustAct {
        UpstreamDistrustAct(
            upstream: try #require(Hexadecimal.bytes(id)),
            certificate: certificate,
            authorities: [],
            reason: "stolen",
            tokensDeleted: 0,
            revision: 1
        )
    }

    @Test func `a root of the log alone is in no bundle before it is configured`() async throws {
        let fixture = try UpstreamFixture(in: TestDirectory())
        let (root, id) = (fixture.root, fixture.rootID)
        let published = RootPublication(
            root: try #require(Hexadecimal.bytes(id)),
            certificate: root,
            notAfter: AuditTime(Date() + 86_400),
            revision: 1
        )
        let act = try Self.act(id, root)
        try await withServer { server in
            let (logic, now) = (server.core.logic, server.core.clock.wallTime)
            let (before, after) = try await server.core.write { transaction in
                try Self.perform(
                    [.rootPublished(published), .upstreamTainted(act)],
                    logic,
                    in: transaction
                )
                let before = try transaction.bundleRoots()
                try logic.settleRoots([root], now: now, in: transaction)
                return (before, try transaction.bundleRoots())
            }
            #expect(before.isEmpty)
            // It is distrusted all the same.
            #expect(after.map(\.id) == [id] && after.first?.standing == .tainted)
        }
    }

    @Test func `what is revoked is not tainted again, nor published`() async throws {
        let fixture = try UpstreamFixture(in: TestDirectory())
        let (root, id) = (fixture.root, fixture.rootID)
        let act = try Self.act(id, root)
        try await withServer { server in
            let (logic, now) = (server.core.logic, server.core.clock.wallTime)
            let record = try await server.core.write { transaction in
                try Self.perform(
                    [.upstreamRevoked(act), .upstreamTainted(act)],
                    logic,
                    in: transaction
                )
                try logic.settleRoots([root], now: now, in: transaction)
                return try transaction.upstream(id: id)
            }
            #expect(record?.isRevoked == true && record?.certificateDER == root)
        }
    }

    private static func certified(
        _ chain: [[UInt8]],
        root: String,
        entry: String
    ) throws -> DownstreamCertification {
        let read = try LeafCertificate(der: chain[0])
        return DownstreamCertification(
            authority: read.keyIdentifier.bytes,
            certificate: chain[0],
            above: AuthorityPreparation.Above(
                chain: Array(chain.dropFirst()),
                issuer: try LeafCertificate(der: chain[1]).keyIdentifier.bytes,
                root: Hexadecimal.bytes(root) ?? []
            ),
            agent: try SPIFFEID("spiffe://example.org/signet/agent/ca-1"),
            entry: IssuedSVID.Entry(id: entry, namespace: "default", revision: 1),
            entryName: "ca-east",
            spiffeID: try SPIFFEID(Downstream.id),
            serverID: "east",
            notBefore: AuditTime(read.notBefore),
            notAfter: AuditTime(read.notAfter)
        )
    }

    private static func revoked(
        _ id: [UInt8],
        entry: String,
        _ cause: DownstreamRevocation.Cause
    ) throws -> DownstreamRevocation {
        DownstreamRevocation(
            authority: id,
            cause: cause,
            entry: entry,
            namespace: "default",
            spiffeID: try SPIFFEID(Downstream.id),
            reason: "stolen",
            revision: 1
        )
    }

    @Test func `authorities of servers below come forward, and those that were revoked stay so`()
        async throws
    {
        try await withDownstream { nested in
            let chain = try await nested.certify()
            let id = try Downstream.keyID(chain)
            let core = nested.server.core
            let certified = try Self.certified(
                chain,
                root: nested.fixture.rootID,
                entry: nested.entry
            )
            let stolen = try Self.revoked(certified.authority, entry: nested.entry, .named)
            // As a backup of before has it.
            try await core.write { transaction in
                try transaction.deleteDownstream(id: id)
                try Self.perform(
                    [.downstreamAuthorityCertified(certified)],
                    core.logic,
                    in: transaction
                )
            }
            let found = try await core.read { try $0.downstreamAuthority(id: id) }
            #expect(found?.node == "ca-1" && found?.isRevoked == false)
            #expect(found?.entry.reference == "default/ca-east")
            try await core.write { transaction in
                try Self.perform(
                    [
                        .downstreamAuthorityRevoked(stolen),
                        // What was revoked is not believed again.
                        .downstreamAuthorityCertified(certified),
                    ],
                    core.logic,
                    in: transaction
                )
            }
            #expect(try await nested.server.downstreamState(id) == "revoked")
        }
    }

    @Test func `a key that has a record which is revoked gets no other one`() async throws {
        try await withDownstream { nested in
            let chain = try await nested.certify()
            let key = try LeafCertificate(der: chain[0]).keyIdentifier
            _ = try await nested.server.revokeAuthority(key.description)
            let core = nested.server.core
            let named = UpstreamKeys(keys: [key.bytes], revision: 1)
            try await core.write { transaction in
                try Self.perform([.upstreamKeysRevoked(named)], core.logic, in: transaction)
            }
            #expect(try await core.read { try $0.upstreamRevocations().isEmpty })
        }
    }

    @Test func `one that a clock which was ahead let go is revoked again`() async throws {
        try await withDownstream { nested in
            let chain = try await nested.certify()
            let id = try Downstream.keyID(chain)
            let core = nested.server.core
            let keyID = try LeafCertificate(der: chain[0]).keyIdentifier.bytes
            let stolen = try Self.revoked(keyID, entry: nested.entry, .above)
            try await core.write { transaction in
                try Self.perform(
                    [
                        .downstreamAuthorityRevoked(stolen),
                        .authorityForgotten(AuthorityStep(authority: keyID)),
                        .downstreamAuthorityRevoked(stolen),
                    ],
                    core.logic,
                    in: transaction
                )
            }
            #expect(try await nested.server.downstreamState(id) == "revoked")
        }
    }

    @Test func `one whose key is this server's own ends the restore`() async throws {
        try await withDownstream { nested in
            let core = nested.server.core
            let own = try core.trust.issuer.authority
            let certified = try Self.certified(
                own.presentedChain,
                root: nested.fixture.rootID,
                entry: nested.entry
            )
            let refused = await refusal {
                try await core.write { transaction in
                    try Self.perform(
                        [.downstreamAuthorityCertified(certified)],
                        core.logic,
                        in: transaction
                    )
                }
            }
            #expect(refused != nil)
        }
    }

    @Test func `a certificate of another key ends the restore`() async throws {
        let fixture = try UpstreamFixture(in: TestDirectory())
        let other = try UpstreamFixture(in: TestDirectory())
        let act = try Self.act(fixture.rootID, other.root)
        try await withServer { server in
            let logic = server.core.logic
            let refused = await refusal {
                try await server.core.write { transaction in
                    try Self.perform([.upstreamTainted(act)], logic, in: transaction)
                }
            }
            #expect(refused != nil)
            let left = try await server.core.read { try $0.upstreams() }
            #expect(left.isEmpty)
        }
    }

    @Test func `a root's certificate stays, whatever a chain of the log has of its key`()
        async throws
    {
        let root = try UpstreamFixture(in: TestDirectory())
        let other = try UpstreamFixture(in: TestDirectory(), now: Date() + 86_400)
        let crossed = try root.crossCertified(by: other)
        let foreign = try await withServer { server in
            try await server.core.read { try $0.authorities() }
        }
        guard let authority = foreign.first, let keyID = Hexadecimal.bytes(authority.id),
            let rootKey = Hexadecimal.bytes(root.rootID),
            let otherKey = Hexadecimal.bytes(other.rootID)
        else {
            Issue.record("there is no authority")
            return
        }
        try await withServer { server in
            let (logic, now) = (server.core.logic, server.core.clock.wallTime)
            let preparation = AuthorityPreparation(
                authority: keyID,
                certificateSHA256: Array(SHA256.hash(data: authority.certificateDER)),
                notBefore: AuditTime(authority.notBefore),
                notAfter: AuditTime(authority.notAfter),
                serverID: logic.serverID,
                key: nil,
                certificate: authority.certificateDER,
                tokenKey: authority.tokenKeySPKI,
                above: .init(chain: [crossed], issuer: rootKey, root: otherKey)
            )
            let records = try await server.core.write { transaction in
                try logic.settleRoots([root.root], now: now, in: transaction)
                try Self.perform([.authorityPrepared(preparation)], logic, in: transaction)
                return try transaction.upstreams()
            }
            #expect(records.map(\.id) == [root.rootID])
            #expect(records.first?.kind == .root && records.first?.certificateDER == root.root)
        }
    }

    @Test func `keys that the upstream had revoked are refused again, until they were forgotten`()
        async throws
    {
        let (kept, gone, waiting) = (
            Array(repeating: UInt8(1), count: 20), Array(repeating: UInt8(2), count: 20),
            Array(repeating: UInt8(3), count: 20)
        )
        try await withServer { server in
            let logic = server.core.logic
            let known = try await server.core.write { transaction in
                try Self.perform(
                    [
                        .upstreamKeysRevoked(
                            UpstreamKeys(keys: [kept, gone], waiting: [waiting], revision: 1)
                        ),
                        .upstreamKeysForgotten(UpstreamKeys(keys: [gone], revision: 2)),
                    ],
                    logic,
                    in: transaction
                )
                try transaction.raiseUpstreamRevocations(to: Date() + 60)
                return try transaction.upstreamRevocations()
            }
            #expect(known.map(\.id) == [kept, waiting].map { Hexadecimal.text($0) })
            #expect(known.map(\.isWaiting) == [false, true])
            #expect(known.allSatisfy { $0.namedAt > Date() })
            // What waited and nothing here has is refused as well.
            try await server.core.settleRevocations()
            for key in [kept, waiting] {
                try await eventually("it is refused") {
                    try await server.core.reloadTrust()
                    return server.core.standing(ofAuthority: key) == .revoked
                }
            }
        }
    }
}
