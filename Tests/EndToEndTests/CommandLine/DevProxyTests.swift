// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// `signet dev` with Proxy documents.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct DevProxyTests {
    private static func start(_ place: TestDirectory) async throws -> Program {
        let dev = try Program(
            Installation.binary("signet"),
            ["dev", "--dir", "\(place.path)/state"],
            directory: place.path
        )
        try await dev.waitFor("Ctrl-C")
        return dev
    }

    private static func signet(
        _ place: TestDirectory,
        _ arguments: String...
    ) async throws -> ProgramResult {
        try await Installation.run(
            Installation.binary("signet"),
            arguments,
            environment: [
                "SIGNET_SERVER_SOCKET": "\(place.path)/state/server/admin.sock",
                "SPIFFE_ENDPOINT_SOCKET": "unix://\(place.path)/state/agent/workload.sock",
            ],
            directory: place.path
        )
    }

    /// The data path of the example, on ports that are free here.
    private static func example(_ place: TestDirectory) throws -> String {
        var text = try String(contentsOfFile: "\(place.path)/state/data-path.yaml", encoding: .utf8)
        for port in ["18080", "18081", "18443"] {
            text = text.replacing(port, with: "\(try FreePort.take())")
        }
        let file = "\(place.path)/example.yaml"
        try text.write(toFile: file, atomically: true, encoding: .utf8)
        return file
    }

    private struct Listed: Decodable {
        var proxy: String
        var state: String
        var pid: Int32
    }

    private static func proxies(_ place: TestDirectory) async throws -> [String: Listed] {
        let listed = try await signet(place, "proxy", "list", "-o", "json")
        guard listed.isSuccess else { throw ProgramFailure("proxy list: \(listed.report)") }
        let views = try JSONDecoder().decode([Listed].self, from: Data(listed.output.utf8))
        return Dictionary(views.filter { $0.state == "applied" }.map { ($0.proxy, $0) }) { $1 }
    }

    @Test func `its proxies run when their documents come, again when they die, and end with them`()
        async throws
    {
        let place = try TestDirectory()
        let dev = try await Self.start(place)
        let applied = try await Self.signet(place, "apply", "-f", Self.example(place))
        #expect(applied.isSuccess, "\(applied.report)")
        try await dev.waitFor("proxy default/frontend started")
        try await dev.waitFor("proxy default/backend started")
        try await eventually("both proxies to apply") { try await Self.proxies(place).count == 2 }

        let first = try #require(try await Self.proxies(place)["default/backend"]).pid
        Signals.send(.kill, to: first)
        try await dev.waitFor("proxy default/backend was killed by signal 9; it starts again in")
        try await eventually("another process of the proxy") {
            let now = try await Self.proxies(place)["default/backend"]
            return now.map { $0.pid != first } ?? false
        }
        // Of both processes: why the first one ended must not go with it.
        let log = try String(
            contentsOfFile: "\(place.path)/state/logs/signet-proxy.default.backend.log",
            encoding: .utf8
        )
        #expect(log.ranges(of: "telemetryPort=").count == 2, "\(log)")

        let frontend = try #require(try await Self.proxies(place)["default/frontend"]).pid
        let deleted = try await Self.signet(place, "delete", "Proxy/default/frontend")
        #expect(deleted.isSuccess, "\(deleted.report)")
        try await eventually("the end of the frontend's proxy") { !Signals.isThere(frontend) }

        let backend = try #require(try await Self.proxies(place)["default/backend"]).pid
        let ended = try await dev.stop()
        #expect(ended.status == 0, "\(ended.report)")
        #expect(!Signals.isThere(backend))
    }

    @Test(arguments: ["agent", "server"])
    func `a program that is killed is named, with proxies as without`(program: String) async throws
    {
        let place = try TestDirectory()
        let dev = try await Self.start(place)
        let applied = try await Self.signet(place, "apply", "-f", Self.example(place))
        #expect(applied.isSuccess, "\(applied.report)")
        try await eventually("both proxies to apply") { try await Self.proxies(place).count == 2 }
        let pid = try #require(
            try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { Int32($0) }
                .first { pid in
                    let line =
                        FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") ?? Data()
                    let words = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
                    return words.first?.hasSuffix("signet-\(program)") == true
                        && words.contains { $0.contains(place.path) }
                }
        )
        Signals.send(.kill, to: pid)
        let ended = try await dev.result()
        #expect(ended.status == 1, "\(ended.report)")
        #expect(
            ended.errors.contains("signet-\(program) was killed by signal 9"),
            "\(ended.report)"
        )
    }

    @Test func `the next run starts the proxies of the last one and names them`() async throws {
        let place = try TestDirectory()
        let first = try await Self.start(place)
        let applied = try await Self.signet(place, "apply", "-f", Self.example(place))
        #expect(applied.isSuccess, "\(applied.report)")
        try await first.waitFor("proxy default/backend started")
        try await first.stop()
        let second = try await Self.start(place)
        #expect(second.output.contains("default/backend, default/frontend"), "\(second.output)")
        #expect(second.output.contains("proxy status -A"))
        try await eventually("both proxies to apply") { try await Self.proxies(place).count == 2 }
        try await second.stop()
    }
}
