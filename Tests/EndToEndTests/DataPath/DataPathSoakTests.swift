// SPDX-License-Identifier: Apache-2.0

import Clocks
import Foundation
import TestPrograms
import Testing

/// `SIGNET_SOAK_MINUTES=m` keeps the data path busy for so long and looks at what its proxies hold.
struct DataPathSoakTests {
    private static let minutes =
        ProcessInfo.processInfo.environment["SIGNET_SOAK_MINUTES"].flatMap { Double($0) }

    /// What a process holds.
    private struct Sample {
        var kilobytes: Int
        var descriptors: Int
    }

    @Test(.enabled(if: minutes != nil))
    func `memory and descriptors stay what they are under load`() async throws {
        let path = try await DataPath(
            ttl: "1m",
            policy: DataPath.readersAlone,
            hasStream: true
        )
        // Answers and denials all the time, and in each round a client that is no proxy.
        let loads = [
            try await path.startLoad(["--clients", "4", "unix", path.socket, "/hello"]),
            try await path.startLoad(
                ["--clients", "2", "--expect", "403", "unix", path.reportsSocket, "/hello"]
            ),
        ]
        let names = [DataPath.frontend, DataPath.backend]
        var samples: [String: [Sample]] = [:]
        let clock = SystemClock()
        let end = clock.bootTime + .seconds((Self.minutes ?? 0) * 60)
        var round = 0
        while clock.bootTime < end {
            round += 1
            // Connections that come and go, broken off and whole, and documents that change nothing
            // for those that stay.
            for _ in 0..<10 { #expect(try await path.ask().status == 200) }
            let stream = try await path.machine.runPeer("stream.py", ["once", path.streamSocket])
            #expect(stream.output == "hello\nended\n", "\(stream.report)")
            _ = try await path.machine.runPeer(
                "raw_http.py",
                ["unix", path.socket, #"GET /half HTTP/1.1\r\nHost: a\r\nX: "#]
            )
            // Its SVID lives for a minute, so that each round has one of its own.
            let files = try await path.takeIdentity("frontend")
            _ = try await path.machine.runPeer(
                "raw_http.py",
                [
                    "mtls", "127.0.0.1:\(path.inbound)", files,
                    #"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"#,
                ]
            )
            try await path.machine.apply(DataPath.policy(["frontend", "guest-\(round)"]))
            for name in names {
                samples[name, default: []].append(try Self.sample(path.proxy(name)))
            }
        }
        for (load, what) in zip(loads, ["allowed", "denied"]) {
            let count = try await load.stop()
            print("soak: \(what): \(count.requests) requests, \(count.failures) failures")
            #expect(count.failures == 0, "\(count)")
        }
        for name in names {
            let taken = samples[name] ?? []
            // What caches and pools take at first is there after a third of the time.
            let settled = taken.dropFirst(taken.count / 3)
            let (first, last) = (settled.prefix(3), settled.suffix(3))
            let before = first.map(\.kilobytes).max() ?? 0
            let after = last.map(\.kilobytes).min() ?? 0
            let held = (
                first.map(\.descriptors).max() ?? 0, last.map(\.descriptors).min() ?? 0
            )
            print(
                "soak: \(name): \(taken.count) rounds, \(before) kB and \(held.0) descriptors,"
                    + " then \(after) kB and \(held.1)"
            )
            try #require(settled.count >= 6, "too short for a comparison")
            #expect(after <= before + before / 20 + 512, "\(name) grows")
            #expect(held.1 <= held.0 + 4, "\(name) keeps descriptors")
        }
        try await path.stop()
    }

    private static func sample(_ proxy: Program) throws -> Sample {
        let process = "/proc/\(proxy.pid)"
        let status = try String(contentsOfFile: "\(process)/status", encoding: .utf8)
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        let kilobytes = line?.split { !$0.isNumber }.first.flatMap { Int($0) }
        let descriptors = try FileManager.default.contentsOfDirectory(atPath: "\(process)/fd")
        return Sample(kilobytes: try #require(kilobytes), descriptors: descriptors.count)
    }
}
