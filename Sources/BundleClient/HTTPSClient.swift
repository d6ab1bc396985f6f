// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials
internal import HTTPCodec
package import HTTPSemantics
internal import NIOCore
internal import NIOPosix

/// What to fetch, and what to believe of whoever serves it.
package struct BundleRequest: Sendable {
    package let url: HTTPSURL
    package let trust: EndpointTrust
    package let networks: FetchNetworks
    /// The wall clock, by which certificates are judged.
    package let now: Date

    /// Joins the parts.
    package init(url: HTTPSURL, trust: EndpointTrust, networks: FetchNetworks, now: Date) {
        self.url = url
        self.trust = trust
        self.networks = networks
        self.now = now
    }
}

/// Fetches documents of bundle endpoints that strangers run, on a thread of its own
/// (docs/decisions/0021-federation.md).
///
/// It knows neither datastore nor keys, shows no certificate and uses no proxy.
package final class HTTPSClient: Sendable {
    /// Longest fetch, redirects and the look-up of names included.
    package static let timeMax: Duration = .seconds(15)
    /// Longest time in which one address takes a connection and ends the handshake.
    package static let establishTimeMax: Duration = .seconds(5)
    /// Longest time in which a server's word that it closes is waited for, after its answer.
    package static let closingTimeMax: Duration = .seconds(1)
    /// Most addresses of one name that are tried, one after the other.
    package static let addressesMax = 4

    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let resolver: NameResolver
    private let time: Duration
    private let establishTime: Duration

    /// Begins the thread; `close` ends it.
    ///
    /// - Parameters:
    ///   - time: Longest fetch.
    ///   - establishTime: Longest time for one address.
    ///   - look: Looks a name up, on a thread where it may block.
    package init(
        time: Duration = HTTPSClient.timeMax,
        establishTime: Duration = HTTPSClient.establishTimeMax,
        look: @escaping @Sendable (String) throws(BundleFetchError) -> [IPAddress] = {
            name throws(BundleFetchError) in try NameLookup.addresses(of: name)
        }
    ) {
        self.time = time
        self.establishTime = establishTime
        resolver = NameResolver { name in
            do throws(BundleFetchError) {
                return .success(try look(name))
            } catch {
                return .failure(error)
            }
        }
    }

    /// Ends the thread; no fetch may be under way.
    package func close() async {
        try? await group.shutdownGracefully()
    }

    /// Makes one GET, and those to which redirects lead.
    ///
    /// - Parameter request: What, and what to believe.
    /// - Returns: The content of a 200, at most `ResponseReader.bodyBytesMax` bytes.
    /// - Throws: `BundleFetchError`; `timedOut` also when the task is cancelled.
    package func fetch(_ request: BundleRequest) async throws(BundleFetchError) -> [UInt8] {
        let (loop, time) = (group.next(), time)
        let outcome = await withTaskGroup(of: Result<[UInt8], BundleFetchError>.self) { tasks in
            tasks.addTask { await self.follow(request) }
            tasks.addTask {
                await Self.pause(time, on: loop)
                return .failure(BundleFetchError(.timedOut, "not over in \(time)"))
            }
            defer { tasks.cancelAll() }
            return await tasks.next()
        }
        guard let outcome else { throw BundleFetchError(.timedOut, "the fetch was ended") }
        return try outcome.get()
    }

    /// Returns after a time, or when the task is cancelled.
    private static func pause(_ time: Duration, on loop: any EventLoop) async {
        let (ends, end) = AsyncStream.makeStream(of: Void.self)
        let timer = loop.scheduleTask(in: TimeAmount(time)) { end.finish() }
        // A stream ends with its task.
        for await _ in ends {}
        timer.cancel()
    }

    private func follow(_ request: BundleRequest) async -> Result<[UInt8], BundleFetchError> {
        var trail = RedirectTrail(from: request.url, staysOnHost: request.trust.isOfHost)
        while true {
            switch await ask(trail.url, request) {
            case .failure(let error): return .failure(error)
            case .success(.content(let bytes)): return .success(bytes)
            case .success(.failed(let failure)): return .failure(BundleFetchError(failure))
            case .success(.redirect(let location)):
                do throws(RedirectRefusal) {
                    try trail.follow(location)
                } catch {
                    return .failure(BundleFetchError(.redirectRefused, error.description))
                }
            }
        }
    }

    private func ask(_ url: HTTPSURL, _ request: BundleRequest) async -> FetchAttempt.Outcome {
        let found: [IPAddress]
        switch url.host {
        case .address(let address): found = [address]
        case .name(let name):
            switch await resolver.addresses(of: name) {
            case .failure(let error): return .failure(error)
            case .success(let addresses): found = addresses
            }
        }
        guard let first = found.first else {
            return .failure(BundleFetchError(.nameUnresolved, "\(url.authority) has no address"))
        }
        let allowed = found.filter(request.networks.allows).prefix(Self.addressesMax)
        var last = BundleFetchError(
            .addressRefused,
            "\(url.authority) leads to \(first), which federationNetworks does not allow"
        )
        for address in allowed {
            // The connection is to the address that was judged: no second answer counts.
            switch await ask(url, at: address, request) {
            case .failure(let error) where error.reason == .unreachable && !Task.isCancelled:
                last = BundleFetchError(.unreachable, "\(address): \(error.detail)")
            case let outcome: return outcome
            }
        }
        return .failure(last)
    }

    private func ask(
        _ url: HTTPSURL,
        at address: IPAddress,
        _ request: BundleRequest
    ) async -> FetchAttempt.Outcome {
        let socketAddress: SocketAddress
        do {
            socketAddress = try SocketAddress(
                ipAddress: address.description,
                port: Int(url.port)
            )
        } catch {
            return .failure(BundleFetchError(.unreachable, "\(error)"))
        }
        let attempt = FetchAttempt()
        let time = TimeAmount(establishTime)
        let bootstrap = ClientBootstrap(group: group)
            .connectTimeout(time)
            .channelInitializer { channel in
                attempt.began(channel)
                return channel.eventLoop.makeCompletedFuture {
                    let tls = try request.trust.handler(for: url, now: request.now) {
                        attempt.refused($0)
                    }
                    let handler = FetchHandler(
                        attempt: attempt,
                        request: Self.get(url),
                        establishTime: time
                    )
                    try channel.pipeline.syncOperations.addHandlers([tls, handler])
                }
            }
        return await withTaskCancellationHandler {
            bootstrap.connect(to: socketAddress).whenFailure { error in
                if let error = error as? BundleFetchError { attempt.refused(error) }
                attempt.finish(.failure(BundleFetchError(.unreachable, "\(error)")))
            }
            return await attempt.outcome()
        } onCancel: {
            attempt.cancel()
        }
    }

    /// The request (RFC 9112 section 3).
    private static func get(_ url: HTTPSURL) -> [UInt8] {
        let lines = [
            "GET \(url.target) HTTP/1.1", "Host: \(url.authority)", "User-Agent: signet",
            "Accept: application/json", "Accept-Encoding: identity", "Connection: close", "", "",
        ]
        return Array(lines.joined(separator: "\r\n").utf8)
    }
}

extension BundleFetchError {
    /// What an answer of no use is told as.
    fileprivate init(_ failure: FetchFailure) {
        let reason: Reason =
            switch failure {
            case .bodyTooLarge: .bodyTooLarge
            case .responseMalformed: .responseMalformed
            case .statusUnexpected: .statusUnexpected
            }
        self.init(reason, failure.description)
    }
}
