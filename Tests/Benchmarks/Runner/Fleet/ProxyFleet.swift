// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf
internal import Synchronization

/// Many agents in this process, each with an identity, a connection and a sync stream of its own,
/// and with the subscriber of a real one: it applies what it is told and acknowledges that.
///
/// Behind each is the model of a proxy, which has one connection open. Nothing is written to disk.
struct ProxyFleet: Sendable {
    let enrolment: Enrolment
    let nodes: [NodeIdentity]
    let log: ProxyFleetLog

    init(_ enrolment: Enrolment, _ nodes: [NodeIdentity]) {
        self.enrolment = enrolment
        self.nodes = nodes
        log = ProxyFleetLog(count: nodes.count)
    }

    /// Keeps all agents connected while `body` runs, which begins when they all are.
    func run<Result: Sendable>(
        _ body: @escaping @Sendable (ProxyFleetLog) async throws -> Result
    ) async throws -> Result {
        try await Fleet.keep(nodes.indices) { index in
            await SubscribedAgent(index: index, fleet: self).run()
        } during: {
            try await Waiting.until("all agents", within: .seconds(300), every: .milliseconds(20)) {
                log.connectedCount == nodes.count
            }
            return try await body(log)
        }
    }
}

/// A certificate by which a caller is known to the other end of its connections.
struct ShownCertificate: Sendable {
    let id: SPIFFEID
    let serial: [UInt8]
    private let authorityKeyID: [UInt8]
    private let notBefore: Date

    init(der: [UInt8]) throws {
        let leaf = try LeafCertificate(der: der)
        guard let name = leaf.uriNames.first, let authorityKeyID = leaf.authorityKeyID else {
            throw BenchmarkError("the certificate names no identity or no authority")
        }
        id = try SPIFFEID(name)
        serial = leaf.serial
        self.authorityKeyID = authorityKeyID
        notBefore = leaf.notBefore
    }

    /// Whether a revocation refuses it, by the rule that proxies have.
    func isRefused(by revocation: Revocation) -> Bool {
        switch revocation {
        case .authority(let keyID): keyID == authorityKeyID
        case .identity(let revoked, let before):
            revoked == id && Revocation.revokes(leafNotBefore: notBefore, issuedBefore: before)
        case .leaf(let keyID, let revoked, _): keyID == authorityKeyID && revoked == serial
        case .node, .taintedAuthority: false
        }
    }
}

/// What the proxies of a fleet have done.
final class ProxyFleetLog: Sendable {
    /// What every agent of the fleet is to hear of.
    enum Awaited: Sendable {
        /// Each proxy has a connection that shows the certificate, and is done when it ends it.
        case end(of: ShownCertificate)
        /// An entry with that SPIFFE ID: an agent is done when it has applied it.
        case entry(String)

        fileprivate func isMet(by payload: ResourcePayload) -> Bool {
            switch (self, payload) {
            case (.end(let certificate), .revocation(_, let revocation)):
                certificate.isRefused(by: revocation)
            case (.entry(let id), .entry(let entry)): entry.spiffeID == id
            default: false
            }
        }
    }

    private struct State {
        var awaited: Awaited?
        var isConnected: [Bool]
        var isDone: [Bool]
        var doneCount = 0
        /// When the last of those was done, as boot time.
        var lastDone: Duration?
        var streamsLost = 0
    }

    let count: Int
    private let clock = SystemClock()
    private let state: Mutex<State>

    init(count: Int) {
        self.count = count
        let none = Array(repeating: false, count: count)
        state = Mutex(State(isConnected: none, isDone: none))
    }

    /// Agents that have a stream and a state.
    var connectedCount: Int { state.withLock { $0.isConnected.count(where: \.self) } }
    /// Streams that have ended, each of which was opened again.
    var streamsLost: Int { state.withLock { $0.streamsLost } }

    /// Nobody is done from here on.
    func expect(_ awaited: Awaited) {
        state.withLock { state in
            state.awaited = awaited
            for index in state.isDone.indices { state.isDone[index] = false }
            state.doneCount = 0
            state.lastDone = nil
        }
    }

    /// Waits until everybody is done.
    ///
    /// - Returns: When the last one was, as boot time; nil if there is nobody.
    /// - Throws: `BenchmarkError` with how many were, when it takes too long.
    func lastDone() async throws -> Duration? {
        let all = count
        do {
            try await Waiting.until("all", within: .seconds(30), every: .milliseconds(5)) {
                state.withLock { $0.doneCount == all }
            }
        } catch is BenchmarkError {
            let done = state.withLock { $0.doneCount }
            throw BenchmarkError("after 30 s only \(done) of \(all) simulated proxies were done")
        }
        return state.withLock { $0.lastDone }
    }

    fileprivate func applied(_ index: Int, _ payloads: [ResourcePayload]) {
        state.withLock { state in
            guard !state.isDone[index], let awaited = state.awaited,
                payloads.contains(where: { awaited.isMet(by: $0) })
            else { return }
            state.isDone[index] = true
            state.doneCount += 1
            state.lastDone = clock.bootTime
        }
    }

    fileprivate func connected(_ index: Int) { state.withLock { $0.isConnected[index] = true } }

    fileprivate func disconnected(_ index: Int) {
        state.withLock { state in
            guard state.isConnected[index] else { return }
            state.isConnected[index] = false
            state.streamsLost += 1
        }
    }
}

/// One agent of a fleet: the shell around a subscriber.
private final class SubscribedAgent: Sendable {
    /// What a real agent says that it knows.
    private static let capabilities: Set<String> = [
        SyncCapability.distrustedAuthorities, SyncCapability.observedEndpoints,
        SyncCapability.proxy, SyncCapability.revokedCertificates,
    ]

    private let index: Int
    private let fleet: ProxyFleet
    private let clock = SystemClock()
    private let machine = Mutex(
        SyncSubscriber(restoring: nil, capabilities: SubscribedAgent.capabilities)
    )

    init(index: Int, fleet: ProxyFleet) {
        self.index = index
        self.fleet = fleet
    }

    /// Connects again and again, with the waits of a real agent, until cancelled.
    func run() async {
        var generator = SystemRandomNumberGenerator()
        _ = machine.withLock { $0.started() }
        while !Task.isCancelled {
            await serve()
            guard !Task.isCancelled else { return }
            fleet.log.disconnected(index)
            for action in machine.withLock({ $0.disconnected(using: &generator) }) {
                if case .reconnect(let wait) = action { try? await Waiting.pause(wait) }
            }
            _ = machine.withLock { $0.reconnectDue() }
        }
    }

    /// Serves one connection to its end, for whatever reason.
    private func serve() async {
        do {
            // One address has fewer connections than the server allows to one source.
            let transport = try fleet.enrolment.transport(
                of: fleet.nodes[index],
                isIPv6: index % 2 == 1
            )
            try await withGRPCClient(transport: transport) { client in
                try await converse(Signet_Node_V1alpha1_Node.Client(wrapping: client))
            }
        } catch {}
    }

    private func converse(
        _ node: Signet_Node_V1alpha1_Node.Client<HTTP2ClientTransport.Posix>
    ) async throws {
        let (requests, outlet) = AsyncStream.makeStream(of: Signet_Node_V1alpha1_SyncRequest.self)
        for action in machine.withLock({ $0.connected() }) {
            guard case .sendHello(let hello) = action else { continue }
            outlet.yield(
                .with {
                    $0.hello = .with {
                        $0.agentVersion = "bench"
                        $0.capabilities = hello.capabilities.sorted()
                        if let have = hello.have { $0.have = have.message }
                    }
                }
            )
        }
        try await node.sync(
            metadata: [:],
            options: .defaults,
            requestProducer: { writer in
                for await request in requests { try await writer.write(request) }
            },
            onResponse: { [self] response in
                defer { outlet.finish() }
                for try await message in response.messages {
                    guard let message = try SyncMessage(parsing: message) else { continue }
                    try receive(message, outlet)
                }
            }
        )
    }

    private func receive(
        _ message: SyncMessage,
        _ outlet: AsyncStream<Signet_Node_V1alpha1_SyncRequest>.Continuation
    ) throws {
        try machine.withLock { machine in
            var actions = machine.received(message, now: clock.bootTime)[...]
            while let action = actions.popFirst() {
                switch action {
                case .acknowledge(let acknowledgement):
                    outlet.yield(.with { $0.ack = acknowledgement.message })
                case .apply(_, let changes):
                    fleet.log.applied(index, try changes.compactMap(Self.payload(of:)))
                    actions += machine.applied(refusing: [])
                case .disconnect(let violation):
                    let reason = String(describing: violation)
                    throw BenchmarkError("the subscriber ends the stream: \(reason)")
                case .alarm, .connect, .persist, .reconnect, .sendHello: break
                }
            }
            if machine.revision != nil { fleet.log.connected(index) }
        }
    }

    private static func payload(of change: ResourceChange) throws -> ResourcePayload? {
        guard case .upsert(let key, let bytes) = change else { return nil }
        return try ResourcePayload(key, bytes)
    }
}
