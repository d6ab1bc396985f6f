// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import NodeAgent
import NodeSync
import SPIFFE
import Synchronization
import TestPKI
import TestPrograms
import Testing

/// A server below is told on the agent's socket what is above it (record 0020, "Nested").
@Suite(.timeLimit(.minutes(1)))
struct DownstreamWatchTests {
    @Test func `the first message comes at once, and each change as a whole`() async throws {
        try await DownstreamAgent.run { one in
            let root = one.agent.world.authority
            let now = one.agent.world.now
            let other = try TestAuthority.root("example.org", now: now)
            let own = try TestAuthority.root("example.org", now: now) { $0.certifyLeavesAlone() }
            let revoking = try DownstreamAgent.revoking(one.upstream.der)
            let publishing = try one.publishing([root.der, own.der, other.der])
            let (told, end) = await one.told([
                { one.change(1, revoking) },
                { one.change(2, publishing) },
            ])
            #expect(end == nil)
            let keyID = try LeafCertificate(der: one.upstream.der).keyIdentifier.bytes
            #expect(
                told.map { $0.roots.map { Array($0) } }
                    == [[root.der], [root.der], [root.der, other.der]]
            )
            #expect(told.map { $0.revokedKeyIds.map { Array($0) } } == [[], [keyID], [keyID]])
            #expect(one.counts("Watch", "ok", 1))
        }
    }

    @Test func `a stream whose entry is withdrawn, or gets a second one, is denied`()
        async throws
    {
        try await DownstreamAgent.run { one in
            let (told, end) = await one.told([
                { one.change(1, DownstreamAgent.removing("below")) }
            ])
            #expect(told.count == 1 && end?.code == .permissionDenied)
            let first = try ResourcePayload.entry(one.agent.own("first").below()).resource
            one.change(2, .upsert(first.key, payload: first.payload))
            let second = try ResourcePayload.entry(one.agent.own("second").below()).resource
            let more = await one.told([
                { one.change(3, .upsert(second.key, payload: second.payload)) }
            ])
            #expect(more.messages.count == 1 && more.end?.code == .permissionDenied)
            #expect(more.end?.message.hasPrefix("2 registration entries") == true)
        }
    }

    @Test(.enabled(if: Relay.isPossible, "needs python3"))
    func `a process that runs another program by now is told nothing more`() async throws {
        try await DownstreamAgent.run { one in
            let relay = try Relay(to: one.agent.socket, .execOnLine)
            let revoking = try DownstreamAgent.revoking(one.upstream.der)
            let (told, end) = await one.told(
                socket: relay.socket,
                [
                    {
                        try relay.execute()
                        one.change(1, revoking)
                    }
                ]
            )
            #expect(told.count == 1 && end?.code == .permissionDenied)
        }
    }

    @Test func `the revocation of the last root is told before the stream ends`() async throws {
        try await DownstreamAgent.run { one in
            let root = one.agent.world.authority
            let own = try TestAuthority.root("example.org", now: one.agent.world.now) {
                $0.certifyLeavesAlone()
            }
            let revoking = try DownstreamAgent.revoking(root.der)
            let publishing = try one.publishing([own.der])
            let (told, end) = await one.told([
                { one.change(1, revoking, publishing) }, {},
            ])
            let keyID = try LeafCertificate(der: root.der).keyIdentifier.bytes
            #expect(told.count == 2)
            #expect(told.last?.roots.map { Array($0) } == [root.der])
            #expect(told.last?.revokedKeyIds.map { Array($0) } == [keyID])
            #expect(end?.code == .failedPrecondition)
            let again = await one.told([])
            #expect(again.messages.isEmpty && again.end?.code == .failedPrecondition)
            #expect(again.end?.message.contains("its upstream is none") == true)
        }
    }

    @Test func `more roots than a server below takes are told to nobody`() async throws {
        try await DownstreamAgent.run { one in
            let now = one.agent.world.now
            var roots = [one.agent.world.authority.der]
            for _ in 0..<DownstreamTrust.rootsMax {
                roots.append(try TestAuthority.root("example.org", now: now).der)
            }
            let publishing = try one.publishing(roots)
            let (told, end) = await one.told([{ one.change(1, publishing) }])
            #expect(told.count == 1 && end?.code == .failedPrecondition)
            #expect(end?.message.contains("33 roots") == true)
            #expect(one.log.lines.contains { $0.contains("33 roots") })
        }
    }

    @Test func `what happens while a message is read is told as one`() async throws {
        try await DownstreamAgent.run { one in
            let now = one.agent.world.now
            var changes: [ResourceChange] = []
            for _ in 0..<5 {
                let gone = try TestAuthority.root("example.org", now: now)
                changes.append(try DownstreamAgent.revoking(gone.der))
            }
            let all = changes
            let heard = Mutex<[Int]>([])
            try await one.watch { message in
                let count = heard.withLock { heard in
                    heard.append(message.revokedKeyIds.count)
                    return heard.count
                }
                if count == 1 {
                    for (index, change) in all.enumerated() {
                        one.change(UInt64(index + 1), change)
                    }
                }
                return message.revokedKeyIds.count < all.count
            }
            let counts = heard.withLock { $0 }
            #expect(counts.first == 0 && counts.last == all.count)
            #expect(counts == counts.sorted() && Set(counts).count == counts.count)
        }
    }

    @Test func `a user's ninth stream is refused, and places come back`() async throws {
        try await DownstreamAgent.run { one in
            @Sendable func nested(_ depth: Int) async throws {
                try await one.watch { _ in
                    if depth < DownstreamAdmission.watchesPerUserMax {
                        try await nested(depth + 1)
                    } else {
                        #expect(await one.told([]).end?.code == .resourceExhausted)
                    }
                    return false
                }
            }
            try await nested(1)
            while await one.told([]).end != nil { await Task.yield() }
        }
    }
}
