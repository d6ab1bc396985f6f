// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import Clocks
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import Issuance
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

/// Authorities of servers below that are believed no more (record 0020, "Nested").
@Suite(.timeLimit(.minutes(2)))
struct DownstreamDistrustTests {
    /// The names of the revocations that agents are sent.
    private func revocations(_ server: TestServer) async throws -> [String] {
        let messages = try await server.core.read { transaction in
            try SyncContent.snapshot(node: [], in: transaction)
        }
        return messages.flatMap { message in
            if case .snapshotPage(_, let resources) = message {
                resources.filter { $0.key.type == .revocation }.map(\.key.name)
            } else {
                [String]()
            }
        }
    }

    @Test func `who revokes one has to say that it is now, and agents are told`() async throws {
        try await withDownstream { nested in
            let csr = try Downstream.request()
            let id = try Downstream.keyID(try await nested.certify(csr))
            let early = await refusal { try await nested.server.revokeAuthority(id, now: false) }
            #expect(early?.reason == "authorityInUse" && early?.message.contains("--now") == true)
            let rehearsed = try await nested.server.revokeAuthority(id, rehearse: true)
            #expect(rehearsed.rehearsed && rehearsed.objections.count == 1)
            #expect(try await nested.server.downstreamState(id) == "certified")

            let done = try await nested.server.revokeAuthority(id)
            #expect(done.authority.state == "revoked" && done.authority.kind == "downstream")
            #expect(!done.advice.isEmpty)
            #expect(try await nested.server.downstreamState(id) == "revoked")
            #expect(try await revocations(nested.server).contains("authority:\(id)"))
            let leaves = try await nested.server.records("downstreamAuthorityRevoked")
            #expect(leaves.count == 1 && leaves[0].contains("\"cause\":\"named\""))
            // Once more: nothing happens, and nothing is written.
            _ = try await nested.server.revokeAuthority(id)
            #expect(try await nested.server.records("downstreamAuthorityRevoked").count == 1)
            try await nested.server.requireIntactLog()
        }
    }

    @Test func `its server gets another one, and for its key none ever again`() async throws {
        try await withDownstream { nested in
            let csr = try Downstream.request()
            let id = try Downstream.keyID(try await nested.certify(csr))
            let done = try await nested.server.revokeAuthority(id)
            #expect(done.advice.contains { $0.contains("delete the entry, or ban agent ca-1") })
            nested.pass()
            #expect(await nested.refused(csr)?.reason == "authorityRevoked")
            // Else it would sign with the one that was copied.
            let next = try Downstream.keyID(try await nested.certify())
            #expect(try await nested.server.downstreamState(next) == "certified")
        }
    }

    @Test func `it is neither tainted nor activated`() async throws {
        try await withDownstream { nested in
            let id = try Downstream.keyID(try await nested.certify())
            let tainted = await refusal { try await nested.server.taint(id) }
            #expect(tainted?.reason == "authorityState", "\(tainted?.message ?? "")")
            let activated = await refusal {
                try await nested.server.administration.activateAuthority(
                    .with { ($0.id, $0.now) = (id, true) }
                )
            }
            #expect(activated?.reason == "authorityState", "\(activated?.message ?? "")")
            #expect(try await nested.server.downstreamState(id) == "certified")
        }
    }

    @Test(arguments: [true, false])
    func `a ban or eviction ends those of its node alone, and stops no other`(
        isBan: Bool
    ) async throws {
        try await withDownstream { nested in
            let first = try Downstream.keyID(try await nested.certify())
            let other = try await nested.server.agent("ca-2", selectors: ["role:ca"])
            nested.pass()
            let second = try Downstream.keyID(try await nested.certify(as: other))
            let service = nested.server.administration
            if isBan {
                _ = try await service.banNode(.with { $0.name = "ca-1" })
            } else {
                _ = try await service.evictNode(.with { $0.name = "ca-1" })
            }
            #expect(try await nested.server.downstreamState(first) == "revoked")
            #expect(try await nested.server.downstreamState(second) == "certified")
            let leaves = try await nested.server.records("downstreamAuthorityRevoked")
            #expect(leaves.count == 1 && leaves[0].contains("\"cause\":\"node\""))
            // Who may end one node stops no other.
            nested.pass()
            _ = try await nested.certify(as: other)
            nested.pass()
            #expect(await nested.refused()?.reason == (isBan ? "nodeBanned" : "nodeUnknown"))
            if isBan {
                _ = try await service.unbanNode(.with { $0.name = "ca-1" })
                #expect(try await nested.server.downstreamState(first) == "revoked")
            }
        }
    }

    @Test func `what is revoked above ends them`() async throws {
        let (directory, clock) = (try TestDirectory(), ShiftedClock())
        let fixture = try UpstreamFixture(in: directory)
        let first = try fixture.perform()
        let id = try await withServer(in: directory, clock: clock, { fixture.configure(&$0) }) {
            server in
            let nested = try await server.downstream(fixture, clock)
            return try Downstream.keyID(try await nested.certify())
        }
        try fixture.perform()
        try await withServer(in: directory, clock: clock, { fixture.configure(&$0) }) { server in
            let (old, _) = try await server.rotate()
            _ = try await server.revokeAuthority(old)
            let early = await refusal { try await server.revokeAuthority(first, now: false) }
            #expect(early?.reason == "authorityInUse", "\(early?.message ?? "")")
            #expect(early?.message.contains("servers below") == true, "\(early?.message ?? "")")
            _ = try await server.revokeAuthority(first)
            #expect(try await server.downstreamState(id) == "revoked")
            let leaves = try await server.records("downstreamAuthorityRevoked")
            #expect(leaves.count == 1 && leaves[0].contains("\"cause\":\"above\""))
            #expect(try await revocations(server).contains("authority:\(id)"))
        }
    }

    @Test func `a root stays while one is below it that is not revoked`() async throws {
        try await withDownstream { nested in
            let id = try Downstream.keyID(try await nested.certify())
            let logic = nested.server.core.logic
            // As if no authority of the server's own were below it.
            let left = try await nested.server.core.read { transaction in
                try logic.downstreamBelow(nested.fixture.rootID, in: transaction).map(\.id)
            }
            #expect(left == [id])
            _ = try await nested.server.revokeAuthority(id)
            let none = try await nested.server.core.read { transaction in
                try logic.downstreamBelow(nested.fixture.rootID, in: transaction)
            }
            #expect(none.isEmpty)
        }
    }

    @Test func `records go an hour after the end, revoked ones a week`() async throws {
        try await withDownstream { nested in
            let plain = try Downstream.keyID(try await nested.certify(lifetime: 600))
            nested.pass()
            let ended = try Downstream.keyID(try await nested.certify(lifetime: 600))
            _ = try await nested.server.revokeAuthority(ended)
            let (core, logic) = (nested.server.core, nested.server.core.logic)
            let end = nested.clock.wallTime + 600
            func forget(_ now: Date) async throws -> [String] {
                try await core.write { try logic.forgetDownstream(now: now, in: $0) }
            }
            #expect(try await forget(end + 1_800).isEmpty)
            #expect(try await core.read { try $0.downstreamAuthorities().count } == 2)
            #expect(try await forget(end + 3_700).isEmpty)
            let left = try await core.read { try $0.downstreamAuthorities().map(\.id) }
            #expect(left == [ended] && plain != ended)
            #expect(try await forget(end + 7 * 86_400 + 1) == [ended])
            #expect(try await !revocations(nested.server).contains("authority:\(ended)"))
            #expect(try await nested.server.records("authorityForgotten").count == 1)
        }
    }

    @Test func `to delete the entry says what stays`() async throws {
        try await withDownstream { nested in
            let id = try Downstream.keyID(try await nested.certify())
            let answer = try await nested.server.documents.delete(
                .with {
                    $0.keys = [
                        .with {
                            $0.kind = "RegistrationEntry"
                            ($0.namespace, $0.name) = ("default", "ca-east")
                        }
                    ]
                }
            )
            #expect(answer.warnings.contains { $0.contains(id) }, "\(answer.warnings)")
            #expect(try await nested.server.downstreamState(id) == "certified")
            nested.pass()
            #expect(await nested.refused()?.reason == "entryUnknown")
            // It can be ended although its entry is gone.
            _ = try await nested.server.revokeAuthority(id)
            #expect(try await nested.server.downstreamState(id) == "revoked")
        }
    }

    @Test func `one that begins later than the clock that is right is ended`() async throws {
        try await withDownstream { nested in
            let id = try Downstream.keyID(try await nested.certify())
            let (core, logic) = (nested.server.core, nested.server.core.logic)
            let before = nested.clock.wallTime - 86_400
            try await core.write { transaction in
                try logic.endDownstreamAhead(
                    of: before,
                    by: .system("test"),
                    in: transaction
                )
            }
            #expect(try await nested.server.downstreamState(id) == "revoked")
        }
    }

    /// Does what the upstream's word asks for.
    private func hear(_ named: Set<String>, _ nested: Downstream) async throws {
        let (core, logic, now) = (
            nested.server.core, nested.server.core.logic, nested.clock.wallTime
        )
        try await core.write { transaction in
            let plan = try logic.upstreamRevocationPlan(
                named,
                isClockBelieved: true,
                now: now,
                in: transaction
            )
            _ = try logic.perform(plan, now: now, in: transaction)
        }
    }

    @Test func `one that the upstream names is revoked, and its server gets another one`()
        async throws
    {
        try await withDownstream { nested in
            let csr = try Downstream.request()
            let id = try Downstream.keyID(try await nested.certify(csr))
            nested.pass()
            let other = try Downstream.keyID(try await nested.certify())
            try await hear([id], nested)
            #expect(try await nested.server.downstreamState(id) == "revoked")
            #expect(try await nested.server.downstreamState(other) == "certified")
            #expect(try await revocations(nested.server).contains("authority:\(id)"))
            let leaves = try await nested.server.records("downstreamAuthorityRevoked")
            #expect(leaves.count == 1 && leaves[0].contains("\"cause\":\"upstream\""))
            // It has a record of its own.
            #expect(try await nested.server.core.read { try $0.upstreamRevocations().isEmpty })
            nested.pass()
            #expect(await nested.refused(csr)?.reason == "authorityRevoked")
            _ = try await nested.certify()
            try await nested.server.requireIntactLog()
        }
    }

    @Test func `a snapshot names a key once, however many records refuse it`() async throws {
        try await withDownstream { nested in
            let id = try Downstream.keyID(try await nested.certify())
            _ = try await nested.server.revokeAuthority(id)
            let now = nested.clock.wallTime
            try await nested.server.core.write { transaction in
                try transaction.put(UpstreamRevocation(id: id, namedAt: now, isWaiting: false))
            }
            let names = try await revocations(nested.server).filter { $0 == "authority:\(id)" }
            #expect(names.count == 1)
        }
    }
}
