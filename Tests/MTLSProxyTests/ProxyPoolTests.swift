// SPDX-License-Identifier: Apache-2.0

import Glibc
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import Testing

/// Which connections to servers are kept for the next request (docs/decisions/0007).
@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyPoolTests {
    @Test(arguments: TLSProvider.allCases)
    func `a connection that ends with its answer is not used again`(
        _ provider: TLSProvider
    ) async throws {
        let listener = Wire(try Socket.listen(IPAddress(ipv4: 0x7F00_0001), port: 0))
        let port = try #require(listener.with { $0.localEndpoint()?.port } ?? nil)
        _ = try WorkerThread(name: "application") {
            while let accepted = listener.accept() {
                guard accepted.readAnswer() != nil else { continue }
                accepted.sendLast("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            }
        }
        let address = try #require(SocketAddress("127.0.0.1:\(port)"))
        let world = try World(provider, .http, application: address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        let wire = try Wire.connect(world.outboundAddress)
        for _ in 0..<5 {
            // Nothing that may be sent a second time.
            wire.send("POST / HTTP/1.1\r\nhost: backend\r\ncontent-length: 1\r\n\r\nx")
            #expect(wire.readAnswer()?.status == 200)
        }
        #expect(await world.server.sum().connected == 5)
    }

    private static func answer(_ count: Int, _ letter: Character) -> String {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: "
        let length = count - head.utf8.count - 9
        return head + "\(length)\r\n\r\n" + String(repeating: letter, count: length)
    }

    @Test(arguments: TLSProvider.allCases)
    func `what comes behind an answer is never the answer to the next request`(
        _ provider: TLSProvider
    ) async throws {
        let world = try World(provider, .http, application: try World.freeAddress())
        // It fills what is read at once, so that what is behind it waits undecrypted.
        let whole = Self.answer(50_000, "a")
        let server = try ScriptedServer(world.root, world.backend) { tls, server in
            guard tls.shakeHands() else { return }
            while let request = tls.readRequest() {
                server.hear(request)
                let isLate = request.lowercased().hasPrefix("get /late")
                tls.send(isLate ? [whole, Self.answer(100, "b")] : [whole])
            }
        }
        try await world.applyClient(endpoints: [server.address])
        let wire = try Wire.connect(world.outboundAddress)
        // The first ones make the network's windows so large that all of it arrives together.
        for path in ["/", "/", "/", "/late", "/", "/late", "/"] {
            wire.send("GET \(path) HTTP/1.1\r\nhost: backend\r\n\r\n")
            let answer = try #require(wire.readAnswer())
            #expect(answer.status == 200)
            #expect(answer.body.first == "a")
        }
        #expect(server.requests.count == 7)
        #expect(server.connectionCount == 3)
    }
}

extension Wire {
    /// Sends bytes and the end behind them in one segment, so that whoever hears of one hears of
    /// both.
    func sendLast(_ text: String) {
        with { socket in
            var isCorked: Int32 = 1
            let size = socklen_t(MemoryLayout<Int32>.size)
            _ = unsafe setsockopt(
                socket.descriptor,
                Int32(IPPROTO_TCP),
                TCP_CORK,
                &isCorked,
                size
            )
        }
        send(text)
        close()
    }
}
