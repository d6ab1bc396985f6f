// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import Crypto
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import SwiftProtobuf

/// Certificates from a running server through mTLS and gRPC, requests made before; the load shares
/// the machine's cores with the server.
enum IssuanceService {
    private static let batched = "SVIDs end to end, batches of 50"
    private static let single = "SVIDs end to end, one per call"

    static let benchmark = Benchmark(
        name: "issuance-service",
        rows: [
            RowDefinition(id: batched, unit: "SVID/s", goal: .atLeast(4000)),
            RowDefinition(id: single, unit: "SVID/s", goal: .none),
        ],
        readings: { settings in
            try await ServerHost(settings).run { server in
                try await server.apply(
                    ServerHost.entry("web", path: "web", node: "bench:node", workload: "unix:uid:1")
                )
                return try await Load(server, settings).readings()
            }
        }
    )

    /// Agents that ask for certificates as fast as they get them.
    struct Load: Sendable {
        private static let agents = 4
        /// Enough to keep the server busy while an answer is on its way.
        private static let callsPerAgent = 2

        let settings: BenchmarkSettings
        let enrolment: Enrolment
        let nodes: [NodeIdentity]
        let entryID: String
        let requests: [Signet_Node_V1alpha1_SignX509SVID]

        init(_ server: ServerHost, _ settings: BenchmarkSettings) async throws {
            self.settings = settings
            enrolment = try await Enrolment(server)
            nodes = try await enrolment.nodes("load", count: Self.agents, selectors: ["bench:node"])
            let entries = try await server.withAdmin { client in
                try await ServerHost.Administration(wrapping: client).listEntries(
                    .with { $0.allNamespaces = true }
                )
            }
            guard let entry = entries.entries.first else { throw BenchmarkError("no entry") }
            entryID = entry.id
            requests = try (0..<50).map { _ in
                let der = try WorkloadRequest(P256.Signing.PrivateKey()).der
                return .with {
                    $0.entryID = entry.id
                    $0.spiffeID = entry.spiffeID
                    $0.csr = Data(der)
                }
            }
        }

        func readings() async throws -> [Reading] {
            var readings: [Reading] = []
            let time = settings.size(Duration.seconds(8), quick: .milliseconds(500))
            _ = try await rate(batch: requests, time: settings.size(.seconds(3), quick: .zero))
            for _ in 0..<settings.runs {
                let batches = try await rate(batch: requests, time: time)
                readings.append(Reading(row: batched, value: batches))
                let singles = try await rate(batch: Array(requests.prefix(1)), time: time)
                readings.append(Reading(row: single, value: singles))
            }
            return readings
        }

        /// Certificates per second over all agents.
        func rate(
            batch: [Signet_Node_V1alpha1_SignX509SVID],
            time: Duration
        ) async throws -> Double {
            let start = ContinuousClock.now
            let end = start + time
            let signed = try await withThrowingTaskGroup(of: Int.self) { group in
                for node in nodes {
                    group.addTask { try await ask(as: node, batch, until: end) }
                }
                return try await group.reduce(0, +)
            }
            return Double(signed) / (ContinuousClock.now - start).seconds
        }

        private func ask(
            as node: NodeIdentity,
            _ batch: [Signet_Node_V1alpha1_SignX509SVID],
            until end: ContinuousClock.Instant
        ) async throws -> Int {
            let message = Signet_Node_V1alpha1_SignX509SVIDsRequest.with { $0.requests = batch }
            let transport = try enrolment.transport(of: node)
            return try await withGRPCClient(transport: transport) { client in
                let service = Signet_Node_V1alpha1_Node.Client(wrapping: client)
                return try await withThrowingTaskGroup(of: Int.self) { group in
                    for _ in 0..<Self.callsPerAgent {
                        group.addTask {
                            var signed = 0
                            repeat {
                                let response = try await service.signX509SVIDs(message)
                                signed += try Self.count(response, of: batch.count)
                            } while ContinuousClock.now < end
                            return signed
                        }
                    }
                    return try await group.reduce(0, +)
                }
            }
        }

        /// How long calls for one certificate take, in milliseconds.
        ///
        /// - Parameters:
        ///   - pause: From one call to the next, over all agents; zero: one call at a time.
        ///   - time: How long calls are sent.
        /// - Returns: One time for each call.
        /// - Throws: What a call throws; `BenchmarkError` for one that is refused.
        func times(every pause: Duration, for time: Duration) async throws -> [Double] {
            let senders = pause == .zero ? 1 : nodes.count
            let (arrivals, arrived) = AsyncStream.makeStream(of: Void.self)
            let starts = (0..<senders).map { _ in
                AsyncStream.makeStream(of: ContinuousClock.Instant.self)
            }
            return try await withThrowingTaskGroup(of: [Double].self) { group in
                group.addTask {
                    var connected = 0
                    for await _ in arrivals {
                        connected += 1
                        if connected == senders { break }
                    }
                    let start = ContinuousClock.now + .milliseconds(100)
                    for sender in starts { sender.continuation.yield(start) }
                    return []
                }
                for (place, node) in nodes.prefix(senders).enumerated() {
                    group.addTask {
                        try await withGRPCClient(transport: enrolment.transport(of: node)) {
                            let service = Signet_Node_V1alpha1_Node.Client(wrapping: $0)
                            // All are connected before the first call is due.
                            try await one(service)
                            arrived.yield()
                            let start = await starts[place].stream.first { _ in true }
                            guard let start else { throw CancellationError() }
                            return pause == .zero
                                ? try await inTurn(service, until: .now + time)
                                : try await due(
                                    service,
                                    from: start + pause * place,
                                    every: pause * senders,
                                    for: time
                                )
                        }
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
        }

        private typealias Service = Signet_Node_V1alpha1_Node.Client<HTTP2ClientTransport.Posix>

        private func one(_ service: Service) async throws {
            let message = Signet_Node_V1alpha1_SignX509SVIDsRequest.with {
                $0.requests = Array(requests.prefix(1))
            }
            _ = try Self.count(try await service.signX509SVIDs(message), of: 1)
        }

        private func inTurn(
            _ service: Service,
            until end: ContinuousClock.Instant
        ) async throws -> [Double] {
            var times: [Double] = []
            repeat {
                let start = ContinuousClock.now
                try await one(service)
                times.append((.now - start).milliseconds)
            } while ContinuousClock.now < end
            return times
        }

        private func due(
            _ service: Service,
            from first: ContinuousClock.Instant,
            every pause: Duration,
            for time: Duration
        ) async throws -> [Double] {
            try await withThrowingTaskGroup(of: Double.self) { group in
                var next = first
                while next < first + time {
                    try await ContinuousClock().sleep(until: next, tolerance: .zero)
                    let due = next
                    group.addTask {
                        try await one(service)
                        return (ContinuousClock.now - due).milliseconds
                    }
                    next += pause
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
        }

        private static func count(
            _ response: Signet_Node_V1alpha1_SignX509SVIDsResponse,
            of count: Int
        ) throws -> Int {
            for result in response.results {
                if case .refusal(let refusal) = result.result {
                    throw BenchmarkError("refused: \(refusal.message)")
                }
            }
            guard response.results.count == count else { throw BenchmarkError("answers missing") }
            return count
        }
    }
}
