// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCPeer
internal import SwiftProtobuf

/// How long a workload waits for a JWT-SVID that its agent has, and for one that the server signs.
///
/// The floor is a call of a grpc-swift server without a service, on a Unix socket as well.
enum TokenDelivery {
    private enum Source: String, CaseIterable {
        case cached = "from the agent's cache"
        case signed = "signed by the server"

        func row(_ part: Double) -> String { "JWT-SVID \(rawValue), p\(Int(part * 100))" }
    }

    private struct Times {
        var bySource: [Source: [Double]] = [:]
        /// Of the empty server.
        var floor: [Double] = []
    }

    private static let parts = [0.5, 0.99]
    /// One in a call: an agent keeps 256 for a user (`TokenMemory.perUserMax`), and the server gives
    /// each agent 500 at once, of which one identity may take a quarter once half of them are gone,
    /// and then 20 per second, which is what bounds a longer run.
    private static let audiencesPerRun = 200

    static let benchmark = Benchmark(
        name: "jwt-svid",
        rows: Source.allCases.flatMap { source in
            parts.map {
                RowDefinition(
                    id: source.row($0),
                    unit: "us",
                    peer: "call of an empty server",
                    goal: .none
                )
            }
        },
        readings: { settings in
            try await ServerHost(settings).run { server in
                try await server.apply(
                    ServerHost.entry(
                        "mine",
                        path: "mine",
                        node: "bench:node",
                        workload: "unix:uid:\(getuid())"
                    )
                )
                var runs: [Times] = []
                for run in 0..<settings.runs {
                    runs.append(try await measure(run, server, settings))
                }
                return readings(of: runs)
            }
        }
    )

    /// Each run's own percentiles, and beside the last ones what all calls of all runs come to: the
    /// p99 of 200 calls is the third largest of them.
    private static func readings(of runs: [Times]) -> [Reading] {
        Source.allCases.flatMap { source in
            let all = runs.flatMap { $0.bySource[source] ?? [] }
            return parts.flatMap { part in
                let value = Figure.text(Figure.percentile(part, of: all) ?? 0)
                let longest = Figure.text(all.max() ?? 0)
                return runs.map { run in
                    Reading(
                        row: source.row(part),
                        value: Figure.percentile(part, of: run.bySource[source] ?? []),
                        peer: Figure.percentile(part, of: run.floor),
                        note: "over all runs \(value) us of \(all.count) calls, the longest "
                            + "\(longest) us"
                    )
                }
            }
        }
    }

    /// A new agent for each run, which keeps nothing of the ones before.
    private static func measure(
        _ run: Int,
        _ server: ServerHost,
        _ settings: BenchmarkSettings
    ) async throws -> Times {
        let place = try await AgentHost.Place(
            "agent-\(run)",
            selectors: ["bench:node"],
            at: server,
            settings
        )
        let agent = try place.start()
        try await agent.listens()
        _ = try await WorkloadClient(socket: agent.socket).first()
        let calls = settings.size(2000, quick: 20)
        let audiences = settings.size(audiencesPerRun, quick: 20)
        let found = try await tokens(agent.socket, calls, audiences: audiences)
        try await agent.child.end()
        let floor = try await emptyCalls("\(server.folder)/empty-\(run).sock", calls, settings)
        return Times(bySource: found, floor: floor)
    }

    /// Times of calls in microseconds: for one audience again and again, and for new ones.
    private static func tokens(
        _ socket: String,
        _ calls: Int,
        audiences: Int
    ) async throws -> [Source: [Double]] {
        let transport = try PeerClientTransport.unixSocket(path: socket)
        return try await withGRPCClient(transport: transport) { client in
            let service = SpiffeWorkloadAPI.Client(wrapping: client)
            func fetch(_ audience: String) async throws {
                let request = JWTSVIDRequest.with { $0.audience = [audience] }
                let answer = try await service.fetchJWTSVID(
                    request,
                    metadata: ["workload.spiffe.io": "true"]
                )
                guard answer.svids.count == 1 else { throw BenchmarkError("no token") }
            }
            try await fetch("known")
            let cached = try await times(calls) { _ in try await fetch("known") }
            let signed = try await times(audiences) { try await fetch("new-\($0)") }
            return [.cached: cached, .signed: signed]
        }
    }

    /// Times of calls that a server answers without knowing them, in microseconds.
    private static func emptyCalls(
        _ socket: String,
        _ calls: Int,
        _ settings: BenchmarkSettings
    ) async throws -> [Double] {
        let child = try ChildProcess(settings.executable("signet-bench-peer"), [socket])
        try await Waiting.until("the empty server's socket") {
            guard child.isRunning else { throw BenchmarkError("it has ended: \(child.output)") }
            return FileManager.default.fileExists(atPath: socket)
        }
        let transport = try PeerClientTransport.unixSocket(path: socket)
        let found = try await withGRPCClient(transport: transport) { client in
            let service = SpiffeWorkloadAPI.Client(wrapping: client)
            func call() async throws {
                do {
                    _ = try await service.fetchJWTSVID(.init())
                    throw BenchmarkError("an empty server knew a call")
                } catch let error as RPCError {
                    guard error.code == .unimplemented else { throw error }
                }
            }
            try await call()
            return try await times(calls) { _ in try await call() }
        }
        try await child.end()
        return found
    }

    private static func times(
        _ count: Int,
        _ call: (Int) async throws -> Void
    ) async throws -> [Double] {
        var times: [Double] = []
        for number in 0..<count {
            let start = ContinuousClock.now
            try await call(number)
            times.append((ContinuousClock.now - start) / .microseconds(1))
        }
        return times
    }
}
