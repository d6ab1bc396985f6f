// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import Crypto
import Foundation
import GRPCCore
import NodeAgent
import NodeSync
import SPIFFE
import Synchronization
import TestPKI
import TestPrograms
import Testing

/// A server below asks on the agent's socket to be certified (record 0020, "Nested").
@Suite(.timeLimit(.minutes(1)))
struct DownstreamCertifyTests {
    @Test func `a call without the security header is INVALID_ARGUMENT`() async throws {
        try await DownstreamAgent.run { one in
            for metadata: Metadata in [[:], ["workload.spiffe.io": "True"]] {
                let certify = await one.refusal { try await one.certify(metadata: metadata) }
                #expect(certify?.code == .invalidArgument)
                let watch = await one.refusal {
                    try await one.watch(metadata: metadata) { _ in false }
                    return []
                }
                #expect(watch?.code == .invalidArgument)
            }
        }
    }

    @Test func `what one entry means is asked of the server above, and its answer given on`()
        async throws
    {
        try await DownstreamAgent.run { one in
            let (chain, csr) = (try one.chain(), try one.csr)
            async let answer = one.certify(csr: csr, lifetime: 3_600)
            let call = try await one.next()
            #expect(call.entryID == "entry-below")
            #expect(call.request.csr == csr && call.request.lifetimeSeconds == 3_600)
            call.finish(.success(chain))
            #expect(try await answer == chain)
            #expect(one.counts("Certify", "ok", 1))
            let id = try LeafCertificate(der: chain[0]).keyIdentifier
            #expect(one.log.lines.contains { $0.contains("authority=\(id) entry=entry-below") })
        }
    }

    @Test(arguments: [
        ([], "no registration entry with downstream: true means this process"),
        (["a", "b"], "2 registration entries with downstream: true mean this process"),
    ])
    func `without exactly one entry nothing is asked`(
        names: [String],
        sentence: String
    ) async throws {
        try await DownstreamAgent.run(names) { one in
            let refusal = await one.refusal { try await one.certify() }
            #expect(refusal?.code == .permissionDenied)
            #expect(refusal?.message.contains(sentence) == true, "\(String(describing: refusal))")
            let end = await one.told([]).end
            #expect(end?.code == .permissionDenied)
            #expect(end?.message.contains(sentence) == true)
            #expect(one.counts("Certify", "denied", 1) && one.counts("Watch", "denied", 1))
            // The ordinary identity is there all the same.
            #expect(one.agent.core.ask { $0.cache.entryCount } == names.count + 1)
        }
    }

    @Test func `before the first state it is told to try again`() async throws {
        try await ServingAgent.run { agent in
            agent.tell { $0.started(now: $1, using: &$2) }
            let error = await #expect(throws: RPCError.self) {
                try await agent.withClient { client in
                    try await DownstreamAgent.Service(wrapping: client).certify(
                        .init(),
                        metadata: ServingAgent.header
                    )
                }
            }
            #expect(error?.code == .unavailable)
        }
    }

    @Test func `what the server above refuses is told in its words`() async throws {
        try await DownstreamAgent.run { one in
            let refused = APIError(.failedPrecondition, "upstreamNone", "its upstream is none")
            let refusal = await one.refusal {
                try await one.certify(answered: .failure(refused))
            }
            #expect(refusal?.code == .failedPrecondition)
            #expect(refusal?.message == "the server above: its upstream is none [upstreamNone]")
            #expect(one.counts("Certify", "above", 1))
            let late = APIError(.unavailable, "transport", "deadline exceeded")
            let away = await one.refusal { try await one.certify(answered: .failure(late)) }
            #expect(away?.code == .unavailable)
        }
    }

    @Test func `what it was not asked for is given to nobody, and logged`() async throws {
        try await DownstreamAgent.run { one in
            let other = try one.upstream.certified(P256.Signing.PrivateKey().publicKey)
            let now = one.agent.world.now
            let stranger = try TestAuthority.root("example.org", now: now)
            for (chain, rule) in [
                (other, "it is for another key"),
                (
                    try stranger.certified(one.key.publicKey),
                    "its path ends at no root that the agent knows"
                ),
                ([], "it has no certificate"),
            ] {
                let refusal = await one.refusal {
                    try await one.certify(answered: .success(chain))
                }
                #expect(refusal?.code == .failedPrecondition)
                #expect(refusal?.message.contains(rule) == true)
                let last = one.log.lines.last { $0.hasPrefix("error ") }
                #expect(last?.contains(rule) == true)
            }
            #expect(one.counts("Certify", "badAnswer", 3))
        }
    }

    @Test(arguments: [false, true])
    func `a path through what the agent knows as distrusted is given to nobody`(
        isTainted: Bool
    ) async throws {
        try await DownstreamAgent.run { one in
            let keyID = try LeafCertificate(der: one.upstream.der).keyIdentifier.bytes
            let resource = try ResourcePayload.revocation(
                name: "authority:x",
                isTainted ? .taintedAuthority(keyID: keyID) : .authority(keyID: keyID)
            ).resource
            let refusal = await one.refusal {
                try await one.certify(answered: .success(one.chain())) {
                    one.change(1, .upsert(resource.key, payload: resource.payload))
                }
            }
            #expect(refusal?.message.contains("tainted or revoked") == true)
        }
    }

    @Test func `an entry that goes meanwhile gives its process nothing`() async throws {
        try await DownstreamAgent.run { one in
            let refusal = await one.refusal {
                try await one.certify(answered: .success(one.chain())) {
                    one.change(1, DownstreamAgent.removing("below"))
                }
            }
            #expect(refusal?.code == .permissionDenied)
        }
    }

    @Test(.enabled(if: Relay.isPossible, "needs python3"))
    func `a process that runs another program meanwhile is given nothing`() async throws {
        try await DownstreamAgent.run { one in
            let relay = try Relay(to: one.agent.socket, .execOnLine)
            async let refusal = one.refusal { try await one.certify(socket: relay.socket) }
            let call = try await one.next()
            try relay.execute()
            call.finish(.success(try one.chain()))
            #expect(await refusal?.code == .permissionDenied)
        }
    }

    @Test func `without a connection to the server it is told so, also when that ends`()
        async throws
    {
        try await DownstreamAgent.run { one in
            async let first = one.refusal { try await one.certify() }
            let call = Mutex<CertifyCall?>(try await one.next())
            // The connection drops what it was told.
            call.withLock { $0 = nil }
            #expect(await first?.code == .unavailable)
            one.hangUp()
            let second = await one.refusal { try await one.certify() }
            #expect(second?.code == .unavailable)
            #expect(second?.message.contains("no connection to its server") == true)
            #expect(one.counts("Certify", "unavailable", 2))
        }
    }

    @Test func `one request of an entry is under way, and what is malformed counts too`()
        async throws
    {
        try await DownstreamAgent.run { one in
            async let first = one.certify()
            let call = try await one.next()
            let second = await one.refusal { try await one.certify() }
            #expect(second?.code == .resourceExhausted)
            call.finish(.success(try one.chain()))
            _ = try await first
            let most = Int(DownstreamAdmission.atOnceMax)
            var codes: [RPCError.Code?] = []
            // A slow machine earns some more meanwhile.
            while codes.count < 5 * most, codes.last != .resourceExhausted {
                codes.append(await one.refusal { try await one.certify(csr: [1]) }?.code)
            }
            #expect(codes.count >= most && codes.last == .resourceExhausted)
            #expect(codes.dropLast().allSatisfy { $0 == .invalidArgument })
        }
    }
}
