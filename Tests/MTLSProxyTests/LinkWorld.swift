// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPI
import ControlAPIProtos
import Crypto
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCPeer
import Logging
import MTLSProxy
import NodeSync
import Routing
import SPIFFE
import SwiftProtobuf
import Synchronization
import Telemetry
import TestPKI
import Testing

typealias ProxyMessage = Signet_Proxy_V1alpha1_ProxyMessage
typealias AgentMessage = Signet_Proxy_V1alpha1_AgentMessage

/// An engine that writes down what it is told, and answers as a test says.
final class RecordingEngine: TrafficEngine {
    enum Event: Sendable {
        case applied(ProxyConfiguration)
        case asked(ProxyQuestion, limit: Int)
        case endpoints(ProxyEndpoints)
        case trusted(ProxyTrust)
    }

    let events: AsyncStream<Event>
    private let outlet: AsyncStream<Event>.Continuation
    private let refusal: @Sendable (ProxyConfiguration) -> String?
    /// Called while a state is brought into force.
    private let applying: @Sendable (ProxyConfiguration) async -> Void

    init(
        refusing refusal: @escaping @Sendable (ProxyConfiguration) -> String? = { _ in nil },
        applying: @escaping @Sendable (ProxyConfiguration) async -> Void = { _ in }
    ) {
        (events, outlet) = AsyncStream.makeStream(of: Event.self)
        self.refusal = refusal
        self.applying = applying
    }

    func trust(_ trust: ProxyTrust) async { outlet.yield(.trusted(trust)) }

    func apply(_ configuration: ProxyConfiguration) async -> String? {
        await applying(configuration)
        if let reason = refusal(configuration) { return reason }
        outlet.yield(.applied(configuration))
        return nil
    }

    func endpoints(_ endpoints: ProxyEndpoints) async { outlet.yield(.endpoints(endpoints)) }

    func answer(
        _ question: ProxyQuestion,
        limit: Int
    ) async -> Signet_Node_V1alpha1_ProxyQueryReply {
        outlet.yield(.asked(question, limit: limit))
        return .with { $0.counters.samples = ["limit": Double(limit)] }
    }
}

/// One stream as the agent has it.
struct AgentTalk: Sendable {
    /// What the proxy says, in order.
    let said: AsyncStream<ProxyMessage>
    let say: @Sendable (AgentMessage) async throws -> Void
    /// Ends the stream.
    let end: @Sendable () -> Void
    /// Ends the stream by a refusal.
    let refuse: @Sendable (APIError) -> Void
}

/// An agent on a real Unix socket that says what a test tells it.
private struct FakeAgent: Signet_Proxy_V1alpha1_ProxyControl.SimpleServiceProtocol {
    let streams: AsyncStream<AgentTalk>.Continuation

    func attach(
        request: RPCAsyncSequence<ProxyMessage, any Error>,
        response: RPCWriter<AgentMessage>,
        context: ServerContext
    ) async throws {
        let (said, outlet) = AsyncStream.makeStream(of: ProxyMessage.self)
        let (ends, end) = AsyncStream.makeStream(of: APIError?.self)
        streams.yield(
            AgentTalk(
                said: said,
                say: { try await response.write($0) },
                end: { end.yield(nil) },
                refuse: { end.yield($0) }
            )
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                defer { outlet.finish() }
                for try await message in request { outlet.yield(message) }
            }
            group.addTask {
                for await refusal in ends {
                    if let refusal { throw refusal }
                    return
                }
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }
}

/// A proxy's link and the agent at its other end.
struct LinkWorld: Sendable {
    let authority: TestAuthority
    let link: AgentLink
    let engine: RecordingEngine
    let metrics: MetricRegistry
    let health: Health
    /// Streams as the agent accepts them, in order.
    let streams: AsyncStream<AgentTalk>
    let epoch: Epoch

    static func run(
        engine: RecordingEngine = RecordingEngine(),
        proxy: String = "",
        _ body: @escaping @Sendable (LinkWorld) async throws -> Void
    ) async throws {
        let directory = "/tmp/signet-link-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: directory,
            withIntermediateDirectories: false
        )
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let socket = directory + "/proxy.sock"
        let (streams, outlet) = AsyncStream.makeStream(of: AgentTalk.self)
        let (metrics, health) = (
            MetricRegistry(of: .proxy), Health(ready: [AgentLink.readyCondition])
        )
        let world = LinkWorld(
            authority: try TestAuthority.root("example.org", now: Date()),
            link: AgentLink(
                socket: socket,
                introduction: .init(proxy: proxy, instance: [5, 4, 3, 2, 1]),
                engine: engine,
                clock: SystemClock(),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
                metrics: metrics,
                health: health
            ),
            engine: engine,
            metrics: metrics,
            health: health,
            streams: streams,
            epoch: try Epoch(bytes: [UInt8](repeating: 3, count: 16))
        )
        let server = GRPCServer(
            transport: PeerServerTransport.unixSocket(
                path: socket,
                mode: 0o600,
                now: { Date() }
            ),
            services: [FakeAgent(streams: outlet)]
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.serve() }
            group.addTask {
                await world.link.run()
                // A link that was finished does not end the test.
                await Signal().wait()
            }
            group.addTask { try await body(world) }
            defer { group.cancelAll() }
            // Neither the server nor the link ends by itself.
            try await group.next()
        }
    }

    // MARK: What the agent says

    func bundle(sequence: UInt64 = 1) -> TrustBundle {
        TrustBundle(
            trustDomain: authority.bundle.trustDomain,
            x509Authorities: authority.bundle.x509Authorities,
            x509Intermediates: [],
            sequenceNumber: sequence,
            refreshHintSeconds: 300
        )
    }

    func trust(
        granted: [String] = ["web"],
        revoked: [String: Date] = [:],
        sequence: UInt64 = 1
    ) throws -> AgentMessage {
        let revocations = try revoked.map { name, before in
            try Revocation.identity(
                try SPIFFEID("spiffe://example.org/\(name)"),
                issuedBefore: before
            ).message
        }
        return .with {
            $0.trust = .with {
                $0.trustDomain = "example.org"
                $0.bundles = [bundle(sequence: sequence).message]
                $0.revocations = revocations
                $0.granted = granted.map { "spiffe://example.org/\($0)" }
            }
        }
    }

    static func declared(
        _ identities: [String] = ["web"],
        policies: [[UInt8]] = []
    ) throws -> ProxyState {
        ProxyState(
            proxy: Proxy(
                namespace: "default",
                name: "p",
                nodeSelectors: [try Selector("role:web")],
                selectors: [try Selector("unix:uid:1")],
                identities: try identities.map { try SPIFFEID("spiffe://example.org/\($0)") }
            ),
            policies: policies,
            inboundPolicies: []
        )
    }

    /// An identity whose certificate ends so much later than others'.
    func identity(
        _ name: String,
        hasKey: Bool = true,
        longerBy seconds: TimeInterval = 0
    ) throws -> Signet_Proxy_V1alpha1_Identity {
        let id = "spiffe://example.org/\(name)"
        guard hasKey else { return .with { $0.spiffeID = id } }
        let leaf = try authority.leaf(id) { $0.notAfter += seconds }
        return .with {
            $0.spiffeID = id
            $0.certificateChain = leaf.chain.map { Data($0) }
            $0.privateKeyPkcs8 = leaf.key.derRepresentation
        }
    }

    func state(
        _ sequence: UInt64,
        number: UInt64 = 1,
        epoch: Epoch? = nil,
        declared: ProxyState? = nil,
        identities: [Signet_Proxy_V1alpha1_Identity]? = nil
    ) throws -> AgentMessage {
        let declared = try declared ?? Self.declared()
        let identities = try identities ?? [try identity("web")]
        let proxy: Data = try declared.message.serializedBytes()
        return .with {
            $0.state = .with {
                $0.sequence = sequence
                $0.revision = Revision(epoch: epoch ?? self.epoch, number: number).message
                $0.proxy = proxy
                $0.identities = identities
            }
        }
    }
}

/// Reads one thing after another out of a stream.
final class Reader<Element: Sendable> {
    struct Ended: Error {}

    private var iterator: AsyncStream<Element>.AsyncIterator

    init(_ stream: AsyncStream<Element>) {
        iterator = stream.makeAsyncIterator()
    }

    func next() async throws -> Element {
        guard let element = await iterator.next(isolation: #isolation) else { throw Ended() }
        return element
    }
}

extension Reader where Element == RecordingEngine.Event {
    /// The next state that is in force; what else comes is read past.
    func applied() async throws -> ProxyConfiguration {
        while true {
            if case .applied(let configuration) = try await next() { return configuration }
        }
    }

    func trusted() async throws -> ProxyTrust {
        while true { if case .trusted(let trust) = try await next() { return trust } }
    }
}

extension Reader where Element == ProxyMessage {
    /// The next answer; what else comes is read past.
    func answer() async throws -> Signet_Proxy_V1alpha1_StateAnswer {
        while true { if case .answer(let answer) = try await next().message { return answer } }
    }
}

extension World {
    /// Reports what one proxy, by default the server's, does to a link, as the program does.
    func reporter(
        to linked: LinkWorld,
        of engine: ProxyEngine? = nil,
        accessLog: AccessLog? = nil,
        stalenessMax: Duration? = nil,
        logger: Logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    ) -> TrafficReporter {
        let engine = engine ?? server
        let control = EngineControl(
            engine,
            decisions: decisions,
            clock: SystemClock(),
            logger: logger
        )
        return TrafficReporter(
            engine: engine,
            control: control,
            link: linked.link,
            decisions: decisions,
            stalenessMax: stalenessMax,
            clock: SystemClock(),
            accessLog: accessLog,
            metrics: linked.metrics
        )
    }
}
