// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import FoundationEssentials
import SPIFFE
import SwiftProtobuf
import Telemetry
import Testing

extension TestServer {
    /// A workload's certificate, issued to an agent of its own, as if it were an agent's.
    func workload(_ name: String) async throws -> TestAgent {
        let agent = try await agent("node-of-\(name)", selectors: ["role:\(name)"])
        let entry = try await register(name, node: "role:\(name)")
        let key = P256.Signing.PrivateKey()
        let csr = try certificateRequest(key)
        let results = try await sign(
            [
                .with {
                    $0.entryID = entry
                    $0.spiffeID = "spiffe://example.org/\(name)"
                    $0.csr = Data(csr)
                }
            ],
            as: agent
        )
        let chain = try #require(results.first).signed.certificateChain.map { Array($0) }
        return TestAgent(name: name, key: key, chain: chain)
    }
}

@Suite(.timeLimit(.minutes(1)))
struct SigningTests {
    @Test func `a batch is answered one by one, in order, and recorded in one leaf`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let web = try await server.register("web", more: "  dnsNames: [web.example.org]")
            let elsewhere = try await server.register("db", node: "role:db")
            let good = "spiffe://example.org/web"
            let results = try await server.sign(
                [
                    try signingRequest(entry: web, spiffeID: good),
                    try signingRequest(entry: elsewhere, spiffeID: "spiffe://example.org/db"),
                    try signingRequest(entry: web, spiffeID: "spiffe://example.org/other"),
                    .with { ($0.entryID, $0.spiffeID, $0.csr) = (web, good, Data([1])) },
                    try signingRequest(entry: "none", spiffeID: good),
                    try signingRequest(entry: web, spiffeID: good),
                ],
                as: agent
            )
            #expect(results.map { $0.signed.certificateChain.count } == [1, 0, 0, 0, 0, 1])
            let codes = results.map(\.refusal.code)
            #expect(codes[3] == "certificateRequest")
            #expect(codes[4] == "entryUnknown")
            #expect(codes[1] == "nodeOutsideEntry")
            #expect(codes[2] == "idDiffersFromEntry")
            for index in [0, 5] {
                let chain = results[index].signed.certificateChain.map { Array($0) }
                let leaf = try LeafCertificate(der: chain[0])
                try leaf.checkSVIDRules()
                #expect(leaf.uriNames == [good])
                #expect(leaf.dnsNames == ["web.example.org"])
                _ = try await server.verified(chain)
            }
            let leaves = try await server.records("svidsIssued") { $0.spiffeID = good }
            #expect(leaves.count == 1)
            #expect(
                leaves.first?.contains("\"agent\":\"spiffe://example.org/signet/agent/web-1\"")
                    == true
            )
            #expect(try await server.records("requestRefused").count == 4)
        }
    }

    @Test func `each certificate is found in the audit log by its serial`() async throws {
        try await withServer { server in
            let workload = try await server.workload("web")
            let serial = try workload.leaf.serial.map {
                String($0 >> 4, radix: 16) + String($0 & 15, radix: 16)
            }.joined()
            let found = try await server.records("svidsIssued") { $0.serial = serial }
            #expect(found.count == 1)
            let tbs = SHA256.hash(data: try workload.leaf.tbsBytes)
                .map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
            #expect(found.first?.contains(tbs) == true)
        }
    }

    @Test func `an agent gets nothing for an entry of other nodes`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("db", node: "role:db")
            let results = try await server.sign(
                [try signingRequest(entry: entry, spiffeID: "spiffe://example.org/db")],
                as: agent
            )
            #expect(results.map(\.refusal.code) == ["nodeOutsideEntry"])
            #expect(
                try await server.records("svidsIssued") {
                    $0.spiffeID = "spiffe://example.org/db"
                }.isEmpty
            )
            #expect(try await server.records("requestRefused").count == 1)
        }
    }

    @Test func `template variables of the node are the server's, those of the workload bounded`()
        async throws
    {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web", "region:eu"])
            let entry = try await server.register(
                "batch",
                spiffeID: "spiffe://example.org/batch/{node.region}/{unix.user}",
                more: "  variables:\n    unix.user: {prefix: job-}"
            )
            func ask(_ path: String, _ user: String) async throws -> String {
                let results = try await server.sign(
                    [
                        try signingRequest(
                            entry: entry,
                            spiffeID: "spiffe://example.org/batch/\(path)",
                            variables: ["unix.user": user]
                        )
                    ],
                    as: agent
                )
                return try #require(results.first).refusal.code
            }
            #expect(try await ask("eu/job-1", "job-1") == "")
            #expect(try await ask("us/job-1", "job-1") != "")
            #expect(try await ask("eu/root", "root") != "")
            #expect(try await ask("eu/job-1", "job-2") != "")
            #expect(try await ask("eu/job-1/x", "job-1/x") != "")
        }
    }

    @Test func `what is edited while it is prepared is prepared anew`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")
            try await server.holdingWrites { writes in
                async let edited = server.register("web", more: "  dnsNames: [web.example.org]")
                try await writes.queued(1)
                async let signed = server.sign([request], as: agent)
                try await writes.queued(2)
                writes.release()
                #expect(try await edited == entry)
                let chain = try await signed[0].signed.certificateChain
                let leaf = try LeafCertificate(der: Array(try #require(chain.first)))
                #expect(leaf.dnsNames == ["web.example.org"])
            }
            let leaves = try await server.records("svidsIssued") {
                $0.spiffeID = "spiffe://example.org/web"
            }
            #expect(leaves.count == 1)
        }
    }

    @Test func `a deleted entry signs no more`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")
            let before = try await server.sign([request], as: agent)
            #expect(before.map(\.signed.certificateChain.count) == [1])
            _ = try await server.documents.delete(
                .with {
                    $0.keys = [
                        .with {
                            ($0.kind, $0.namespace, $0.name) =
                                ("RegistrationEntry", "default", "web")
                        }
                    ]
                }
            )
            let after = try await server.sign([request], as: agent)
            #expect(after.map(\.refusal.code) == ["entryUnknown"])
        }
    }

    @Test func `a batch that is too large, and an agent that asks too much, are refused whole`()
        async throws
    {
        try await withServer {
            $0.signingBurst = 500
            $0.signingPerSecond = 0.01
        } _: { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            // One identity may not have all of it.
            var requests: [Signet_Node_V1alpha1_SignX509SVID] = []
            for name in ["web", "shop", "cart", "mail", "till"] {
                let entry = try await server.register(name)
                let id = "spiffe://example.org/\(name)"
                requests.append(try signingRequest(entry: entry, spiffeID: id))
            }
            let request = requests[4]
            let many = (0...500).map { requests[$0 % 4] }
            let tooLarge = await refusal { try await server.sign(many, as: agent) }
            #expect(tooLarge?.reason == "batchTooLarge")
            let all = try await server.sign(Array(many.dropFirst()), as: agent)
            #expect(all.count { $0.signed.certificateChain.count == 1 } == 500)
            let serials = try all.map {
                try LeafCertificate(der: Array($0.signed.certificateChain[0])).serial
            }
            #expect(Set(serials).count == 500)
            let tooMuch = await refusal { try await server.sign([request], as: agent) }
            #expect(tooMuch?.reason == "signingRate")
            #expect(tooMuch?.kind == .exhausted)
            // Another agent has its own rate.
            let other = try await server.agent("web-2", selectors: ["role:web"])
            let fine = try await server.sign([request], as: other)
            #expect(fine.map(\.signed.certificateChain.count) == [1])
        }
    }

    @Test func `an identity above its share is refused alone`() async throws {
        try await withServer {
            $0.signingBurst = 500
            $0.signingPerSecond = 0.01
        } _: { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let loud = try signingRequest(
                entry: try await server.register("loud"),
                spiffeID: "spiffe://example.org/loud"
            )
            let quiet = try signingRequest(
                entry: try await server.register("quiet"),
                spiffeID: "spiffe://example.org/quiet"
            )
            let loudly = Array(repeating: loud, count: 251)
            let answers = try await server.sign(loudly + [quiet], as: agent)
            #expect(answers.count == 252)
            #expect(answers.prefix(250).allSatisfy { !$0.signed.certificateChain.isEmpty })
            #expect(answers[250].refusal.code == "identityRate")
            #expect(answers[250].refusal.message.contains("one identity"))
            #expect(answers[250].refusal.retryable)
            #expect(!answers[251].signed.certificateChain.isEmpty)
            let again = try await server.sign([loud], as: agent)
            #expect(again.map(\.refusal.code) == ["identityRate"])
            #expect(server.core.metrics.exposition().contains("reason=\"identityRate\"} 2"))
        }
    }

    @Test func `no more is signed after a ban or an eviction`() async throws {
        try await withServer { server in
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")
            let banned = try await server.agent("web-1", selectors: ["role:web"])
            let evicted = try await server.agent("web-2", selectors: ["role:web"])
            _ = try await server.administration.banNode(
                .with { ($0.name, $0.reason) = ("web-1", "stolen") }
            )
            _ = try await server.administration.evictNode(.with { $0.name = "web-2" })
            let afterBan = await refusal { try await server.sign([request], as: banned) }
            #expect(afterBan?.reason == "nodeBanned")
            let afterEviction = await refusal { try await server.sign([request], as: evicted) }
            #expect(afterEviction?.reason == "nodeUnknown")
            #expect(
                try await server.records("svidsIssued") {
                    $0.spiffeID = "spiffe://example.org/web"
                }.isEmpty
            )
        }
    }

    @Test func `a clock behind the last signature signs nothing until it is set`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let agent = try await server.agent("web-1", selectors: ["role:web"])
            let entry = try await server.register("web")
            let request = try signingRequest(entry: entry, spiffeID: "spiffe://example.org/web")
            clock.stepWall(by: -8)
            let near = try await server.sign([request], as: agent)
            #expect(near.map(\.signed.certificateChain.count) == [1])
            clock.stepWall(by: -22)
            let behind = await refusal { try await server.sign([request], as: agent) }
            #expect(behind?.reason == "clockBehind")
            let renewal = await refusal { try await server.renew(agent, key: agent.key) }
            #expect(renewal?.reason == "clockBehind")
            #expect(
                try await server.records("svidsIssued") {
                    $0.spiffeID = "spiffe://example.org/web"
                }.count == 1
            )
            clock.stepWall(by: 30)
            let again = try await server.sign([request], as: agent)
            #expect(again.map(\.signed.certificateChain.count) == [1])
        }
    }
}
