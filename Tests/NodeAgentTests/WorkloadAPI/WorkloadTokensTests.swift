// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import NodeAgent
import NodeSync
import SPIFFE
import SwiftProtobuf
import Synchronization
import TestPKI
import Testing

/// The JWT profile of the Workload API as a client on the socket sees it.
@Suite(.timeLimit(.minutes(1)))
struct WorkloadTokensTests {
    private typealias Service = SpiffeWorkloadAPI.Client<HTTP2ClientTransport.Posix>

    /// The server's step in which the own trust domain has the key of another moment.
    private static func change(
        _ domain: TokenDomain,
        in agent: ServingAgent
    ) throws
        -> ResourceChange
    {
        let bundle = try domain.bundle(x509: [agent.world.authority.der])
        let resource = try ResourcePayload.bundle(bundle).resource
        return .upsert(resource.key, payload: resource.payload)
    }

    private static func keySet(of domain: TokenDomain) throws -> Data {
        Data(try domain.bundle().jwtKeySet())
    }

    /// Opens FetchJWTBundles and gives the own key set of each message to `body`, until that returns
    /// false.
    private static func follow(
        _ agent: ServingAgent,
        _ body: @escaping @Sendable (Data) async throws -> Bool
    ) async throws {
        try await agent.withClient { client in
            try await SpiffeWorkloadAPI.Client(wrapping: client).fetchJWTBundles(
                .init(),
                metadata: ServingAgent.header
            ) { response in
                for try await message in response.messages {
                    #expect(message.bundles.count == 1)
                    guard try await body(message.bundles["spiffe://example.org"] ?? Data()) else {
                        return
                    }
                }
            }
        }
    }

    /// The status of a call.
    private static func code(
        _ agent: ServingAgent,
        _ call: (Service) async throws -> Void
    ) async throws -> RPCError.Code? {
        try await agent.withClient { client in
            do {
                try await call(SpiffeWorkloadAPI.Client(wrapping: client))
                return nil
            } catch let error as RPCError {
                return error.code
            }
        }
    }

    @Test func `A-3 key sets come at once, and again on a change of a key alone`() async throws {
        let (first, second) = (
            try TokenDomain("example.org", isOwn: true), try TokenDomain("example.org", isOwn: true)
        )
        let seen = Mutex<[Data]>([])
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web")])
            _ = agent.receive([agent.world.delta(1, 2, [try Self.change(first, in: agent)])])
            try await Self.follow(agent) { set in
                let count = seen.withLock { seen in
                    seen.append(set)
                    return seen.count
                }
                guard count == 1 else { return false }
                // One identity more is news for others; who follows them has it.
                let other = try ResourcePayload.entry(agent.own("other")).resource
                try agent.sign(
                    agent.receive([
                        agent.world.delta(2, 3, [.upsert(other.key, payload: other.payload)])
                    ])
                )
                #expect(try await agent.first().svids.count == 2)
                _ = agent.receive([agent.world.delta(3, 4, [try Self.change(second, in: agent)])])
                return true
            }
        }
        let wanted = try [first, second].map(Self.keySet)
        #expect(seen.withLock { $0 } == wanted)
    }

    @Test func `A-4 a stream of key sets whose entitlement ends is denied`() async throws {
        let domain = try TokenDomain("example.org", isOwn: true)
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web")])
            _ = agent.receive([agent.world.delta(1, 2, [try Self.change(domain, in: agent)])])
            let error = await #expect(throws: RPCError.self) {
                try await Self.follow(agent) { _ in
                    _ = agent.receive([
                        agent.world.delta(2, 3, [.remove(ResourceKey(.entry, "entry-web"))])
                    ])
                    return true
                }
            }
            #expect(error?.code == .permissionDenied)
        }
    }

    @Test func `A-5 a request of the JWT profile without a mandatory field is INVALID_ARGUMENT`()
        async throws
    {
        let domain = try TokenDomain("example.org", isOwn: true)
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web")])
            _ = agent.receive([agent.world.delta(1, 2, [try Self.change(domain, in: agent)])])
            let bytes = try domain.token(of: "spiffe://example.org/web", at: Date())
            let token = String(decoding: bytes, as: UTF8.self)
            func validation(_ audience: String, _ svid: String) async throws -> RPCError.Code? {
                try await Self.code(agent) { service in
                    let request = ValidateJWTSVIDRequest.with {
                        ($0.audience, $0.svid) = (audience, svid)
                    }
                    _ = try await service.validateJWTSVID(request, metadata: ServingAgent.header)
                }
            }
            #expect(try await validation("api", token) == nil)
            #expect(try await validation("", token) == .invalidArgument)
            #expect(try await validation("api", "") == .invalidArgument)
            for audiences in [[], [""]] {
                let code = try await Self.code(agent) { service in
                    _ = try await service.fetchJWTSVID(
                        .with { $0.audience = audiences },
                        metadata: ServingAgent.header
                    )
                }
                #expect(code == .invalidArgument, "\(audiences)")
            }
        }
    }

    @Test func `A-12 who is entitled to nothing gets no token, no keys and no validation`()
        async throws
    {
        let domain = try TokenDomain("example.org", isOwn: true)
        try await ServingAgent.run { agent in
            try agent.serve([try agent.world.entry("other", workload: ["unix:uid:4242"])])
            _ = agent.receive([agent.world.delta(1, 2, [try Self.change(domain, in: agent)])])
            let bytes = try domain.token(of: "spiffe://example.org/other", at: Date())
            let token = try await Self.code(agent) { service in
                _ = try await service.fetchJWTSVID(
                    .with { $0.audience = ["api"] },
                    metadata: ServingAgent.header
                )
            }
            #expect(token == .permissionDenied)
            let validation = try await Self.code(agent) { service in
                let request = ValidateJWTSVIDRequest.with {
                    ($0.audience, $0.svid) = ("api", String(decoding: bytes, as: UTF8.self))
                }
                _ = try await service.validateJWTSVID(request, metadata: ServingAgent.header)
            }
            #expect(validation == .permissionDenied)
            let error = await #expect(throws: RPCError.self) {
                try await Self.follow(agent) { _ in false }
            }
            #expect(error?.code == .permissionDenied)
        }
    }
}
