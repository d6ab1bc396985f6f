// SPDX-License-Identifier: Apache-2.0

package import GRPCNIOTransportHTTP2Posix
package import NIOCore
internal import NIOPosix
internal import NIOSSL
package import SPIFFE

/// Makes the client transports of the control plane.
package enum PeerClientTransport {
    /// Time from the TCP connection to the server's first HTTP/2 frame.
    package static let handshakeTimeout = Duration.seconds(10)
    /// How often a server is asked for a sign of life, also between calls.
    ///
    /// One that hangs is noticed within `keepaliveTime` plus `keepaliveTimeout`; not below the
    /// servers' `ConnectionLimits.peerKeepaliveIntervalMin`. A machine or network that is gone is
    /// noticed by the kernel, after 30 s.
    package static let keepaliveTime = Duration.seconds(90)
    package static let keepaliveTimeout = Duration.seconds(10)

    /// A transport to a Unix socket.
    ///
    /// - Throws: never in practice; the stock initializer is declared so.
    package static func unixSocket(
        path: String,
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) throws -> HTTP2ClientTransport.Posix {
        // gRPC clients name a local server so; the path itself is no valid HTTP authority.
        try HTTP2ClientTransport.Posix(
            target: .unixDomainSocket(path: path, authority: "localhost"),
            transportSecurity: .plaintext,
            config: configuration(initializer: nil),
            eventLoopGroup: eventLoopGroup
        )
    }

    /// A transport to a Unix socket, as long as one of some users' processes listens there.
    ///
    /// One that hangs is noticed by the calls' own time limits.
    ///
    /// - Parameters:
    ///   - path: The socket.
    ///   - owners: Whose it may be, by the kernel, asked for each connection before anything is sent.
    ///   - onRefusal: Why a connection was ended; the RPCs themselves only report `unavailable`.
    ///     Called on an event loop, so it must not block.
    ///   - eventLoopGroup: Where connections live.
    /// - Returns: The transport; it connects when its client runs.
    /// - Throws: never in practice; the stock initializer is declared so.
    package static func unixSocket(
        path: String,
        ownedBy owners: SocketOwners,
        onRefusal: @escaping @Sendable (SocketOwnerError) -> Void,
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) throws -> HTTP2ClientTransport.Posix {
        try HTTP2ClientTransport.Posix(
            target: .unixDomainSocket(path: path, authority: "localhost"),
            transportSecurity: .plaintext,
            // Other libraries' servers end connections that ask for signs of life so often.
            config: configuration(asksForLife: false) { channel in
                SocketOwnerHandler.add(to: channel, owners: owners, onRefusal: onRefusal)
            },
            eventLoopGroup: eventLoopGroup
        )
    }

    /// A transport over TLS 1.3 on which both sides prove who they are.
    ///
    /// - Parameters:
    ///   - address: The server.
    ///   - identity: Asked for every handshake, so a renewed certificate is used from the next
    ///     connection on; while it throws, no connection is made.
    ///   - verifyServer: Judges the server's chain (DER, leaf first) by its SPIFFE ID; no host name
    ///     is compared. The handshake fails when it throws.
    ///   - onHandshakeFailure: Why a connection failed; the RPCs themselves only report
    ///     `unavailable`. Called on an event loop, so it must not block.
    ///   - eventLoopGroup: Where connections live.
    /// - Returns: The transport; it connects when its client runs.
    /// - Throws: When the address cannot be a target.
    package static func mutualTLS(
        to address: ServerAddress,
        identity: @escaping @Sendable () throws -> TLSIdentity,
        verifyServer: @escaping @Sendable ([[UInt8]]) async throws -> VerifiedPeer,
        onHandshakeFailure: @escaping @Sendable (any Error) -> Void = { _ in },
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) throws -> HTTP2ClientTransport.Posix {
        try tls(
            to: address,
            handshake: ClientHandshake(
                identity: identity,
                verify: { _ = try await verifyServer($0) },
                onFailure: onHandshakeFailure
            ),
            eventLoopGroup: eventLoopGroup
        )
    }

    /// A transport over TLS 1.3 on which only the server proves who it is.
    ///
    /// - Parameters:
    ///   - address: The server.
    ///   - server: How the server's chain is judged.
    ///   - onHandshakeFailure: As for `mutualTLS`.
    ///   - eventLoopGroup: Where connections live.
    /// - Returns: The transport; it connects when its client runs.
    /// - Throws: When the address cannot be a target.
    package static func anonymousTLS(
        to address: ServerAddress,
        server: ServerVerification,
        onHandshakeFailure: @escaping @Sendable (any Error) -> Void = { _ in },
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) throws -> HTTP2ClientTransport.Posix {
        let verify: @Sendable ([[UInt8]]) async throws -> Void =
            switch server {
            case .required(let verify): { _ = try await verify($0) }
            case .dangerousFirstContact: { _ in }
            }
        return try tls(
            to: address,
            handshake: ClientHandshake(
                identity: nil,
                verify: verify,
                onFailure: onHandshakeFailure
            ),
            eventLoopGroup: eventLoopGroup
        )
    }

    private static func tls(
        to address: ServerAddress,
        handshake: ClientHandshake,
        eventLoopGroup: any EventLoopGroup
    ) throws -> HTTP2ClientTransport.Posix {
        let config = configuration(initializer: handshake.prepare)
        // The stock TLS settings allow TLS 1.2 and keep one context for all connections; so TLS is
        // added by the initializer, and the transport is only told that the channel is secure.
        let security = HTTP2ClientTransport.Posix.TransportSecurity.customSecure
        let literal = try? NIOCore.SocketAddress(
            ipAddress: address.host,
            port: Int(address.port)
        )
        switch literal {
        case .v4:
            return try HTTP2ClientTransport.Posix(
                target: .ipv4(address: address.host, port: Int(address.port)),
                transportSecurity: security,
                config: config,
                eventLoopGroup: eventLoopGroup
            )
        case .v6:
            return try HTTP2ClientTransport.Posix(
                target: .ipv6(address: address.host, port: Int(address.port)),
                transportSecurity: security,
                config: config,
                eventLoopGroup: eventLoopGroup
            )
        case .unixDomainSocket, nil:
            return try HTTP2ClientTransport.Posix(
                target: .dns(host: address.host, port: Int(address.port)),
                transportSecurity: security,
                config: config,
                eventLoopGroup: eventLoopGroup
            )
        }
    }

    private static func configuration(
        asksForLife: Bool = true,
        initializer: (@Sendable (any Channel) -> EventLoopFuture<Void>)?
    ) -> HTTP2ClientTransport.Posix.Config {
        .defaults { config in
            config.backoff = .init(
                initial: .milliseconds(500),
                max: .seconds(30),
                multiplier: 1.6,
                jitter: 0.2
            )
            if asksForLife {
                config.connection.keepalive = .init(
                    time: keepaliveTime,
                    timeout: keepaliveTimeout,
                    allowWithoutCalls: true
                )
            } else {
                config.connection.keepalive = nil
            }
            config.channelDebuggingCallbacks.onCreateTCPConnection = initializer
        }
    }
}

/// How an anonymous client judges the server.
package enum ServerVerification: Sendable {
    /// The handshake fails when the closure throws for the server's chain (DER, leaf first).
    case required(@Sendable ([[UInt8]]) async throws -> VerifiedPeer)
    /// Any server is accepted. Only for fetching a bundle whose authorities are then compared with
    /// pinned hashes: nothing secret may be sent, nothing received may be believed.
    case dangerousFirstContact
}
