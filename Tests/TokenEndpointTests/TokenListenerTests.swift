// SPDX-License-Identifier: Apache-2.0

import GRPCPeer
import NIOCore
import Synchronization
import TestPrograms
import Testing
import TokenEndpoint

/// Real sockets.
@Suite(.timeLimit(.minutes(1)))
struct TokenListenerTests {
    private enum Event: Hashable {
        case asked(Int)
        case closed
        case left(Int)
    }

    /// What the listener told, in order; one task at a time waits for it.
    private final class Told: Sendable {
        private let events: AsyncStream<Event>
        private let outlet: AsyncStream<Event>.Continuation
        private let callers = Mutex(0)
        private let gone = Mutex<[Int]>([])
        private let gate: AsyncStream<Void>
        private let key: AsyncStream<Void>.Continuation

        init() {
            (events, outlet) = AsyncStream.makeStream(of: Event.self)
            (gate, key) = AsyncStream.makeStream(of: Void.self)
        }

        /// The callers that have left, each as often as it was said.
        var left: [Int] { gone.withLock { $0 } }

        /// Waits until something was told; what came before it is passed over.
        func until(_ event: Event) async {
            for await next in events where next == event { return }
        }

        /// Lets the answers out that are held.
        func release() { key.finish() }

        /// Callers are numbered from 1; an answer to `a=held` is held.
        var service: TokenService<Int> {
            TokenService(
                enter: { [self] _ in
                    callers.withLock {
                        $0 += 1
                        return $0
                    }
                },
                closed: { [self] in outlet.yield(.closed) },
                leave: { [self] caller in
                    gone.withLock { $0.append(caller) }
                    outlet.yield(.left(caller))
                },
                answer: { [self] request, caller in
                    outlet.yield(.asked(caller))
                    if request.body == Array("a=held".utf8) { for await _ in gate {} }
                    return EndpointAnswer(200, [:])
                },
                refused: { _ in }
            )
        }
    }

    private struct NoPlace: Error {}

    private let told = Told()

    private func withListener(
        _ service: TokenService<Int>? = nil,
        _ body: (String) async throws -> Void
    ) async throws {
        let path = "/tmp/signet-listener-\(UInt32.random(in: 0 ... .max)).sock"
        let file = UnixSocketFile(path: path, mode: 0o600)
        let listener = try await TokenListener.open(
            descriptor: try file.listen(),
            service ?? told.service
        )
        defer { file.remove() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await listener.run() }
            defer { group.cancelAll() }
            try await body(path)
        }
    }

    private func request(_ body: String) -> String {
        "POST /token HTTP/1.1\r\nHost: agent\r\nSignet-Workload: true\r\n"
            + "Content-Type: application/x-www-form-urlencoded\r\n"
            + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    /// All that comes back until the listener closes.
    private func answer(to body: String, _ path: String) async throws -> String {
        try await UnixClient.answer(to: request(body), at: path)
    }

    @Test func `who waits for his answer keeps nobody else waiting`() async throws {
        try await withListener { path in
            async let held = answer(to: "a=held", path)
            await told.until(.asked(1))
            let other = try await answer(to: "a=b", path)
            #expect(other.hasPrefix("HTTP/1.1 200 OK\r\n"))
            await told.until(.left(2))
            #expect(told.left == [2])
            told.release()
            let late = try await held
            #expect(late.hasPrefix("HTTP/1.1 200 OK\r\n"))
            await told.until(.left(1))
        }
        #expect(told.left == [2, 1])
    }

    @Test func `who leaves before his answer keeps his place until it is made`() async throws {
        try await withListener { path in
            try await UnixClient.connect(to: path).executeThenClose { _, outbound in
                try await outbound.write(ByteBuffer(string: request("a=held")))
                await told.until(.asked(1))
            }
            await told.until(.closed)
            #expect(told.left == [])
            told.release()
            await told.until(.left(1))
        }
        // Once, also after everything has ended.
        #expect(told.left == [1])
    }

    @Test func `who says nothing and leaves gives his place back`() async throws {
        try await withListener { path in
            try await UnixClient.connect(to: path).executeThenClose { _, _ in }
            await told.until(.left(1))
        }
        #expect(told.left == [1])
    }

    @Test func `the end cancels the request under way and closes its connection`() async throws {
        var waiting: Task<String, any Error>?
        try await withListener { path in
            waiting = Task { try await answer(to: "a=held", path) }
            await told.until(.asked(1))
            // The gate stays shut: only cancellation ends the answer.
        }
        #expect(told.left == [1])
        // Whether the answer still reached him is chance; that he is not left waiting is not.
        _ = await waiting?.result
    }

    @Test func `who gets no place is closed at once and never leaves`() async throws {
        var service = told.service
        service.enter = { _ in throw NoPlace() }
        try await withListener(service) { path in
            let answer = try? await UnixClient.connect(to: path).executeThenClose { inbound, _ in
                var text = ""
                for try await part in inbound { text += String(buffer: part) }
                return text
            }
            #expect(answer ?? "" == "")
        }
        #expect(told.left == [])
    }
}
