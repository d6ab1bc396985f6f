// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// Too many connections, streams and bytes on the Workload API, from another gRPC library and from
/// raw sockets.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct FloodTests {
    @Test(arguments: ["nonsense", "large", "streams", "resets", "connections", "mute"])
    func `a flood hinders nobody for longer than it lasts`(_ flood: String) async throws {
        let machine = try Machine()
        try await machine.startServer()
        let agent = try await machine.startAgent()
        let workload = try await machine.makeWorkload("web")
        try await machine.register(workload, as: "web")
        let calm = try await machine.run(workload, "flood.py", ["nonsense"])
        #expect(calm.isSuccess, "\(calm.report)")
        let before = try residentKilobytes(agent.pid)
        let result = try await machine.run(workload, "flood.py", [flood])
        #expect(result.isSuccess, "\(result.report)")
        #expect(agent.isRunning)
        // Connections of a flood cost memory while they are open; what stays after it is bounded.
        let grown = try residentKilobytes(agent.pid) - before
        #expect(grown < 256 * 1024, "\(grown) KiB")
        try await machine.stop()
    }

    private func residentKilobytes(_ pid: Int32) throws -> Int {
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
        return try #require(Int(line.split(separator: " ").dropLast().last ?? ""))
    }
}
