// SPDX-License-Identifier: Apache-2.0

import Foundation
import SPIFFE
import TestBridge
import TestPKI
import TestPrograms
import Testing

/// The programs below a process that certifies authorities (record 0020, "Service and agent: one
/// protocol").
@Suite(.serialized, .timeLimit(.minutes(4)))
struct UpstreamServiceTests {
    private struct Shown: Decodable {
        struct Authority: Decodable {
            var id: String
            var kind: String?
            var state: String
        }
        var authorities: [Authority]
        var above: [Authority]
    }

    private let machine: Machine
    private let bridge: UpstreamBridge

    init() throws {
        let made = try Machine()
        made.change { options in
            options.serverLines = ["upstream: service", "serviceSocket: \(made.path)/up.sock"]
        }
        machine = made
        bridge = try UpstreamBridge("example.org", now: Date())
    }

    private func show() async throws -> Shown {
        let result = try await machine.signet(["authority", "show", "-o", "json"])
        #expect(result.isSuccess, "\(result.report)")
        return try JSONDecoder().decode(Shown.self, from: Data(result.output.utf8))
    }

    private func verifyFetched() async throws {
        let fetched = try await machine.signet(["svid", "fetch", "-o", "json"])
        #expect(fetched.isSuccess, "\(fetched.report)")
        struct Fetched: Decodable {
            var certificateChain: String
        }
        let svids = try JSONDecoder().decode([Fetched].self, from: Data(fetched.output.utf8))
        let chain = try #require(svids.first?.certificateChain, "\(fetched.report)")
        let bundle = try await machine.signet(["bundle", "show"]).output
        for (text, name) in [(chain, "leaf.pem"), (bundle, "root.pem")] {
            try text.write(toFile: "\(machine.path)/\(name)", atomically: true, encoding: .utf8)
        }
        let verified = try await Installation.run(
            Installation.tool("openssl"),
            [
                "verify", "-x509_strict", "-no-CApath", "-no-CAfile", "-CAfile", "root.pem",
                "-untrusted", "leaf.pem", "leaf.pem",
            ],
            directory: machine.path
        )
        #expect(verified.isSuccess, "\(verified.report)")
    }

    @Test func `a server waits for its upstream, signs below it, and outlives it`() async throws {
        let waiting = try await machine.startServer(waitsUntilReady: false)
        try await waiting.waitFor("up.sock")
        _ = try await waiting.stop()
        let socket = "\(machine.path)/up.sock"
        try await bridge.serving(at: socket) {
            let server = try await machine.startServer()
            try await machine.startAgent()
            try await machine.register("web")
            try await verifyFetched()
            let shown = try await show()
            #expect(Set(shown.above.compactMap(\.kind)) == ["intermediate", "root"])

            let made = try await machine.signet(["authority", "prepare"])
            #expect(made.isSuccess, "\(made.report)")
            let prepared = try await show().authorities.first { $0.state == "prepared" }
            let next = try #require(prepared).id
            bridge.tell(revoked: [try #require(Hexadecimal.bytes(next))])
            try await server.waitFor("the upstream revoked an authority")
            let after = try await show()
            #expect(after.authorities.first { $0.id == next }?.state == "revoked")
        }
        // It is away, and nothing that was is lost.
        try await machine.stop()
        try await machine.startServer()
        try await machine.startAgent()
        try await verifyFetched()
        let audit = try await machine.signet(["audit", "verify"])
        #expect(audit.isSuccess, "\(audit.report)")
        try await machine.stop()
    }
}
