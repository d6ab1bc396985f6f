// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPI
import ControlAPIProtos
import Crypto
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import NodeAgent
import NodeSync
import SPIFFE
import SwiftProtobuf
import Synchronization
import Telemetry
import TestPKI
import TestPrograms

/// An agent on a real Unix socket whose server is the test: what it asks for comes here.
///
/// This process is a server below, if entries say so.
struct DownstreamAgent: Sendable {
    typealias Service = Signet_Upstream_V1alpha1_Upstream.Client<HTTP2ClientTransport.Posix>
    typealias Trust = Signet_Upstream_V1alpha1_Trust

    struct Ended: Error {}

    let agent: ServingAgent
    let log: LoggedLines
    /// What certifies authorities, below the root that the agent knows.
    let upstream: TestAuthority
    let key = P256.Signing.PrivateKey()
    private let calls: AsyncStream<ServerCall>
    private let outlet: AsyncStream<ServerCall>.Continuation

    /// Runs `body` while the agent serves.
    ///
    /// - Parameters:
    ///   - names: The entries with `downstream` that mean this process.
    ///   - body: The test.
    /// - Throws: What `body` throws.
    static func run(
        _ names: [String] = ["below"],
        _ body: @escaping @Sendable (DownstreamAgent) async throws -> Void
    ) async throws {
        let log = LoggedLines()
        try await ServingAgent.run(logger: log.logger) { agent in
            let (calls, outlet) = AsyncStream.makeStream(of: ServerCall.self)
            let (_, syncOutlet) = AsyncStream.makeStream(of: SyncOutgoing.self)
            agent.core.connecting(
                ConnectionOutlets(sync: syncOutlet, calls: outlet, end: Signal())
            )
            _ = try agent.receive([agent.own("web")] + names.map { try agent.own($0).below() })
            try await body(
                DownstreamAgent(
                    agent: agent,
                    log: log,
                    upstream: try agent.world.authority.intermediate(),
                    calls: calls,
                    outlet: outlet
                )
            )
        }
    }

    private init(
        agent: ServingAgent,
        log: LoggedLines,
        upstream: TestAuthority,
        calls: AsyncStream<ServerCall>,
        outlet: AsyncStream<ServerCall>.Continuation
    ) {
        self.agent = agent
        self.log = log
        self.upstream = upstream
        self.calls = calls
        self.outlet = outlet
    }

    // MARK: - As the server above

    /// The next request that the agent hands on.
    func next() async throws -> CertifyCall {
        for await call in calls {
            if case .certify(let call) = call { return call }
        }
        throw Ended()
    }

    /// Takes no more calls.
    func hangUp() { outlet.finish() }

    /// What it signs for the key that is asked with.
    func chain(_ change: (inout TestProfile) -> Void = { _ in }) throws -> [[UInt8]] {
        try upstream.certified(key.publicKey, change)
    }

    /// Sends changes after a revision.
    func change(_ from: UInt64 = 1, _ changes: ResourceChange...) {
        _ = agent.receive([agent.world.delta(from, from + 1, changes)])
    }

    /// A change that revokes an authority.
    static func revoking(_ der: [UInt8]) throws -> ResourceChange {
        let keyID = try LeafCertificate(der: der).keyIdentifier
        let resource = try ResourcePayload.revocation(
            name: "authority:\(keyID)",
            .authority(keyID: keyID.bytes)
        ).resource
        return .upsert(resource.key, payload: resource.payload)
    }

    /// A change that publishes other authorities.
    func publishing(_ authorities: [[UInt8]]) throws -> ResourceChange {
        let bundle = TrustBundle(
            trustDomain: agent.world.authority.trustDomain,
            x509Authorities: authorities,
            x509Intermediates: [],
            sequenceNumber: 9,
            refreshHintSeconds: 300
        )
        let resource = try ResourcePayload.bundle(bundle).resource
        return .upsert(resource.key, payload: resource.payload)
    }

    /// A change that takes an entry away.
    static func removing(_ name: String) -> ResourceChange {
        .remove(ResourceKey(.entry, "entry-\(name)"))
    }

    // MARK: - As the server below

    /// Its request.
    var csr: [UInt8] {
        get throws {
            try unwrapped(NodeKey(pkcs8: Array(key.derRepresentation))).certificateRequest()
        }
    }

    /// Asks to be certified.
    func certify(
        csr other: [UInt8]? = nil,
        lifetime: Int64 = 86_400,
        socket: String? = nil,
        metadata: Metadata = ServingAgent.header
    ) async throws -> [[UInt8]] {
        let csr = try other ?? self.csr
        return try await agent.withClient(socket: socket) { client in
            try await Service(wrapping: client).certify(
                .with {
                    $0.csr = Data(csr)
                    $0.lifetimeSeconds = lifetime
                },
                metadata: metadata
            ).chain.map { Array($0) }
        }
    }

    /// The same, if the server above answers so, after what happens meanwhile.
    func certify(
        answered result: Result<[[UInt8]], APIError>,
        meanwhile: () throws -> Void = {}
    ) async throws -> [[UInt8]] {
        async let chain = certify()
        let call = try await next()
        try meanwhile()
        call.finish(result)
        return try await chain
    }

    /// The status with which it ends.
    func refusal(_ body: () async throws -> [[UInt8]]) async -> RPCError? {
        do {
            _ = try await body()
            return nil
        } catch {
            return error as? RPCError ?? RPCError(code: .unknown, message: "\(error)")
        }
    }

    /// Opens a stream of what is above and gives each message to `body`, until that returns false.
    func watch(
        socket: String? = nil,
        metadata: Metadata = ServingAgent.header,
        _ body: @escaping @Sendable (Trust) async throws -> Bool
    ) async throws {
        try await agent.withClient(socket: socket) { client in
            try await Service(wrapping: client).watch(.init(), metadata: metadata) { response in
                for try await message in response.messages {
                    guard try await body(message) else { return }
                }
            }
        }
    }

    /// What is told, until a message that nothing is done about; `steps` are done after each.
    ///
    /// - Returns: What was told, and the status if the stream was ended.
    func told(
        socket: String? = nil,
        _ steps: [@Sendable () throws -> Void]
    ) async -> (messages: [Trust], end: RPCError?) {
        let heard = Mutex<[Trust]>([])
        do {
            try await watch(socket: socket) { message in
                let count = heard.withLock { heard in
                    heard.append(message)
                    return heard.count
                }
                guard count <= steps.count else { return false }
                try steps[count - 1]()
                return true
            }
            return (heard.withLock { $0 }, nil)
        } catch {
            let end = error as? RPCError ?? RPCError(code: .unknown, message: "\(error)")
            return (heard.withLock { $0 }, end)
        }
    }

    /// Whether the metrics have this count.
    func counts(_ call: String, _ result: String, _ count: Int) -> Bool {
        let line =
            "signet_agent_downstream_calls_total{call=\"\(call)\",result=\"\(result)\"} \(count)"
        return agent.core.metrics.exposition().split(separator: "\n").contains { $0 == line }
    }
}
