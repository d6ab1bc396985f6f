// SPDX-License-Identifier: Apache-2.0

import Clocks
import Foundation
import TestPrograms
import Testing

/// What the data path survives: parts that go away, certificates that change, and floods.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct DataPathAvailabilityTests {
    @Test func `a proxy comes back while the server is away`() async throws {
        let path = try await DataPath()
        try await path.machine.server.stop(.kill)
        try await path.proxy(DataPath.frontend).stop(.kill)
        try await path.proxy(DataPath.backend).stop(.kill)
        #expect(try await path.ask().status == 0)
        try path.startProxy(DataPath.backend)
        try path.startProxy(DataPath.frontend)
        try await eventually("an answer through the new processes") {
            try await path.ask().status == 200
        }
        // Policies came back with them.
        #expect(try await path.ask(at: path.reportsSocket).status == 403)
        try await path.stop()
    }

    @Test func `servers are found by themselves, and those that end are left`() async throws {
        let path = try await DataPath(isObserved: true)
        func endpoints() async throws -> String {
            try await path.machine.signet(["service", "endpoints", "backend"]).output
        }
        let listed = try await endpoints()
        #expect(listed.contains("127.0.0.1:\(path.inbound)") && listed.contains("up"), "\(listed)")
        let proxy = try path.proxy(DataPath.backend)
        proxy.signal(.terminate)
        _ = try await proxy.result()
        try await eventually("the endpoint is gone") { try await !endpoints().contains(" up ") }
        #expect(try await path.ask().status == 503)
        try path.startProxy(DataPath.backend)
        try await eventually("the new process is found") { try await path.ask().status == 200 }
        // What is known stays while the server is away, and while the agent is.
        try await path.machine.server.stop(.kill)
        #expect(try await path.ask().status == 200)
        try await path.machine.agent.stop(.kill)
        #expect(try await path.ask().status == 200)
        try await path.stop()
    }

    @Test func `a decision is known and proved when the proxy that made it has ended`()
        async throws
    {
        let path = try await DataPath()
        let id = try #require(try await path.ask(at: path.reportsSocket).decision)
        let proxy = try path.proxy(DataPath.backend)
        proxy.signal(.terminate)
        _ = try await proxy.result()
        // Gathered for ten seconds by the agent, then sent to the server.
        try await eventually("the decision log has it") {
            try await path.machine.signet(["explain", "decision", id]).isSuccess
        }
        let explained = try await path.machine.signet(["explain", "decision", id])
        for part in ["decision log", "\(DataPath.ids)/reports", "DENIED"] {
            #expect(explained.output.contains(part), "\(part): \(explained.report)")
        }
        // The audit log has a digest of it within a minute, and the store is what it says.
        try await eventually("a digest") {
            let verified = try await path.machine.signet(["decisions", "verify", "-o", "json"])
            guard verified.isSuccess else { throw ProgramFailure("\(verified.report)") }
            let view = try JSONDecoder().decode(Verified.self, from: Data(verified.output.utf8))
            return view.intact && view.digests > 0
        }
        try await path.stop()
    }

    private struct Verified: Decodable {
        var intact: Bool
        var digests: Int
    }

    @Test func `traffic goes on while the agent is away`() async throws {
        let path = try await DataPath()
        let load = try await path.startLoad(["--clients", "2", "unix", path.socket, "/hello"])
        try await path.machine.agent.stop(.kill)
        // New connections too.
        for _ in 0..<20 { #expect(try await path.ask().status == 200) }
        #expect(try await path.ask(at: path.reportsSocket).status == 403)
        try await path.machine.startAgent()
        try await path.waitUntilApplied()
        let count = try await load.stop()
        #expect(count.failures == 0 && count.requests > 20, "\(count)")
        try await path.stop()
    }

    @Test(arguments: [DataPath.frontend, DataPath.backend])
    func `a proxy that is told to end finishes what it has`(name: String) async throws {
        let path = try await DataPath()
        let way =
            name == DataPath.frontend
            ? ["unix", path.socket]
            : ["mtls", "127.0.0.1:\(path.inbound)", try await path.takeIdentity("frontend")]
        let load = try await path.startLoad(["--drain", "--clients", "4"] + way + ["/hello"])
        let proxy = try path.proxy(name)
        proxy.signal(.terminate)
        // It ends when every client was told of the end, and finds nobody afterwards.
        let count = try await load.ended()
        #expect(count.failures == 0 && count.requests > 0, "\(count)")
        let ended = try await proxy.result()
        #expect(ended.status == 0, "\(ended.report)")
        try await path.stop()
    }

    @Test func `SVIDs are renewed under load without a failed request`() async throws {
        let path = try await DataPath(ttl: "12s")
        let load = try await path.startLoad(["--clients", "4", "unix", path.socket, "/hello"])
        let before = try await Self.issued(path)
        try await eventually("two renewals of three SVIDs") {
            try await Self.issued(path) >= before + 6
        }
        let count = try await load.stop()
        #expect(count.failures == 0 && count.requests > 100, "\(count)")
        // Each client is still on the connection that it began with.
        #expect(count.connections == 4, "\(count)")
        try await path.stop()
    }

    /// The shortest authority, 60 s and six times the shortest SVID, is replaced after 40 s.
    @Test func `the authority is rotated under load without a failed request`() async throws {
        let path = try await DataPath(
            ttl: "10s",
            serverLines: [
                "authorityTTL: 60s", "workloadSVIDTTL: 10s", "workloadSVIDTTLMax: 10s",
                "agentSVIDTTL: 10s",
            ]
        )
        let load = try await path.startLoad(["--clients", "4", "unix", path.socket, "/hello"])
        let first = try await Self.signer(path)
        try await eventually("another authority to sign") {
            try await Self.signer(path) != first
        }
        // Both proxies present what the new one has signed, and trust it of the other.
        let before = try await Self.issued(path)
        try await eventually("three SVIDs of the new authority") {
            try await Self.issued(path) >= before + 3
        }
        try await path.waitUntilApplied()
        for _ in 0..<5 { #expect(try await path.ask().status == 200) }
        let count = try await load.stop()
        #expect(count.failures == 0 && count.requests > 100, "\(count)")
        #expect(count.connections == 4, "\(count)")
        try await path.stop()
    }

    private struct Authorities: Decodable {
        struct Authority: Decodable {
            var id: String
            var state: String
        }
        var authorities: [Authority]
    }

    /// The authority that signs now.
    private static func signer(_ path: DataPath) async throws -> String {
        let shown = try await path.machine.signet(["authority", "show", "-o", "json"])
        guard shown.isSuccess else { throw ProgramFailure("authority show: \(shown.report)") }
        let view = try JSONDecoder().decode(Authorities.self, from: Data(shown.output.utf8))
        return try #require(view.authorities.first { $0.state == "active" }?.id, "\(view)")
    }

    @Test func `apply --wait names the proxy that has not acknowledged`() async throws {
        let path = try await DataPath()
        let file = "\(path.machine.path)/policy.yaml"
        try DataPath.readersAndReports.write(toFile: file, atomically: true, encoding: .utf8)
        let proxy = try path.proxy(DataPath.backend)
        proxy.signal(.pause)
        let applied = try await path.machine.signet(
            ["apply", "-f", file, "--wait", "--wait-seconds", "2"]
        )
        #expect(applied.status == 3, "\(applied.report)")
        let lines = applied.errors.split(separator: "\n")
        let said = lines.first { $0.contains("not confirmed") } ?? ""
        #expect(said.contains("/\(DataPath.backend)"), "\(applied.report)")
        // The other one has.
        #expect(!said.contains(DataPath.frontend), "\(applied.report)")
        proxy.signal(.proceed)
        try await path.machine.apply(DataPath.readersAlone)
        #expect(try await path.ask(at: path.reportsSocket).status == 403)
        #expect(try await path.ask().status == 200)
        try await path.stop()
    }

    /// SVIDs for proxies in the audit log.
    private static func issued(_ path: DataPath) async throws -> Int {
        let records = try await path.machine.signet(
            ["audit", "query", "--event", "svidsIssued", "--limit", "1000", "-o", "json"]
        )
        guard records.isSuccess else { throw ProgramFailure("audit query: \(records.report)") }
        return records.output.ranges(of: "\"proxy\":\"default/").count
    }

    /// From a new entry to its SVID in a workload's hands takes as long beside a flood of denials
    /// as without it.
    ///
    /// Flooded and calm measurements alternate, so that whatever else the machine does is in both.
    /// The flood leaves processors idle: what is compared is who waits for whom, not who gets one.
    @Test func `a flood of denials leaves issuance as it is`() async throws {
        let path = try await DataPath()
        let flood = try await path.startLoad(
            [
                "--clients", "8", "--pause", "0.005", "--tell", "\(Self.floodStep)", "--expect",
                "403", "unix", path.reportsSocket, "/hello",
            ]
        )
        var (calm, flooded): ([Duration], [Duration]) = ([], [])
        var beside = Denials()
        for phase in 0..<4 {
            flood.program.signal(.pause)
            for number in 0..<3 {
                calm.append(try await Self.issuance(path, "calm-\(phase)-\(number)"))
            }
            flood.program.signal(.proceed)
            let start = try await Denials(of: flood, path)
            try await eventually("more denials than are told in a second") {
                try await Denials(of: flood, path).limited > start.limited
            }
            let before = try await Denials(of: flood, path)
            var seen = Denials()
            var number = 0
            // What proves the flood is counted every second, and an issuance may be quicker.
            while number < 3 || !seen.isFlood && number < 50 {
                flooded.append(try await Self.issuance(path, "flooded-\(phase)-\(number)"))
                number += 1
                seen = try await Denials(of: flood, path) - before
            }
            #expect(seen.isFlood, "phase \(phase): \(seen)")
            beside = beside + seen
        }
        let count = try await flood.stop()
        #expect(count.failures == 0, "\(count)")
        let (usual, slowed) = (Self.median(calm), Self.median(flooded))
        // All share two processors with the flood itself, which takes what it gets; what waited in a
        // queue of denials would take seconds.
        #expect(
            slowed < usual * 3 + .milliseconds(100),
            "a median of \(usual) became one of \(slowed) beside \(beside)"
        )
        try await path.stop()
    }

    /// A flood says what it has got at every so many denials.
    private static let floodStep = 20

    /// Denials of a flood, and what the backend's proxy has done with them.
    private struct Denials: CustomStringConvertible {
        /// Requests that were answered with 403, in steps.
        private(set) var answered = 0
        /// Records for the decision log; the proxy counts these and the next at least every second.
        private(set) var told = 0
        /// Denials that the decision log only counts, because there were too many in a second.
        private(set) var limited = 0

        /// Whether there were denials, and more than there is room for in the decision log.
        var isFlood: Bool { answered > 0 && told > 0 && limited > 0 }

        init() {}

        init(of flood: Load, _ path: DataPath) async throws {
            let words = flood.program.output.split { $0.isWhitespace }
            answered = words.last.flatMap { Int($0) } ?? 0
            let samples = try await path.metrics(of: DataPath.backend)
            told = Int(samples["signet_proxy_decision_records_total{kind=\"denial\"}"] ?? 0)
            limited = Int(
                samples["signet_proxy_decision_records_lost_total{reason=\"limit\"}"] ?? 0
            )
        }

        static func - (one: Denials, other: Denials) -> Denials {
            var result = one
            result.answered -= other.answered
            result.told -= other.told
            result.limited -= other.limited
            return result
        }

        static func + (one: Denials, other: Denials) -> Denials {
            one - (Denials() - other)
        }

        var description: String {
            "\(answered) denials, \(told) of them told and \(limited) counted only"
        }
    }

    /// How long it takes from a new entry to its SVID in a workload's hands.
    private static func issuance(_ path: DataPath, _ name: String) async throws -> Duration {
        let clock = SystemClock()
        let start = clock.bootTime
        try await path.machine.register(name)
        let fetched = try await path.machine.signet(
            ["svid", "fetch", "--spiffe-id", "\(DataPath.ids)/\(name)"]
        )
        let took = clock.bootTime - start
        #expect(fetched.isSuccess, "\(fetched.report)")
        return took
    }

    private static func median(_ times: [Duration]) -> Duration { times.sorted()[times.count / 2] }
}
