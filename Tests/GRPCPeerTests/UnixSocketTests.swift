// SPDX-License-Identifier: Apache-2.0

import CLinux
import Foundation
import GRPCCore
import GRPCPeer
import NIOCore
import NIOPosix
import Testing

@Suite(.timeLimit(.minutes(1)))
struct UnixSocketTests {
    private func server(
        _ path: String,
        mode: UInt32 = 0o600,
        limits: ConnectionLimits = .local,
        onEvent: @escaping @Sendable (PeerEvent) -> Void = { _ in }
    ) -> PeerServerTransport {
        .unixSocket(path: path, mode: mode, limits: limits, now: { Date() }, onEvent: onEvent)
    }

    private func ask(
        _ path: String,
        _ method: MethodDescriptor = DescribingService.describe,
        metadata: Metadata = [:]
    ) async throws -> String {
        try await withGRPCClient(transport: PeerClientTransport.unixSocket(path: path)) {
            try await $0.ask(method, metadata: metadata)
        }
    }

    private var ourselves: String { "uid \(getuid()) pid \(getpid())" }

    @Test func `the peer of a request is the process the kernel names`() async throws {
        try await withSocketDirectory { directory in
            try await withDescribingServer(server(directory + "/s")) { service in
                let answer = try await ask(directory + "/s")
                #expect(answer == ourselves)
                let peer = try #require(service.peers.all.first)
                guard case .local(let process) = peer else {
                    Issue.record("not local: \(peer)")
                    return
                }
                #expect(process.gid == getgid())
                #expect(process.isAlive())
            }
        }
    }

    @Test func `a label sent by the client is ignored and not passed on`() async throws {
        try await withSocketDirectory { directory in
            try await withDescribingServer(server(directory + "/s")) { _ in
                let spoofed: Metadata = [
                    "signet-connection-label": "1-1", "signet-connection-label": "2-2",
                ]
                let answer = try await ask(directory + "/s", metadata: spoofed)
                #expect(answer == ourselves)
            }
        }
    }

    @Test func `a server without the interceptor knows no peer`() async throws {
        try await withSocketDirectory { directory in
            let transport = server(directory + "/s")
            try await withGRPCServer(transport: transport, services: [DescribingService()]) { _ in
                _ = try await transport.listeningAddress
                let code = await failureCode { try await ask(directory + "/s") }
                #expect(code == .internalError)
            }
        }
    }

    @Test func `who waits for a server that never begins is let go with his task`() async throws {
        try await withSocketDirectory { directory in
            let transport = server(directory + "/s")
            await withTaskGroup(of: Void.self) { group in
                for isEarly in [true, false] {
                    if !isEarly { group.cancelAll() }
                    group.addTask {
                        await #expect(throws: RuntimeError.self) {
                            _ = try await transport.listeningAddress
                        }
                    }
                }
            }
        }
    }

    /// NIO does not expect that a listener is closed while it is made.
    @Test func `a server that is ended while it begins ends`() async throws {
        try await withSocketDirectory { directory in
            for number in 0..<200 {
                let transport = server(directory + "/s")
                let server = GRPCServer(transport: transport, services: [DescribingService()])
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { try await server.serve(on: transport, ending: {}, ready: {}) }
                    for _ in 0..<number { await Task.yield() }
                    group.cancelAll()
                    try await group.waitForAll()
                }
            }
        }
    }

    @Test func `a server that is ended before it begins ends`() async throws {
        try await withSocketDirectory { directory in
            let transport = server(directory + "/s")
            let server = GRPCServer(transport: transport, services: [DescribingService()])
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.cancelAll()
                group.addTask { try await server.serve(on: transport, ending: {}, ready: {}) }
                try await group.waitForAll()
            }
        }
    }

    @Test func `an interceptor of another transport knows no peer`() async throws {
        try await withSocketDirectory { directory in
            let transport = server(directory + "/s")
            try await withGRPCServer(
                transport: transport,
                services: [DescribingService()],
                interceptors: [server(directory + "/other").interceptor()]
            ) { _ in
                _ = try await transport.listeningAddress
                let code = await failureCode { try await ask(directory + "/s") }
                #expect(code == .internalError)
            }
        }
    }

    struct SecurityHeader: Sendable, CustomTestStringConvertible {
        let values: [String]
        let code: RPCError.Code?
        var testDescription: String { values.description }
    }

    @Test(arguments: [
        SecurityHeader(values: ["true"], code: nil),
        SecurityHeader(values: [], code: .invalidArgument),
        SecurityHeader(values: ["True"], code: .invalidArgument),
        SecurityHeader(values: ["1"], code: .invalidArgument),
        SecurityHeader(values: ["true "], code: .invalidArgument),
        SecurityHeader(values: ["true", "true"], code: .invalidArgument),
        SecurityHeader(values: ["true, true"], code: .invalidArgument),
    ])
    func `E-2 a Workload API request carries the security header exactly once`(
        _ header: SecurityHeader
    ) async throws {
        try await withSocketDirectory { directory in
            let transport = server(directory + "/s")
            try await withDescribingServer(transport, requiring: [.workloadAPI]) { _ in
                var metadata = Metadata()
                for value in header.values {
                    metadata.addString(value, forKey: "workload.spiffe.io")
                }
                let code = await failureCode {
                    try await ask(directory + "/s", DescribingService.fetch, metadata: metadata)
                }
                #expect(code == header.code)
                // Other services on the same socket have rules of their own.
                let answer = try await ask(directory + "/s")
                #expect(answer == ourselves)
            }
        }
    }

    @Test(arguments: [0o600, 0o660, 0o666, 0o777] as [UInt32])
    func `the socket file has the mode asked for`(_ mode: UInt32) async throws {
        try await withSocketDirectory { directory in
            try await withDescribingServer(server(directory + "/s", mode: mode)) { _ in
                #expect(status(of: directory + "/s").mode & 0o7777 == mode)
                #expect(status(of: directory + "/s.lock").mode & 0o7777 == 0o600)
            }
        }
    }

    @Test func `the socket file is removed at the end`() async throws {
        try await withSocketDirectory { directory in
            try await withDescribingServer(server(directory + "/s")) { _ in
                #expect(status(of: directory + "/s").error == 0)
            }
            #expect(status(of: directory + "/s").error == ENOENT)
        }
    }

    @Test func `a file that took the place of the socket is not removed`() async throws {
        try await withSocketDirectory { directory in
            try await withDescribingServer(server(directory + "/s")) { _ in
                try FileManager.default.removeItem(atPath: directory + "/s")
                try Data("mine".utf8).write(to: URL(filePath: directory + "/s"))
            }
            #expect(status(of: directory + "/s").error == 0)
        }
    }

    @Test func `a socket file left by a killed server is replaced`() async throws {
        try await withSocketDirectory { directory in
            try leaveStaleSocket(at: directory + "/s")
            #expect(status(of: directory + "/s").error == 0)
            try await withDescribingServer(server(directory + "/s")) { _ in
                let answer = try await ask(directory + "/s")
                #expect(answer == ourselves)
            }
        }
    }

    private func startError(_ path: String) async throws -> UnixSocketError? {
        do {
            try await GRPCServer(transport: server(path), services: []).serve()
            return nil
        } catch let error as RuntimeError {
            let refusal = try #require(error.cause as? ListenerError)
            #expect(refusal.place == path && refusal.description.hasPrefix("\(path) "))
            guard case .socket(let reason) = refusal.reason else { return nil }
            return reason
        }
    }

    @Test func `an address that cannot be listened on is named with what to do`() {
        for (number, says) in [
            (EADDRINUSE, "in use by another process"), (EACCES, "a port above 1023"),
            (EADDRNOTAVAIL, "no address of this machine"),
        ] {
            let error = ListenerError(place: "10.0.0.1:81", reason: .address(errno: number))
            #expect(error.description.hasPrefix("10.0.0.1:81 "))
            #expect(error.description.contains(says))
        }
    }

    @Test func `a second server refuses to start and the first goes on`() async throws {
        try await withSocketDirectory { directory in
            try await withDescribingServer(server(directory + "/s")) { _ in
                let refusal = try await startError(directory + "/s")
                #expect(refusal == .alreadyServed)
                let answer = try await ask(directory + "/s")
                #expect(answer == ourselves)
            }
        }
    }

    @Test func `a socket on which another program listens is left alone`() async throws {
        try await withSocketDirectory { directory in
            let foreign = try listenWithoutLock(at: directory + "/s")
            defer { clinux_close(foreign) }
            let inode = status(of: directory + "/s").inode
            let refusal = try await startError(directory + "/s")
            #expect(refusal == .alreadyServed)
            #expect(status(of: directory + "/s").inode == inode)
        }
    }

    @Test func `a file that is no socket is left alone`() async throws {
        try await withSocketDirectory { directory in
            try Data("mine".utf8).write(to: URL(filePath: directory + "/s"))
            let refusal = try await startError(directory + "/s")
            #expect(refusal == .notASocket)
            #expect(try Data(contentsOf: URL(filePath: directory + "/s")) == Data("mine".utf8))
        }
    }

    @Test func `a path that no socket address holds is refused`() async throws {
        let long = "/tmp/" + String(repeating: "x", count: 103)
        #expect(long.utf8.count == 108)
        let tooLong = try await startError(long)
        #expect(tooLong == .pathTooLong)
        let relative = try await startError("relative")
        #expect(relative == .pathNotAbsolute)
    }

    @Test func `one user gets no more connections than its share`() async throws {
        try await withSocketDirectory { directory in
            let refusals = Recorder<ConnectionRefusal>()
            var limits = ConnectionLimits.local
            limits.connectionsPerSourceMax = 2
            let transport = server(directory + "/s", limits: limits) { event in
                if case .refused(let refusal) = event { refusals.record(refusal) }
            }
            try await withDescribingServer(transport) { _ in
                let first = try await accepted(directory + "/s")
                let second = try await accepted(directory + "/s")
                let third = try await connect(directory + "/s")
                try await third.closeFuture.get()
                #expect(refusals.all == [.connectionsPerSourceMax(.uid(getuid()))])
                #expect(transport.connections.count == 2)

                try await first.close()
                // The place is free once the server has seen the end of the connection.
                while transport.connections.count == 2 { await Task.yield() }
                let fourth = try await accepted(directory + "/s")
                #expect(transport.connections.count == 2)
                try await second.close()
                try await fourth.close()
            }
        }
    }

    @Test func `all users together get no more connections than the limit`() async throws {
        try await withSocketDirectory { directory in
            let refusals = Recorder<ConnectionRefusal>()
            var limits = ConnectionLimits.local
            limits.connectionsMax = 1
            let transport = server(directory + "/s", limits: limits) { event in
                if case .refused(let refusal) = event { refusals.record(refusal) }
            }
            try await withDescribingServer(transport) { _ in
                let first = try await accepted(directory + "/s")
                let second = try await connect(directory + "/s")
                try await second.closeFuture.get()
                #expect(refusals.all == [.connectionsMax])
                try await first.close()
            }
        }
    }

    @Test func `a caller that sends no preface is disconnected`() async throws {
        try await withSocketDirectory { directory in
            let failures = Recorder<PeerOpeningError>()
            var limits = ConnectionLimits.local
            limits.openingTimeout = .milliseconds(100)
            let transport = server(directory + "/s", limits: limits) { event in
                guard case .openingFailed(_, let error) = event else { return }
                if let error = error as? PeerOpeningError { failures.record(error) }
            }
            try await withDescribingServer(transport) { _ in
                let silent = try await connect(directory + "/s")
                try await silent.closeFuture.get()
                #expect(try await failures.first { $0 } == .timedOut)
            }
        }
    }

    @Test func `a peer that ignores a drain cannot hold up the shutdown`() async throws {
        try await withSocketDirectory { directory in
            var limits = ConnectionLimits.local
            limits.drainTimeMax = .milliseconds(100)
            let opened = Recorder<PeerContext>()
            let transport = server(directory + "/s", limits: limits) { event in
                if case .opened(let peer) = event { opened.record(peer) }
            }
            let silent = try await withDescribingServer(transport) { _ in
                let silent = try await accepted(directory + "/s")
                // A preface and empty settings; no ping is ever answered.
                let bytes =
                    Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
                try await silent.writeAndFlush(ByteBuffer(bytes: bytes)).get()
                _ = try await opened.first { $0 }
                return silent
            }
            // The server has ended.
            try await silent.closeFuture.get()
            #expect(transport.connections.count == 0)
        }
    }

    private func connect(_ path: String) async throws -> any Channel {
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(unixDomainSocketPath: path).get()
    }

    /// A connection on which the server has begun to speak.
    private func accepted(_ path: String) async throws -> any Channel {
        let spoken = MultiThreadedEventLoopGroup.singleton.any().makePromise(of: Void.self)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.closeFuture.whenComplete { _ in spoken.fail(ChannelError.eof) }
                return channel.pipeline.addHandler(FirstReadHandler(promise: spoken))
            }
            .connect(unixDomainSocketPath: path).get()
        try await spoken.futureResult.get()
        return channel
    }
}

private final class FirstReadHandler: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer

    private let promise: EventLoopPromise<Void>

    init(promise: EventLoopPromise<Void>) {
        self.promise = promise
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        promise.succeed()
    }
}
