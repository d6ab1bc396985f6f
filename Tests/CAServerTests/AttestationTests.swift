// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import Foundation
import Issuance
import NodeAttestation
import SPIFFE
import SwiftProtobuf
import Testing

@Suite(.timeLimit(.minutes(1)))
struct AttestationTests {
    @Test func `a token admits one agent, whose certificate leads to the bundle`() async throws {
        try await withServer { server in
            let token = try await server.token("web-1", selectors: ["role:web"])
            let pin = try authoritySPKISHA256(try server.core.trust.bundle.x509Authorities[0])
            #expect(token.authorityPins == [pin])
            let agent = try await server.attest("web-1", secret: token.secret)
            let peer = try await server.verified(agent.chain)
            #expect(peer.id.description == "spiffe://example.org/signet/agent/web-1")
            try agent.leaf.checkSVIDRules()
            let node = try await server.administration.listNodes(.init()).nodes
            #expect(node.map(\.name) == ["web-1"])
            #expect(node.map(\.selectors) == [["agent:web-1", "role:web"]])
            let attested = try await server.records("nodeAttested")
            #expect(attested.count == 1)
            #expect(try await server.records("tokenCreated").count == 1)
            let secret = token.secret.map { String($0, radix: 16) }.joined()
            #expect(!attested[0].contains(secret))
        }
    }

    @Test func `a token that nobody has used is listed, and taken back it admits nobody`()
        async throws
    {
        try await withServer { server in
            let first = try await server.token("web-1", selectors: ["role:web"])
            let second = try await server.token("web-1")
            _ = try await server.agent("web-2")
            let listed = try await server.administration.listTokens(.init()).tokens
            #expect(listed.map(\.agentName) == ["web-1", "web-1"])
            let created = try await server.records("tokenCreated")
            for token in listed {
                #expect(created.contains { $0.contains("\"tokenID\":\"\(token.id)\"") })
            }
            #expect(listed.contains { $0.nodeSelectors == ["role:web"] })
            let answer = try await server.administration.deleteTokens(
                .with { $0.agentName = "web-1" }
            )
            #expect(answer.deleted == 2)
            for secret in [first.secret, second.secret] {
                let refused = await refusal { try await server.attest("web-1", secret: secret) }
                #expect(refused?.reason == "joinTokenRefused")
            }
            #expect(try await server.administration.listTokens(.init()).tokens.isEmpty)
            #expect(try await server.records("tokensDeleted").count == 1)
            // There is none left, or its machine has joined.
            for (name, says) in [("web-1", "signet token list"), ("web-2", "agent evict web-2")] {
                let refused = await refusal {
                    try await server.administration.deleteTokens(.with { $0.agentName = name })
                }
                #expect(refused?.reason == "tokenUnknown")
                #expect(refused?.message.contains(says) == true, "\(refused?.message ?? "")")
            }
        }
    }

    @Test func `a token that has ended is not listed`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            _ = try await server.token("web-1")
            #expect(try await server.administration.listTokens(.init()).tokens.count == 1)
            clock.pass(.seconds(601))
            #expect(try await server.administration.listTokens(.init()).tokens.isEmpty)
        }
    }

    @Test func `many attestations at once with one token admit exactly one`() async throws {
        try await withServer { server in
            let secret = try await server.token("web-1").secret
            let outcomes = await withTaskGroup(of: APIError?.self) { group in
                for _ in 0..<24 {
                    group.addTask {
                        await refusal { try await server.attest("web-1", secret: secret) }
                    }
                }
                return await group.reduce(into: []) { $0.append($1?.reason) }
            }
            #expect(outcomes.count { $0 == nil } == 1)
            #expect(outcomes.count { $0 == "joinTokenRefused" } == 23)
            #expect(try await server.records("nodeAttested").count == 1)
            let issued = try await server.records("svidsIssued") {
                $0.spiffeID = "spiffe://example.org/signet/agent/web-1"
            }
            #expect(issued.count == 1)
        }
    }

    @Test func `a lost answer is given again to the same key for ten minutes`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            // The token's own time is over before the answer is given again.
            let token = try await server.token("web-1", selectors: ["role:web"], ttlSeconds: 60)
            let first = try await server.attest("web-1", secret: token.secret)
            clock.pass(.seconds(540))
            let again = try await server.attest("web-1", secret: token.secret, key: first.key)
            #expect(try again.leaf.serial != first.leaf.serial)
            #expect(try again.leaf.spkiSHA256 == first.leaf.spkiSHA256)
            #expect(try await server.verified(again.chain).id.path == "/signet/agent/web-1")
            let nodes = try await server.administration.listNodes(.init()).nodes
            #expect(nodes.map(\.selectors) == [["agent:web-1", "role:web"]])
            #expect(try await server.records("nodeAttested").count == 1)
            let repeated = try await server.records("nodeAttestationRepeated")
            #expect(repeated.count == 1)
            let serial = try first.leaf.serial.map { String(format: "%02x", $0) }.joined()
            #expect(repeated.allSatisfy { $0.contains(serial) })
            // It counts from the first use, however often it is repeated.
            clock.pass(.seconds(61))
            let late = await refusal {
                try await server.attest("web-1", secret: token.secret, key: first.key)
            }
            #expect(late?.reason == "joinTokenRefused")
        }
    }

    @Test func `a used token is worth nothing to another key`() async throws {
        try await withServer { server in
            let secret = try await server.token("web-1").secret
            let agent = try await server.attest("web-1", secret: secret)
            let thief = await refusal { try await server.attest("web-1", secret: secret) }
            #expect(thief?.reason == "joinTokenRefused")
            // A key that was replaced since is another key.
            let renewed = try await server.renew(agent, key: P256.Signing.PrivateKey())
            let old = await refusal {
                try await server.attest("web-1", secret: secret, key: agent.key)
            }
            #expect(old?.reason == "joinTokenRefused")
            _ = try await server.attest("web-1", secret: secret, key: renewed.key)
        }
    }

    @Test func `a used token brings back neither a banned node nor an evicted one`() async throws {
        try await withServer { server in
            let key = P256.Signing.PrivateKey()
            let secret = try await server.token("web-1").secret
            _ = try await server.attest("web-1", secret: secret, key: key)
            func reason(_ secret: [UInt8]) async -> String? {
                await refusal { try await server.attest("web-1", secret: secret, key: key) }?.reason
            }
            _ = try await server.administration.banNode(
                .with { ($0.name, $0.reason) = ("web-1", "stolen") }
            )
            #expect(await reason(secret) == "joinTokenRefused")
            _ = try await server.administration.evictNode(.with { $0.name = "web-1" })
            #expect(await reason(secret) == "joinTokenRefused")
            // The name comes back by another token, the key does not.
            let second = try await server.token("web-1").secret
            #expect(await reason(second) == "keyWithdrawn")
            let new = try await server.attest("web-1", secret: second)
            #expect(await reason(secret) == "joinTokenRefused")
            #expect(await reason(second) == "joinTokenRefused")
            let taken = await refusal { try await server.renew(new, key: key) }
            #expect(taken?.reason == "keyWithdrawn")
            #expect(try await server.records("nodeAttestationRepeated").isEmpty)
        }
    }

    @Test func `wrong, used and expired tokens are refused with the same words`() async throws {
        let clock = ShiftedClock()
        try await withServer(clock: clock) { server in
            let used = try await server.token("web-1").secret
            _ = try await server.attest("web-1", secret: used)
            let expired = try await server.token("web-2", ttlSeconds: 60).secret
            clock.pass(.seconds(61))
            let unknown = [UInt8](repeating: 7, count: 32)
            var words: Set<String> = []
            for secret in [used, expired, unknown, [], Array(used.dropLast())] {
                let error = await refusal { try await server.attest("web-2", secret: secret) }
                #expect(error?.kind == .permissionDenied)
                words.insert(error?.description ?? "admitted")
            }
            #expect(words.count == 1)
            #expect(try await server.administration.listNodes(.init()).nodes.count == 1)
        }
    }

    @Test func `an unreadable request spends no token`() async throws {
        try await withServer { server in
            let secret = try await server.token("web-1").secret
            let error = await refusal {
                try await server.anonymously { client in
                    try await Attestation.Client(wrapping: client).attestJoinToken(
                        .with {
                            $0.secret = Data(secret)
                            $0.csr = Data([0x30, 0x00])
                        }
                    )
                }
            }
            #expect(error?.kind == .invalidArgument)
            _ = try await server.attest("web-1", secret: secret)
        }
    }

    @Test func `a name in use, reserved selectors and bad names get no token`() async throws {
        try await withServer { server in
            _ = try await server.agent("web-1")
            let cases: [(name: String, selectors: [String], ttl: UInt32, reason: String)] = [
                ("web-1", [], 60, "nodeExists"),
                ("web-2", ["agent:web-1"], 60, "selectorReserved"),
                ("web-2", ["unix:uid:0"], 60, "selectorReserved"),
                ("web/2", [], 60, "agentNameMalformed"),
                ("..", [], 60, "agentNameMalformed"),
                ("", [], 60, "agentNameMalformed"),
                ("web-2", [], 7 * 86_400 + 1, "tokenLifetime"),
            ]
            for bad in cases {
                let error = await refusal {
                    try await server.token(bad.name, selectors: bad.selectors, ttlSeconds: bad.ttl)
                }
                #expect(error?.reason == bad.reason)
            }
            #expect(try await server.records("tokenCreated").count == 1)
        }
    }

    @Test func `an address that tries too often has to wait`() async throws {
        try await withServer {
            $0.attestationBurst = 3
            $0.attestationsPerSecond = 0.01
        } _: { server in
            let good = try await server.token("web-1").secret
            for _ in 0..<3 {
                let error = await refusal { try await server.attest("web-1", secret: [1, 2, 3]) }
                #expect(error?.reason == "joinTokenRefused")
            }
            let limited = await refusal { try await server.attest("web-1", secret: good) }
            #expect(limited?.kind == .exhausted)
            #expect(limited?.reason == "attestationRate")
        }
    }

    @Test func `an agent comes back with its key, and with no other`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            let other = await refusal {
                try await server.readmit("web-1", key: P256.Signing.PrivateKey())
            }
            #expect(other?.reason == "readmissionRefused")
            let unknown = await refusal { try await server.readmit("web-9", key: agent.key) }
            #expect(unknown?.description == other?.description)
            let back = try await server.readmit("web-1", key: agent.key)
            #expect(try await server.verified(back.chain).id.path == "/signet/agent/web-1")
            #expect(try back.leaf.serial != agent.leaf.serial)
            #expect(try await server.records("nodeReadmitted").count == 1)
        }
    }

    @Test func `a stranger does not learn which agents exist`() async throws {
        try await withServer { server in
            _ = try await server.agent("web-1")
            let unreadable: [UInt8] = [0x30, 0x00]
            let foreign = try certificateRequest(P256.Signing.PrivateKey())
            for csr in [unreadable, foreign] {
                var answers: Set<String> = []
                for name in ["web-1", "web-9"] {
                    let error = await refusal {
                        try await server.anonymously { client in
                            try await Attestation.Client(wrapping: client).readmit(
                                .with { ($0.agentName, $0.csr) = (name, Data(csr)) }
                            )
                        }
                    }
                    answers.insert(error?.description ?? "admitted")
                }
                #expect(answers.count == 1, "\(answers)")
            }
        }
    }

    @Test func `an agent that is banned does not come back`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            _ = try await server.administration.banNode(
                .with { ($0.name, $0.reason) = ("web-1", "stolen") }
            )
            let banned = await refusal { try await server.readmit("web-1", key: agent.key) }
            #expect(banned?.reason == "readmissionRefused")
            #expect(await refusal { try await server.token("web-1") }?.reason == "nodeExists")
            _ = try await server.administration.unbanNode(.with { $0.name = "web-1" })
            _ = try await server.readmit("web-1", key: agent.key)
        }
    }

    @Test(arguments: [(6.0, true), (8.0, false)])
    func `readmission ends a week after the last certificate did`(
        days: Double,
        isAdmitted: Bool
    ) async throws {
        let directory = try TestDirectory()
        let lifetimes: (inout ServerConfiguration) throws -> Void = {
            $0.lifetimes = try .init(authority: .seconds(30 * 86_400))
        }
        let agent = try await withServer(in: directory) {
            try? lifetimes(&$0)
        } _: {
            try await $0.agent("web-1")
        }
        let clock = ShiftedClock(wall: days * 86_400)
        try await withServer(in: directory, clock: clock) {
            try? lifetimes(&$0)
        } _: { server in
            let error = await refusal { try await server.readmit("web-1", key: agent.key) }
            #expect((error == nil) == isAdmitted)
            if !isAdmitted { #expect(error?.reason == "readmissionRefused") }
        }
    }

    @Test func `a renewal may change the key, and the old key is then nobody's`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            let renewed = try await server.renew(agent, key: P256.Signing.PrivateKey())
            #expect(try renewed.leaf.spkiSHA256 != agent.leaf.spkiSHA256)
            let superseded = await refusal {
                try await server.renew(agent, key: P256.Signing.PrivateKey())
            }
            #expect(superseded?.reason == "keySuperseded")
            _ = try await server.renew(renewed, key: renewed.key)
            #expect(try await server.records("nodeRenewed").count == 2)
        }
    }

    @Test func `only agents renew`() async throws {
        try await withServer { server in
            let anonymous = await refusal {
                try await server.anonymously {
                    try await Node.Client(wrapping: $0).renew(.init())
                }
            }
            #expect(anonymous?.kind == .unauthenticated)
            let workload = try await server.workload("web")
            let denied = await refusal {
                try await server.renew(workload, key: P256.Signing.PrivateKey())
            }
            #expect(denied?.reason == "notAnAgent")
        }
    }

    @Test func `an evicted agent needs a new token`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            _ = try await server.administration.evictNode(.with { $0.name = "web-1" })
            let unknown = await refusal { try await server.renew(agent, key: agent.key) }
            #expect(unknown?.reason == "nodeUnknown")
            let again = await refusal { try await server.readmit("web-1", key: agent.key) }
            #expect(again?.reason == "readmissionRefused")
            _ = try await server.agent("web-1")
            #expect(try await server.records("nodeEvicted").count == 1)
            // Who has the old key has nothing of the name's new node.
            let thief = await refusal { try await server.renew(agent, key: agent.key) }
            #expect(thief?.reason == "keySuperseded")
            let returned = await refusal { try await server.readmit("web-1", key: agent.key) }
            #expect(returned?.reason == "readmissionRefused")
        }
    }
}
