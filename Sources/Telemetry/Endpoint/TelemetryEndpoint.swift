// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import Synchronization

/// Serves `/metrics`, `/live` and `/ready` over plain HTTP/1.1, one request for each connection.
///
/// It has no authentication and tells nothing secret; it belongs on a loopback address unless the
/// admin decides otherwise.
package final class TelemetryEndpoint: Sendable {
    /// Most connections at once; scrapers and probes need a handful.
    package static let connectionsMax = 64
    /// From accept to the last byte of the answer.
    package static let connectionTimeout = Duration.seconds(10)

    /// The port in use.
    package let port: UInt16
    private let channel: any Channel

    private init(channel: any Channel, port: UInt16) {
        self.channel = channel
        self.port = port
    }

    /// Opens the listener and begins to answer.
    ///
    /// - Parameters:
    ///   - host: An IP address or a name of this machine.
    ///   - port: 0 picks a free port.
    ///   - metrics: What `/metrics` shows.
    ///   - health: What `/live` and `/ready` answer.
    /// - Returns: The endpoint; call `run()` next.
    /// - Throws: `TelemetryBindError` when the address cannot be bound, or the system's own error.
    package static func bind(
        host: String,
        port: UInt16,
        metrics: MetricRegistry,
        health: Health
    ) async throws -> TelemetryEndpoint {
        let page: @Sendable (HTTPRequestHead) -> TelemetryPage = {
            TelemetryPage(answering: $0, metrics: metrics, health: health)
        }
        let admission = ConnectionAdmission(max: connectionsMax)
        let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard admission.enter() else { throw ChannelError.operationUnsupported }
                    channel.closeFuture.whenComplete { _ in admission.leave() }
                    let sync = channel.pipeline.syncOperations
                    try sync.configureHTTPServerPipeline(withErrorHandling: true)
                    try sync.addHandler(TelemetryRequestHandler(page: page))
                }
            }
        let channel: any Channel
        do {
            channel = try await bootstrap.bind(host: host, port: Int(port)).get()
        } catch let error as IOError {
            let known = TelemetryBindError(host: host, port: port, errno: error.errnoCode)
            guard let known else { throw error }
            throw known
        }
        let bound = channel.localAddress?.port.flatMap(UInt16.init(exactly:))
        return TelemetryEndpoint(channel: channel, port: bound ?? port)
    }

    /// Serves until the task is cancelled, then closes the listener.
    package func run() async throws {
        try await withTaskCancellationHandler {
            try await channel.closeFuture.get()
        } onCancel: {
            channel.close(promise: nil)
        }
    }
}

/// Counts open connections.
private final class ConnectionAdmission: Sendable {
    private let max: Int
    private let open = Mutex(0)

    init(max: Int) {
        self.max = max
    }

    func enter() -> Bool {
        open.withLock { open in
            guard open < max else { return false }
            open += 1
            return true
        }
    }

    func leave() {
        open.withLock { $0 -= 1 }
    }
}
