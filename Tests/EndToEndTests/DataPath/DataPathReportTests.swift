// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// What the real programs say of traffic: access log, metrics, health, and the command line.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct DataPathReportTests {
    private static let frontend = "\(DataPath.ids)/frontend"
    private static let reports = "\(DataPath.ids)/reports"
    private static let backend = "\(DataPath.ids)/backend"
    private static let json = ["--log-format", "json", "--access-log"]
    /// A policy that would deny one path.
    private static let shadow = """
        ---
        apiVersion: core.signet/v1alpha1
        kind: AccessPolicy
        metadata: {name: trial}
        spec:
          action: DENY
          mode: shadow
          rules:
            - to: [{operation: {paths: [/shadowed]}}]

        """

    @Test func `the access log has each request with its flags, reason and decision`()
        async throws
    {
        let path = try await DataPath(
            policy: DataPath.readersAlone + Self.shadow,
            flags: Self.json + ["all"]
        )
        #expect(try await path.ask(path: "/well").status == 200)
        #expect(try await path.ask(path: "/shadowed").status == 200)
        let denied = try await path.ask(at: path.reportsSocket, path: "/denied")
        let id = try #require(denied.decision, "\(denied)")
        let files = try await path.takeIdentity("frontend")
        let refused = try await path.machine.runPeer(
            "raw_http.py",
            ["mtls", "127.0.0.1:\(path.inbound)", files, #"GET /a HTTP/1.1\r\nHost : b\r\n\r\n"#]
        )
        #expect(refused.output.hasPrefix("HTTP/1.1 400 "), "\(refused.report)")
        try await path.stopApplication()
        #expect(try await path.ask(path: "/gone").status == 503)

        func line(_ path: DataPath, _ what: String, _ status: Int) async throws -> Line {
            Line(try await path.accessLine(of: DataPath.backend, path: what, status: status))
        }
        let well = try await line(path, "/well", 200)
        #expect(well.verdict == ["-", "none", ""] && well.hasDecision, "\(well)")
        #expect(well["peer"] == Self.frontend && well["method"] == "GET", "\(well)")
        #expect(well["direction"] == "inbound" && well["listener"] == "http", "\(well)")
        let shadowed = try await line(path, "/shadowed", 200)
        #expect(shadowed.verdict == ["-", "none", "denied"] && shadowed.hasDecision, "\(shadowed)")
        let forbidden = try await line(path, "/denied", 403)
        #expect(forbidden.verdict == ["-", "denied", ""], "\(forbidden)")
        #expect(forbidden["decision"] == id && forbidden["peer"] == Self.reports, "\(forbidden)")
        // Nobody has decided about what cannot be read.
        let bad = try await line(path, "", 400)
        #expect(bad.verdict == ["DPE", "request_refused", ""], "\(bad)")
        #expect(bad["decision"] == "" && bad["peer"] == Self.frontend, "\(bad)")
        let gone = try await line(path, "/gone", 503)
        #expect(gone.verdict == ["UF", "server_unreachable", ""] && gone.hasDecision, "\(gone)")
        #expect(gone["detail"]?.contains(": ") == true, "\(gone)")
        // The other proxy knows its client by user, and passes on what it is told.
        let outbound = try await path.accessLine(of: DataPath.frontend, path: "/gone", status: 503)
        #expect(outbound["direction"] == "outbound" && outbound["reason"] == "none", "\(outbound)")
        #expect(outbound["uid"] == "\(FreePort.uid)" && outbound["decision"] == "", "\(outbound)")
        try await path.stop()
    }

    /// One line of an access log.
    private struct Line: CustomStringConvertible {
        let values: [String: String]

        init(_ values: [String: String]) { self.values = values }

        subscript(name: String) -> String? { values[name] }

        /// Flags, reason, and what policies in shadow say.
        var verdict: [String] {
            ["response_flags", "reason", "shadow"].map { values[$0] ?? "missing" }
        }

        var hasDecision: Bool { values["decision"]?.count == 26 }
        var description: String { "\(values)" }
    }

    @Test func `an access log of errors leaves out what went well`() async throws {
        let path = try await DataPath(
            policy: DataPath.readersAlone + Self.shadow,
            flags: Self.json + ["errors"]
        )
        #expect(try await path.ask(path: "/well").status == 200)
        #expect(try await path.ask(path: "/shadowed").status == 200)
        #expect(try await path.ask(at: path.reportsSocket, path: "/denied").status == 403)
        // Lines are in the order of requests: what would be told of the others is there by now.
        _ = try await path.accessLine(of: DataPath.backend, path: "/denied", status: 403)
        let told = try path.accessLog(of: DataPath.backend)
        #expect(!told.contains { $0["path"] == "/well" }, "\(told)")
        #expect(told.contains { $0["path"] == "/shadowed" && $0["shadow"] == "denied" }, "\(told)")
        try await path.stop()
    }

    // MARK: - Metrics

    @Test func `both proxies count what was sent, with the names and labels of Istio`()
        async throws
    {
        let path = try await DataPath(
            policy: DataPath.readersAlone + Self.shadow,
            hasStream: true
        )
        for _ in 0..<5 { #expect(try await path.ask().status == 200) }
        for _ in 0..<2 { #expect(try await path.ask(path: "/shadowed").status == 200) }
        for _ in 0..<3 { #expect(try await path.ask(at: path.reportsSocket).status == 403) }
        let refused = try await path.machine.runPeer(
            "raw_http.py",
            ["unix", path.socket, #"GET /a HTTP/1.1\r\nHost : b\r\n\r\n"#]
        )
        #expect(refused.output.hasPrefix("HTTP/1.1 400 "), "\(refused.report)")
        let stream = try await path.machine.runPeer("stream.py", ["once", path.streamSocket])
        #expect(stream.output == "hello\nended\n", "\(stream.report)")

        // The backend has one line for each request that was let in, and one of its own.
        let answered = Double(path.asked.split(separator: "\n").count - 1)
        let here = { (flags: String) in
            Self.labels("destination", Self.frontend, Self.backend, "unknown", flags, "mutual_tls")
        }
        let there = { (server: String, flags: String, service: String) in
            Self.labels("source", Self.frontend, server, service, flags, "unknown")
        }
        let atReports = Self.labels(
            "destination",
            Self.reports,
            Self.backend,
            "unknown",
            "-",
            "mutual_tls"
        )
        let fromReports = Self.labels(
            "source",
            Self.reports,
            Self.backend,
            "default/backend",
            "-",
            "unknown"
        )
        let trial = "verdict=\"denied\",policy=\"default/trial\""
        var taken = Self.requests(here("-"), 200, answered)
        taken += Self.requests(atReports, 403, 3)
        taken += Self.stream(here("-"))
        // The stream has no path, so that a DENY of one is against it.
        taken.append(("signet_proxy_shadow_differences_total{\(trial)}", 3))
        try await expect(taken, of: DataPath.backend, path)
        var sent = Self.requests(there(Self.backend, "-", "default/backend"), 200, answered)
        sent += Self.requests(fromReports, 403, 3)
        // What cannot be read has reached nobody.
        sent += Self.requests(there("unknown", "DPE", "default/backend"), 400, 1)
        sent += Self.stream(there(Self.backend, "-", "default/stream"))
        try await expect(sent, of: DataPath.frontend, path)
        try await path.stop()
    }

    /// Waits until a proxy has counted so much: it counts every ten seconds.
    private func expect(
        _ samples: [(name: String, value: Double)],
        of name: String,
        _ path: DataPath
    ) async throws {
        var seen: [String: Double] = [:]
        var wrong = samples
        do {
            try await eventually("\(name) to count") {
                seen = try await path.metrics(of: name)
                wrong = samples.filter { seen[$0.name] != $0.value }
                return wrong.isEmpty
            }
        } catch is ProgramFailure {
            let istio = seen.filter { $0.key.hasPrefix("istio") && !$0.key.contains("_bucket") }
            Issue.record("\(name): \(wrong) are not in \(istio)")
        }
    }

    /// Labels before and after those that only requests have.
    private static func labels(
        _ reporter: String,
        _ source: String,
        _ destination: String,
        _ service: String,
        _ flags: String,
        _ security: String
    ) -> (who: String, how: String) {
        let words = service.split(separator: "/")
        return (
            "reporter=\"\(reporter)\",source_principal=\"\(source)\","
                + "destination_principal=\"\(destination)\",destination_service=\"\(service)\","
                + "destination_service_name=\"\(words.last ?? "")\","
                + "destination_service_namespace=\"\(words.first ?? "")\"",
            "response_flags=\"\(flags)\",connection_security_policy=\"\(security)\""
        )
    }

    /// The samples of so many requests with one status.
    private static func requests(
        _ labels: (who: String, how: String),
        _ status: Int,
        _ count: Double
    ) -> [(name: String, value: Double)] {
        let all =
            "\(labels.who),request_protocol=\"http\",response_code=\"\(status)\",\(labels.how)"
        return [
            ("istio_requests_total{\(all)}", count),
            ("istio_request_bytes_count{\(all)}", count),
            ("istio_response_bytes_bucket{\(all),le=\"10000\"}", count),
            ("istio_request_duration_milliseconds_count{\(all)}", count),
            ("istio_request_duration_milliseconds_bucket{\(all),le=\"+Inf\"}", count),
        ]
    }

    /// The samples of one stream with a line of six bytes and its echo.
    private static func stream(
        _ labels: (who: String, how: String)
    ) -> [(name: String, value: Double)] {
        let all = "\(labels.who),request_protocol=\"tcp\",\(labels.how)"
        return [
            ("istio_tcp_connections_opened_total{\(all)}", 1),
            ("istio_tcp_connections_closed_total{\(all)}", 1),
            ("istio_tcp_received_bytes_total{\(all)}", 6),
            ("istio_tcp_sent_bytes_total{\(all)}", 6),
        ]
    }

    // MARK: - Health

    @Test func `a proxy is ready once a state is in force, and stays so without its agent`()
        async throws
    {
        let path = try await DataPath()
        try await path.machine.agent.stop(.kill)
        try await path.proxy(DataPath.frontend).stop(.kill)
        try path.startProxy(DataPath.frontend)
        try await path.proxy(DataPath.frontend).waitFor("the agent is away")
        let early = try await path.telemetry("/ready", of: DataPath.frontend)
        #expect(early.status == 503 && early.body.contains("configured"), "\(early)")
        // It works, and needs no restart.
        #expect(try await path.telemetry("/live", of: DataPath.frontend).status == 200)
        try await path.machine.startAgent()
        try await eventually("the new process to be ready") {
            try await path.telemetry("/ready", of: DataPath.frontend).status == 200
        }
        #expect(try await path.ask().status == 200)
        try await path.machine.agent.stop(.kill)
        try await eventually("the proxy to see that its agent is away") {
            try await path.metrics(of: DataPath.frontend)["signet_proxy_agent_connected"] == 0
        }
        let late = try await path.telemetry("/ready", of: DataPath.frontend)
        #expect(late.status == 200, "\(late)")
        try await path.stop()
    }

    // MARK: - Command line

    private struct Running: Decodable {
        struct Listening: Decodable, Equatable {
            var listener: String
            var identity: String
            var address: String
        }
        var proxy: String
        var state: String
        var attached: Bool
        var pid: Int32
        var listening: [Listening]
        var counters: [String: Double]?
    }

    private struct Open: Decodable {
        var direction: String
        var listener: String
        var identity: String
        var peer: String
        var peerAddress: String
        var `protocol`: String
        var state: String
        var requests: Int
        var bytesSent: Int
        var peerExpiresAt: String
    }

    @Test func `an open connection and its proxy are shown through agent and server`()
        async throws
    {
        let path = try await DataPath()
        let load = try await path.startLoad(["unix", path.socket, "/hello"])
        let inbound: [Open] = try await show(["connections", "backend"], path)
        let taken = try #require(
            inbound.first { $0.peer == Self.frontend && !$0.state.hasPrefix("server: ") },
            "\(inbound)"
        )
        #expect(taken.direction == "inbound" && taken.listener == "http", "\(taken)")
        #expect(taken.identity == Self.backend && taken.protocol == "http", "\(taken)")
        #expect(taken.peerAddress.contains("127.0.0.1"), "\(taken)")
        #expect(taken.requests > 0 && taken.bytesSent > 0, "\(taken)")
        #expect(taken.peerExpiresAt.hasPrefix("20"), "\(taken)")
        let outbound: [Open] = try await show(["connections", "default/frontend"], path)
        let opened = try #require(outbound.first { $0.peer == Self.backend }, "\(outbound)")
        #expect(opened.direction == "outbound" && opened.identity == Self.frontend, "\(opened)")

        let processes: [Running] = try await show(["status", "backend", "--counters"], path)
        let process = try #require(processes.first, "\(processes)")
        #expect(processes.count == 1 && process.proxy == DataPath.backend, "\(processes)")
        #expect(process.state == "applied" && process.attached, "\(process)")
        let pid = try path.proxy(DataPath.backend).pid
        #expect(process.pid == pid, "\(process)")
        let listening = Running.Listening(
            listener: "http",
            identity: Self.backend,
            address: "127.0.0.1:\(path.inbound)"
        )
        #expect(process.listening == [listening], "\(process)")
        #expect((process.counters?["requests"] ?? 0) > 0, "\(process)")
        try await expectTables(path)
        #expect(try await load.stop().failures == 0)
        try await path.stop()
    }

    private func expectTables(_ path: DataPath) async throws {
        for (words, parts) in [
            (["connections", "backend"], ["PEER", Self.frontend, "inbound", "http"]),
            (["connections", "frontend"], ["PEER", Self.backend, "outbound"]),
            (["status", "backend"], ["applied", "listens: http", "127.0.0.1:\(path.inbound)"]),
            (["status", "-A", "--counters"], [DataPath.frontend, DataPath.backend, "handshakes"]),
        ] {
            let shown = try await path.machine.signet(["proxy"] + words)
            #expect(shown.isSuccess, "\(shown.report)")
            for part in parts { #expect(shown.output.contains(part), "\(part): \(shown.report)") }
        }
    }

    private func show<View: Decodable>(_ words: [String], _ path: DataPath) async throws -> View {
        let shown = try await path.machine.signet(["proxy"] + words + ["-o", "json"])
        guard shown.isSuccess else { throw ProgramFailure("proxy \(words): \(shown.report)") }
        return try JSONDecoder().decode(View.self, from: Data(shown.output.utf8))
    }
}
