// SPDX-License-Identifier: Apache-2.0

internal import GRPCNIOTransportHTTP2Posix

/// How much one listener gives to its peers.
///
/// Every member may be set; the presets say what each number is for.
package struct ConnectionLimits: Sendable {
    /// Most connections open at once, without those that `opening` and `anonymous` bound; further
    /// ones are closed at once.
    package var connectionsMax: Int
    /// Most connections of one user id (Unix socket) or one IP address (TCP; for IPv6 one /64
    /// network), so that one of them cannot starve the others.
    package var connectionsPerSourceMax: Int
    /// Most connections of one verified SPIFFE ID: an agent needs one, and a second while the
    /// first is found dead; the rest is for an identity that several processes use at once.
    package var connectionsPerPeerMax = 8
    /// What connections over TCP share until their handshake is done.
    package var opening = OpeningLimits.defaults
    /// What peers without a certificate get, in place of the members they share; unused on Unix
    /// sockets.
    package var anonymous: AnonymousLimits
    /// Most requests at once on one connection (the HTTP/2 default is without limit).
    package var concurrentStreamsMax: Int
    /// Largest request message in bytes; a larger one ends its stream.
    package var requestBytesMax: Int
    /// Time from accept until the TLS handshake and the HTTP/2 preface are complete.
    package var openingTimeout: Duration
    /// A connection without any stream is closed after this time; `nil`: never.
    package var idleTimeMax: Duration?
    /// Age at which a connection is drained; `nil`: never.
    ///
    /// It is shortened by up to a tenth at random, so that peers that came together do not come
    /// back together. A verified peer's connection is drained at the end of its certificate in any
    /// case.
    package var ageMax: Duration?
    /// Time that open requests have once a connection is drained, also at shutdown; then it is
    /// closed whatever its peer does.
    package var drainTimeMax: Duration
    /// After this time without data the peer is asked for a sign of life.
    package var keepaliveTime: Duration
    /// Time for that sign; then the connection is closed.
    package var keepaliveTimeout: Duration
    /// Peers that send their own keepalive more often than this are disconnected.
    package var peerKeepaliveIntervalMin: Duration

    /// For a Unix socket: many small callers, none of them more trusted than its user id says.
    ///
    /// A connection costs two descriptors and about 85 KiB with one stream.
    package static let local = Self(
        connectionsMax: 4096,
        connectionsPerSourceMax: 1024,
        anonymous: .defaults,
        concurrentStreamsMax: 64,
        requestBytesMax: 64 * 1024,
        openingTimeout: .seconds(10),
        idleTimeMax: .seconds(30 * 60),
        ageMax: nil,
        drainTimeMax: .seconds(5),
        keepaliveTime: .seconds(2 * 60 * 60),
        keepaliveTimeout: .seconds(20),
        peerKeepaliveIntervalMin: .seconds(10)
    )

    /// For the admin socket: few callers, whole directories of documents in one request.
    package static let admin = Self(
        connectionsMax: 256,
        connectionsPerSourceMax: 64,
        anonymous: .defaults,
        concurrentStreamsMax: 64,
        requestBytesMax: 16 * 1024 * 1024,
        openingTimeout: .seconds(10),
        idleTimeMax: .seconds(30 * 60),
        ageMax: nil,
        drainTimeMax: .seconds(5),
        keepaliveTime: .seconds(2 * 60 * 60),
        keepaliveTimeout: .seconds(20),
        peerKeepaliveIntervalMin: .seconds(10)
    )

    /// For the network: agents with one long stream each, batches of 500 signing requests
    /// (at most 2 KiB each) and admins' documents.
    ///
    /// Many agents may come through one address translator, hence the large share of one source.
    package static let network = Self(
        connectionsMax: 20_000,
        connectionsPerSourceMax: 5000,
        anonymous: .defaults,
        concurrentStreamsMax: 32,
        requestBytesMax: 4 * 1024 * 1024,
        openingTimeout: .seconds(10),
        idleTimeMax: .seconds(15 * 60),
        ageMax: .seconds(4 * 60 * 60),
        drainTimeMax: .seconds(30),
        // Agents ask by themselves, an agent that hangs does not acknowledge, and a machine that is
        // gone is noticed by the kernel: asking each of thousands as well would only cost.
        keepaliveTime: .seconds(2 * 60 * 60),
        keepaliveTimeout: .seconds(20),
        peerKeepaliveIntervalMin: .seconds(10)
    )

    /// What connections share that have proved nothing yet, apart from those that have: who only
    /// opens connections can delay newcomers, but takes no place from a verified peer.
    package struct OpeningLimits: Sendable {
        /// Most connections in their handshake at once; a handshake takes milliseconds.
        package var connectionsMax: Int
        /// Most of them from one address (IPv6: one /64 network).
        package var connectionsPerSourceMax: Int

        package static let defaults = Self(connectionsMax: 1000, connectionsPerSourceMax: 64)
    }

    /// What one listener gives to peers that showed no certificate.
    ///
    /// It is enough to fetch a bundle and to attest, and too little to fill memory with requests
    /// that nobody has read yet.
    package struct AnonymousLimits: Sendable {
        /// Most anonymous connections at once.
        package var connectionsMax: Int
        /// Most of them from one address (IPv6: one /64 network): many machines may join from
        /// behind one address translator, but must not shut out the others.
        package var connectionsPerSourceMax: Int
        /// Most requests at once on one connection.
        package var concurrentStreamsMax: Int
        /// Most bytes in one request; a larger one is reset.
        package var requestBytesMax: Int
        /// A connection is drained at this age.
        package var ageMax: Duration

        package static let defaults = Self(
            connectionsMax: 1000,
            connectionsPerSourceMax: 64,
            concurrentStreamsMax: 4,
            requestBytesMax: 64 * 1024,
            ageMax: .seconds(60)
        )
    }

    var configuration: HTTP2ServerTransport.Custom<PeerListener>.Config {
        var connection = HTTP2ServerTransport.Config.Connection.defaults
        // The age is kept by ConnectionHandler, which knows the certificate and spreads the ends.
        connection.maxAge = nil
        connection.maxGraceTime = drainTimeMax
        connection.maxIdleTime = idleTimeMax
        connection.keepalive = .init(
            time: keepaliveTime,
            timeout: keepaliveTimeout,
            clientBehavior: .init(
                minPingIntervalWithoutCalls: peerKeepaliveIntervalMin,
                allowWithoutCalls: true
            )
        )
        var http2 = HTTP2ServerTransport.Config.HTTP2.defaults
        http2.maxConcurrentStreams = concurrentStreamsMax
        return .init(
            compression: .defaults,
            connection: connection,
            http2: http2,
            rpc: .init(maxRequestPayloadSize: requestBytesMax),
            channelDebuggingCallbacks: .init(
                onBindTCPListener: nil,
                onAcceptTCPConnection: nil,
                onAcceptHTTP2Stream: StreamLabelHandler.add(to:)
            )
        )
    }
}
