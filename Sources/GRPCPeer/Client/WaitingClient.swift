// SPDX-License-Identifier: Apache-2.0

package import GRPCCore
package import GRPCNIOTransportHTTP2Posix
internal import NIOCore
internal import NIOPosix

/// A client for threads that wait for its answers; it is connected as long as it is kept.
///
/// Neither tasks nor event loops may wait so: they are what answers come by.
package final class WaitingClient: Sendable {
    /// What calls are made with.
    package typealias Client = GRPCClient<HTTP2ClientTransport.Posix>

    private let client: Client
    private let connections: Task<Void, Never>

    /// Begins; the connection is made by the first call, or while it waits.
    package init(_ transport: HTTP2ClientTransport.Posix) {
        let client = Client(transport: transport)
        self.client = client
        let end = Self.loop.makePromise(of: Void.self)
        // How it ended is told to those whose calls it ended.
        connections = end.completeWithTask { try await client.runConnections() }
    }

    deinit {
        client.beginGracefulShutdown()
        // No call is under way: who waits keeps the client. Without this a connection on which the
        // other side has never spoken HTTP/2 is waited for without end, and so is its socket kept.
        connections.cancel()
    }

    /// Makes calls, and blocks the thread until they are answered.
    ///
    /// - Parameter body: It ends by its own calls' time limits: nothing else ends the wait.
    /// - Returns: What it returned.
    /// - Throws: What it threw.
    package func wait<Answer: Sendable>(
        for body: @escaping @Sendable (Client) async throws -> Answer
    ) throws -> Answer {
        let client = client
        let promise = Self.loop.makePromise(of: Answer.self)
        promise.completeWithTask { try await body(client) }
        return try promise.futureResult.wait()
    }

    private static var loop: any EventLoop { MultiThreadedEventLoopGroup.singleton.any() }
}
