// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import SPIFFE
internal import SwiftProtobuf

/// From a revocation to the last of a thousand proxies that has ended what it refuses.
///
/// A thousand nodes do not fit on a machine: what the server does is measured with a thousand sync
/// streams, of which one is a real node's, and what a node does with that one alone.
enum RevocationFanout {
    private static let fleet = "revocation to the last of 1,000 agents, p99"
    private static let node = "revocation to a closed connection, one node alone, p99"
    private static let sum = "revocation to the last of 1,000 proxies, p99, sum of both"
    fileprivate static let selector = "bench:fleet"

    static let benchmark = Benchmark(
        name: "revocation-fanout",
        rows: [
            RowDefinition(
                id: fleet,
                unit: "ms",
                peer: "an entry's change to the last of them",
                goal: .none
            ),
            RowDefinition(id: node, unit: "ms", goal: .none),
            RowDefinition(id: sum, unit: "ms", goal: .atMost(1000)),
        ],
        readings: { settings in
            try await ServerHost(settings).run { try await readings($0, settings) }
        }
    )

    private static func readings(
        _ server: ServerHost,
        _ settings: BenchmarkSettings
    ) async throws -> [Reading] {
        let size = settings.size(100, quick: 4)
        // What a thousand streams leave to do when they have begun, and when they have ended.
        let settle = settings.size(Duration.seconds(10), quick: .milliseconds(200))
        let enrolment = try await Enrolment(server)
        let nodes = try await enrolment.nodes(
            "node",
            count: settings.size(999, quick: 9),
            selectors: [selector]
        )
        // Nobody can be revoked twice: each run has its own, among the fleet and alone.
        let callers = try await Callers(count: 2 * size * settings.runs, server, enrolment)
        return try await ProxyNode.run(at: server, selectors: [selector], settings) { node in
            try await server.withAdmin { client in
                @Sendable func trial(_ log: ProxyFleetLog) -> Trial {
                    Trial(
                        server: server,
                        administration: ServerHost.Administration(wrapping: client),
                        documents: ServerHost.Documents(wrapping: client),
                        node: node,
                        callers: callers,
                        log: log
                    )
                }
                let among = try await ProxyFleet(enrolment, nodes).run { log in
                    try await Waiting.pause(settle)
                    var runs: [Run] = []
                    for run in 0..<settings.runs {
                        let numbers = run * size..<(run + 1) * size
                        runs.append(try await trial(log).run(numbers, compares: true))
                    }
                    return runs
                }
                try await Waiting.pause(settle)
                let nobody = trial(ProxyFleetLog(count: 0))
                var readings: [Reading] = []
                for (index, run) in among.enumerated() {
                    let first = (settings.runs + index) * size
                    let alone = try await nobody.run(first..<first + size, compares: false)
                    readings += Self.readings(among: run, alone: alone)
                }
                return readings
            }
        }
    }

    private static func readings(among: Run, alone: Run) -> [Reading] {
        let (last, closed) = (among.times(\.last), alone.times(\.closed))
        let lost = among.streamsLost > 0 ? "; \(among.streamsLost) streams were lost" : ""
        return [
            Reading(
                row: fleet,
                value: last.p99,
                peer: among.changes.p99,
                note: "last run: \(last); each of \(among.samples.count) revocations was confirmed "
                    + "by all of \(among.simulated) simulated proxies and a real one; identities "
                    + "\(among.times(\.last, of: .identity)); certificates "
                    + "\(among.times(\.last, of: .certificate)); answer to the admin "
                    + "\(among.times(\.answered)); end of the real proxy's connection "
                    + "\(among.times(\.closed)); an entry's change \(among.changes); processor "
                    + "time for each of both: server \(Figure.text(among.server)) ms, simulated "
                    + "agents \(Figure.text(among.load)) ms\(lost)"
            ),
            Reading(
                row: node,
                value: closed.p99,
                note: "last run: \(closed); answer to the admin \(alone.times(\.answered))"
            ),
            Reading(
                row: sum,
                value: last.p99 + closed.p99,
                note: "the sum of the two rows before it, which holds the commit twice; longest of "
                    + "both in the last run \(Figure.text(last.longest + closed.longest)) ms"
            ),
        ]
    }

    /// What is revoked; they take turns.
    fileprivate enum Kind: Equatable, Sendable {
        case certificate
        case identity
    }

    /// One revocation, in milliseconds from when it was sent.
    fileprivate struct Sample: Sendable {
        let kind: Kind
        /// The admin has the answer: it is committed, and on disk.
        let answered: Double
        /// The real proxy's connection is closed, as its other end sees it.
        let closed: Double
        /// The last proxy of all is done.
        let last: Double
    }

    /// Some times, in milliseconds.
    fileprivate struct Times: CustomStringConvertible, Sendable {
        let values: [Double]

        var p99: Double { Figure.percentile(0.99, of: values) ?? 0 }
        var longest: Double { values.max() ?? 0 }

        var description: String {
            let p50 = Figure.percentile(0.5, of: values) ?? 0
            return "p50 \(Figure.text(p50)), p99 \(Figure.text(p99)), longest "
                + "\(Figure.text(longest)) ms"
        }
    }

    fileprivate struct Run: Sendable {
        let simulated: Int
        var samples: [Sample] = []
        /// To the last agent with a changed entry.
        var changes = Times(values: [])
        var streamsLost = 0
        /// Processor time for each change, in milliseconds.
        var server = 0.0
        var load = 0.0

        func times(_ part: (Sample) -> Double, of kind: Kind? = nil) -> Times {
            Times(values: samples.filter { kind == nil || $0.kind == kind }.map(part))
        }
    }
}

/// Revokes one caller after another.
private struct Trial: Sendable {
    /// Before each change: what the one before it leaves to do is done, and an agent says less than
    /// the server allows it to.
    private static let pause: Duration = .milliseconds(100)

    let server: ServerHost
    let administration: ServerHost.Administration
    let documents: ServerHost.Documents
    let node: ProxyNode
    let callers: Callers
    let log: ProxyFleetLog
    private let clock = SystemClock()

    /// Revokes these callers, all of whom have a connection at the real proxy.
    ///
    /// - Parameters:
    ///   - numbers: Of the callers.
    ///   - compares: Whether an entry of every agent changes after each revocation.
    /// - Returns: The times of all.
    /// - Throws: `BenchmarkError` when one of them is not refused everywhere.
    func run(_ numbers: Range<Int>, compares: Bool) async throws -> RevocationFanout.Run {
        let lostBefore = log.streamsLost
        let (serverBefore, loadBefore) = try processorMilliseconds()
        var run = RevocationFanout.Run(simulated: log.count)
        var changes: [Double] = []
        run.samples = try await node.watching(numbers, of: callers) { watch in
            var samples: [RevocationFanout.Sample] = []
            for number in numbers {
                try await Waiting.pause(Self.pause)
                samples.append(try await revoke(number, watch))
                guard compares else { continue }
                try await Waiting.pause(Self.pause)
                changes.append(try await change(number))
            }
            return samples
        }
        let (server, load) = try processorMilliseconds()
        let count = Double(run.samples.count + changes.count)
        (run.server, run.load) = ((server - serverBefore) / count, (load - loadBefore) / count)
        run.changes = RevocationFanout.Times(values: changes)
        run.streamsLost = log.streamsLost - lostBefore
        // Of either kind one.
        for number in numbers.prefix(2) where try await node.lets(in: number, of: callers) {
            throw BenchmarkError("caller \(number) was revoked and is let in")
        }
        return run
    }

    /// What the server has used, and this process with its agents.
    private func processorMilliseconds() throws -> (server: Double, load: Double) {
        (
            try server.child().processorSeconds() * 1000,
            try ChildProcess.processorSeconds(of: getpid()) * 1000
        )
    }

    private func revoke(
        _ number: Int,
        _ watch: ProxyNode.Watch
    ) async throws -> RevocationFanout.Sample {
        let certificate = callers.certificates[number]
        let kind: RevocationFanout.Kind = number.isMultiple(of: 2) ? .certificate : .identity
        log.expect(.end(of: certificate))
        let sent = clock.bootTime
        switch kind {
        case .certificate:
            _ = try await administration.revokeCertificate(
                .with {
                    $0.serial = Data(certificate.serial)
                    $0.reason = "measurement"
                }
            )
        case .identity:
            _ = try await administration.revokeIdentity(
                .with {
                    $0.spiffeID = certificate.id.description
                    $0.reason = "measurement"
                }
            )
        }
        let answered = clock.bootTime
        let closed = try await watch.closing(of: number)
        guard closed >= sent else {
            throw BenchmarkError("the connection of caller \(number) was closed too early")
        }
        let last = max(closed, try await log.lastDone() ?? closed)
        return RevocationFanout.Sample(
            kind: kind,
            answered: (answered - sent).milliseconds,
            closed: (closed - sent).milliseconds,
            last: (last - sent).milliseconds
        )
    }

    /// Changes an entry of every agent: the same way, for what takes nothing away.
    ///
    /// - Returns: Milliseconds until the last agent has it.
    private func change(_ number: Int) async throws -> Double {
        let path = "all-\(number)"
        let text = ServerHost.entry(
            "all",
            path: path,
            node: RevocationFanout.selector,
            workload: "unix:uid:1"
        )
        log.expect(.entry("spiffe://\(ServerHost.trustDomain)/\(path)"))
        let sent = clock.bootTime
        try await server.apply(text, documents)
        guard let last = try await log.lastDone() else { throw BenchmarkError("no agents") }
        return (last - sent).milliseconds
    }
}
