// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import NIOPosix

/// What a listener asks and tells whoever runs it.
package struct TokenService<Caller: Sendable>: Sendable {
    /// Who has connected, by the descriptor of its socket; throwing closes the connection.
    package var enter: @Sendable (Int32) throws -> Caller
    /// A connection that `enter` took is over; called on the listener's thread, once for each.
    package var closed: @Sendable () -> Void
    /// A caller's connection is over, and his request is answered; called once for each.
    package var leave: @Sendable (Caller) -> Void
    /// Answers a request; never longer than `TokenConnectionLimits.answerTimeMax` is of use.
    package var answer: @Sendable (EndpointRequest, Caller) async -> EndpointAnswer
    /// A request was refused by its head alone, with this status; called on the listener's thread.
    package var refused: @Sendable (Int) -> Void

    /// Joins the parts.
    package init(
        enter: @escaping @Sendable (Int32) throws -> Caller,
        closed: @escaping @Sendable () -> Void = {},
        leave: @escaping @Sendable (Caller) -> Void,
        answer: @escaping @Sendable (EndpointRequest, Caller) async -> EndpointAnswer,
        refused: @escaping @Sendable (Int) -> Void
    ) {
        self.enter = enter
        self.closed = closed
        self.leave = leave
        self.answer = answer
        self.refused = refused
    }
}

/// The times of a connection, which no caller changes.
package enum TokenConnectionLimits {
    /// Longest time from accept to the end of the request.
    package static let requestTimeMax: Duration = .seconds(5)
    /// Longest time until the answer is taken, of which the server has ten seconds.
    package static let answerTimeMax: Duration = .seconds(15)
}

/// A caller, for as long as his connection or his request takes something.
final class TokenGuest<Caller: Sendable>: Sendable {
    let caller: Caller
    private let leave: @Sendable (Caller) -> Void

    init(_ caller: Caller, leave: @escaping @Sendable (Caller) -> Void) {
        self.caller = caller
        self.leave = leave
    }

    deinit { leave(caller) }
}

/// A request that is to be answered, and where its answer goes.
struct TokenJob<Caller: Sendable>: Sendable {
    let request: EndpointRequest
    /// Whoever goes away before his answer keeps his place until it is made.
    let guest: TokenGuest<Caller>
    let done: @Sendable (EndpointAnswer) -> Void
}

/// Serves a Unix socket: one request for each connection, on a thread of its own.
///
/// It knows neither keys nor entries.
package final class TokenListener<Caller: Sendable>: Sendable {
    private let channel: any Channel
    private let group: MultiThreadedEventLoopGroup
    private let service: TokenService<Caller>
    private let jobs: AsyncStream<TokenJob<Caller>>
    private let outlet: AsyncStream<TokenJob<Caller>>.Continuation

    private init(
        channel: any Channel,
        group: MultiThreadedEventLoopGroup,
        service: TokenService<Caller>,
        jobs: AsyncStream<TokenJob<Caller>>,
        outlet: AsyncStream<TokenJob<Caller>>.Continuation
    ) {
        self.channel = channel
        self.group = group
        self.service = service
        self.jobs = jobs
        self.outlet = outlet
    }

    /// Begins to take connections; requests are answered by `run()`, once.
    ///
    /// - Parameters:
    ///   - descriptor: A Unix socket that listens already; the listener owns it from now on.
    ///   - service: Who is served how.
    /// - Returns: The listener.
    /// - Throws: The system's own error.
    package static func open(
        descriptor: Int32,
        _ service: TokenService<Caller>
    ) async throws -> TokenListener {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let (jobs, outlet) = AsyncStream.makeStream(of: TokenJob<Caller>.self)
        do {
            let channel = try await ServerBootstrap(group: group)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try admit(channel, service, outlet)
                    }
                }
                .withBoundSocket(descriptor).get()
            return TokenListener(
                channel: channel,
                group: group,
                service: service,
                jobs: jobs,
                outlet: outlet
            )
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
    }

    /// Counts a connection until it ends, and serves it; what is thrown closes it.
    private static func admit(
        _ channel: any Channel,
        _ service: TokenService<Caller>,
        _ outlet: AsyncStream<TokenJob<Caller>>.Continuation
    ) throws {
        let pipeline = channel.pipeline.syncOperations
        let caller = try pipeline.withUnsafeTransportIfAvailable {
            (socket: NIOBSDSocket.Handle) in
            try service.enter(socket)
        }
        guard let caller else { throw ChannelError.operationUnsupported }
        let guest = TokenGuest(caller, leave: service.leave)
        channel.closeFuture.whenComplete { _ in withExtendedLifetime(guest) { service.closed() } }
        let handler = TokenConnectionHandler(refused: service.refused) { request, done in
            outlet.yield(TokenJob(request: request, guest: guest, done: done))
        }
        try pipeline.addHandler(handler)
    }

    /// Answers until the task is cancelled or the listener fails, then closes everything.
    package func run() async {
        let (channel, outlet, service) = (channel, outlet, service)
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { tasks in
                tasks.addTask {
                    try? await channel.closeFuture.get()
                    outlet.finish()
                }
                for await job in jobs {
                    tasks.addTask { job.done(await service.answer(job.request, job.guest.caller)) }
                }
                tasks.cancelAll()
                channel.close(promise: nil)
            }
        } onCancel: {
            channel.close(promise: nil)
        }
        try? await group.shutdownGracefully()
    }
}
