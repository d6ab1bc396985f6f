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

    @Test func `a flood of denials leaves issuance as it is`() async throws {
        let path = try await DataPath()
        let calm = try await Self.issuance(path, "calm")
        let flood = try await path.startLoad(
            [
                "--clients", "8", "--pause", "0", "--tell", "\(Self.denials)", "--expect", "403",
                "unix", path.reportsSocket, "/hello",
            ]
        )
        let flooded = try await Self.issuance(path, "flooded")
        try await flood.program.waitFor("told \(Self.denials)")
        let count = try await flood.stop()
        #expect(count.failures == 0 && count.requests >= Self.denials, "\(count)")
        // All share two processors here with the flood itself, which takes what it gets; what
        // waited in a queue of denials would take seconds.
        #expect(
            flooded < calm * 3 + .milliseconds(500),
            "a median of \(calm) became one of \(flooded) beside \(count.requests) denials"
        )
        try await path.stop()
    }

    /// So many at least come during issuance and, if that is quicker, after it.
    private static let denials = 1_000

    /// The middle of how long it takes from a new entry to its SVID in a workload's hands.
    private static func issuance(_ path: DataPath, _ name: String) async throws -> Duration {
        let clock = SystemClock()
        var times: [Duration] = []
        for number in 0..<9 {
            let id = "\(name)-\(number)"
            try await path.machine.register(id)
            let start = clock.bootTime
            let fetched = try await path.machine.signet(
                ["svid", "fetch", "--spiffe-id", "\(DataPath.ids)/\(id)"]
            )
            #expect(fetched.isSuccess, "\(fetched.report)")
            times.append(clock.bootTime - start)
        }
        return times.sorted()[times.count / 2]
    }
}
