// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Backup
import Crypto
import Foundation
import Issuance
import SPIFFE
import Testing

/// What the records after a backup make of its database
/// (docs/decisions/0022-backup-and-restore.md, "Restore", step 3).
struct LogReplayTests {
    private static let server = "7f3a91c0"
    private static let backup = [UInt8](repeating: 0x3F, count: 16)
    private static let keyID = [UInt8](repeating: 0xCD, count: 20)
    private static let sha256 = [UInt8](repeating: 0xAB, count: 32)
    private static let noon = Date(timeIntervalSince1970: 1_767_355_200)
    private static let admin = Actor.localUser(uid: 0, host: "ca-1")

    private static func replay(from first: UInt64 = 0) -> LogReplay {
        LogReplay(
            serverID: server,
            backupID: backup,
            from: first,
            longest: .seconds(3600),
            skew: 60
        )
    }

    private static func id(_ path: String) throws -> SPIFFEID {
        try SPIFFEID("spiffe://example.org\(path)")
    }

    /// Tells the machine of events that happened in this order, one second apart.
    private static func steps(
        of events: [AuditEvent],
        _ replay: inout LogReplay,
        from index: UInt64 = 0,
        at time: Date = noon
    ) throws -> [ReplayStep] {
        var index = index
        var steps: [ReplayStep] = []
        for (number, event) in events.enumerated() {
            let record = AuditRecord(
                event: event,
                actor: admin,
                time: time.addingTimeInterval(Double(number))
            )
            for leaf in try record.leaves() {
                steps += try replay.take(leaf.bytes, at: index)
                index += 1
            }
        }
        return steps
    }

    private static func issuance(
        _ profile: SVIDIssuance.Profile = .workload,
        agent: SPIFFEID?
    ) throws -> SVIDIssuance {
        SVIDIssuance(
            agent: agent,
            authority: keyID,
            profile: profile,
            svids: [
                IssuedSVID(
                    spiffeID: try id("/web"),
                    serial: [1, 2, 3],
                    notAfter: AuditTime(noon.addingTimeInterval(3600)),
                    tbsSHA256: sha256,
                    entry: .init(id: "e1", namespace: "default", revision: 4)
                )
            ]
        )
    }

    // MARK: - Recorded leaves

    /// The leaves that docs/audit.md shows, one of each event at least.
    private static func recorded() throws -> [[UInt8]] {
        let root = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "docs/audit.md"), encoding: .utf8)
        return text.split(separator: "\n").filter { $0.hasPrefix("{\"act") }
            .map { Array($0.utf8) }
    }

    @Test func `each leaf that the log's document shows is brought forward`() throws {
        let leaves = try Self.recorded()
        let records = try leaves.map { try AuditRecord(parsing: $0) }
        #expect(Set(records.map(\.event.name)) == Set(AuditEvent.Name.allCases))
        for (leaf, record) in zip(leaves, records) {
            var server = Self.server
            switch record.event {
            case .authorityPrepared(let preparation): server = preparation.serverID
            case .serverStarted(let start): server = start.serverID
            default: break
            }
            var replay = LogReplay(
                serverID: server,
                backupID: Self.backup,
                from: 7,
                longest: .seconds(3600),
                skew: 60
            )
            if let refusal = Self.refusal(of: leaf, at: 7, by: &replay) {
                // The document's certificate is a few letters, and its hash another's.
                #expect(record.event.name == .authorityPrepared, "\(refusal)")
                continue
            }
            #expect(replay.records == 1)
            // After a restore nothing more is known than before it.
            let isRestore = record.event.name == .serverRestored
            #expect(replay.lastTime == (isRestore ? nil : record.time.date))
        }
    }

    /// A pattern in the `catch` of a typed error ends Swift 6.3's compiler.
    private static func refusal(
        of leaf: [UInt8],
        at index: UInt64,
        by replay: inout LogReplay
    ) -> LogReplayError? {
        do throws(LogReplayError) {
            _ = try replay.take(leaf, at: index)
            return nil
        } catch {
            return error
        }
    }

    /// What is not in the database, or must not come back.
    private static let nothing: Set<AuditEvent.Name> = [
        .backupMade, .changeApproved, .changeDropped, .changeProposed, .clockRefused,
        .decisionDigest, .documentsApplied, .federatedBundleRefused, .requestRefused,
        .rollbackProved, .rootPublished, .rootRemoved, .serverRecovered,
        .serverRestored, .serverStarted, .tokenCreated, .tokensDeleted,
        .unauthenticatedSummary,
    ]

    @Test func `of the leaves shown, only those have no step of which the database has nothing`()
        throws
    {
        for leaf in try Self.recorded() {
            let record = try AuditRecord(parsing: leaf)
            guard record.event.name != .authorityPrepared, record.event.name != .serverStarted
            else { continue }
            var replay = Self.replay()
            let steps = try replay.take(leaf, at: 0)
            let name = record.event.name
            #expect(steps.isEmpty == Self.nothing.contains(name), "\(name)")
        }
    }

    // MARK: - Steps

    @Test func `an authority comes with the certificate that its hash names`() throws {
        let certificate: [UInt8] = [0x30, 1, 2]
        func prepared(_ certificate: [UInt8]?, hashOf bytes: [UInt8]) -> AuditEvent {
            .authorityPrepared(
                AuthorityPreparation(
                    authority: Self.keyID,
                    certificateSHA256: Array(SHA256.hash(data: bytes)),
                    notBefore: AuditTime(Self.noon),
                    notAfter: AuditTime(Self.noon.addingTimeInterval(86_400)),
                    serverID: Self.server,
                    key: nil,
                    certificate: certificate,
                    tokenKey: [9]
                )
            )
        }
        var replay = Self.replay()
        let steps = try Self.steps(of: [prepared(certificate, hashOf: certificate)], &replay)
        guard case .authorityPublished(let authority)? = steps.first, steps.count == 1 else {
            Issue.record("\(steps)")
            return
        }
        #expect(authority.certificate == certificate && authority.tokenKey == [9])
        #expect(authority.publishedAt == Self.noon && authority.serverID == Self.server)
        // Its first list was signed with it.
        #expect(replay.lastSignature == Self.noon)

        // Of an older release nothing but the hash is known.
        let old = try Self.steps(of: [prepared(nil, hashOf: certificate)], &replay, from: 1)
        guard case .authorityPublished(let unknown)? = old.first else {
            Issue.record("\(old)")
            return
        }
        #expect(unknown.certificate == nil)

        #expect(throws: LogReplayError.self) {
            _ = try Self.steps(of: [prepared([0x30], hashOf: certificate)], &replay, from: 2)
        }
        // What was refused does not count, and is asked for again.
        #expect(replay.records == 2)
        _ = try Self.steps(of: [prepared(certificate, hashOf: certificate)], &replay, from: 2)
    }

    @Test func `a node's life is told step by step`() throws {
        let agent = try Self.id("/signet/agent/web-1")
        let selectors = [try Selector("role:web")]
        var replay = Self.replay()
        let steps = try Self.steps(
            of: [
                .nodeAttested(
                    NodeAttestation(
                        agent: agent,
                        attestor: "join_token",
                        evidence: "t",
                        selectors: selectors,
                        publicKeySHA256: Self.sha256
                    )
                ),
                .svidsIssued(try Self.issuance(.agent, agent: agent)),
                .nodeRenewed(
                    NodeRenewal(agent: agent, previousSerial: [1], publicKeySHA256: [7])
                ),
                .nodeBanned(NodeStanding(agent: agent, reason: "lost")),
                .nodeCertificatesRevoked(
                    NodeCertificates(
                        agent: agent,
                        certificates: 2,
                        identities: 0,
                        left: 0,
                        reason: "lost",
                        revision: 5
                    )
                ),
                .nodeUnbanned(NodeStanding(agent: agent, reason: "")),
                .nodeEvicted(NodeStanding(agent: agent, reason: "")),
            ],
            &replay
        )
        func time(_ seconds: Double) -> Date { Self.noon.addingTimeInterval(seconds) }
        func lost(_ seconds: Double) -> ReplayedReason {
            ReplayedReason(reason: "lost", actor: Self.admin, time: time(seconds))
        }
        #expect(steps.count == 7)
        guard case .nodeAttested(let node) = steps[0], case .certificates(let issued) = steps[1]
        else {
            Issue.record("\(steps)")
            return
        }
        #expect(node.agent == agent && node.selectors == Set(selectors) && node.at == Self.noon)
        #expect(node.method == "join_token" && node.keySHA256 == Self.sha256)
        #expect(issued.profile == .agent && issued.leaf == 1 && issued.at == time(1))
        #expect(
            Array(steps[2...])
                == [
                    .nodeKey(agent: agent, keySHA256: [7], at: time(2)),
                    .nodeBanned(agent: agent, lost(3)),
                    .holdingsRevoked(agent: agent, lost(4)),
                    .nodeUnbanned(agent: agent),
                    .nodeEvicted(agent: agent, at: time(6)),
                ]
        )
    }

    @Test func `a ban of a node that held nothing refuses nothing`() throws {
        let agent = try Self.id("/signet/agent/web-1")
        var replay = Self.replay()
        let steps = try Self.steps(
            of: [
                .nodeCertificatesRevoked(
                    NodeCertificates(
                        agent: agent,
                        certificates: 0,
                        identities: 1,
                        left: 3,
                        reason: "",
                        revision: 5
                    )
                )
            ],
            &replay
        )
        #expect(steps.isEmpty)
    }

    @Test func `a revoked identity is refused until the last of it can have ended`() throws {
        let web = try Self.id("/web")
        var replay = Self.replay()
        func revoked(_ before: Date) throws -> ReplayedRevocation? {
            let event = IdentityRevocation(
                spiffeID: web,
                issuedBefore: AuditTime(before),
                reason: "stolen",
                revision: 5
            )
            let steps = try Self.steps(
                of: [.identityRevoked(event)],
                &replay,
                from: replay.records
            )
            guard case .identityRevoked(let revocation)? = steps.first else { return nil }
            return revocation
        }
        let now = try #require(try revoked(Self.noon.addingTimeInterval(1)))
        #expect(now.issuedBefore == Self.noon.addingTimeInterval(1))
        #expect(now.ends == Self.noon.addingTimeInterval(1 + 3600 + 60))
        #expect(now.why.reason == "stolen" && now.why.actor == Self.admin)
        // Of a clock that was ahead once: the moment is before the record.
        let before = try #require(try revoked(Self.noon.addingTimeInterval(-9000)))
        #expect(before.ends == Self.noon.addingTimeInterval(3600 + 60))
        // No signature, so no mark.
        #expect(replay.lastSignature == nil)
    }

    @Test func `who may hold tokens is known, and since when in whole seconds`() throws {
        let agent = try Self.id("/signet/agent/web-1")
        let event = JWTSVIDIssuance(
            agent: agent,
            authority: Self.keyID,
            keyID: "k",
            tokens: [
                IssuedJWTSVID(
                    spiffeID: try Self.id("/web"),
                    audiences: ["a"],
                    tokenID: "j",
                    notAfter: AuditTime(Self.noon.addingTimeInterval(300)),
                    signingInputSHA256: Self.sha256,
                    entry: .init(id: "e1", namespace: "default", revision: 4)
                )
            ]
        )
        var replay = Self.replay()
        let steps = try Self.steps(
            of: [.jwtSVIDsIssued(event)],
            &replay,
            at: Self.noon.addingTimeInterval(0.75)
        )
        guard case .tokens(let tokens)? = steps.first else {
            Issue.record("\(steps)")
            return
        }
        #expect(tokens.issuedAt == Self.noon && tokens.agent == agent)
        #expect(tokens.holders.map(\.entryID) == ["e1"])
        #expect(tokens.holders.map(\.notAfter) == [Self.noon.addingTimeInterval(300)])
        #expect(replay.lastSignature == Self.noon.addingTimeInterval(0.75))
    }

    // MARK: - What is known at the end

    @Test func `the clock's mark comes from signatures alone, and an admin lowers it`() throws {
        let ahead = Self.noon.addingTimeInterval(86_400 * 30)
        var replay = Self.replay()
        _ = try Self.steps(of: [.svidsIssued(try Self.issuance(agent: nil))], &replay)
        #expect(replay.lastSignature == Self.noon && !replay.isMarkLowered)
        let refused = AuditEvent.clockRefused(
            ClockRefusal(problem: .jumped, expected: AuditTime(Self.noon))
        )
        _ = try Self.steps(of: [refused], &replay, from: 1, at: ahead)
        #expect(replay.lastSignature == Self.noon)
        #expect(replay.lastTime == ahead)
        // It was believed after ten minutes, and signed.
        let issued = AuditEvent.svidsIssued(try Self.issuance(agent: nil))
        _ = try Self.steps(of: [issued], &replay, from: 2, at: ahead)
        #expect(replay.lastSignature == ahead)
        func accepted(lastSignature: Date?) -> AuditEvent {
            .clockAccepted(
                ClockAcceptance(
                    lastSignature: lastSignature.map { AuditTime($0) },
                    expected: nil,
                    authorities: 0,
                    revocations: 0,
                    left: 0
                )
            )
        }
        // After a jump alone the mark stays.
        _ = try Self.steps(of: [accepted(lastSignature: nil)], &replay, from: 3)
        #expect(replay.lastSignature == ahead && !replay.isMarkLowered)
        _ = try Self.steps(of: [accepted(lastSignature: ahead)], &replay, from: 4)
        #expect(replay.lastSignature == Self.noon && replay.isMarkLowered)
        let later = Self.noon.addingTimeInterval(5)
        _ = try Self.steps(of: [issued], &replay, from: 5, at: later)
        #expect(replay.lastSignature == later && replay.isMarkLowered)
    }

    @Test func `of each document the last hash is known, and whether it was deleted`() throws {
        func key(_ name: String) -> DocumentKey {
            DocumentKey(
                group: DocumentKey.nativeGroup,
                kind: "RegistrationEntry",
                namespace: "default",
                name: name
            )
        }
        func changed(_ name: String, _ sha256: UInt8?) -> AuditEvent {
            .documentsApplied(
                DocumentChanges(
                    documents: [
                        DocumentChange(
                            key: key(name),
                            verb: sha256 == nil ? .delete : .update,
                            sha256: sha256.map { [UInt8](repeating: $0, count: 32) }
                        )
                    ],
                    revision: 5
                )
            )
        }
        var replay = Self.replay()
        _ = try Self.steps(
            of: [changed("a", 1), changed("b", 1), changed("a", 2), changed("b", nil)],
            &replay
        )
        #expect(replay.documents.count == 2)
        #expect(replay.documents[key("a")] == .some([UInt8](repeating: 2, count: 32)))
        #expect(replay.documents[key("b")] == .some(nil))
    }

    @Test func `the hash of the backup's file is that of its own record`() throws {
        func made(_ id: [UInt8], _ byte: UInt8) -> AuditEvent {
            .backupMade(
                BackupMaking(
                    id: id,
                    bytes: 1,
                    sha256: [UInt8](repeating: byte, count: 32),
                    revision: 5
                )
            )
        }
        var replay = Self.replay()
        _ = try Self.steps(of: [made([UInt8](repeating: 1, count: 16), 1)], &replay)
        #expect(replay.backupSHA256 == nil)
        _ = try Self.steps(of: [made(Self.backup, 2)], &replay, from: 1)
        #expect(replay.backupSHA256 == [UInt8](repeating: 2, count: 32))
    }

    // MARK: - Refusals

    @Test func `records come in order, without gaps, each once`() throws {
        let event = AuditEvent.clockRefused(
            ClockRefusal(problem: .behind, expected: AuditTime(Self.noon))
        )
        var replay = Self.replay(from: 40)
        for index: UInt64 in [0, 39, 41] {
            #expect(throws: LogReplayError.outOfOrder(expected: 40, got: index)) {
                _ = try Self.steps(of: [event], &replay, from: index)
            }
        }
        _ = try Self.steps(of: [event], &replay, from: 40)
        #expect(throws: LogReplayError.outOfOrder(expected: 41, got: 40)) {
            _ = try Self.steps(of: [event], &replay, from: 40)
        }
        #expect(replay.records == 1)
    }

    @Test func `a record that this release cannot read ends it, and says which release can`() throws
    {
        let texts = [
            "", "{}",
            #"{"actor":"uid:0@ca-1","event":"somethingNew","time":"2026-01-02T03:04:05.678Z","v":1}"#,
        ]
        for text in texts {
            var replay = Self.replay(from: 3)
            do {
                _ = try replay.take(Array(text.utf8), at: 3)
                Issue.record("taken: \(text)")
            } catch {
                guard case .unreadable(3, _) = error else {
                    Issue.record("\(error)")
                    continue
                }
                #expect(error.description.contains("newer"))
            }
            #expect(replay.records == 0)
        }
    }

    @Test func `the log of another server is refused`() throws {
        let start = ServerStart(epoch: [1], revision: 1, serverID: "other", version: "1")
        var replay = Self.replay()
        #expect(throws: LogReplayError.otherServer("other", index: 0)) {
            _ = try Self.steps(of: [.serverStarted(start)], &replay)
        }
    }
}
