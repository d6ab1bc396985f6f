// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// A server below another, with the real programs (record 0020, "Nested").
@Suite(.serialized, .timeLimit(.minutes(6)))
struct NestedServersTests {
    @Test func `both sides believe each other by the root, until an authority is revoked above`()
        async throws
    {
        let nested = try await NestedServers()
        // Without an entry it waits, and says for what.
        let server = try await nested.below.startServer(waitsUntilReady: false)
        try await server.waitFor("no registration entry with downstream: true means this process")
        try await nested.writeEntry(hint: "first")
        try await server.waitFor(": ready")
        try await nested.below.startAgent()
        try await nested.below.register("frontend")

        let files = try await nested.takeIdentity()
        let verified = try await nested.verify(files)
        #expect(verified.isSuccess, "\(verified.report)")
        let (above, below) = (
            try await nested.above(["bundle", "show"]).output,
            try await nested.below.signet(["bundle", "show"]).output
        )
        #expect(above == below && !above.isEmpty)
        // Each verifies the other's certificate with the bundle of its own side.
        let thief = try await nested.path.startLoad(
            ["mtls", "127.0.0.1:\(nested.path.inbound)", files, "/hello"]
        )

        let old = try #require(try await nested.active())
        let shown = try await nested.above(["authority", "show", "-o", "json"])
        #expect(shown.output.contains(old), "\(shown.report)")
        let before = Date().timeIntervalSince1970
        try await nested.above(
            ["authority", "revoke", old, "--now", "--yes", "--reason", "key copied"]
        )
        // Whoever still got answers would get one in this time.
        try await eventually("the end of what is observed") {
            Date().timeIntervalSince1970 > before + 3
        }
        let count = try await thief.stop()
        #expect(count.lastSuccess - before < 2, "\(count.lastSuccess - before) s")
        #expect(count.failures > 0, "\(count)")

        // It begins another authority at once, and until then believes nobody new by the old one.
        try await nested.untilAnother(than: old)
        try await eventually("the end of the old one below") {
            try await nested.authorities()[old].map { $0 == "revoked" } ?? true
        }
        try await eventually("a certificate of the new one") {
            let new = try await nested.takeIdentity()
            let load = try await nested.path.startLoad(
                ["mtls", "127.0.0.1:\(nested.path.inbound)", new, "/hello"]
            )
            return try await load.stop().failures == 0
        }
        for machine in [nested.below, nested.path.machine] {
            let log = try await machine.signet(["audit", "verify"])
            #expect(log.isSuccess, "\(log.report)")
        }
        try await nested.stop()
    }
}
