// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
internal import HTTPSemantics
internal import Issuance
internal import Logging
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf
internal import Telemetry

/// One agent's sync stream: reads what it says, writes what the hub commands.
struct SyncStream {
    /// Most capabilities of an agent that are looked at.
    static let capabilitiesMax = 64
    /// Longest capability, a word.
    static let capabilityBytesMax = 64
    /// Messages that an agent may send: one acknowledgement for each of ours and one when a proxy
    /// has applied it, so ten times of that.
    static let messagesPerSecondMax = 20.0
    /// Messages at once: an agent that was away answers everything it was asked meanwhile.
    static let messagesAtOnceMax = 300.0

    /// Largest message of endpoints: what is urgent waits for no more.
    static let endpointsBytesMax = 64 * 1024

    /// Most large messages that wait for their agents at a time, of at most 1 MiB each.
    static let largeMessagesMax = 64

    let core: ServerCore
    let peer: VerifiedPeer
    /// On which the agent reads.
    let stream: RequestStream?
    /// From where the agent's connection comes; nil if that makes no address.
    let source: IPAddress?

    /// What the reader tells the writer once the agent has said Hello.
    private struct Opened: Sendable {
        let agent: String
        let orders: StreamOrders
        /// The types of resources that the agent does not know.
        let unknownTypes: Set<ResourceType>
        /// Whether it takes authorities that another one certified.
        let takesIntermediates: Bool
        /// Whether it knows the message of endpoints.
        let takesEndpoints: Bool
        let welcome: Signet_Node_V1alpha1_SyncResponse
    }

    func serve(
        _ request: RPCAsyncSequence<Signet_Node_V1alpha1_SyncRequest, any Error>,
        _ response: RPCWriter<Signet_Node_V1alpha1_SyncResponse>
    ) async throws {
        let (opened, announce) = AsyncStream.makeStream(of: Opened.self)
        try await withThrowingTaskGroup(of: Void.self) { group in
            // The announcement is never finished here: an end of the writer must not come before the
            // reader's refusal.
            group.addTask { try await read(request, announce) }
            group.addTask {
                for await stream in opened { try await obey(stream, response) }
            }
            // Whichever ends first ends the other: a reader at its end, a writer told to close.
            try await group.next()
            group.cancelAll()
        }
    }

    /// Writes until the hub closes the stream; then what is being written is given up at once.
    private func obey(
        _ stream: Opened,
        _ response: RPCWriter<Signet_Node_V1alpha1_SyncResponse>
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await write(stream, response) }
            group.addTask {
                for await reason in stream.orders.closing {
                    core.logger.info(
                        "sync stream closed",
                        metadata: ["agent": "\(peer.id)", "reason": "\(reason)"]
                    )
                    throw APIError(
                        .unavailable,
                        "\(reason)",
                        "the server ended the stream: \(reason)"
                    )
                }
            }
            defer { group.cancelAll() }
            // The first error ends it. The hub ends the commands together with the reason, so a
            // writer at its end waits for what the other says.
            while try await group.next() != nil {}
        }
    }

    private func read(
        _ request: RPCAsyncSequence<Signet_Node_V1alpha1_SyncRequest, any Error>,
        _ announce: AsyncStream<Opened>.Continuation
    ) async throws {
        var session: SessionID?
        defer { if let session { core.hub.disconnected(session) } }
        var budget = TokenBucket(
            rate: Self.messagesPerSecondMax,
            burst: Self.messagesAtOnceMax,
            now: core.clock.bootTime
        )
        for try await message in request {
            // All streams share the hub: one that never rests would slow down the others.
            guard budget.take(1, now: core.clock.bootTime) == nil else {
                throw APIError(.exhausted, "syncRate", "too many messages on one sync stream")
            }
            switch (message.message, session) {
            case (.hello(let hello), nil):
                let opened = try await open(hello)
                session = opened.orders.session
                // Banned or evicted in between, it was not connected when its stream was ended.
                await core.forgetIfGone(opened.agent)
                try await requireStanding()
                announce.yield(opened)
            case (.ack(let ack), let session?):
                core.hub.acknowledged(session, try SyncAcknowledgement(parsing: ack))
            case (.queryReply(let reply), let session?):
                core.hub.answered(reply.id, from: session, reply)
            case (.proxyReport(let report), let session?):
                try await take(AttachedProxy.report(parsing: report), on: session)
            default:
                throw APIError(
                    .invalidArgument,
                    "syncOrder",
                    "the first message is Hello, and only the first"
                )
            }
        }
    }

    private func open(_ hello: Signet_Node_V1alpha1_Hello) async throws -> Opened {
        let (logic, peer) = (core.logic, peer)
        let (node, scopeChangedAt) = try await core.read { transaction in
            let node = try logic.standing(of: peer, in: transaction)
            return (node, try transaction.scopeChangedAt(ofNode: node.name) ?? 0)
        }
        try await core.requireRemembered(hello.checkpointHave.note, of: peer.id)
        let have = hello.hasHave ? try Revision(parsing: hello.have) : nil
        let capabilities = Self.capabilities(hello)
        let orders = core.hub.connect(
            AgentName(node.name),
            hello: SyncHello(have: have, capabilities: capabilities),
            version: hello.agentVersion,
            selectors: node.selectors,
            scopeChangedAt: scopeChangedAt
        )
        let welcome = Signet_Node_V1alpha1_SyncResponse.with {
            $0.welcome = .with {
                $0.serverID = logic.serverID
                $0.serverVersion = SignetVersion.current
                $0.trustDomain = logic.trustDomain.name
                $0.serverTimeUnixMilliseconds = core.clock.wallTime.unixMilliseconds
                $0.nodeSelectors = node.selectors.sorted().map(\.description)
            }
        }
        return Opened(
            agent: node.name,
            orders: orders,
            unknownTypes: Self.unknownTypes(to: capabilities),
            takesIntermediates: capabilities.contains(SyncCapability.intermediates),
            takesEndpoints: capabilities.contains(SyncCapability.observedEndpoints),
            welcome: welcome
        )
    }

    /// Keeps what the agent says of its proxies, as far as they are for its node.
    private func take(_ proxies: [AttachedProxy], on session: SessionID) async throws {
        let (logic, peer) = (core.logic, peer)
        while true {
            let (known, number) = try await core.read { transaction in
                let node = try logic.standing(of: peer, in: transaction)
                let known = try transaction.proxyReferences(node: node.selectors)
                return (known, try transaction.revision().number)
            }
            let kept = proxies.filter { known.contains($0.proxy) }
            switch core.hub.reported(kept, asOf: number, on: session) {
            case .kept: return
            // What is read next is newer than what was published.
            case .outdated: continue
            case .tooMany:
                core.logger.warning(
                    "an agent has more proxies than are kept; apply --wait does not wait for them",
                    metadata: ["agent": "\(peer.id)", "proxies": "\(kept.count)"]
                )
                return
            }
        }
    }

    private func requireStanding() async throws {
        let (logic, peer) = (core.logic, peer)
        _ = try await core.read { try logic.standing(of: peer, in: $0) }
    }

    /// What the agent says it can do, as far as it is looked at.
    private static func capabilities(_ hello: Signet_Node_V1alpha1_Hello) -> Set<String> {
        let words = hello.capabilities.prefix(capabilitiesMax)
        return Set(words.filter { $0.utf8.count <= capabilityBytesMax })
    }

    private static func unknownTypes(to capabilities: Set<String>) -> Set<ResourceType> {
        var unknown: Set<ResourceType> = []
        if !capabilities.contains(SyncCapability.federation) { unknown.insert(.federatedBundle) }
        if !capabilities.contains(SyncCapability.proxy) { unknown.insert(.proxy) }
        if !capabilities.contains(SyncCapability.revocationLists) {
            unknown.insert(.revocationList)
        }
        return unknown
    }

    private func write(
        _ stream: Opened,
        _ response: RPCWriter<Signet_Node_V1alpha1_SyncResponse>
    ) async throws {
        try await response.write(stream.welcome)
        var hasProxies = try await observe(stream)
        let (logger, agent) = (core.logger, peer.id)
        let leftOut: @Sendable (ResourceKey) -> Void = { key in
            logger.error(
                "a resource is too large for any message and is not sent; split its document",
                metadata: ["agent": "\(agent)", "resource": "\(key)"]
            )
        }
        for await command in stream.orders.commands {
            switch command {
            case .delta(let from):
                try await send(stream, response, &hasProxies) { selectors, transaction in
                    try SyncContent.delta(
                        from: from,
                        node: selectors,
                        without: stream.unknownTypes,
                        intermediates: stream.takesIntermediates,
                        in: transaction,
                        leftOut: leftOut
                    )
                }
            case .snapshot:
                try await send(stream, response, &hasProxies) { selectors, transaction in
                    try SyncContent.snapshot(
                        node: selectors,
                        without: stream.unknownTypes,
                        intermediates: stream.takesIntermediates,
                        in: transaction,
                        leftOut: leftOut
                    )
                }
            case .watermark(let number):
                let epoch = core.hub.epoch
                let mark = SyncMessage.watermark(Revision(epoch: epoch, number: number))
                try await response.write(mark.message)
                core.metrics.increment(.syncMessages, "watermark")
            case .query(let query):
                try await response.write(.with { $0.query = query })
                core.metrics.increment(.syncMessages, "query")
            case .observe: hasProxies = try await observe(stream)
            case .endpoints: try await tellEndpoints(stream.orders.session, response)
            }
        }
    }

    /// Brings what the agent reported, and what it is to be told of endpoints, to what is committed.
    ///
    /// Only the writer does it, so that an older view never comes after a newer one.
    ///
    /// - Returns: Whether the agent's node has Proxies.
    private func observe(_ stream: Opened) async throws -> Bool {
        guard !stream.unknownTypes.contains(.proxy) else { return false }
        let (logic, peer, source) = (core.logic, peer, source)
        let (session, now) = (stream.orders.session, core.clock.wallTime)
        let reported = core.hub.takeReport(of: session)
        let observation = try await core.read { transaction in
            try Observation(
                of: reported ?? [],
                node: logic.standing(of: peer, in: transaction),
                source: source,
                now: now,
                in: transaction
            )
        }
        let fits = core.hub.endpoints.observed(
            observation,
            on: session,
            hasReported: reported != nil,
            isTold: stream.takesEndpoints
        )
        if !fits {
            core.logger.warning(
                "there is no room for all endpoints of an agent, or for all it asks for",
                metadata: ["agent": "\(peer.id)"]
            )
        }
        return observation.hasProxies
    }

    private func tellEndpoints(
        _ session: SessionID,
        _ response: RPCWriter<Signet_Node_V1alpha1_SyncResponse>
    ) async throws {
        let next = core.hub.endpoints.take(session, bytesMax: Self.endpointsBytesMax)
        if next.isMore { core.hub.command(session, .endpoints) }
        guard !next.lists.isEmpty else { return }
        try await response.write(next.lists.message)
        core.metrics.increment(.syncMessages, "endpoints")
    }

    /// Reads content and scope in one view, so that a change of either is never mixed.
    private func send(
        _ stream: Opened,
        _ response: RPCWriter<Signet_Node_V1alpha1_SyncResponse>,
        _ hasProxies: inout Bool,
        _ content: @escaping @Sendable (Set<Selector>, ReadTransaction) throws -> [SyncMessage]
    ) async throws {
        let (logic, peer, clock) = (core.logic, peer, core.clock)
        let messages = try await core.read { transaction in
            let node = try logic.standing(of: peer, in: transaction)
            return try content(node.selectors, transaction)
        }
        var reached: UInt64?
        for message in messages {
            try Task.checkCancellation()
            // An agent that is slow is ended by the hub, which waits for its acknowledgement.
            try await core.largeMessages.send(
                bytes: message.sizeBytes,
                to: .identity(peer.id),
                on: self.stream,
                turn: {
                    try await clock.sleep(untilBoot: clock.bootTime + LargeMessages.turnDuration)
                },
                isLate: {}
            ) {
                try await response.write(message.message)
            }
            switch message {
            case .delta(let delta): reached = delta.to
            case .snapshotBegin(let revision): reached = revision.number
            case .snapshotEnd, .snapshotPage, .watermark: break
            }
        }
        if let reached {
            core.metrics.increment(.syncMessages, messages.count == 1 ? "delta" : "snapshot")
            core.hub.sent(stream.orders.session, to: reached)
        }
        // Of a fleet without proxies an entry concerns everybody, and nobody's endpoints.
        if messages.contains(where: { $0.concernsEndpoints(of: hasProxies) }) {
            hasProxies = try await observe(stream)
        }
    }
}

extension SyncMessage {
    /// Whether something of a Proxy is in it, or for a node that has some, of an entry.
    fileprivate func concernsEndpoints(of hasProxies: Bool) -> Bool {
        switch self {
        case .delta(let delta):
            delta.changes.contains {
                $0.key.type == .proxy || hasProxies && $0.key.type == .entry
            }
        case .snapshotEnd: true
        case .snapshotBegin, .snapshotPage, .watermark: false
        }
    }
}
