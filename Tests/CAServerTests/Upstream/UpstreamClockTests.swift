// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPIProtos
import Foundation
import GRPCPeer
import Issuance
import Logging
import SPIFFE
import SwiftProtobuf
import Telemetry
import Testing

/// A clock that was ahead, below an upstream (docs/decisions/0022-backup-and-restore.md, "The
/// clock").
@Suite(.timeLimit(.minutes(1)))
struct UpstreamClockTests {
    private static let month: TimeInterval = 30 * 86_400

    private func accept(
        _ server: TestServer
    ) async throws -> Signet_Admin_V1alpha1_AcceptClockResponse {
        try await server.administration.acceptClock(.with { $0.now = true })
    }

    private func active(
        _ server: TestServer
    ) async throws -> Signet_Admin_V1alpha1_Authority? {
        try await server.administration.listAuthorities(.init()).authorities
            .first { $0.state == "active" }
    }

    private func requireWell(_ server: TestServer) async throws {
        try await eventually("everything is well") {
            let unmet = try await server.unmetConditions()
            return unmet.isEmpty
        }
    }

    @Test func `the upstream certifies who signs once the clock is accepted`() async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        let upstreamID = try fixture.perform()
        let clock = ShiftedClock(wall: Self.month)
        try await withServer(in: directory, clock: clock, { fixture.configure(&$0) }) { server in
            let wrong = try await active(server)
            clock.stepWall(by: -Self.month)
            let answer = try await accept(server)
            #expect(answer.signerReplaced && answer.authorities == [wrong?.id ?? ""])
            let right = try await active(server)
            #expect(right?.id != wrong?.id)
            #expect(right?.issuerID == upstreamID && right?.rootID == fixture.rootID)
            let now = Int64(clock.wallTime.timeIntervalSince1970)
            #expect((right?.notBeforeUnixSeconds ?? .max) <= now)
            try await requireWell(server)
            _ = try await server.agent("web-1")
            try await server.requireIntactLog()
        }
    }

    @Test func `a root that could not enter while the clock was behind enters with who signs`()
        async throws
    {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        try await withServer(in: directory, clock: ShiftedClock(wall: Self.month)) { _ in }
        try await withServer(in: directory, clock: ShiftedClock(), { fixture.configure(&$0) }) {
            server in
            #expect(try await server.records("rootPublished").isEmpty)
            #expect(try await accept(server).signerReplaced)
            let right = try await active(server)
            #expect(right?.rootID == fixture.rootID)
            #expect(try server.core.trust.bundle.x509Authorities == [fixture.root])
            try await requireWell(server)
            _ = try await server.agent("web-1")
        }
    }

    @Test func `a root that had ended by the wrong clock alone is published by the right one`()
        async throws
    {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        let soon = try UpstreamFixture(
            in: TestDirectory(),
            now: Date() - CeremonyLifetime.root / .seconds(1) + 3600
        )
        try fixture.writeRoots([soon.root, fixture.root])
        let clock = ShiftedClock(wall: 7200)
        try await withServer(in: directory, clock: clock, { fixture.configure(&$0) }) { server in
            #expect(try server.core.trust.bundle.x509Authorities == [fixture.root])
            clock.stepWall(by: -7200)
            _ = try await accept(server)
            try await eventually("the root that lives has entered") {
                let roots = try server.core.trust.bundle.x509Authorities
                return Set(roots) == [soon.root, fixture.root]
            }
        }
    }

    @Test func `a clock that is found to be behind ends the wait of a start`() async throws {
        let directory = try TestDirectory()
        let fixture = try UpstreamFixture(in: directory)
        try fixture.perform()
        try FileManager.default.removeItem(atPath: fixture.certificatePath)
        let clock = ShiftedClock()
        try await withServer(in: directory, clock: clock) { _ in }
        // By then who signs has ended.
        clock.stepWall(by: 2 * 86_400)
        let configuration = try fixture.configuration {
            $0.listen = .init(host: "127.0.0.1", port: 0)
            $0.adminSocket = "\(directory.path)/admin.sock"
            $0.telemetryPort = 0
        }
        let server = try Server(configuration, clock: clock, logger: .init(label: "test"))
        func problem(_ condition: String) -> String? {
            server.core.health.report(.ready).conditions.first { $0.name == condition }?.problem
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            let (ports, announce) = AsyncStream.makeStream(of: UInt16.self)
            group.addTask {
                defer { announce.finish() }
                try await server.run { announce.yield($0) }
            }
            try await eventually("the start waits") {
                problem("upstream")?.contains(fixture.certificatePath) == true
            }
            clock.stepWall(by: -3 * 86_400)
            clock.pass(AuthorityRotation.retryDelay)
            // Before the admin socket is open nobody could accept the clock.
            for await _ in ports { break }
            try await eventually("health says why") {
                problem("clock").map { $0 != "starting" } == true
            }
            group.cancelAll()
            do { try await group.waitForAll() } catch is CancellationError {}
        }
    }
}
