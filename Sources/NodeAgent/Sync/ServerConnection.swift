// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
package import ControlAPI
package import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCPeer
internal import Logging
package import NodeSync
internal import SPIFFE
internal import SwiftProtobuf
internal import Synchronization
internal import Telemetry

/// What goes out on the sync stream.
package enum SyncOutgoing: Sendable {
    case acknowledgement(SyncAcknowledgement)
    case hello(SyncHello, Signet_Node_V1alpha1_CheckpointHave)
    case proxies([AttachedProxy])
    case reply(Signet_Node_V1alpha1_QueryReply)
}

/// What is asked beside the sync stream, on the same connection.
package enum ServerCall: Sendable {
    case certify(CertifyCall)
    case exchange(ExchangeCall)
    case query(Signet_Node_V1alpha1_Query)
    case renew
    case sign(SigningBatch)
    case tokens(TokenCall)
}

/// The agent's connections to its servers, one at a time.
struct ServerConnection {
    /// Questions of the server that are answered at a time.
    static let queriesMax = 4
    /// Longest time for a batch of 500 signatures.
    static let signingTimeout: Duration = .seconds(30)

    typealias Node = Signet_Node_V1alpha1_Node.Client<HTTP2ClientTransport.Posix>

    /// How a connection ended.
    private struct End {
        var reason: String
        /// What the server's own rules say of this agent.
        var refusal: AgentRefusal?
        /// Whether the server does not take this agent's certificate.
        var isTurnedAway = false
    }

    let core: AgentCore
    let addresses: [ServerAddress]
    let attestor: UnixWorkloadAttestor

    /// Connects whenever the logic asks for it, until cancelled.
    func run() async {
        var next = 0
        for await _ in core.connects {
            let address = addresses[next % addresses.count]
            let end = await serve(address)
            next += 1
            guard !Task.isCancelled else { return }
            core.disconnected(
                reason: "\(address): \(end.reason)",
                refusal: end.refusal,
                isTurnedAway: end.isTurnedAway
            )
        }
    }

    /// Serves one connection to its end.
    ///
    /// - Returns: Why it ended.
    private func serve(_ address: ServerAddress) async -> End {
        let core = core
        let failure = HandshakeFailure()
        do {
            let transport = try PeerClientTransport.mutualTLS(
                to: address,
                identity: { core.trust.tls },
                verifyServer: { try await core.verifyServer($0) },
                onHandshakeFailure: { failure.record($0) }
            )
            try await withGRPCClient(transport: transport) { client in
                try await converse(Node(wrapping: client))
            }
            return End(reason: "the stream ended")
        } catch {
            let reason = failure.explained(error)
            guard let answer = (reason as? RPCError).map({ APIError($0) }) else {
                let isTurnedAway = (reason as? ClientHandshakeError)?.refusesCertificate ?? false
                return End(reason: "\(reason)", isTurnedAway: isTurnedAway)
            }
            // What the server's own rules say of this agent, not a fault on the way.
            let isRefusal = answer.kind == .permissionDenied && answer.reason != "transport"
            let refusal = AgentRefusal(rule: answer.reason, text: answer.description)
            return End(reason: answer.description, refusal: isRefusal ? refusal : nil)
        }
    }

    private func converse(_ node: Node) async throws {
        let (outgoing, syncOutlet) = AsyncStream.makeStream(of: SyncOutgoing.self)
        let (calls, callOutlet) = AsyncStream.makeStream(of: ServerCall.self)
        let end = Signal()
        let outlets = ConnectionOutlets(sync: syncOutlet, calls: callOutlet, end: end)
        let core = core
        core.connecting(outlets)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await node.sync(
                    metadata: [:],
                    options: .defaults,
                    requestProducer: { writer in
                        core.connected()
                        for await message in outgoing { try await writer.write(message.message) }
                    },
                    onResponse: { response in
                        for try await message in response.messages {
                            try receive(message, callOutlet)
                        }
                    }
                )
            }
            group.addTask { await answer(calls, node, outlets) }
            group.addTask { await core.reportProxies(outlets) }
            group.addTask { await DecisionUpload(core: core).run(on: node) }
            group.addTask { await end.wait() }
            // The stream has ended, or is to.
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    // MARK: - What comes in

    private func receive(
        _ response: Signet_Node_V1alpha1_SyncResponse,
        _ calls: AsyncStream<ServerCall>.Continuation
    ) throws {
        switch response.message {
        case .welcome(let welcome):
            let attested = try selectors(
                welcome.nodeSelectors,
                "welcome.node_selectors",
                max: AttestedSelectors.nodeMax
            )
            core.logger.info(
                "connected",
                metadata: [
                    "server": "\(welcome.serverID)", "version": "\(welcome.serverVersion)",
                ]
            )
            core.metrics.set(.syncConnected, to: 1)
            defer {
                core.proxies.changed.signal()
                core.decisions.changed.signal()
            }
            let time = Date(unixMilliseconds: welcome.serverTimeUnixMilliseconds)
            core.transition {
                $0.welcomed(
                    trustDomain: welcome.trustDomain,
                    serverTime: time,
                    nodeSelectors: Set(attested),
                    now: $1,
                    using: &$2
                )
            }
            if let skew = core.ask({ $0.skew.skew }) {
                core.metrics.set(.clockSkew, to: skew / .seconds(1))
            }
        case .query(let query): calls.yield(.query(query))
        case .checkpoint(let update):
            core.received(update, asked: core.ask { $0.audit.mark })
        case .observedEndpoints(let message):
            let lists = try ObservedEndpoints.lists(parsing: message)
            core.transition { logic, _, _ in logic.endpointsReceived(lists) }
        case .delta, .snapshotBegin, .snapshotPage, .snapshotEnd, .watermark:
            guard let message = try SyncMessage(parsing: response) else { return }
            core.transition { $0.received(message, now: $1, using: &$2) }
        case nil: throw WireError.missing("message")
        }
    }

    // MARK: - What is asked beside it

    private func answer(
        _ calls: AsyncStream<ServerCall>,
        _ node: Node,
        _ outlets: ConnectionOutlets
    ) async {
        let open = OpenQueries()
        await withDiscardingTaskGroup { group in
            for await call in calls {
                switch call {
                case .certify(let call):
                    group.addTask { await AuthorityCertifying(core: core).certify(call, on: node) }
                case .exchange(let call):
                    group.addTask { await TokenExchanging(core: core).exchange(call, on: node) }
                case .renew: group.addTask { await OwnSVIDCalls(core: core).renew(on: node) }
                case .sign(let batch):
                    group.addTask { await WorkloadSigning(core: core).sign(batch, on: node) }
                case .tokens(let call):
                    group.addTask { await TokenSigning(core: core).sign(call, on: node) }
                case .query(let query):
                    let answers = ServerQueries(core: core, attestor: attestor)
                    guard open.enter() else {
                        outlets.sync.yield(.reply(answers.busy(query)))
                        continue
                    }
                    group.addTask {
                        outlets.sync.yield(.reply(await answers.answer(query)))
                        open.leave()
                    }
                }
            }
            group.cancelAll()
        }
    }
}

/// Counts the server's questions that are being answered.
private final class OpenQueries: Sendable {
    private let count = Mutex(0)

    func enter() -> Bool {
        count.withLock { count in
            guard count < ServerConnection.queriesMax else { return false }
            count += 1
            return true
        }
    }

    func leave() {
        count.withLock { $0 -= 1 }
    }
}

extension SyncOutgoing {
    var message: Signet_Node_V1alpha1_SyncRequest {
        .with {
            switch self {
            case .acknowledgement(let acknowledgement): $0.ack = acknowledgement.message
            case .hello(let hello, let have):
                $0.hello = .with {
                    if let have = hello.have { $0.have = have.message }
                    $0.agentVersion = SignetVersion.current
                    $0.capabilities = hello.capabilities.sorted()
                    $0.checkpointHave = have
                }
            case .proxies(let proxies):
                $0.proxyReport = .with { $0.proxies = proxies.map(\.message) }
            case .reply(let reply): $0.queryReply = reply
            }
        }
    }
}

extension AgentCore {
    /// A checkpoint came with an answer to a request that said `asked`.
    func received(
        _ update: Signet_Node_V1alpha1_CheckpointUpdate,
        asked: CheckpointMark?
    ) {
        guard !update.note.isEmpty || !update.successions.isEmpty else { return }
        let path = update.consistencyProof.map { Array($0) }
        let successions = update.successions.map {
            ReceivedSuccession(
                note: Array($0.note.utf8),
                path: $0.consistencyProof.map { Array($0) }
            )
        }
        transition {
            $0.checkpointReceived(
                note: Array(update.note.utf8),
                path: path,
                successions: successions,
                asked: asked,
                now: $1,
                using: &$2
            )
        }
    }
}
