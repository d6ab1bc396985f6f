// SPDX-License-Identifier: Apache-2.0

import GRPCCore
import GRPCPeer
import SPIFFE
import Synchronization

/// Answers every request with what the handler knows about its peer.
struct DescribingService: RegistrableRPCService {
    static let describe = MethodDescriptor(fullyQualifiedService: "test.Peer", method: "Describe")
    static let watch = MethodDescriptor(fullyQualifiedService: "test.Peer", method: "Watch")
    static let fetch = MethodDescriptor(
        fullyQualifiedService: "SpiffeWorkloadAPI",
        method: "Fetch"
    )

    /// Peers of the requests so far.
    let peers = Recorder<PeerContext>()

    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        for method in [Self.describe, Self.fetch] {
            router.registerHandler(
                forMethod: method,
                deserializer: BytesCoding(),
                serializer: BytesCoding()
            ) { request, context in
                // Whoever answered before the request is there would not be held to its size.
                for try await _ in request.messages {}
                let peer = try context.peer
                peers.record(peer)
                var text = summary(of: peer)
                if !Array(request.metadata[stringValues: "signet-connection-label"]).isEmpty {
                    text += " with label"
                }
                let bytes = Array(text.utf8)
                return StreamingServerResponse { writer in
                    try await writer.write(bytes)
                    return [:]
                }
            }
        }
        router.registerHandler(
            forMethod: Self.watch,
            deserializer: BytesCoding(),
            serializer: BytesCoding()
        ) { _, context in
            let peer = Array(summary(of: try context.peer).utf8)
            return StreamingServerResponse { writer in
                try await writer.write(peer)
                try await context.cancellation.cancelled
                return [:]
            }
        }
    }
}

/// One line about a peer, without anything that differs between runs.
func summary(of peer: PeerContext) -> String {
    switch peer {
    case .local(let process): "uid \(process.uid) pid \(process.pid)"
    case .remote(_, nil): "anonymous"
    case .remote(_, let verified?): verified.id.description
    }
}

/// Collects values and lets a test wait for one.
final class Recorder<Value: Sendable>: Sendable {
    private let stream: AsyncStream<Value>
    private let continuation: AsyncStream<Value>.Continuation
    private let values = Mutex<[Value]>([])

    init() {
        (stream, continuation) = AsyncStream.makeStream()
    }

    var all: [Value] { values.withLock { $0 } }

    func record(_ value: Value) {
        values.withLock { $0.append(value) }
        continuation.yield(value)
    }

    /// The first value not yet looked at that matches.
    func first<Match>(_ match: (Value) -> Match?) async throws -> Match {
        for await value in stream {
            if let result = match(value) { return result }
        }
        throw CancellationError()
    }
}

extension GRPCClient {
    /// Calls a method of `DescribingService`.
    func ask(
        _ method: MethodDescriptor = DescribingService.describe,
        message: [UInt8] = [],
        metadata: Metadata = [:],
        waitForReady: Bool = false
    ) async throws -> String {
        var options = CallOptions.defaults
        options.timeout = .seconds(20)
        options.waitForReady = waitForReady
        return try await unary(
            request: ClientRequest(message: message, metadata: metadata),
            descriptor: method,
            serializer: BytesCoding(),
            deserializer: BytesCoding(),
            options: options
        ) { String(decoding: try $0.message, as: UTF8.self) }
    }
}

/// Serves a `DescribingService` while `body` runs.
func withDescribingServer<Result: Sendable>(
    _ transport: PeerServerTransport,
    requiring required: [RequiredMetadata] = [],
    _ body: (DescribingService) async throws -> Result
) async throws -> Result {
    let service = DescribingService()
    return try await withGRPCServer(
        transport: transport,
        services: [service],
        interceptors: [transport.interceptor(requiring: required)]
    ) { _ in
        _ = try await transport.listeningAddress
        return try await body(service)
    }
}

/// The status code with which a call fails; `nil` when it succeeds.
func failureCode(_ call: () async throws -> String) async -> RPCError.Code? {
    do {
        _ = try await call()
        return nil
    } catch {
        return (error as? RPCError)?.code ?? .unknown
    }
}
