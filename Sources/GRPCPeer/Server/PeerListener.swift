// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import GRPCNIOTransportHTTP2Posix
internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import SPIFFE
internal import struct FoundationEssentials.Date

/// Makes the listening channel of a `PeerServerTransport` and records the peer of each connection.
struct PeerListener: HTTP2ServerTransport.ListenerFactory {
    typealias Configurator = HTTP2ServerTransport.ConnectionConfigurator

    enum Endpoint: Sendable {
        case tls(ServerAddress, TLSAcceptance)
        case unixSocket(UnixSocketFile)
    }

    struct TLSAcceptance: Sendable {
        let identity: @Sendable () throws -> TLSIdentity
        let verify: @Sendable ([[UInt8]]) async throws -> VerifiedPeer
    }

    let endpoint: Endpoint
    let limits: ConnectionLimits
    let connections: PeerConnections
    let now: @Sendable () -> Date
    let onEvent: @Sendable (PeerEvent) -> Void
    let eventLoopGroup: any EventLoopGroup

    func makeListeningChannel(
        listenerConfigurator: HTTP2ServerTransport.ListenerConfigurator,
        connectionConfigurator: Configurator
    ) async throws -> NIOAsyncChannel<Configurator.ConnectionChannel, Never> {
        let bootstrap = ServerBootstrap(group: eventLoopGroup)
            .serverChannelInitializer { listenerConfigurator.configure(channel: $0) }
        switch endpoint {
        case .unixSocket(let file):
            return try await bootstrap.bind(listen(file)) { channel in
                accept(channel, connectionConfigurator) { try acceptLocal(channel) }
            }
        case .tls(let address, let acceptance):
            do {
                return
                    try await bootstrap
                    .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                    .bind(host: address.host, port: Int(address.port)) { channel in
                        accept(channel, connectionConfigurator) {
                            try acceptTLS(channel, acceptance)
                        }
                    }
            } catch let error as IOError {
                let reason = ListenerError.Reason.address(errno: error.errnoCode)
                throw ListenerError(place: address.description, reason: reason)
            }
        }
    }

    private func listen(_ file: UnixSocketFile) throws(ListenerError) -> Int32 {
        do throws(UnixSocketError) {
            return try file.listen()
        } catch {
            throw ListenerError(place: file.path, reason: .socket(error))
        }
    }

    /// Sets one connection up, or closes it: an error of one connection never reaches the listener.
    private func accept(
        _ channel: any Channel,
        _ configurator: Configurator,
        _ prepare: @escaping @Sendable () throws -> Configurator.TLS
    ) -> EventLoopFuture<Configurator.ConnectionChannel> {
        channel.eventLoop.makeCompletedFuture(withResultOf: prepare)
            .flatMap { configurator.configure(channel: channel, tls: $0) }
            .map { configured in
                // A listener that ends drops connections nobody has taken from it yet, and NIO
                // stops the process when the writer inside such a connection goes away before the
                // connection does. So the connection holds it.
                channel.closeFuture.whenComplete { _ in withExtendedLifetime(configured) {} }
                return configured
            }
            .flatMapErrorThrowing { error in
                if let refusal = error as? ConnectionRefusal { onEvent(.refused(refusal)) }
                channel.close(promise: nil)
                throw error
            }
    }

    private func acceptLocal(_ channel: any Channel) throws -> Configurator.TLS {
        let peer: LocalPeer?
        do {
            peer = try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable {
                (socket: NIOBSDSocket.Handle) in
                try LocalPeer(ofSocket: socket)
            }
        } catch {
            throw ConnectionRefusal.peerUnknown(error as? LocalPeerError)
        }
        guard let peer else { throw ConnectionRefusal.peerUnknown(nil) }
        let connection = PeerConnection(channel: channel, origin: .local(peer))
        try admit(connection)
        try channel.pipeline.syncOperations.addHandler(handler(for: connection))
        return .none
    }

    private func acceptTLS(
        _ channel: any Channel,
        _ acceptance: TLSAcceptance
    ) throws -> Configurator.TLS {
        guard let host = channel.remoteAddress?.ipAddress, let port = channel.remoteAddress?.port
        else { throw ConnectionRefusal.peerUnknown(nil) }
        let text = host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
        let connection = PeerConnection(
            channel: channel,
            origin: .remote(address: text, host: host)
        )
        try admit(connection)
        try TCPKeepalive.enable(on: channel)
        let context: NIOSSLContext
        do {
            context = try TLSContext.server(acceptance.identity())
        } catch {
            throw ConnectionRefusal.identityUnavailable
        }
        let handler = handler(for: connection)
        let bound = NIOLoopBound(handler, eventLoop: channel.eventLoop)
        let verify = acceptance.verify
        let tls = NIOSSLServerHandler(context: context) { certificates, promise in
            TLSContext.answer(promise, certificates: certificates) { chain in
                connection.record(try await verify(chain))
            } failed: { error in
                channel.eventLoop.execute { bound.value.verificationFailed(error) }
            }
        }
        try channel.pipeline.syncOperations.addHandlers([tls, handler])
        return .configured(requireALPN: true)
    }

    private func admit(_ connection: PeerConnection) throws {
        try connections.admit(connection)
        connection.channel.closeFuture.whenComplete { _ in connections.remove(connection) }
    }

    private func handler(for connection: PeerConnection) -> ConnectionHandler {
        ConnectionHandler(
            connection: connection,
            connections: connections,
            limits: limits,
            now: now,
            onEvent: onEvent
        )
    }
}
