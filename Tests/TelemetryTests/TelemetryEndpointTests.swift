// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix
import Telemetry
import Testing

@Suite(.timeLimit(.minutes(1)))
struct TelemetryEndpointTests {
    private let metrics = MetricRegistry()
    private let health = Health(live: ["datastore"], ready: ["sync"])

    private func withEndpoint(
        on host: String = "127.0.0.1",
        _ body: (TelemetryEndpoint) async throws -> Void
    ) async throws {
        let endpoint = try await TelemetryEndpoint.bind(
            host: host,
            port: 0,
            metrics: metrics,
            health: health
        )
        try await withThrowingTaskGroup { group in
            group.addTask { try await endpoint.run() }
            try await body(endpoint)
            group.cancelAll()
        }
    }

    /// Sends bytes and returns all that comes back until the server closes.
    private func exchange(_ request: String, _ endpoint: TelemetryEndpoint) async throws -> String {
        let connection = try await connect(endpoint)
        return try await connection.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: request))
            var answer = ""
            for try await part in inbound { answer += String(buffer: part) }
            return answer
        }
    }

    private func connect(
        _ endpoint: TelemetryEndpoint
    ) async throws -> NIOAsyncChannel<ByteBuffer, ByteBuffer> {
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: Int(endpoint.port)) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel(wrappingChannelSynchronously: channel)
                }
            }
    }

    private func get(_ path: String, _ endpoint: TelemetryEndpoint) async throws -> String {
        try await exchange("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n", endpoint)
    }

    @Test func `metrics are served as Prometheus text`() async throws {
        metrics.set(.revision, to: 7)
        try await withEndpoint { endpoint in
            let answer = try await get("/metrics", endpoint)
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"))
            #expect(answer.contains("connection: close\r\n"))
            #expect(answer.hasSuffix(metrics.exposition()))
        }
    }

    @Test func `probes answer 200 or 503 with the reasons`() async throws {
        try await withEndpoint { endpoint in
            let live = try await get("/live", endpoint)
            let starting = try await get("/ready", endpoint)
            health.met("sync")
            let ready = try await get("/ready", endpoint)
            health.unmet("datastore", reason: "disk full")
            let dead = try await get("/live", endpoint)
            #expect(live.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(starting.hasPrefix("HTTP/1.1 503 Service Unavailable\r\n"))
            #expect(starting.contains("\"starting\""))
            #expect(ready.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(dead.hasPrefix("HTTP/1.1 503 Service Unavailable\r\n"))
            #expect(dead.hasSuffix(health.report(.live).json))
        }
    }

    struct Refused: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let request: String
        let status: String
    }

    @Test(arguments: [
        Refused(
            testDescription: "another path",
            request: "GET /metrics/ HTTP/1.1\r\n\r\n",
            status: "404"
        ),
        Refused(
            testDescription: "another method",
            request: "POST /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody",
            status: "405"
        ),
        Refused(
            testDescription: "a body",
            request: "GET /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody",
            status: "413"
        ),
        Refused(
            testDescription: "a chunked body",
            request: "GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            status: "413"
        ),
        Refused(testDescription: "no HTTP", request: "hello\r\n\r\n", status: "400"),
    ])
    func `what is not a plain GET of a known path is refused`(_ refused: Refused) async throws {
        try await withEndpoint { endpoint in
            let answer = try await exchange(refused.request, endpoint)
            #expect(answer.hasPrefix("HTTP/1.1 \(refused.status) "))
        }
    }

    @Test func `an endless head is cut off`() async throws {
        try await withEndpoint { endpoint in
            let connection = try await connect(endpoint)
            // The server ends the connection in the middle of the head, so writing fails.
            await #expect(throws: (any Error).self) {
                try await connection.executeThenClose { _, outbound in
                    try await outbound.write(ByteBuffer(string: "GET / HTTP/1.1\r\nx: "))
                    while true {
                        try await outbound.write(ByteBuffer(repeating: 0x78, count: 4096))
                    }
                }
            }
        }
    }

    @Test func `a second request of one connection is not answered`() async throws {
        try await withEndpoint { endpoint in
            let request = "GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
            let answer = try await exchange(request + request, endpoint)
            #expect(answer.components(of: "HTTP/1.1 ") == 1)
        }
    }

    @Test func `connections beyond the limit are closed`() async throws {
        try await withEndpoint { endpoint in
            var open: [NIOAsyncChannel<ByteBuffer, ByteBuffer>] = []
            for _ in 0..<TelemetryEndpoint.connectionsMax {
                open.append(try await connect(endpoint))
            }
            let beyond = try await connect(endpoint)
            try await beyond.executeThenClose { inbound, _ in
                for try await _ in inbound { Issue.record("answered") }
            }
            for connection in open { try await connection.executeThenClose { _, _ in } }
        }
    }

    @Test func `a port in use is named with what to do`() async throws {
        try await withEndpoint { endpoint in
            let error = await #expect(throws: TelemetryBindError.self) {
                _ = try await TelemetryEndpoint.bind(
                    host: "127.0.0.1",
                    port: endpoint.port,
                    metrics: metrics,
                    health: health
                )
            }
            let place = "127.0.0.1:\(endpoint.port) (telemetryPort)"
            #expect(error?.description.hasPrefix("\(place) is in use") == true)
            #expect(error?.description.contains("another port, or 0") == true)
        }
    }

    @Test func `the listener closes when its task is cancelled`() async throws {
        // An address that no other test listens on, so that nobody takes the free port.
        let host = "127.77.0.1"
        var port = 0
        try await withEndpoint(on: host) { port = Int($0.port) }
        await #expect(throws: (any Error).self) {
            _ = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: host, port: port).get()
        }
    }
}

extension String {
    fileprivate func components(of separator: String) -> Int {
        var count = 0
        var rest = self[...]
        while let range = rest.firstRange(of: separator) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }
}
