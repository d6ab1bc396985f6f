// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// An authority that is trusted no more, with the real programs (decision 0014).
@Suite(.timeLimit(.minutes(6)), .serialized) struct AuthorityDistrustTests {
    private struct Authorities: Decodable {
        struct Authority: Decodable {
            var id: String
            var state: String
            var notReplacedSVIDs: UInt64?
        }
        var authorities: [Authority]
    }

    private struct Act: Decodable {
        var authority: Authorities.Authority
        var rehearsed: Bool
        var objections: [String]
        var notReplacedSVIDs: UInt64
    }

    private static func authorities(_ path: DataPath) async throws -> [Authorities.Authority] {
        let shown = try await path.machine.signet(["authority", "show", "-o", "json"])
        guard shown.isSuccess else { throw ProgramFailure("authority show: \(shown.report)") }
        return try JSONDecoder().decode(Authorities.self, from: Data(shown.output.utf8)).authorities
    }

    private static func act(_ path: DataPath, _ arguments: [String]) async throws -> Act {
        let done = try await path.machine.signet(["authority"] + arguments + ["-o", "json"])
        guard done.isSuccess else { throw ProgramFailure("\(arguments): \(done.report)") }
        return try JSONDecoder().decode(Act.self, from: Data(done.output.utf8))
    }

    @Test func `an authority is replaced under load without a failed request, and then ended`()
        async throws
    {
        let path = try await DataPath(
            ttl: "60s",
            serverLines: [
                "authorityTTL: 30m", "workloadSVIDTTL: 60s", "workloadSVIDTTLMax: 60s",
                "agentSVIDTTL: 60s",
            ]
        )
        let load = try await path.startLoad(["--clients", "4", "unix", path.socket, "/hello"])
        let old = try #require(try await Self.authorities(path).first { $0.state == "active" }).id
        let refused = try await path.machine.signet(["authority", "revoke", old])
        #expect(refused.status == 1, "\(refused.report)")
        #expect(refused.errors.contains("signet authority rotate --now"), "\(refused.report)")

        let rotated = try await path.machine.signet(["authority", "rotate", "--wait"])
        #expect(rotated.isSuccess, "\(rotated.report)")
        #expect(rotated.output.contains("signs"), "\(rotated.report)")
        let plan = try await Self.act(path, ["revoke", String(old.prefix(12)), "--rehearse"])
        #expect(plan.rehearsed && plan.authority.state == "old")
        #expect(plan.notReplacedSVIDs > 0 && !plan.objections.isEmpty, "\(plan)")
        let early = try await path.machine.signet(["authority", "revoke", old])
        #expect(early.status == 1 && early.errors.contains("--now"), "\(early.report)")

        let tainted = try await Self.act(path, ["taint", old, "--reason", "backup lost"])
        #expect(tainted.authority.state == "tainted")
        try await eventually("everything to be replaced") {
            let shown = try await Self.authorities(path).first { $0.id == old }
            return shown?.notReplacedSVIDs == 0
        }
        try await path.waitUntilApplied()
        let count = try await load.stop()
        #expect(count.failures == 0 && count.requests > 100, "\(count)")

        let revoked = try await Self.act(path, ["revoke", old, "--reason", "backup lost"])
        #expect(revoked.authority.state == "revoked")
        try await path.waitUntilApplied()
        for _ in 0..<5 { #expect(try await path.ask().status == 200) }
        let states = try await Self.authorities(path).map(\.state)
        #expect(states.sorted() == ["active", "revoked"])
        let verified = try await path.machine.signet(["audit", "verify"])
        #expect(verified.isSuccess, "\(verified.report)")
        try await path.stop()
    }

    @Test func `one certificate is refused in under a second, and its identity served on`()
        async throws
    {
        let path = try await DataPath()
        let files = try await path.takeIdentity("frontend")
        let thief = try await path.startLoad(["mtls", "127.0.0.1:\(path.inbound)", files, "/hello"])
        let before = Date().timeIntervalSince1970
        let fetched = try await path.machine.signet(
            ["svid", "fetch", "--spiffe-id", "\(DataPath.ids)/frontend", "-o", "json"]
        )
        struct SVID: Decodable { var serial: String }
        let held = try JSONDecoder().decode([SVID].self, from: Data(fetched.output.utf8))
        let serial = try #require(held.first?.serial, "\(fetched.report)")
        let revoked = try await path.machine.signet(
            ["svid", "revoke", "--serial", serial, "--reason", "copied", "--wait"]
        )
        #expect(revoked.isSuccess, "\(revoked.report)")
        #expect(
            revoked.errors.contains("applied by 1 agent(s)"),
            "\(revoked.report)"
        )
        #expect(revoked.output.contains(serial), "\(revoked.report)")
        try await eventually("the end of what is observed") {
            Date().timeIntervalSince1970 > before + 3
        }
        let count = try await thief.stop()
        #expect(count.lastSuccess - before < 2, "\(count.lastSuccess - before) s")
        #expect(count.failures > 0, "\(count)")
        // The identity itself is served on, with another certificate.
        try await eventually("the frontend to be answered") { try await path.ask().status == 200 }
        let listed = try await path.machine.signet(["svid", "revocations", "--certificates"])
        #expect(listed.output.contains(serial), "\(listed.report)")
        try await path.stop()
    }

    @Test func `whoever shows what a revoked authority signed is cut off in under a second`()
        async throws
    {
        let path = try await DataPath()
        let files = try await path.takeIdentity("frontend")
        let thief = try await path.startLoad(["mtls", "127.0.0.1:\(path.inbound)", files, "/hello"])
        let old = try #require(try await Self.authorities(path).first { $0.state == "active" }).id
        let rotated = try await path.machine.signet(["authority", "rotate", "--now", "--yes"])
        #expect(rotated.isSuccess, "\(rotated.report)")
        let unasked = try await path.machine.signet(["authority", "revoke", old, "--now"])
        #expect(unasked.status == 64, "\(unasked.report)")
        let before = Date().timeIntervalSince1970
        let revoked = try await Self.act(path, ["revoke", old, "--now", "--yes"])
        #expect(revoked.authority.state == "revoked")
        // Whoever still got answers would get one in this time.
        try await eventually("the end of what is observed") {
            Date().timeIntervalSince1970 > before + 2
        }
        let count = try await thief.stop()
        #expect(count.lastSuccess - before < 1, "\(count.lastSuccess - before) s")
        #expect(count.failures > 0, "\(count)")
        // The agent comes back with its key, and gets new SVIDs for everybody.
        try await eventually("the data path to work again") {
            try await path.ask().status == 200
        }
        try await path.stop()
    }
}
