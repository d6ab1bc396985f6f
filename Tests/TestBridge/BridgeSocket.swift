// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix

/// Answers at a Unix socket while `body` runs, with the library's own transport: nothing of a server
/// of ours is in the way.
///
/// At its end `ending` lets what is held or watched go, which would keep the server.
func serving<Value: Sendable>(
    _ services: [any RegistrableRPCService],
    at path: String,
    interceptors: [any ServerInterceptor] = [],
    ending: () -> Void,
    _ body: () async throws -> Value
) async throws -> Value {
    try? FileManager.default.removeItem(atPath: path)
    let transport = HTTP2ServerTransport.Posix(
        address: .unixDomainSocket(path: path),
        transportSecurity: .plaintext
    )
    let server = GRPCServer(
        transport: transport,
        services: services,
        interceptors: interceptors
    )
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await server.serve() }
        _ = try await transport.listeningAddress
        let value = try await body()
        // To cancel it in the moment of an accept, NIO does not expect.
        server.beginGracefulShutdown()
        ending()
        try await group.waitForAll()
        try? FileManager.default.removeItem(atPath: path)
        return value
    }
}
