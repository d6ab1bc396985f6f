// SPDX-License-Identifier: Apache-2.0

import Crypto
import Foundation
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import TestPKI
import TestPrograms
import Testing

/// Other people's programs as clients and servers.
@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyPeerTests {
    private func world(_ provider: TLSProvider) async throws -> World {
        let application = try Application(.mirror)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        return world
    }

    /// Runs a program to its end, with something on its standard input.
    private func run(
        _ tool: String,
        _ arguments: [String],
        in directory: TestDirectory
    ) async throws -> ProgramResult {
        let program = try Program(
            Installation.tool(tool),
            arguments,
            directory: directory.path
        )
        return try await program.result()
    }

    @Test(arguments: TLSProvider.allCases)
    func `curl is served with its certificate`(_ provider: TLSProvider) async throws {
        let world = try await world(provider)
        let files = try PeerFiles(world.web, world.root)
        let result = try await run(
            "curl",
            [
                "-sS", "-k", "--tlsv1.3", "--http1.1", "--cert", files.certificate, "--key",
                files.key, "https://\(world.inboundAddress)/a?x=1",
                "https://\(world.inboundAddress)/b",
            ],
            in: files.directory
        )
        #expect(result.isSuccess, "\(result.report)")
        #expect(result.output.contains("get /a?x=1 http/1.1"))
        #expect(result.output.contains("get /b http/1.1"))
        #expect(result.output.contains("uri=spiffe://example.org/web"))
        #expect(await world.server.sum().handshakes == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `curl is refused without certificate, and with an older TLS`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let files = try PeerFiles(world.web, world.root)
        let anonymous = try await run(
            "curl",
            ["-sS", "-k", "--http1.1", "https://\(world.inboundAddress)/"],
            in: files.directory
        )
        #expect(!anonymous.isSuccess)
        let old = try await run(
            "curl",
            [
                "-sS", "-k", "--tls-max", "1.2", "--cert", files.certificate, "--key", files.key,
                "https://\(world.inboundAddress)/",
            ],
            in: files.directory
        )
        #expect(!old.isSuccess)
        let sum = await world.server.sum()
        #expect(sum.requests == 0)
        #expect(sum.handshakeFailures.values.reduce(0, +) == 2)
    }

    @Test(arguments: TLSProvider.allCases)
    func `openssl s_client sees TLS 1.3 and no ticket`(_ provider: TLSProvider) async throws {
        let world = try await world(provider)
        let files = try PeerFiles(world.web, world.root)
        let result = try await run(
            "openssl",
            [
                "s_client", "-connect", world.inboundAddress.description, "-cert",
                files.certificate, "-key", files.key, "-CAfile", files.root,
                "-verify_return_error", "-brief",
            ],
            in: files.directory
        )
        #expect(result.report.contains("TLSv1.3"), "\(result.report)")
        #expect(result.report.contains("Verification: OK"), "\(result.report)")
        #expect(!result.report.contains("NewSessionTicket"))
    }

    @Test(arguments: TLSProvider.allCases)
    func `openssl s_server with the right certificate is spoken to`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let files = try PeerFiles(world.backend, world.root)
        let port = try FreePort.take()
        let server = try Program(
            Installation.tool("openssl"),
            [
                "s_server", "-accept", "127.0.0.1:\(port)", "-cert", files.certificate, "-key",
                files.key, "-CAfile", files.root, "-Verify", "3", "-tls1_3", "-www",
            ],
            directory: files.directory.path
        )
        defer { server.signal(.kill) }
        let address = try #require(SocketAddress("127.0.0.1:\(port)"))
        try await server.waitFor("ACCEPT")
        try await world.applyClient(endpoints: [address])
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        // s_server's answers are HTTP/1.0 and end with the connection.
        let answer = String(decoding: wire.readToEnd(), as: UTF8.self)
        #expect(answer.hasPrefix("HTTP/1.1 200"), "\(answer)")
        #expect(answer.lowercased().contains("connection: close"))
        #expect(await world.client.sum().connected == 1)
    }
}
