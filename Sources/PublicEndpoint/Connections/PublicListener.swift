// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import Synchronization

/// Serves documents to strangers, one request for each connection, on a thread of its own.
///
/// It is given finished bodies and a certificate, and knows neither datastore nor keys.
package final class PublicListener: Sendable {
    /// Longest time from accept to the end of the head, handshake included.
    package static let headTimeMax: Duration = .seconds(5)
    /// Longest time in which an answer is taken.
    package static let answerTimeMax: Duration = .seconds(30)
    /// Longest time in which a peer's word that it closes is waited for.
    package static let closingTimeMax: Duration = .seconds(1)
    /// Most bytes of a body that are on their way at once.
    package static let pieceBytesMax = 16 * 1024
    /// Most connections that the kernel keeps until they are taken.
    package static let backlogMax = 1024

    /// Where it listens.
    package enum Place: Sendable {
        /// A Unix socket that listens already; the listener owns it from now on.
        case socket(descriptor: Int32)
        /// TLS with the pair of the moment at which somebody connects; port 0 picks a free one.
        case tls(host: String, port: UInt16, pair: @Sendable () -> CertificatePair?)
    }

    /// The port in use; nil for a Unix socket.
    package let port: UInt16?
    private let channel: any Channel
    private let group: MultiThreadedEventLoopGroup

    private init(channel: any Channel, group: MultiThreadedEventLoopGroup) {
        self.channel = channel
        self.group = group
        port = channel.localAddress?.port.flatMap(UInt16.init(exactly:))
    }

    /// Opens the listener and begins to answer.
    ///
    /// - Parameters:
    ///   - place: Where.
    ///   - service: What is served, and whom to tell.
    /// - Returns: The listener; call `run()` next.
    /// - Throws: `PublicListenerError` when the address cannot be bound, or the system's own error.
    package static func open(
        _ place: Place,
        _ service: PublicService
    ) async throws -> PublicListener {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do {
            let channel = try await bind(place, service, group)
            return PublicListener(channel: channel, group: group)
        } catch {
            try? await group.shutdownGracefully()
            guard let error = error as? IOError else { throw error }
            throw PublicListenerError(errno: error.errnoCode)
        }
    }

    private static func bind(
        _ place: Place,
        _ service: PublicService,
        _ group: MultiThreadedEventLoopGroup
    ) async throws -> any Channel {
        let door = ConnectionDoor(service: service)
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.backlog, value: Int32(backlogMax))
        switch place {
        case .socket(let descriptor):
            return try await bootstrap.childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try door.admit(channel, .local)
                    try door.addHandlers(to: channel, nil)
                }
            }.withBoundSocket(descriptor).get()
        case .tls(let host, let port, let pair):
            return try await bootstrap.childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let host = channel.remoteAddress?.ipAddress ?? ""
                    try door.admit(channel, ConnectionOrigin(host: host))
                    try door.addHandlers(to: channel, door.requirePair(pair()))
                }
            }.bind(host: host, port: Int(port)).get()
        }
    }

    /// Serves until the task is cancelled or the listener fails, then closes everything.
    package func run() async {
        await withTaskCancellationHandler {
            try? await channel.closeFuture.get()
        } onCancel: {
            channel.close(promise: nil)
        }
        try? await group.shutdownGracefully()
    }
}

/// Why nobody can be served at an address.
package struct PublicListenerError: Error, Hashable, Sendable {
    package let errno: Int32

    package init(errno: Int32) {
        self.errno = errno
    }
}

/// Lets connections in, or not.
private final class ConnectionDoor: Sendable {
    private let service: PublicService
    private let admission = Mutex(ConnectionAdmission())

    init(service: PublicService) {
        self.service = service
    }

    /// Counts a connection until it ends.
    ///
    /// - Throws: `AdmissionRefusal`, with which its channel is closed.
    func admit(_ channel: any Channel, _ origin: ConnectionOrigin) throws {
        let now = service.bootTime()
        if let refusal = admission.withLock({ $0.opened(origin, now: now) }) {
            service.observe(.closed(PublicClosing(refusal)))
            throw refusal
        }
        channel.closeFuture.whenComplete { _ in
            self.admission.withLock { $0.closed(origin) }
        }
    }

    func requirePair(_ pair: CertificatePair?) throws -> CertificatePair {
        if let pair { return pair }
        service.observe(.closed(.noCertificate))
        throw ChannelError.operationUnsupported
    }

    func addHandlers(to channel: any Channel, _ pair: CertificatePair?) throws {
        let pipeline = channel.pipeline.syncOperations
        if let pair { try pipeline.addHandler(NIOSSLServerHandler(context: pair.context)) }
        try pipeline.addHandler(PublicConnectionHandler(service: service))
    }
}
