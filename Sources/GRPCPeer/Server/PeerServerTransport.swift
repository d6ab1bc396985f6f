// SPDX-License-Identifier: Apache-2.0

package import GRPCCore
package import GRPCNIOTransportHTTP2Posix
package import NIOCore
internal import NIOPosix
package import SPIFFE
package import struct FoundationEssentials.Date

/// A gRPC server transport that knows who is at the other end of every connection.
///
/// Give `interceptor(requiring:)` to the `GRPCServer` as its first interceptor; without it no
/// service can learn its peer and `ServerContext.peer` throws.
package final class PeerServerTransport: ListeningServerTransport {
    /// What carries the bytes of a message.
    package typealias Bytes = GRPCNIOTransportBytes

    /// The open connections.
    package let connections: PeerConnections

    private let custom: HTTP2ServerTransport.Custom<PeerListener>
    private let endpoint: PeerListener.Endpoint
    private let place = ListeningPlace()
    private let now: @Sendable () -> Date

    private init(
        _ endpoint: PeerListener.Endpoint,
        limits: ConnectionLimits,
        now: @escaping @Sendable () -> Date,
        onEvent: @escaping @Sendable (PeerEvent) -> Void,
        eventLoopGroup: any EventLoopGroup
    ) {
        let connections = PeerConnections(limits: limits)
        let listener = PeerListener(
            endpoint: endpoint,
            limits: limits,
            connections: connections,
            now: now,
            onEvent: onEvent,
            eventLoopGroup: eventLoopGroup
        )
        self.connections = connections
        self.endpoint = endpoint
        self.now = now
        self.custom = HTTP2ServerTransport.Custom(
            listenerFactory: listener,
            config: limits.configuration
        )
    }

    /// A transport on a Unix socket; each peer is the process that the kernel says connected.
    ///
    /// The socket is made when the server starts and removed when it ends. A file left by a dead
    /// server is replaced; a live one is never touched.
    ///
    /// - Parameters:
    ///   - path: Absolute, at most 107 bytes. `<path>.lock` is used beside it.
    ///   - mode: Permission bits of the file; write permission is what connecting needs.
    ///   - group: Whose the file is to be; where this process may not give it away, it stays its
    ///     owner's alone (0600).
    ///   - limits: What one peer and all together may use.
    ///   - now: The wall clock.
    ///   - onEvent: Called on an event loop, so it must not block.
    ///   - eventLoopGroup: Where connections live.
    /// - Returns: The transport; it binds when its server starts.
    package static func unixSocket(
        path: String,
        mode: UInt32,
        group: UInt32? = nil,
        limits: ConnectionLimits = .local,
        now: @escaping @Sendable () -> Date,
        onEvent: @escaping @Sendable (PeerEvent) -> Void = { _ in },
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) -> PeerServerTransport {
        PeerServerTransport(
            .unixSocket(UnixSocketFile(path: path, mode: mode, group: group)),
            limits: limits,
            now: now,
            onEvent: onEvent,
            eventLoopGroup: eventLoopGroup
        )
    }

    /// A transport on TCP with TLS 1.3 and HTTP/2, where a client certificate is optional.
    ///
    /// - Parameters:
    ///   - address: Where to listen; see `listeningAddress` when its port is 0.
    ///   - identity: Asked for every connection, so a new certificate needs no restart; while it
    ///     throws, connections are refused.
    ///   - verify: Judges the chain (DER, leaf first) of a client that shows one; the handshake
    ///     fails when it throws.
    ///   - limits: What all peers together may use.
    ///   - now: The wall clock.
    ///   - onEvent: Called on an event loop, so it must not block.
    ///   - eventLoopGroup: Where connections live.
    /// - Returns: The transport; it binds when its server starts.
    package static func tls(
        address: ServerAddress,
        identity: @escaping @Sendable () throws -> TLSIdentity,
        verify: @escaping @Sendable ([[UInt8]]) async throws -> VerifiedPeer,
        limits: ConnectionLimits = .network,
        now: @escaping @Sendable () -> Date,
        onEvent: @escaping @Sendable (PeerEvent) -> Void = { _ in },
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) -> PeerServerTransport {
        PeerServerTransport(
            .tls(address, .init(identity: identity, verify: verify)),
            limits: limits,
            now: now,
            onEvent: onEvent,
            eventLoopGroup: eventLoopGroup
        )
    }

    /// The interceptor that belongs to this transport.
    ///
    /// - Parameters:
    ///   - required: Metadata that methods of the named services demand.
    ///   - believes: Whether a peer that was verified when it connected still counts; asked for each
    ///     request, so it must be quick.
    /// - Returns: An interceptor that knows the connections of this transport only.
    package func interceptor(
        requiring required: [RequiredMetadata] = [],
        believes: @escaping @Sendable (VerifiedPeer) -> Bool = { _ in true }
    ) -> PeerInterceptor {
        PeerInterceptor(
            connections: connections,
            required: required,
            believes: believes,
            now: now
        )
    }

    /// The address in use; waits until the server listens, or the task is cancelled.
    ///
    /// - Throws: `RuntimeError` when the server could not start or has ended, or was not waited for.
    package var listeningAddress: GRPCNIOTransportHTTP2Posix.SocketAddress {
        get async throws {
            guard let address = await place.wait() else {
                throw RuntimeError(code: .serverIsStopped, message: "the server does not listen")
            }
            return address
        }
    }

    /// The TCP port in use; waits until the server listens.
    ///
    /// - Throws: `RuntimeError` when there is none.
    package var boundPort: UInt16 {
        get async throws {
            let address = try await listeningAddress
            guard let port = address.ipv4?.port ?? address.ipv6?.port,
                let port = UInt16(exactly: port)
            else { throw RuntimeError(code: .transportError, message: "not a TCP listener") }
            return port
        }
    }

    /// Learns the methods of the server; called by the server before `listen`.
    package func configure(context: GRPCServerContext) {
        custom.configure(context: context)
    }

    package func listen(
        streamHandler:
            @escaping @concurrent @Sendable (
                _ stream: RPCStream<Inbound, Outbound>,
                _ context: ServerContext
            ) async -> Void
    ) async throws {
        defer {
            place.tell(nil)
            connections.end()
            if case .unixSocket(let file) = endpoint { file.remove() }
        }
        let (custom, place) = (custom, place)
        guard place.begin() else { return }
        try await withThrowingDiscardingTaskGroup { group in
            // The library answers this as soon as it was told to listen, or could not.
            group.addTask {
                if let address = await custom.listeningAddress { place.tell(address) }
            }
            try await custom.listen(streamHandler: streamHandler)
        }
    }

    package func beginGracefulShutdown() {
        place.end { [custom] in custom.beginGracefulShutdown() }
    }
}
