// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import ControlAPI
import Datastore
import Foundation
import NodeSync
import SPIFFE
import Testing

/// How long a key is refused that an upstream has revoked and nothing here has.
@Suite(.timeLimit(.minutes(1)))
struct UpstreamRevocationPlanTests {
    private static let kept = UpstreamRevocation.keptSeconds

    /// A whole second, as the store keeps no finer time than it writes.
    private static var now: Date {
        Date(timeIntervalSince1970: Date().timeIntervalSince1970.rounded())
    }

    private static func id(_ number: Int) -> String {
        Hexadecimal.text((0..<20).map { UInt8(truncatingIfNeeded: number >> ($0 % 3 * 8)) })
    }

    /// Does what an upstream's word asks for at a moment.
    @discardableResult
    private func hear(
        _ named: Set<String>?,
        _ server: TestServer,
        at now: Date,
        isClockBelieved: Bool = true
    ) async throws -> UpstreamRevocationPlan {
        let logic = server.core.logic
        return try await server.core.write { transaction in
            let plan = try logic.upstreamRevocationPlan(
                named,
                isClockBelieved: isClockBelieved,
                now: now,
                in: transaction
            )
            _ = try logic.perform(plan, now: now, in: transaction)
            return plan
        }
    }

    private func keys(_ server: TestServer) async throws -> [UpstreamRevocation] {
        try await server.core.read { try $0.upstreamRevocations() }
    }

    @Test func `a key is kept for 14 days after it was named last`() async throws {
        try await withServer { server in
            let (id, start) = (Self.id(1), Self.now)
            let first = try await hear([id], server, at: start)
            #expect(first.refused == [id])
            // A word that says the same is nothing new.
            let again = try await hear([id], server, at: start + 600)
            #expect(again.isEmpty)
            let later = try await hear([id], server, at: start + 86_400)
            #expect(later.named == [id] && later.refused.isEmpty)
            let end = start + 86_400 + Self.kept
            #expect(try await hear([], server, at: end - 60).isEmpty)
            // Before the upstream has said anything nobody knows what it names.
            #expect(try await hear(nil, server, at: end + 60).isEmpty)
            #expect(try await hear([], server, at: end, isClockBelieved: false).isEmpty)
            #expect(try await hear([], server, at: end).forgotten == [id])
            #expect(try await keys(server).isEmpty)
            #expect(try await server.records("upstreamKeysForgotten").count == 1)
            try await server.requireIntactLog()
        }
    }

    @Test func `without an upstream, keys that one has named are forgotten in time`() async throws {
        try await withServer { server in
            let now = Date()
            try await server.core.write { transaction in
                for (number, age) in [(1, Self.kept + 60), (2, 60)] {
                    try transaction.put(
                        UpstreamRevocation(
                            id: Self.id(number),
                            namedAt: now - age,
                            isWaiting: false
                        )
                    )
                }
            }
            try await server.core.settleRevocations()
            #expect(try await keys(server).map(\.id) == [Self.id(2)])
            #expect(try await server.records("upstreamKeysForgotten").count == 1)
        }
    }

    @Test func `a clock that was ahead keeps no key for longer`() async throws {
        try await withServer { server in
            let (id, now) = (Self.id(1), Self.now)
            try await hear([id], server, at: now + 400 * 86_400)
            #expect(try await hear([], server, at: now, isClockBelieved: false).isEmpty)
            #expect(try await hear([], server, at: now).named == [id])
            #expect(try await hear([], server, at: now + Self.kept).forgotten == [id])
        }
    }

    @Test func `there are as many as one word names, and those that are named stay`() async throws {
        try await withServer { server in
            let (most, now) = (UpstreamRevocation.countMax, Self.now)
            let old = Set((0..<most).map(Self.id))
            try await hear(old, server, at: now - 7_200)
            let records = try await server.records("upstreamKeysRevoked")
            #expect(records.count == most / UpstreamKeys.perLeafMax)
            // Half of them are named still; the others make room.
            let named = Set((0..<(most / 2)).map(Self.id))
            let new = Set((most..<(most + 10)).map(Self.id))
            let plan = try await hear(named.union(new), server, at: now)
            #expect(Set(plan.refused) == new && plan.forgotten.count == 10)
            #expect(named.isDisjoint(with: plan.forgotten))
            let known = Set(try await keys(server).map(\.id))
            #expect(known.count == most && known.isSuperset(of: named.union(new)))
            try await server.requireIntactLog()
        }
    }

    @Test func `agents are told in the next delta, and told when it is forgotten`() async throws {
        try await withServer { server in
            func number() async throws -> UInt64 {
                try await server.core.read { try $0.revision().number }
            }
            func changes(after number: UInt64) async throws -> [ResourceChange] {
                let messages = try await server.core.read {
                    try SyncContent.delta(from: number, node: [], in: $0)
                }
                return messages.flatMap { message in
                    guard case .delta(let delta) = message else { return [ResourceChange]() }
                    return delta.changes
                }
            }
            let (id, now) = (Self.id(1), Self.now)
            let key = ResourceKey(.revocation, AuthorityRecord.revocationName(of: id))
            let before = try await number()
            try await hear([id], server, at: now)
            let told = try await changes(after: before)
            let isTold = told.contains { change in
                if case .upsert(let name, _) = change { name == key } else { false }
            }
            #expect(isTold)
            let since = try await number()
            try await hear([], server, at: now + Self.kept)
            #expect(try await changes(after: since).contains(.remove(key)))
        }
    }
}
