// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPI
import ControlAPIProtos
import Foundation
import GRPCCore
import GRPCPeer
import NodeAgent
import NodeSync
import Routing
import SPIFFE
import SwiftProtobuf
import Testing

typealias ProxyMessage = Signet_Proxy_V1alpha1_ProxyMessage
typealias AgentMessage = Signet_Proxy_V1alpha1_AgentMessage

/// One stream of a proxy that says what a test tells it.
final class ProxyTalk {
    struct Ended: Error {}

    private var messages: RPCAsyncSequence<AgentMessage, any Error>.AsyncIterator
    private let outlet: AsyncStream<ProxyMessage>.Continuation

    init(
        _ messages: RPCAsyncSequence<AgentMessage, any Error>,
        _ outlet: AsyncStream<ProxyMessage>.Continuation
    ) {
        self.messages = messages.makeAsyncIterator()
        self.outlet = outlet
    }

    func say(_ message: (inout ProxyMessage) -> Void) {
        var said = ProxyMessage()
        message(&said)
        outlet.yield(said)
    }

    func answer(_ sequence: UInt64, refusing reason: String = "") {
        say {
            $0.answer = .with {
                $0.sequence = sequence
                $0.refusedReason = reason
            }
        }
    }

    /// The next message; waits for it.
    func next() async throws -> AgentMessage {
        guard let message = try await messages.next(isolation: #isolation) else { throw Ended() }
        return message
    }

    func trust() async throws -> Signet_Proxy_V1alpha1_Trust {
        let message = try await next()
        guard case .trust(let trust) = message.message else { throw unexpected(message) }
        return trust
    }

    /// The next state, applied; what comes before it is read past.
    func state() async throws -> Signet_Proxy_V1alpha1_State {
        while true {
            let message = try await next()
            switch message.message {
            case .state(let state):
                answer(state.sequence)
                return state
            case .trust, .watermark: continue
            default: throw unexpected(message)
            }
        }
    }

    func watermark() async throws -> UInt64 {
        let message = try await next()
        guard case .watermark(let mark) = message.message else { throw unexpected(message) }
        return mark.revision.number
    }

    /// Reads until the stream ends, which it must by a failure.
    func end() async throws -> Never {
        while true { _ = try await next() }
    }

    private func unexpected(_ message: AgentMessage) -> Ended {
        Issue.record("not expected: \(message)")
        return Ended()
    }
}

extension ServingAgent {
    static func hello(
        _ proxy: String = "",
        instance: [UInt8] = [1, 2, 3, 4, 5],
        capabilities: [String] = []
    ) -> ProxyMessage {
        .with {
            $0.hello = .with {
                $0.proxy = proxy
                $0.instance = Data(instance)
                $0.version = "test"
                $0.capabilities = capabilities
            }
        }
    }

    /// Attaches and gives the stream to `body`.
    func attach<Result: Sendable>(
        socket: String? = nil,
        hello: ProxyMessage? = Self.hello(),
        _ body: @escaping @Sendable (ProxyTalk) async throws -> Result
    ) async throws -> Result {
        try await withClient(socket: socket ?? proxySocket) { client in
            let (outgoing, outlet) = AsyncStream.makeStream(of: ProxyMessage.self)
            if let hello { outlet.yield(hello) }
            return try await Signet_Proxy_V1alpha1_ProxyControl.Client(wrapping: client).attach(
                metadata: [:],
                options: .defaults,
                requestProducer: { writer in
                    for await message in outgoing { try await writer.write(message) }
                },
                onResponse: { response in
                    defer { outlet.finish() }
                    return try await body(ProxyTalk(response.messages, outlet))
                }
            )
        }
    }

    /// The reason with which a stream ends that is read to its end.
    func refusal(
        socket: String? = nil,
        hello: ProxyMessage? = Self.hello()
    ) async -> String {
        do {
            return try await attach(socket: socket, hello: hello) { talk in try await talk.end() }
        } catch let error as RPCError {
            return APIError(error).reason
        } catch {
            return "\(error)"
        }
    }

    /// A Proxy that means this very process.
    func proxy(
        _ name: String,
        _ identities: [String],
        namespace: String = "default",
        selectors: [String] = ["unix:uid:\(getuid())"],
        policies: [[UInt8]] = []
    ) throws -> ProxyState {
        ProxyState(
            proxy: Proxy(
                namespace: namespace,
                name: name,
                nodeSelectors: [try Selector("role:web")],
                selectors: try selectors.map { try Selector($0) },
                identities: try identities.map { try SPIFFEID("spiffe://example.org/\($0)") }
            ),
            policies: policies,
            inboundPolicies: []
        )
    }

    /// Brings entries and proxies into force, as a server that signs whatever it is asked for and
    /// hears reports, while `body` runs.
    func withServer(
        _ entries: [RegistrationEntry],
        _ proxies: [ProxyState],
        _ body: @escaping @Sendable (ServerReports) async throws -> Void
    ) async throws {
        let (sync, syncOutlet) = AsyncStream.makeStream(of: SyncOutgoing.self)
        let (calls, callOutlet) = AsyncStream.makeStream(of: ServerCall.self)
        let outlets = ConnectionOutlets(sync: syncOutlet, calls: callOutlet, end: Signal())
        core.connecting(outlets)
        let extra = try proxies.map { try ResourcePayload.proxy($0).resource }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for await call in calls {
                    guard case .sign(let batch) = call else { continue }
                    try sign([.sign(batch)])
                }
            }
            group.addTask { await core.reportProxies(outlets) }
            group.addTask { await core.runTimer() }
            tell { $0.started(now: $1, using: &$2) }
            tell { $0.connected(now: $1, using: &$2) }
            tell {
                $0.welcomed(
                    trustDomain: "example.org",
                    serverTime: $1.wall,
                    nodeSelectors: [],
                    now: $1,
                    using: &$2
                )
            }
            _ = receive(try world.snapshot(1, entries, extra: extra))
            group.addTask { try await body(ServerReports(sync)) }
            defer { group.cancelAll() }
            // The reports and the calls end only with the test.
            try await group.next()
        }
    }

    func put(_ proxy: ProxyState, _ from: UInt64) throws -> SyncMessage {
        let resource = try ResourcePayload.proxy(proxy).resource
        return world.delta(from, from + 1, [.upsert(resource.key, payload: resource.payload)])
    }
}

/// What the server hears of proxies, in order.
final class ServerReports: Sendable {
    private let sync: AsyncStream<SyncOutgoing>

    init(_ sync: AsyncStream<SyncOutgoing>) {
        self.sync = sync
    }

    /// Waits for a report that a condition holds for.
    func until(_ condition: ([AttachedProxy]) -> Bool) async throws -> [AttachedProxy] {
        for await message in sync {
            if case .proxies(let report) = message, condition(report) { return report }
        }
        throw ProxyTalk.Ended()
    }
}
