// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization
import TestPrograms
import Testing

/// What workloads have while agent or server are killed, and what a server has after it.
@Suite(.serialized, .timeLimit(.minutes(4)))
struct SurvivalTests {
    @Test func `an agent that is killed serves again after its start, with another key`()
        async throws
    {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        try await machine.register("web")
        var serials: Set<String> = []
        for _ in 0..<3 {
            let fetched = try await machine.signet(["svid", "fetch", "-o", "json"])
            #expect(fetched.isSuccess, "\(fetched.report)")
            serials.insert(try serial(fetched))
            let killed = try await machine.agent.stop(.kill)
            #expect(killed.status == -9)
            try await machine.startAgent()
        }
        // Workload keys are in memory alone, so each start has new ones.
        #expect(serials.count == 3)
        let attested = try await machine.signet(
            ["audit", "query", "--event", "nodeAttested", "-o", "json"]
        )
        #expect(attested.output.ranges(of: "nodeAttested").count == 1, "\(attested.report)")
        try await machine.stop()
    }

    @Test func `while the server is away the agent serves on, and catches up when it is back`()
        async throws
    {
        let machine = try Machine()
        try await machine.startServer()
        try await machine.startAgent()
        let workload = try await machine.makeWorkload("web")
        try await machine.register(workload, as: "web", more: ["x509SVIDTTL: 20s"])
        let watch = try machine.start(workload, "rows.py", ["follow", "web,late"])
        try await watch.waitFor("message web")
        try await machine.server.stop(.kill)
        let whole = ["whole", "spiffe://example.org/web"]
        for _ in 0..<5 {
            let fetched = try await machine.run(workload, "rows.py", whole)
            #expect(fetched.isSuccess, "\(fetched.report)")
        }
        try await machine.startServer()
        let late = Machine.entry("late", workload: workload.selector)
        try await machine.apply(late, waits: false)
        // It comes on the stream of before.
        let result = try await watch.result()
        #expect(result.isSuccess, "\(result.report)")
        let order = ["order", "spiffe://example.org/web", "spiffe://example.org/late"]
        let renewed = try await machine.run(workload, "rows.py", order)
        #expect(renewed.isSuccess, "\(renewed.report)")
        try await machine.stop()
    }

    @Test func `a server killed again and again while it is changed loses nothing it confirmed`()
        async throws
    {
        let machine = try Machine()
        try await machine.startServer()
        let confirmed = Confirmed()
        for round in 0..<6 {
            let server = try machine.server
            let goal = confirmed.names.count + 1 + round
            // Whoever gets the confirmation that makes the round full kills the server, while the
            // others are in the middle of theirs.
            await withTaskGroup(of: Void.self) { group in
                for writer in 0..<4 {
                    group.addTask {
                        var index = 0
                        while true {
                            let name = "web-\(round)-\(writer)-\(index)"
                            index += 1
                            let document = Machine.entry(name, workload: "unix:uid:\(index)")
                            let applied = try? await machine.apply(document, waits: false)
                            guard applied != nil else { return }
                            if confirmed.add(name) == goal { server.signal(.kill) }
                        }
                    }
                }
            }
            _ = try await server.result()
            try await machine.startServer()
        }
        let names = confirmed.names
        let stored = try await machine.signet(
            ["get", "RegistrationEntry", "--all-namespaces", "-o", "json"]
        )
        #expect(stored.isSuccess, "\(stored.report)")
        let lost = names.filter { !stored.output.contains("\"\($0)\"") }
        #expect(lost.isEmpty)
        #expect(names.count >= 21)
        let verified = try await machine.signet(["audit", "verify"])
        #expect(verified.isSuccess, "\(verified.report)")
        let recorded = try await machine.signet(
            ["audit", "query", "--event", "documentsApplied", "--limit", "1000", "-o", "json"]
        )
        let unrecorded = names.filter { !recorded.output.contains($0) }
        #expect(unrecorded.isEmpty)
        try await machine.stop()
    }

    private func serial(_ fetched: ProgramResult) throws -> String {
        struct Identity: Decodable {
            var serial: String
        }
        let identities = try JSONDecoder().decode(
            [Identity].self,
            from: Data(fetched.output.utf8)
        )
        return try #require(identities.first).serial
    }
}

/// What a server has confirmed.
private final class Confirmed: Sendable {
    private let content = Mutex<[String]>([])

    var names: [String] { content.withLock { $0 } }

    /// Adds a name and returns how many there are.
    func add(_ name: String) -> Int {
        content.withLock {
            $0.append(name)
            return $0.count
        }
    }
}
