// SPDX-License-Identifier: Apache-2.0

import AuditLog
import Authorization
import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import Foundation
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

/// `signet server accept-clock` (docs/decisions/0022-backup-and-restore.md, "The clock").
@Suite(.timeLimit(.minutes(1)))
struct ClockAcceptanceTests {
    private static let month: TimeInterval = 30 * 86_400

    private func accept(
        _ server: TestServer,
        rehearse: Bool = false,
        now: Bool = false
    ) async throws -> Signet_Admin_V1alpha1_AcceptClockResponse {
        try await server.administration.acceptClock(
            .with { ($0.rehearse, $0.now) = (rehearse, now) }
        )
    }

    private func accepted(_ server: TestServer) async throws -> [ClockAcceptance] {
        try await server.records("clockAccepted").compactMap { text in
            let event = try AuditRecord(parsing: Array(text.utf8)).event
            guard case .clockAccepted(let acceptance) = event else { return nil }
            return acceptance
        }
    }

    private func requireWell(_ server: TestServer, _ clock: ShiftedClock) async throws {
        // Lists that were not signed while the clock was not believed are tried again then.
        clock.pass(RevocationListSchedule.roundInterval)
        var unmet: [String] = []
        do {
            try await eventually("everything is well") {
                unmet = try await server.complaints()
                return unmet.isEmpty
            }
        } catch {
            Issue.record("\(unmet)")
            throw error
        }
    }

    /// After a change of who signs the server once lets its connections go.
    private func requireAdmission(_ server: TestServer) async throws {
        var tries = 0
        try await eventually("an agent is admitted") {
            tries += 1
            return (try? await server.agent("web-\(tries)")) != nil
        }
    }

    /// Steps the clock ahead, and waits until it is believed, something was signed by it, and it has
    /// taken every revocation for ended.
    private func believe(
        _ step: TimeInterval,
        of clock: ShiftedClock,
        _ server: TestServer
    ) async throws {
        clock.stepWall(by: step)
        clock.pass(.seconds(31))
        try await eventually("the jump is noticed") {
            let unmet = try await server.unmetConditions()
            return unmet.contains("clock")
        }
        clock.pass(.seconds(601))
        var looks = 0
        try await eventually("the wrong clock is believed, and revocations are forgotten") {
            // Maintenance comes once in a minute; certificates live for an hour.
            looks += 1
            if looks.isMultiple(of: 100) { clock.pass(.seconds(61)) }
            return try await server.core.read { transaction in
                guard let mark = try transaction.clockHighWater() else { return false }
                return try abs(mark.timeIntervalSince(clock.wallTime)) < 3600
                    && transaction.revocationCount() == 0
                    && transaction.revokedCertificateCount() == 0
            }
        }
    }

    @Test func `a clock that jumped is believed at once, and who says so is recorded`() async throws
    {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let nothing = await refusal { try await accept(server) }
            #expect(nothing?.reason == "clockBelieved")
            clock.stepWall(by: 7200)
            let refused = await refusal { try await server.agent("web-1") }
            #expect(refused?.reason == "clockJumped")
            let before = try await server.administration.listAuthorities(.init()).authorities
            let answer = try await accept(server)
            #expect(!answer.rehearsed && answer.expectedUnixMilliseconds > 0)
            #expect(answer.lastSignatureUnixMilliseconds == 0 && answer.authorities.isEmpty)
            _ = try await server.agent("web-1")
            try await requireWell(server, clock)
            let after = try await server.administration.listAuthorities(.init()).authorities
            #expect(after.map(\.id) == before.map(\.id))
            let leaf = try #require(try await accepted(server).first)
            #expect(leaf.lastSignature == nil && leaf.authorities == 0)
            let expected = try #require(leaf.expected).date
            #expect(abs(clock.wallTime.timeIntervalSince(expected) - 7200) < 100)
        }
    }

    @Test func `after a clock that was a month ahead, who signs has begun`() async throws {
        let clock = ShiftedClock(wall: Self.month)
        try await withServer(clock: clock) { server in
            _ = try await server.agent("web-1", selectors: ["role:web"])
            let wrong = try #require(
                try await server.administration.listAuthorities(.init()).authorities.first
            )
            clock.stepWall(by: -Self.month)
            let refused = await refusal { try await server.rotate() }
            #expect(refused?.reason == "clockBehind")

            let rehearsal = try await accept(server, rehearse: true)
            #expect(rehearsal.rehearsed && rehearsal.signerReplaced)
            #expect(rehearsal.authorities == [wrong.id] && rehearsal.objections.count == 1)
            #expect(rehearsal.agents == ["web-1"] && rehearsal.agentCount == 1)
            // The server's own and the agent's.
            #expect(rehearsal.certificates == 2)
            let still = try await server.administration.listAuthorities(.init()).authorities
            #expect(still.map(\.state) == ["active"])
            #expect(try await accepted(server).isEmpty)
            // Of a clock that is wrong itself every authority would begin later.
            let doubted = await refusal { try await accept(server) }
            #expect(doubted?.reason == "clockInDoubt")
            #expect(doubted?.message.contains("--now") == true)

            let answer = try await accept(server, now: true)
            #expect(!answer.rehearsed && answer.authorities == [wrong.id])
            let authorities = try await server.administration.listAuthorities(.init()).authorities
            #expect(Set(authorities.map(\.state)) == ["active", "revoked"])
            let active = try #require(authorities.first { $0.state == "active" })
            #expect(active.notBeforeUnixSeconds < Int64(clock.wallTime.timeIntervalSince1970))
            #expect(authorities.first { $0.state == "revoked" }?.id == wrong.id)
            try await requireWell(server, clock)
            // Also the server's own certificate is a new one by then.
            let agent = try await server.agent("web-2", selectors: ["role:web"])
            let entry = try await server.register("web")
            _ = try await server.leaf(
                try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web"),
                as: agent
            )
            let leaf = try #require(try await accepted(server).first)
            #expect(leaf.authorities == 1 && leaf.expected == nil && leaf.left == 0)
            let last = try #require(leaf.lastSignature).date
            #expect(abs(last.timeIntervalSince(clock.wallTime) - Self.month) < 100)
            let again = await refusal { try await accept(server) }
            #expect(again?.reason == "clockBelieved")
            try await server.requireIntactLog()
        }
    }

    @Test func `a server that starts with a clock that is behind can be told that it is right`()
        async throws
    {
        let directory = try TestDirectory()
        try await withServer(in: directory, clock: ShiftedClock(wall: Self.month)) { _ in }
        let clock = ShiftedClock()
        try await withServer(in: directory, clock: clock) { server in
            let refused = await refusal { try await server.rotate() }
            #expect(refused?.reason == "clockBehind")
            try await eventually("health says why") {
                let unmet = try await server.unmetConditions()
                return Set(unmet).isSuperset(of: ["clock", "identity"])
            }
            #expect(try await accept(server, now: true).signerReplaced)
            try await requireWell(server, clock)
            try await requireAdmission(server)
        }
        // And it starts as ever.
        try await withServer(in: directory, clock: clock) { server in
            _ = try await server.agent("last")
        }
    }

    @Test func `a start says that its clock is behind also where who signs has begun`()
        async throws
    {
        let directory = try TestDirectory()
        try await withServer(in: directory, clock: ShiftedClock()) { _ in }
        // Each start signs the server's own certificate.
        try await withServer(in: directory, clock: ShiftedClock(wall: 3 * 3600)) { _ in }
        let clock = ShiftedClock()
        try await withServer(in: directory, clock: clock) { server in
            try await eventually("health says why") {
                let unmet = try await server.unmetConditions()
                return Set(unmet).isSuperset(of: ["clock", "identity"])
            }
            // Nobody who signs begins later, so that nothing is in doubt.
            let answer = try await accept(server)
            #expect(answer.authorities.isEmpty && !answer.signerReplaced)
            try await requireWell(server, clock)
            try await requireAdmission(server)
        }
    }

    @Test func `what was revoked while the outlook was made is not revoked again`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("single")
            let single = try await server.leaf(
                try signingRequest(entry: entry, spiffeID: "spiffe://example.org/single"),
                as: agent
            )
            try await server.revokeCertificate(single.serial)
            try await believe(Self.month, of: clock, server)
            clock.stepWall(by: -Self.month)
            let (logic, now) = (server.core.logic, clock.wallTime)
            let outlook = try await server.core.read {
                try logic.clockOutlook(jumpedFrom: nil, now: now, in: $0)
            }
            let counts = try await server.core.rehearse { transaction in
                let before = try logic.confirmed(outlook, now: now, in: transaction)
                let number = try transaction.advanceRevision().number
                for (intent, reason) in outlook.forgotten.certificates.values {
                    let certificate = RevokedCertificate(
                        intent,
                        ends: intent.notAfter,
                        reason: reason,
                        actor: "uid:0",
                        revokedAt: now
                    )
                    try transaction.put(certificate, number: number)
                }
                let after = try logic.confirmed(outlook, now: now, in: transaction)
                return [before.forgotten.count, after.forgotten.count]
            }
            #expect(counts == [1, 0])
        }
    }

    @Test func `what the wrong clock took for ended is revoked again`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let banned = try await server.agent("web-2", selectors: ["role:web"])
            func leaf(_ name: String, as agent: TestAgent) async throws -> LeafCertificate {
                let entry = try await server.register(name)
                return try await server.leaf(
                    try signingRequest(entry: entry, spiffeID: "spiffe://example.org/\(name)"),
                    as: agent
                )
            }
            _ = try await leaf("identity", as: agent)
            let single = try await leaf("single", as: agent)
            let held = try await leaf("held", as: banned)
            let kept = try await leaf("kept", as: agent)
            let id = try SPIFFEID("spiffe://example.org/identity")
            _ = try await server.administration.revokeIdentity(
                .with { ($0.spiffeID, $0.reason) = (id.description, "stolen") }
            )
            try await server.revokeCertificate(single.serial)
            _ = try await server.administration.banNode(
                .with { ($0.name, $0.reason) = ("web-2", "lost") }
            )
            let moment = try #require(try await server.core.read { try $0.revocation(of: id) })

            try await believe(Self.month, of: clock, server)
            clock.stepWall(by: -Self.month)
            let rehearsal = try await accept(server, rehearse: true)
            #expect(rehearsal.revocationsMadeAgain == 3)
            let answer = try await accept(server, now: true)
            #expect(answer.revocationsMadeAgain == 3 && answer.revocationsLeft == 0)
            let (identity, serials) = try await server.core.read { transaction in
                (
                    try transaction.revocation(of: id),
                    try transaction.revokedCertificates().map(\.serial)
                )
            }
            #expect(identity?.issuedBefore == moment.issuedBefore)
            #expect(identity?.reason == "stolen")
            #expect(Set(serials) == [single.serial, held.serial])
            #expect(!serials.contains(kept.serial))
        }
    }

    @Test func `an authority whose revocation the wrong clock forgot is revoked again`()
        async throws
    {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let (old, _) = try await server.rotate()
            _ = try await server.revokeAuthority(old)
            let before = try await server.core.read { try $0.authority(id: old) }
            try await believe(Self.month, of: clock, server)
            var looks = 0
            try await eventually("the record is gone") {
                looks += 1
                if looks.isMultiple(of: 100) { clock.pass(.seconds(61)) }
                return try await server.core.read { try $0.authority(id: old) == nil }
            }
            clock.stepWall(by: -Self.month)
            #expect(try await accept(server, rehearse: true).revocationsMadeAgain == 1)
            #expect(try await accept(server, now: true).revocationsMadeAgain == 1)
            let after = try await server.core.read { try $0.authority(id: old) }
            #expect(after?.state == "revoked" && after?.distrust?.reason == "backup lost")
            #expect(after?.certificateDER == before?.certificateDER)
            #expect(after?.ancestry == before?.ancestry && after?.tokenKeySPKI != nil)
            try await requireWell(server, clock)
            try await server.requireIntactLog()
        }
    }

    @Test func `only who may accept the clock does`() async throws {
        try await withServer {
            $0.admins = []
        } _: { server in
            let refused = await refusal { try await accept(server) }
            #expect(refused?.kind == .permissionDenied)
        }
    }

    @Test func `the network accepts no clock, whatever its rights`() async throws {
        let remote = ActorPattern.spiffe(try SPIFFEID("spiffe://example.org/signet/agent/web-1"))
        try await withServer {
            $0.admins += [remote]
        } _: { server in
            let agent = try await server.agent("web-1")
            let refused = await refusal {
                try await server.authenticated(as: try agent.identity) { client in
                    try await Administration.Client(wrapping: client).acceptClock(.init())
                }
            }
            #expect(refused?.reason == "adminSocketOnly", "\(refused?.message ?? "accepted")")
            let records = try await server.records("requestRefused")
            #expect(records.contains { $0.contains("server.acceptClock") })
        }
    }
}
