// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Backup
import Foundation
import Issuance
import SPIFFE
import Testing

/// After which moment nothing is known of a server that was restored more than once
/// (docs/decisions/0022-backup-and-restore.md, "Held").
struct LogReplayTimeTests {
    private static let noon = Date(timeIntervalSince1970: 1_767_355_200)
    private static let admin = Actor.localUser(uid: 0, host: "ca-1")

    private static let recovery = ServerRecovery(
        agents: 0,
        authorities: 0,
        documents: 0,
        keys: 0,
        nodes: 0,
        tokenKeys: 0
    )

    private var replay = LogReplay(
        serverID: "7f3a91c0",
        backupID: [],
        from: 40,
        longest: .seconds(3600),
        skew: 60
    )

    /// Tells of an event at a time, `seconds` after noon.
    private mutating func take(
        _ event: AuditEvent,
        at index: UInt64,
        _ seconds: TimeInterval
    ) throws -> [ReplayStep] {
        let record = AuditRecord(
            event: event,
            actor: Self.admin,
            time: Self.noon.addingTimeInterval(seconds)
        )
        var steps: [ReplayStep] = []
        for leaf in try record.leaves() { steps += try replay.take(leaf.bytes, at: index) }
        return steps
    }

    private static func ban(_ name: String) throws -> AuditEvent {
        .nodeBanned(
            NodeStanding(
                agent: try SPIFFEID("spiffe://example.org/signet/agent/\(name)"),
                reason: "lost"
            )
        )
    }

    @Test mutating func `what the first restore did not know, the second does not either`() throws {
        _ = try take(try Self.ban("first"), at: 40, 0)
        #expect(replay.lastTime == Self.noon)
        replay.followed()
        let restoration = ServerRestoration(
            backup: nil,
            formerEpoch: [UInt8](repeating: 1, count: 16),
            epoch: [UInt8](repeating: 2, count: 16),
            former: Checkpoint(origin: "example.org/audit/one", size: 41, root: .emptyRoot),
            lastRecordAt: AuditTime(Self.noon),
            records: 1,
            authority: nil
        )
        _ = try take(.serverRestored(restoration), at: 0, 3600)
        _ = try take(try Self.ban("second"), at: 1, 3700)
        // Nobody has looked yet at what lies between noon and the restore.
        #expect(replay.lastTime == Self.noon && !replay.isRecovered)
        _ = try take(.serverRecovered(Self.recovery), at: 2, 3800)
        #expect(replay.lastTime == Self.noon.addingTimeInterval(3800) && replay.isRecovered)
        _ = try take(try Self.ban("third"), at: 3, 3900)
        #expect(replay.lastTime == Self.noon.addingTimeInterval(3900))
        #expect(replay.records == 5)
    }

    @Test mutating func `what a server forgot that was set back is missing until it is recovered`()
        throws
    {
        let proof = SetBackProof(
            agent: try SPIFFEID("spiffe://example.org/signet/agent/web-1"),
            seenSize: 90,
            seenRoot: .emptyRoot,
            size: 40
        )
        _ = try take(try Self.ban("first"), at: 40, 0)
        #expect(replay.seenSize == nil)
        _ = try take(.rollbackProved(proof), at: 41, 10)
        #expect(replay.seenSize == 90)
        replay.followed()
        _ = try take(.serverRecovered(Self.recovery), at: 0, 20)
        #expect(replay.seenSize == nil)
    }

    @Test mutating func `a clock that was set back ends what was dated later`() throws {
        let jumped = ClockAcceptance(
            lastSignature: nil,
            expected: AuditTime(Self.noon),
            authorities: 0,
            revocations: 0,
            left: 0
        )
        #expect(try take(.clockAccepted(jumped), at: 40, 0).isEmpty)
        let behind = ClockAcceptance(
            lastSignature: AuditTime(Self.noon.addingTimeInterval(86_400)),
            expected: nil,
            authorities: 0,
            revocations: 0,
            left: 0
        )
        let steps = try take(.clockAccepted(behind), at: 41, 10)
        #expect(steps == [.clockLowered(to: Self.noon.addingTimeInterval(10))])
        #expect(replay.isMarkLowered && replay.lastSignature == Self.noon.addingTimeInterval(10))
    }

    @Test mutating func `an authority of another server is none of its log`() throws {
        let preparation = AuthorityPreparation(
            authority: [UInt8](repeating: 0xCD, count: 20),
            certificateSHA256: [UInt8](repeating: 0xAB, count: 32),
            notBefore: AuditTime(Self.noon),
            notAfter: AuditTime(Self.noon.addingTimeInterval(86_400)),
            serverID: "other",
            key: nil
        )
        #expect(throws: LogReplayError.otherServer("other", index: 40)) {
            _ = try take(.authorityPrepared(preparation), at: 40, 0)
        }
    }
}
