// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import NodeSync
internal import SwiftProtobuf
internal import Synchronization

/// Many agents in this process: each has its own identity, connection and sync stream, keeps to the
/// protocol and to the agents' waiting times, and forgets what it is told.
struct Fleet: Sendable {
    let enrolment: Enrolment
    let nodes: [NodeIdentity]
    let log: FleetLog

    init(_ enrolment: Enrolment, _ nodes: [NodeIdentity]) {
        self.enrolment = enrolment
        self.nodes = nodes
        log = FleetLog(count: nodes.count)
    }

    /// Keeps all agents connected while `body` runs, which begins when they all are.
    func run<Result: Sendable>(
        _ body: @escaping @Sendable (FleetLog) async throws -> Result
    ) async throws -> Result {
        try await Self.keep(nodes.indices) { index in
            await SimulatedAgent(index: index, fleet: self).run()
        } during: {
            try await connected()
            return try await body(log)
        }
    }

    /// Keeps agents running until `body` has ended.
    static func keep<Result: Sendable>(
        _ agents: Range<Int>,
        _ agent: @escaping @Sendable (Int) async -> Void,
        during body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        try await withThrowingTaskGroup(of: Result?.self) { group in
            for index in agents {
                group.addTask {
                    await agent(index)
                    return nil
                }
            }
            group.addTask { try await body() }
            defer { group.cancelAll() }
            while let result = try await group.next() {
                if let result { return result }
            }
            throw BenchmarkError("the fleet has ended")
        }
    }

    /// Waits until every agent has applied something on the stream it has.
    func connected() async throws {
        try await Waiting.until("all agents", within: .seconds(300), every: .milliseconds(20)) {
            log.connectedCount == nodes.count
        }
    }
}

/// What the agents of a fleet have reached.
final class FleetLog: Sendable {
    private struct Agent {
        var isConnected = false
        var have: Revision?
        /// What it had before the last change, so that a reconnecting agent has missed one.
        var before: Revision?
        var arrival: ContinuousClock.Instant?
    }

    private struct State {
        var agents: [Agent]
        /// Only changes beyond this number are arrivals.
        var expectedAbove: UInt64 = 0
    }

    private let state: Mutex<State>

    init(count: Int) {
        state = Mutex(State(agents: Array(repeating: Agent(), count: count)))
    }

    /// Agents that have applied something on the stream they have.
    var connectedCount: Int { state.withLock { $0.agents.count(where: \.isConnected) } }

    /// The highest number that any agent has.
    var number: UInt64 { state.withLock { $0.agents.compactMap(\.have?.number).max() ?? 0 } }

    /// Forgets arrivals; the next change of each agent, beyond what it has now, is one.
    func expectChange() {
        state.withLock { state in
            state.expectedAbove = state.agents.compactMap(\.have?.number).max() ?? 0
            for index in state.agents.indices { state.agents[index].arrival = nil }
        }
    }

    /// Forgets arrivals; whatever an agent is told next is one.
    func expectAnything() {
        state.withLock { state in
            state.expectedAbove = 0
            for index in state.agents.indices { state.agents[index].arrival = nil }
        }
    }

    /// When each agent had its change; agents without one are left out.
    var arrivals: [ContinuousClock.Instant] {
        state.withLock { $0.agents.compactMap(\.arrival) }
    }

    func applied(_ index: Int, _ revision: Revision, at time: ContinuousClock.Instant) {
        state.withLock { state in
            let isNew = revision.number > state.expectedAbove
            if state.agents[index].have != revision {
                state.agents[index].before = state.agents[index].have
                state.agents[index].have = revision
            }
            state.agents[index].isConnected = true
            if isNew, state.agents[index].arrival == nil { state.agents[index].arrival = time }
        }
    }

    /// Nothing in scope changed up to here: no arrival, nothing missed.
    func watermark(_ index: Int, _ revision: Revision) {
        state.withLock { $0.agents[index].have = revision }
    }

    func disconnected(_ index: Int) {
        state.withLock { $0.agents[index].isConnected = false }
    }

    /// What a reconnecting agent says that it has.
    func hello(_ index: Int) -> Revision? { state.withLock { $0.agents[index].before } }
}

/// One agent of a fleet.
private struct SimulatedAgent {
    let index: Int
    let fleet: Fleet

    /// Connects again and again, with the waits of a real agent, until cancelled.
    func run() async {
        var backoff = Backoff()
        var generator = SystemRandomNumberGenerator()
        while !Task.isCancelled {
            if await serve() { backoff.succeeded() }
            fleet.log.disconnected(index)
            let wait = backoff.failed(using: &generator)
            try? await Waiting.pause(wait)
        }
    }

    /// Serves one connection to its end.
    ///
    /// - Returns: Whether the server said anything on it.
    private func serve() async -> Bool {
        let wasServed = Mutex(false)
        do {
            // One address has fewer connections than the server allows to one source.
            let transport = try fleet.enrolment.transport(
                of: fleet.nodes[index],
                isIPv6: index % 2 == 1
            )
            try await withGRPCClient(transport: transport) { client in
                try await converse(Signet_Node_V1alpha1_Node.Client(wrapping: client)) {
                    wasServed.withLock { $0 = true }
                }
            }
        } catch {}
        return wasServed.withLock { $0 }
    }

    private func converse(
        _ node: Signet_Node_V1alpha1_Node.Client<HTTP2ClientTransport.Posix>,
        served: @escaping @Sendable () -> Void
    ) async throws {
        let (requests, outlet) = AsyncStream.makeStream(of: Signet_Node_V1alpha1_SyncRequest.self)
        let (index, log) = (index, fleet.log)
        outlet.yield(
            .with {
                $0.hello = .with {
                    $0.agentVersion = "bench"
                    if let have = log.hello(index) { $0.have = have.message }
                }
            }
        )
        try await node.sync(
            metadata: [:],
            options: .defaults,
            requestProducer: { writer in
                for await request in requests { try await writer.write(request) }
            },
            onResponse: { response in
                defer { outlet.finish() }
                var snapshot: Revision?
                for try await message in response.messages {
                    let time = ContinuousClock.now
                    served()
                    guard let message = try SyncMessage(parsing: message) else { continue }
                    var applied: Revision?
                    switch message {
                    case .delta(let delta):
                        applied = Revision(epoch: delta.epoch, number: delta.to)
                    case .snapshotBegin(let revision): snapshot = revision
                    case .snapshotEnd: applied = snapshot
                    case .snapshotPage: break
                    case .watermark(let revision): log.watermark(index, revision)
                    }
                    guard let applied else { continue }
                    log.applied(index, applied, at: time)
                    let acknowledgement = SyncAcknowledgement(applied: applied, refused: [])
                    outlet.yield(.with { $0.ack = acknowledgement.message })
                }
            }
        )
    }
}
