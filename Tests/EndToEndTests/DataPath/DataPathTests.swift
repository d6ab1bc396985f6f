// SPDX-License-Identifier: Apache-2.0

import Clocks
import Foundation
import TestPrograms
import Testing

/// The data path with the real programs: who gets through, who does not, and what is said of it.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct DataPathTests {
    /// A user that owns nothing.
    private static let nobody: UInt32 = 65534

    @Test(arguments: ["boringssl", "openssl"])
    func `a request is carried, another identity is denied and explained, a policy lets it in`(
        provider: String
    ) async throws {
        let path = try await DataPath(flags: ["--provider", provider])
        let allowed = try await path.ask()
        #expect(allowed.status == 200)
        #expect(allowed.body.contains("\(DataPath.ids)/frontend"), "\(allowed.body)")
        let denied = try await path.ask(at: path.reportsSocket, path: "/denied")
        #expect(denied.status == 403)
        #expect(!path.asked.contains("/denied"))
        #expect(!denied.body.contains("readers"), "the answer names the policy: \(denied.body)")
        let id = try #require(denied.decision, "\(denied.body)")
        let explained = try await path.machine.signet(["explain", "decision", id])
        #expect(explained.isSuccess, "\(explained.report)")
        for part in [
            "DENIED: GET /denied from \(DataPath.ids)/reports", "default/readers", "principals",
        ] {
            #expect(explained.output.contains(part), "\(part): \(explained.report)")
        }
        try await path.machine.apply(DataPath.readersAndReports)
        #expect(try await path.ask(at: path.reportsSocket).status == 200)
        try await path.stop()
    }

    @Test func `what the server says of a request is what the proxy does`() async throws {
        let path = try await DataPath()
        for (identity, method, status, exit) in [
            ("frontend", "GET", 200, Int32(0)), ("reports", "GET", 403, 5),
        ] {
            let said = try await path.machine.signet(
                [
                    "explain", "request", "--from", "\(DataPath.ids)/\(identity)", "--to",
                    "\(DataPath.ids)/backend", "--port", "\(path.application)", "--method",
                    method, "--path", "/hello",
                ]
            )
            #expect(said.status == exit, "\(said.report)")
            let place = identity == "frontend" ? path.socket : path.reportsSocket
            #expect(try await path.ask(at: place).status == status)
        }
        try await path.stop()
    }

    @Test func `a policy holds for open connections when apply returns`() async throws {
        let path = try await DataPath(policy: DataPath.readersAndReports)
        let load = try await path.startLoad([
            "--clients", "2", "unix", path.reportsSocket, "/hello",
        ])
        try await path.machine.apply(DataPath.readersAlone)
        let returned = SystemClock().bootTime / .seconds(1)
        // Somebody else gets answers meanwhile, so that there was time for a late one.
        #expect(try await path.ask().status == 200)
        let count = try await load.stop()
        #expect(count.lastSuccessBoot <= returned, "\(count), returned \(returned)")
        #expect(count.firstFailure?.reason == "status 403", "\(count)")
        // It was told on the connections that were open.
        #expect(count.connections == 2, "\(count)")
        try await path.stop()
    }

    /// From the answer of an apply to the end of what it forbids.
    private static let judgedMax: Duration = .seconds(1)

    @Test func `what is open is judged again within a second of the answer to apply`()
        async throws
    {
        let path = try await DataPath(policy: DataPath.readersAndReports, hasStream: true)
        let load = try await path.startLoad([
            "--clients", "2", "unix", path.reportsSocket, "/hello",
        ])
        let stream = try path.machine.startPeer("stream.py", ["hold", path.streamSocket])
        try await stream.waitFor("open")
        // Without --wait it answers when the change is committed, whoever has heard of it by then.
        try await path.machine.apply(
            DataPath.readersAlone + path.streamPolicy("reports"),
            waits: false
        )
        let answered = SystemClock().bootTime
        try await stream.waitFor("ended at")
        try await load.program.waitFor("all failed")
        let ended = try #require(
            stream.output.split(separator: " ").last.flatMap { Double($0.dropLast()) },
            "\(stream.output)"
        )
        let count = try await load.stop()
        for (what, last) in [
            ("a TCP stream was open", ended),
            ("requests on open connections were allowed", count.lastSuccessBoot),
        ] {
            let late = Duration.seconds(last) - answered
            #expect(
                late <= Self.judgedMax,
                "\(what) until \(late) after apply had answered; at most \(Self.judgedMax)"
            )
        }
        #expect(count.firstFailure?.reason == "status 403", "\(count)")
        #expect(count.connections == 2, "\(count)")
        // The one who may read still may.
        #expect(try await path.ask().status == 200)
        try await path.stop()
    }

    @Test(.enabled(if: FreePort.uid == 0, "only root can act as another user"))
    func `another user of the machine sends nothing through an outbound listener`() async throws {
        let path = try await DataPath()
        for (number, place) in [path.socket, "127.0.0.1:\(path.loopback)"].enumerated() {
            let own = try await path.ask(at: place, path: "/own-\(number)")
            #expect(own.status == 200, "\(own)")
            let other = try await path.ask(at: place, path: "/other-\(number)", as: Self.nobody)
            #expect(other.status != 200, "\(other)")
        }
        #expect(path.asked.contains("/own-0") && path.asked.contains("/own-1"))
        #expect(!path.asked.contains("/other"), "\(path.asked)")
        try await path.stop()
    }

    @Test(.enabled(if: FreePort.uid == 0, "only root can act as another user"))
    func `a proxy of another user gets nothing from the agent`() async throws {
        let path = try await DataPath()
        try await path.proxy(DataPath.frontend).stop()
        let socket = "\(path.machine.path)/proxy.sock"
        // Open to everybody here, so that it is not the file's mode that keeps the other one out.
        try FileManager.default.setAttributes([.posixPermissions: 0o666], ofItemAtPath: socket)
        let other = try Program(
            Installation.tool("setpriv"),
            [
                "--reuid=\(Self.nobody)", "--regid=\(Self.nobody)", "--clear-groups",
                Installation.binary("signet-proxy"), "--agent-socket", socket, "--proxy",
                DataPath.frontend, "--telemetry-port", "0",
            ],
            directory: path.machine.path
        )
        // Its agent says no, in words that its log has.
        try await eventually("the refusal") {
            let log = other.errors + other.output
            return log.contains("permissionDenied") || log.contains("selectors")
        }
        #expect(try await path.ask().status == 0)
        try await other.stop()
        try await path.stop()
    }

    @Test(
        arguments: [
            ("framingTwice", #"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"#),
            ("contentLengthRepeated", #"Content-Length: 0\r\nContent-Length: 5\r\n\r\n"#),
            ("transferEncoding", #"Transfer-Encoding: xchunked\r\n\r\n"#),
            ("lineFolding", #"X-A: b\r\n c\r\n\r\n"#),
            // Of bodies, whose first line is refused before the head has gone anywhere.
            (
                "chunkExtension",
                #"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"#
            ),
            ("chunkSize", #"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\nhello"#),
            ("fieldName", #"X.Forwarded.Client.Cert: URI=spiffe://example.org/admin\r\n\r\n"#),
        ]
    )
    func `a request with two readings is refused with the rule, by either proxy`(
        rule: String,
        rest: String
    ) async throws {
        let path = try await DataPath()
        let files = try await path.takeIdentity("frontend")
        let request = #"GET /smuggled HTTP/1.1\r\nHost: backend\r\n"# + rest
        for way in [
            ["unix", path.socket], ["mtls", "127.0.0.1:\(path.inbound)", files],
        ] {
            let answer = try await path.machine.runPeer("raw_http.py", way + [request])
            #expect(answer.output.hasPrefix("HTTP/1.1 400 "), "\(way[0]): \(answer.report)")
            #expect(answer.output.contains("rule \(rule)"), "\(way[0]): \(answer.report)")
        }
        #expect(!path.asked.contains("/smuggled"))
        try await path.stop()
    }

    @Test func `what a client says of itself does not reach the backend`() async throws {
        let path = try await DataPath()
        let request = #"""
            GET /forged HTTP/1.1\r\nHost: backend\r\n\#
            X-Forwarded-Client-Cert: URI=spiffe://example.org/admin\r\n\r\n
            """#
        let answer = try await path.machine.runPeer("raw_http.py", ["unix", path.socket, request])
        #expect(answer.output.hasPrefix("HTTP/1.1 200 "), "\(answer.report)")
        let line = try #require(path.asked.split(separator: "\n").first { $0.contains("/forged") })
        #expect(line.contains("\(DataPath.ids)/frontend"), "\(line)")
        #expect(!line.contains("/admin"), "\(line)")
        try await path.stop()
    }

    @Test func `a revoked identity is cut off in under a second, also who has copied its key`()
        async throws
    {
        let path = try await DataPath(policy: DataPath.readersAndReports)
        let files = try await path.takeIdentity("frontend")
        let thief = try await path.startLoad(["mtls", "127.0.0.1:\(path.inbound)", files, "/hello"])
        let honest = try await path.startLoad(["unix", path.socket, "/hello"])
        let other = try await path.startLoad(["unix", path.reportsSocket, "/hello"])
        let before = Date().timeIntervalSince1970
        let revoked = try await path.machine.signet(
            ["svid", "revoke", "\(DataPath.ids)/frontend", "--for", "10m", "--reason", "test"]
        )
        #expect(revoked.isSuccess, "\(revoked.report)")
        #expect(revoked.errors.contains("signet delete RegistrationEntry/default/frontend"))
        try await eventually("the honest one to be cut off") { try await path.ask().status != 200 }
        // Whoever still got answers would get one in this time.
        try await eventually("the end of what is observed") {
            Date().timeIntervalSince1970 > before + 2
        }
        for (name, load) in [("thief", thief), ("honest", honest)] {
            let count = try await load.stop()
            #expect(count.lastSuccess - before < 1, "\(name): \(count.lastSuccess - before) s")
            #expect(count.failures > 0, "\(name): \(count)")
        }
        let others = try await other.stop()
        #expect(others.failures == 0, "\(others)")
        let listed = try await path.machine.signet(["svid", "revocations"])
        #expect(listed.output.contains("\(DataPath.ids)/frontend"), "\(listed.report)")
        try await path.stop()
    }
}
