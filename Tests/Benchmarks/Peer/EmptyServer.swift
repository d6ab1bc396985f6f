// SPDX-License-Identifier: Apache-2.0

internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix

/// A grpc-swift server without a service, on the Unix socket given: what any agent built on this
/// stack weighs before it does anything.
@main
struct EmptyServer {
    static func main() async throws {
        let path = CommandLine.arguments.dropFirst().first ?? "empty.sock"
        let transport = HTTP2ServerTransport.Posix(
            address: .unixDomainSocket(path: path),
            transportSecurity: .plaintext
        )
        try await GRPCServer(transport: transport, services: []).serve()
    }
}
