// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Backup
import Foundation
import SPIFFE
import Testing

/// What a restored database lacks of exchanged tokens and of other trust domains
/// (docs/decisions/0022-backup-and-restore.md, "Restore", step 3).
struct LogReplayPartnersTests {
    private static let noon = Date(timeIntervalSince1970: 1_767_355_200)

    private static func steps(of event: AuditEvent) throws -> [ReplayStep] {
        var replay = LogReplay(
            serverID: "s1",
            backupID: [1],
            from: 0,
            longest: .seconds(3600),
            skew: 60
        )
        let record = AuditRecord(
            event: event,
            actor: .system("server"),
            time: noon.addingTimeInterval(0.75)
        )
        let leaf = try #require(try record.leaves().first)
        return try replay.take(leaf.bytes, at: 0)
    }

    private static func id(_ path: String) throws -> SPIFFEID {
        try SPIFFEID("spiffe://example.org\(path)")
    }

    private static func token(actors: [SPIFFEID]) throws -> AuditEvent {
        .delegatedTokenIssued(
            DelegatedTokenIssuance(
                agent: try id("/signet/agent/web-1"),
                authority: [UInt8](repeating: 0xCD, count: 20),
                keyID: "k",
                entry: .init(id: "e1", namespace: "default", revision: 4),
                subject: try id("/alice"),
                actors: actors,
                audience: "db",
                tokenID: "t2",
                notAfter: AuditTime(noon.addingTimeInterval(300)),
                signingInputSHA256: [UInt8](repeating: 1, count: 32),
                subjectTokenID: "t1",
                subjectTokenSHA256: [UInt8](repeating: 2, count: 32),
                policies: []
            )
        )
    }

    @Test func `the last actor holds an exchanged token, the others are named in it`() throws {
        let (front, back) = (try Self.id("/front"), try Self.id("/back"))
        let steps = try Self.steps(of: Self.token(actors: [front, back]))
        let end = Self.noon.addingTimeInterval(300)
        guard case .tokens(let tokens)? = steps.first, steps.count == 2 else {
            Issue.record("\(steps)")
            return
        }
        #expect(tokens.holders.map(\.spiffeID) == [back])
        #expect(tokens.holders.map(\.entryID) == ["e1"])
        #expect(tokens.holders.map(\.notAfter) == [end])
        #expect(tokens.issuedAt == Self.noon)
        let parties = [try Self.id("/alice"), front]
        #expect(
            steps.last == .delegationParties(parties, issuedAt: Self.noon, notAfter: end)
        )
    }

    @Test func `a record of a token that nobody holds is not brought forward`() throws {
        #expect(throws: LogReplayError.self) {
            _ = try Self.steps(of: Self.token(actors: []))
        }
    }

    @Test(arguments: [nil, 0, UInt64.max])
    func `a foreign bundle that changed comes with the number remembered`(
        sequence: UInt64?
    ) throws {
        let partner = try TrustDomain("partner.example")
        for cause in FederatedBundleChange.Cause.allCases {
            let change = FederatedBundleChange(
                trustDomain: partner,
                cause: cause,
                sequenceNumber: sequence,
                content: nil
            )
            let steps = try Self.steps(of: .federatedBundleChanged(change))
            #expect(steps == [.foreignBundleChanged(partner, sequence: sequence)])
        }
    }
}
