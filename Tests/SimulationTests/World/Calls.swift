// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import FoundationEssentials
import SPIFFE

/// What an agent asks the server, in one call each.
enum Request: Sendable {
    case bundle
    case joinToken(hash: [UInt8], csr: [UInt8])
    case readmission(name: String, csr: [UInt8], checkpointSize: UInt64)
    case renewal(csr: [UInt8], checkpointSize: UInt64)
    case sign([WorkloadSigningRequest], checkpointSize: UInt64)

    var label: String {
        switch self {
        case .bundle: "bundle"
        case .joinToken: "joinToken"
        case .readmission: "readmission"
        case .renewal: "renewal"
        case .sign(let requests, _): "sign \(requests.count)"
        }
    }
}

/// A checkpoint of the audit log, with the proof that it continues the one the agent has.
struct CheckpointUpdate: Sendable {
    var note: [UInt8]
    var proof: [[UInt8]]
}

/// What the server answers.
enum Reply: Sendable {
    case admitted(Admission)
    case bundle(TrustBundle)
    case signed([Result<[UInt8], APIError>], CheckpointUpdate?)

    struct Admission: Sendable {
        var chain: [[UInt8]]
        var bundle: TrustBundle
        var id: SPIFFEID
        var auditKey: String
        var checkpoint: CheckpointUpdate?
    }
}

/// Why a call or a connection brought nothing.
enum CallFailure: Error {
    case refused(APIError)
    /// The server does not take the certificate that it was shown.
    case certificateRefused
    /// The agent does not believe that it spoke to its server.
    case serverUnverified(String)
    case transport(String)

    var text: String {
        switch self {
        case .refused(let error): error.description
        case .certificateRefused: "the server refused the certificate"
        case .serverUnverified(let problem): "the server is not believed: \(problem)"
        case .transport(let problem): problem
        }
    }
}

/// The agent's half of a handshake.
struct Caller {
    let link: Link
    /// Empty for callers without an identity.
    let chain: [[UInt8]]
    /// What is wrong with the server's chain; nil if it is believed.
    let judge: ([[UInt8]]) async -> String?
}

/// An open connection, and who the caller has proved to be.
struct Channel {
    let connection: Connection
    let peer: VerifiedPeer?
}

/// Opens connections and carries calls; both sides verify each other as mutual TLS does.
final class Network {
    /// How long an agent waits for an answer.
    static let deadline: Duration = .seconds(30)
    /// How long an agent waits for a connection.
    static let connectTimeout: Duration = .seconds(10)

    private let scheduler: Scheduler
    let server: SimulatedServer
    /// Sabotage: this agent's requests for workloads stay without answers.
    var silenced: String?

    init(_ scheduler: Scheduler, _ server: SimulatedServer) {
        self.scheduler = scheduler
        self.server = server
    }

    /// Opens a connection; exactly one of the two outcomes follows.
    func connect(
        _ caller: Caller,
        opened: @escaping (Channel) async throws -> Void,
        failed: @escaping (CallFailure) async throws -> Void
    ) {
        let link = caller.link
        let delay = scheduler.random.duration(link.latency)
        scheduler.after(delay, "\(link.name) connects") { [self] in
            guard link.isUp else {
                scheduler.after(Self.connectTimeout, "\(link.name) gives up connecting") {
                    try await failed(.transport("no way to the server"))
                }
                return
            }
            guard let running = server.running else {
                return try await failed(.transport("refused"))
            }
            if let problem = await caller.judge(running.presentedChain) {
                return try await failed(.serverUnverified(problem))
            }
            var peer: VerifiedPeer?
            if !caller.chain.isEmpty {
                peer = await running.verify(caller.chain)
                guard peer != nil else {
                    return try await failed(.certificateRefused)
                }
            }
            let connection = link.open()
            server.accepted(connection)
            try await opened(Channel(connection: connection, peer: peer))
        }
    }

    /// Asks one thing on an open connection; `completion` is called once.
    func ask(
        _ request: Request,
        on channel: Channel,
        completion: @escaping (Result<Reply, CallFailure>) async throws -> Void
    ) {
        let call = PendingCall(completion)
        let connection = channel.connection
        let stream = connection.newStream()
        scheduler.after(Self.deadline, "\(connection.name) deadline of \(request.label)") {
            try await call.end(.failure(.transport("deadline")))
        }
        connection.send(to: .server, on: stream, "asks: \(request.label)") { [self] in
            try await server.serve(request, from: channel.peer, source: connection.name) {
                [self] result in
                let outcome = if case .failure = result { "refusal" } else { "answer" }
                if case .sign = request, connection.name == silenced { return }
                connection.send(to: .agent, on: stream, "\(outcome) to: \(request.label)") {
                    try await call.end(result.mapError(CallFailure.refused))
                }
            }
        }
    }

    /// Asks one thing on a connection of its own; `completion` is called once.
    func ask(
        _ request: Request,
        _ caller: Caller,
        completion: @escaping (Result<Reply, CallFailure>) async throws -> Void
    ) {
        connect(caller) { [self] channel in
            ask(request, on: channel) { result in
                channel.connection.close(from: .agent)
                try await completion(result)
            }
        } failed: { failure in
            try await completion(.failure(failure))
        }
    }
}

/// A call that is answered once.
private final class PendingCall {
    private var completion: ((Result<Reply, CallFailure>) async throws -> Void)?

    init(_ completion: @escaping (Result<Reply, CallFailure>) async throws -> Void) {
        self.completion = completion
    }

    func end(_ result: Result<Reply, CallFailure>) async throws {
        guard let completion else { return }
        self.completion = nil
        try await completion(result)
    }
}
