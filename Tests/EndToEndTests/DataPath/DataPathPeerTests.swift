// SPDX-License-Identifier: Apache-2.0

import TestPrograms
import Testing

/// Other programs at the real proxies: a load generator, broken bodies, a TLS client that resumes.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct DataPathPeerTests {
    /// h2load has a parser of HTTP and a connection handling of its own; how fast it is does not
    /// matter here.
    @Test func `h2load gets an answer to each of its requests`() async throws {
        let path = try await DataPath()
        let result = try await Installation.run(
            Installation.tool("h2load"),
            ["--h1", "-c", "8", "-n", "2000", "http://127.0.0.1:\(path.loopback)/load"],
            directory: path.machine.path
        )
        #expect(result.isSuccess, "\(result.report)")
        for line in [
            "2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout",
            "status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx",
        ] {
            #expect(result.output.contains(line), "\(line): \(result.report)")
        }
        try await path.stop()
    }

    /// The backend has the head and a good chunk when the bad one comes, and says so with a 100, so
    /// the proxy has a connection to it that nothing may go out on any more.
    @Test(
        arguments: [
            ("chunkExtension", #"5;a=b\r\nhello\r\n0\r\n\r\n"#),
            ("chunkSize", #"ffffffffffffffff0\r\nhello"#),
            ("trailers", #"0\r\nX-Late: 1\r\n\r\n"#),
        ]
    )
    func `a refusal inside a body is told, and its connection to the backend is used no more`(
        rule: String,
        rest: String
    ) async throws {
        let path = try await DataPath(peer: "numbered_backend.py")
        let files = try await path.takeIdentity("frontend")
        let ways = [["unix", path.socket], ["mtls", "127.0.0.1:\(path.inbound)", files]]
        for (number, way) in ways.enumerated() {
            let head = #"""
                GET /broken-\#(number) HTTP/1.1\r\nHost: backend\r\nExpect: 100-continue\r\n\#
                Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n
                """#
            let answer = try await path.machine.runPeer("raw_http.py", way + [head, rest])
            #expect(answer.output.hasPrefix("HTTP/1.1 100 "), "\(way[0]): \(answer.report)")
            #expect(answer.output.contains("HTTP/1.1 400 "), "\(way[0]): \(answer.report)")
            #expect(answer.output.contains("rule \(rule)"), "\(way[0]): \(answer.report)")
            let broken = try #require(
                Self.connection(of: "/broken-\(number)", path),
                "\(way[0]): \(path.asked)"
            )
            try await eventually("the backend to see that the body broke off") {
                path.asked.contains("\n\(broken) cut\n")
            }
            #expect(try await path.ask(path: "/after-\(number)").status == 200)
            let after = try #require(Self.connection(of: "/after-\(number)", path))
            #expect(after != broken, "\(way[0]): \(path.asked)")
        }
        // Not a byte of the rest was taken for a request.
        #expect(!path.asked.contains("X-Late") && !path.asked.contains(" hello"), "\(path.asked)")
        try await path.stop()
    }

    /// The number of the connection on which the backend was asked for something.
    private static func connection(of what: String, _ path: DataPath) -> Substring? {
        path.asked.split(separator: "\n").last { $0.contains(" \(what) ") }?
            .split(separator: " ").first
    }

    /// A resumed session would be one whose certificate nobody has looked at again.
    @Test(arguments: ["boringssl", "openssl"])
    func `nobody resumes a TLS session`(provider: String) async throws {
        let path = try await DataPath(flags: ["--provider", provider])
        let files = try await path.takeIdentity("frontend")
        let place = "127.0.0.1:\(path.inbound)"
        let result = try await path.machine.runPeer("resumption.py", [place, files])
        #expect(result.isSuccess, "\(result.report)")
        #expect(
            result.output.contains("proxy: ticket False, reused False, 200 200"),
            "\(result.report)"
        )
        // The same client does resume where it can.
        #expect(
            result.output.contains("control: ticket True, reused True, 200 200"),
            "\(result.report)"
        )
        try await path.stop()
    }
}
