// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPIProtos
import Foundation
import GRPCCore
import Issuance
import NodeAgent
import SPIFFE
import SwiftProtobuf
import Telemetry
import Testing

/// What an agent does whose wall clock is hours off for a while, with a server whose clock is right.
@Suite(.timeLimit(.minutes(5)), .serialized)
struct ClockStepTests {
    private static let web = "spiffe://example.org/web"
    private static let later = "spiffe://example.org/later"
    private static let revoked = "spiffe://example.org/revoked"

    /// SVIDs of workloads end after an hour, the agent's and the server's after four.
    private var lifetimes: SVIDLifetimes {
        get throws {
            try SVIDLifetimes(
                workload: .seconds(3600),
                agent: .seconds(4 * 3600),
                server: .seconds(4 * 3600),
                authority: .seconds(24 * 3600)
            )
        }
    }

    /// A workload that has its SVID, and one whose identity is revoked for an hour.
    private static func prepare(_ joined: JoinedAgent) async throws {
        for name in ["web", "revoked"] { try await joined.register(name) }
        try await JoinedAgent.eventually("both have their SVIDs") {
            (try? await Set(joined.fetch())) == [web, revoked]
        }
        let administration = Signet_Admin_V1alpha1_Administration.Client(wrapping: joined.admin)
        _ = try await administration.revokeIdentity(
            .with {
                $0.spiffeID = revoked
                $0.reason = "test"
                $0.forSeconds = 3600
            }
        )
        try await JoinedAgent.eventually("one of them is withdrawn") {
            (try? await joined.fetch()) == [web]
        }
    }

    /// The clock is right again: who is granted something has it, and who is revoked has not.
    private static func requireRecovery(_ joined: JoinedAgent) async throws {
        try await JoinedAgent.eventually("everything that is granted is shown again") {
            let shown = try? await joined.fetch()
            #expect(shown?.contains(revoked) != true)
            return shown.map { Set($0) } == [web, later]
        }
    }

    @Test func `an agent whose clock is hours ahead shows no SVID that has ended by it`()
        async throws
    {
        try await JoinedAgent.run(lifetimes: lifetimes) { joined in
            try await Self.prepare(joined)
            joined.clock.step(by: 3 * 3600)
            // What the server signs has ended by it, too: a new stream is told to come again.
            for _ in 0..<2 {
                do {
                    let shown = try await joined.fetch()
                    Issue.record("\(shown)")
                } catch let error as RPCError {
                    #expect(error.code == .unavailable, "\(error)")
                }
            }
            try await joined.register("later")
            // By the next Welcome it knows how far it is off, and is not ready.
            joined.server.disconnect(try SPIFFEID("spiffe://example.org/signet/agent/web-1"))
            try await JoinedAgent.eventually("it knows that its clock is wrong") {
                joined.agent.health.report(.ready).json.contains("set the clock of this machine")
            }
            #expect((try? await joined.fetch()) == nil)

            joined.clock.step(by: -3 * 3600)
            try await Self.requireRecovery(joined)
            // The Welcome after that finds the clocks together.
            joined.server.disconnect(try SPIFFEID("spiffe://example.org/signet/agent/web-1"))
            try await JoinedAgent.eventually("it is ready again") {
                joined.agent.health.report(.ready).isHealthy
            }
        }
    }

    @Test func `an agent whose clock is hours behind shows what it has, and takes nothing new`()
        async throws
    {
        try await JoinedAgent.run(lifetimes: lifetimes) { joined in
            try await Self.prepare(joined)
            joined.clock.step(by: -2 * 3600)
            // What is signed now has not begun by it; what was revoked is not young again.
            try await joined.register("later")
            for _ in 0..<2 { #expect(try await joined.fetch() == [Self.web]) }

            joined.clock.step(by: 2 * 3600)
            try await Self.requireRecovery(joined)
        }
    }
}
