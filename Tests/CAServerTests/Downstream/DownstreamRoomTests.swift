// SPDX-License-Identifier: Apache-2.0

import CAServer
import Clocks
import ControlAPI
import Datastore
import FoundationEssentials
import Issuance
import NodeSync
import SPIFFE
import Testing

/// How many authorities servers below have at a time, and whose turn it is (record 0020, "Nested").
@Suite(.timeLimit(.minutes(2)))
struct DownstreamRoomTests {
    /// The same for other keys, of an entry.
    private static func copies(
        of record: DownstreamRecord,
        entry: String,
        revoked: Bool,
        _ numbers: Range<Int>
    ) -> [DownstreamRecord] {
        let revocation = DownstreamRecord.Revocation(
            at: record.certifiedAt,
            reason: "",
            actor: "uid:0@host"
        )
        return numbers.map { number in
            DownstreamRecord(
                id: Hexadecimal.text(Array(repeating: UInt8(number), count: 20)),
                entry: DownstreamRecord.Entry(
                    id: entry,
                    namespace: "default",
                    name: entry,
                    revision: 1,
                    spiffeID: Downstream.id
                ),
                node: record.node,
                serverID: record.serverID,
                certificateDER: record.certificateDER,
                ancestry: record.ancestry,
                certifiedAt: record.certifiedAt,
                notBefore: record.notBefore,
                notAfter: record.notAfter,
                revocation: revoked ? revocation : nil
            )
        }
    }

    /// Why there is no room for another key, if there is none.
    private static func problem(
        _ nested: Downstream,
        isBelowAgent: Bool,
        uncommitted: Int = 0
    ) async throws -> String? {
        let peer = try await nested.server.verified(nested.agent.chain)
        let logic = nested.server.core.logic
        let ground = DownstreamGround(
            roots: [nested.fixture.rootID],
            isBelowAgent: isBelowAgent,
            uncommitted: uncommitted,
            now: nested.clock.wallTime
        )
        let order = try Downstream.order(try Downstream.request(), entry: nested.entry)
        return await refusal {
            try await nested.server.core.read { transaction in
                let basis = try logic.downstreamBasis(
                    of: order,
                    for: peer,
                    on: ground,
                    in: transaction
                )
                try logic.requireRoom(for: basis, on: ground, in: transaction)
            }
        }?.reason
    }

    /// Puts others beside one that was certified, of the same entry and of another one.
    private static func fill(
        _ nested: Downstream,
        same: Range<Int>,
        other: Range<Int>,
        revoked: Bool = false
    ) async throws {
        let id = try Downstream.keyID(try await nested.certify())
        nested.pass()
        let entry = nested.entry
        try await nested.server.core.write { transaction in
            guard let record = try transaction.downstreamAuthority(id: id) else { return }
            let all =
                copies(of: record, entry: entry, revoked: revoked, same)
                + copies(of: record, entry: "other", revoked: revoked, other)
            for record in all { try transaction.put(record) }
        }
    }

    @Test func `an entry has three at a time below a server that is below another itself`()
        async throws
    {
        try await withDownstream { nested in
            try await Self.fill(nested, same: 1..<2, other: 0..<0)
            #expect(try await Self.problem(nested, isBelowAgent: true) == nil)
            try await Self.fill(nested, same: 0..<0, other: 0..<0)
            #expect(try await Self.problem(nested, isBelowAgent: true) == "downstreamOfEntry")
            #expect(try await Self.problem(nested, isBelowAgent: false) == nil)
        }
    }

    @Test func `of eight in all there the revoked ones count, as the server above counts them`()
        async throws
    {
        try await withDownstream { nested in
            try await Self.fill(nested, same: 1..<4, other: 4..<7, revoked: true)
            // Seven: six that are revoked, and one of the entry.
            #expect(try await Self.problem(nested, isBelowAgent: true) == nil)
            // What was certified and is on no record counts too.
            let full = try await Self.problem(nested, isBelowAgent: true, uncommitted: 1)
            #expect(full == "downstreamFull")
            #expect(try await Self.problem(nested, isBelowAgent: false, uncommitted: 1) == nil)
            try await Self.fill(nested, same: 0..<0, other: 0..<0)
            #expect(try await Self.problem(nested, isBelowAgent: true) == "downstreamFull")
        }
    }

    @Test func `others wait for their turn, one of an entry, and no longer than their agents`()
        async throws
    {
        try await withDownstream { nested in
            let (desk, clock) = (DownstreamDesk(), nested.clock)
            let peer = try await nested.server.verified(nested.agent.chain)
            let orders = try ["a", "b", "c"].map {
                try Downstream.order(try Downstream.request(), entry: $0)
            }
            @Sendable func ask(_ number: Int, at now: Duration) async -> String {
                do throws(APIError) {
                    let chain = try await desk.certify(orders[number], for: peer, now: now)
                    return chain == [[UInt8(number)]] ? "certified" : "another's"
                } catch { return error.reason }
            }
            let start = clock.bootTime
            async let first = ask(0, at: start)
            let one = try await Self.next(desk, clock)
            #expect(one.order.entryID == "a")
            // It is under way, and does not wait besides.
            #expect(await ask(0, at: start) == "downstreamBusy")
            // Another entry's waits.
            async let second = ask(1, at: start)
            desk.finish(one, .success([[0]]))
            let two = try await Self.next(desk, clock)
            #expect(two.order.entryID == "b")
            desk.finish(two, .success([[1]]))
            #expect(await first == "certified")
            #expect(await second == "certified")
            // The agent of this one has gone by now.
            async let coming = Self.next(desk, clock)
            #expect(await ask(0, at: start - DownstreamDesk.waitDuration) == "downstreamBusy")
            async let third = ask(2, at: clock.bootTime)
            let three = try await coming
            #expect(three.order.entryID == "c")
            desk.finish(three, .success([[2]]))
            #expect(await third == "certified")
            desk.close()
            #expect(await ask(0, at: clock.bootTime) == "serverEnds")
        }
    }

    private static func next(
        _ desk: DownstreamDesk,
        _ clock: ShiftedClock
    ) async throws -> DownstreamDesk.Order {
        guard let order = await desk.next(clock) else { throw CancellationError() }
        return order
    }
}
