// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPIProtos
internal import Dispatch
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import GRPCPeer
internal import Synchronization

/// How long a key service may take, a second try included.
package struct KeyServiceTimes: Hashable, Sendable {
    /// For one signature, a list or a destruction.
    package var call: Duration
    /// For signatures in one call, or for making a key; also how long a call waits for a place.
    package var batch: Duration

    package init(call: Duration, batch: Duration) {
        self.call = call
        self.batch = batch
    }

    /// docs/decisions/0013-authority-keys.md.
    package static let standard = Self(call: .seconds(5), batch: .seconds(10))
}

/// A key service at a Unix socket: who answers there, when a call is given up, and when a connection.
///
/// Calls block, as long as the service takes and while there is no place: they are made on threads
/// that no task needs. A call that finds nobody is made once more on a new connection, which is what
/// a service needs that was restarted; all calls may be made twice. Both have one time limit.
final class KeyServiceLink: Sendable {
    /// Most calls at once: as many as batches are signed at once.
    static let callsMax = 8
    /// Longest answer: `KeyServiceKeys.keysMax` of the largest keys, and gRPC's usual limit.
    static let answerBytesMax = 4 << 20

    typealias Service = Signet_Keyservice_V1alpha1_KeyService.Client<HTTP2ClientTransport.Posix>

    /// A connection that is given up when it is let go.
    private final class Connection: Sendable {
        let client: WaitingClient
        private let refusal: HandshakeFailure

        init(_ socket: String, _ owners: SocketOwners) throws {
            let refusal = HandshakeFailure()
            self.refusal = refusal
            client = WaitingClient(
                try PeerClientTransport.unixSocket(
                    path: socket,
                    ownedBy: owners,
                    onRefusal: { refusal.record($0) }
                )
            )
        }

        /// Why nobody was reached.
        func reason(of error: RPCError) -> String { ServiceWords.reason(of: error, refusal) }
    }

    private let socket: String
    private let owners: SocketOwners
    private let owner: String
    private let times: KeyServiceTimes
    private let clock: any NodeClock
    private let report: @Sendable (KeyServiceReport) -> Void
    private let places = DispatchSemaphore(value: callsMax)
    private let current = Mutex<Connection?>(nil)

    /// A service at a socket; nothing is opened yet.
    ///
    /// - Parameters:
    ///   - socket: Where it listens.
    ///   - owners: Whose process it may be.
    ///   - owner: Whose keys are asked for, as refusals say.
    ///   - times: How long it may take.
    ///   - clock: By which calls are measured.
    ///   - report: What became of each call.
    init(
        socket: String,
        owners: SocketOwners,
        owner: String,
        times: KeyServiceTimes,
        clock: any NodeClock,
        report: @escaping @Sendable (KeyServiceReport) -> Void
    ) {
        self.socket = socket
        self.owners = owners
        self.owner = owner
        self.times = times
        self.clock = clock
        self.report = report
    }

    /// Makes a call, judges its answer, and tells what became of it.
    ///
    /// - Parameters:
    ///   - name: The call.
    ///   - isBatch: Whether it has a batch's time.
    ///   - body: The call itself.
    ///   - read: What is made of the answer.
    /// - Returns: What was made of it.
    /// - Throws: `KeyServiceError`.
    func call<Answer: Sendable, Value>(
        _ name: KeyServiceCall,
        isBatch: Bool = false,
        _ body: @escaping @Sendable (Service, CallOptions) async throws -> Answer,
        reading read: (Answer) throws(KeyServiceError) -> Value
    ) throws(KeyServiceError) -> Value {
        let start = clock.bootTime
        do throws(KeyServiceError) {
            // Who has a place has it no longer than that: waiting on is for nothing.
            guard places.wait(timeout: .now() + times.batch / .seconds(1)) == .success else {
                throw .timedOut(call: name, after: times.batch)
            }
            defer { places.signal() }
            let limit = isBatch ? times.batch : times.call
            let value = try read(answer(name, within: limit, body))
            report(KeyServiceReport(call: name, duration: clock.bootTime - start, error: nil))
            return value
        } catch {
            report(KeyServiceReport(call: name, duration: clock.bootTime - start, error: error))
            throw error
        }
    }

    private func answer<Answer: Sendable>(
        _ name: KeyServiceCall,
        within limit: Duration,
        _ body: @escaping @Sendable (Service, CallOptions) async throws -> Answer
    ) throws(KeyServiceError) -> Answer {
        let deadline = clock.bootTime + limit
        do throws(KeyServiceError) {
            return try attempt(name, within: limit, of: limit, body)
        } catch .unavailable(let socket, let reason) {
            let left = deadline - clock.bootTime
            guard left > .zero else { throw .unavailable(socket: socket, reason: reason) }
            return try attempt(name, within: left, of: limit, body)
        }
    }

    private func attempt<Answer: Sendable>(
        _ name: KeyServiceCall,
        within time: Duration,
        of limit: Duration,
        _ body: @escaping @Sendable (Service, CallOptions) async throws -> Answer
    ) throws(KeyServiceError) -> Answer {
        let connection = try connection()
        var options = CallOptions.defaults
        options.timeout = time
        options.maxResponseMessageBytes = Self.answerBytesMax
        // The transport takes this one for what is received (grpc-swift-nio-transport 2.9).
        options.maxRequestMessageBytes = Self.answerBytesMax
        let start = clock.bootTime
        do {
            return try connection.client.wait { [options] client in
                try await body(Service(wrapping: client), options)
            }
        } catch let error as RPCError {
            switch error.code {
            case .deadlineExceeded, .cancelled, .unavailable:
                // It may hang for the next one too.
                letGo(connection)
                // A service that is ending, or whose backend has limits of its own, says so at once.
                guard error.code == .unavailable || clock.bootTime - start < time * 9 / 10 else {
                    throw .timedOut(call: name, after: limit)
                }
                throw .unavailable(socket: socket, reason: connection.reason(of: error))
            default:
                throw .refused(
                    call: name,
                    owner: owner,
                    code: "\(error.code)",
                    reason: ServiceWords.cleaned(error.message)
                )
            }
        } catch {
            letGo(connection)
            throw .unavailable(socket: socket, reason: ServiceWords.cleaned("\(error)"))
        }
    }

    private func connection() throws(KeyServiceError) -> Connection {
        do {
            return try current.withLock { current in
                if let current { return current }
                let made = try Connection(socket, owners)
                current = made
                return made
            }
        } catch {
            throw .unavailable(socket: socket, reason: ServiceWords.cleaned("\(error)"))
        }
    }

    /// Lets the next call connect anew; calls that are under way keep what they have.
    private func letGo(_ connection: Connection) {
        let old = current.withLock { current -> Connection? in
            guard current === connection else { return nil }
            defer { current = nil }
            return current
        }
        // It ends here, not under the lock.
        withExtendedLifetime(old) {}
    }
}
