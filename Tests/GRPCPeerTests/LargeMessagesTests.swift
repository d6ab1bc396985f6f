// SPDX-License-Identifier: Apache-2.0

import Clocks
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCPeer
import Synchronization
import Testing

/// A time that is over at once, or never.
private enum Turn {
    static let over: @Sendable () async throws -> Void = {}
    static let endless: @Sendable () async throws -> Void = {
        let clock = SystemClock()
        try await clock.sleep(untilBoot: clock.bootTime + .seconds(3600))
    }
}

/// How often something has happened.
private final class Count: Sendable {
    private let number = Mutex(0)

    var value: Int { number.withLock { $0 } }

    func rise() { number.withLock { $0 += 1 } }
}

/// Writes that are under way until they are let go.
private final class Writes: Sendable {
    private struct State {
        var isOpen = false
        var underWay: [ConnectionSource: Int] = [:]
        var most: [ConnectionSource: Int] = [:]
        var done = 0
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    var underWay: Int { state.withLock { $0.underWay.values.reduce(0, +) } }
    var done: Int { state.withLock { $0.done } }

    func most(of source: ConnectionSource) -> Int { state.withLock { $0.most[source] ?? 0 } }

    func write(to source: ConnectionSource) async {
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock { state in
                let count = state.underWay[source, default: 0] + 1
                state.underWay[source] = count
                state.most[source] = max(state.most[source] ?? 0, count)
                if !state.isOpen { state.waiting.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
        state.withLock { state in
            state.underWay[source, default: 1] -= 1
            state.done += 1
        }
    }

    func letGo() {
        let waiting = state.withLock { state in
            state.isOpen = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }
}

/// How many large messages wait for their readers at a time.
@Suite(.timeLimit(.minutes(1)))
struct LargeMessagesTests {
    private static let large = LargeMessages.shortBytesMax + 1
    private static let (one, other) = (ConnectionSource.uid(1), ConnectionSource.uid(2))

    private func eventually(_ condition: () -> Bool) async throws {
        let clock = SystemClock()
        while !condition() { try await clock.sleep(untilBoot: clock.bootTime + .milliseconds(1)) }
    }

    private func send(
        _ messages: LargeMessages,
        bytes: Int = large,
        to source: ConnectionSource = one,
        turn: @escaping @Sendable () async throws -> Void = Turn.endless,
        isLate: @escaping @Sendable () -> Void = { Issue.record("it is not late") },
        _ write: @escaping @Sendable () async throws -> Void
    ) async throws {
        try await messages.send(
            bytes: bytes,
            to: source,
            on: nil,
            turn: turn,
            isLate: isLate,
            write
        )
    }

    @Test func `a number of large messages waits at a time, less of one source, short ones never`()
        async throws
    {
        let (messages, writes) = (LargeMessages(atOnceMax: 5, perSourceMax: 3), Writes())
        try await withThrowingTaskGroup(of: Void.self) { group in
            for source in [Self.one, Self.other] {
                for _ in 0..<4 {
                    group.addTask {
                        try await send(messages, to: source) { await writes.write(to: source) }
                    }
                }
            }
            try await eventually { writes.underWay == 5 }
            let short = Count()
            try await send(messages, bytes: LargeMessages.shortBytesMax) { short.rise() }
            #expect(short.value == 1)
            writes.letGo()
            try await group.waitForAll()
        }
        #expect(writes.done == 8)
        #expect(max(writes.most(of: Self.one), writes.most(of: Self.other)) == 3)
    }

    @Test func `a message that is late loses its turn, and is written on`() async throws {
        let (messages, writes) = (LargeMessages(atOnceMax: 1, perSourceMax: 1), Writes())
        let late = Count()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<3 {
                group.addTask {
                    try await send(
                        messages,
                        turn: Turn.over,
                        isLate: { late.rise() }
                    ) { await writes.write(to: Self.one) }
                }
            }
            try await eventually { late.value == 3 && writes.underWay == 3 }
            writes.letGo()
            try await group.waitForAll()
        }
        #expect(writes.done == 3)
    }

    @Test func `who waits and leaves takes no turn from the next`() async throws {
        let (messages, writes) = (LargeMessages(atOnceMax: 1, perSourceMax: 1), Writes())
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await send(messages) { await writes.write(to: Self.one) } }
            try await eventually { writes.underWay == 1 }
            let left = Task {
                try await send(messages) { Issue.record("it was cancelled before its turn") }
            }
            left.cancel()
            await #expect(throws: CancellationError.self) { try await left.value }
            group.addTask { try await send(messages) { await writes.write(to: Self.one) } }
            writes.letGo()
            try await group.waitForAll()
        }
        #expect(writes.done == 2)
    }

    @Test func `a write that fails gives its turn back`() async throws {
        let messages = LargeMessages(atOnceMax: 1, perSourceMax: 1)
        for _ in 0..<2 {
            await #expect(throws: RPCError.self) {
                try await send(messages) { throw RPCError(code: .aborted, message: "it failed") }
            }
        }
    }
}

/// Answers with one message that no window of a connection holds.
private final class LargeMessageService: RegistrableRPCService {
    static let fetch = MethodDescriptor(fullyQualifiedService: "test.Large", method: "Fetch")
    private static let message = [UInt8](repeating: 1, count: 32 << 20)

    struct Counts {
        var written = 0
        var over = 0
        var late = 0
    }

    private let turn: @Sendable () async throws -> Void
    private let messages = LargeMessages(atOnceMax: 1, perSourceMax: 1)
    private let state = Mutex(Counts())

    init(turn: @escaping @Sendable () async throws -> Void) { self.turn = turn }

    var counts: Counts { state.withLock { $0 } }

    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        router.registerHandler(
            forMethod: Self.fetch,
            deserializer: BytesCoding(),
            serializer: BytesCoding()
        ) { [self] _, context in
            let stream = try #require(context.stream)
            return StreamingServerResponse { [self] writer in
                defer { state.withLock { $0.over += 1 } }
                // Of a client's own buffer so many are enough: from then on it takes nothing.
                for _ in 0..<16 { try await writer.write([1]) }
                try await messages.send(
                    bytes: Self.message.count,
                    to: .uid(1),
                    on: stream,
                    turn: turn,
                    isLate: { [self] in
                        state.withLock { $0.late += 1 }
                        stream.end()
                    }
                ) { [self] in
                    try await writer.write(Self.message)
                    state.withLock { $0.written += 1 }
                }
                return [:]
            }
        }
    }
}

/// The same on a real connection.
@Suite(.timeLimit(.minutes(1)))
struct LargeMessageStreamTests {
    private func eventually(_ condition: () -> Bool) async throws {
        let clock = SystemClock()
        while !condition() { try await clock.sleep(untilBoot: clock.bootTime + .milliseconds(1)) }
    }

    private func serve(
        _ service: LargeMessageService,
        _ body: (GRPCClient<HTTP2ClientTransport.Posix>) async throws -> Void
    ) async throws {
        try await withSocketDirectory { directory in
            let path = directory + "/s"
            let transport = PeerServerTransport.unixSocket(
                path: path,
                mode: 0o600,
                limits: .local,
                now: { Date() },
                onEvent: { _ in }
            )
            try await withGRPCServer(
                transport: transport,
                services: [service, DescribingService()],
                interceptors: [transport.interceptor()]
            ) { _ in
                _ = try await transport.listeningAddress
                try await withGRPCClient(
                    transport: PeerClientTransport.unixSocket(path: path)
                ) { try await body($0) }
            }
        }
    }

    private func fetch(
        _ client: GRPCClient<HTTP2ClientTransport.Posix>,
        _ body:
            @escaping @Sendable (StreamingClientResponse<[UInt8]>) async throws -> Void
    ) async throws {
        try await client.serverStreaming(
            request: ClientRequest(message: []),
            descriptor: LargeMessageService.fetch,
            serializer: BytesCoding(),
            deserializer: BytesCoding(),
            options: .defaults,
            onResponse: body
        )
    }

    @Test func `a message keeps its turn until it is taken, or its reader has left`() async throws {
        let service = LargeMessageService(turn: Turn.endless)
        try await serve(service) { client in
            for count in 1...2 {
                try await fetch(client) { _ in
                    try await eventually { service.counts.written == count }
                    // A request later on the same connection nobody has read it.
                    _ = try await client.ask()
                    #expect(service.counts.over == count - 1)
                }
                try await eventually { service.counts.over == count }
            }
        }
        #expect(service.counts.late == 0)
    }

    @Test func `a stream is ended whose reader does not take a message in time`() async throws {
        let service = LargeMessageService(turn: Turn.over)
        try await serve(service) { client in
            for count in 1...2 {
                await #expect(throws: RPCError.self) {
                    try await fetch(client) { response in
                        try await eventually { service.counts.over == count }
                        for try await _ in response.messages {}
                    }
                }
            }
        }
        #expect(service.counts.late == 2)
    }
}
