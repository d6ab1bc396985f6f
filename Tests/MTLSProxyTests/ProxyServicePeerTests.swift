// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import MTLSProxy
import Reactor
import Routing
import TestPKI
import TestPrograms
import Testing

/// nginx and Python's ssl at the other end of mTLS, each as server and as client.
@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyServicePeerTests {
    private func world(_ provider: TLSProvider) async throws -> World {
        let application = try Application(.mirror)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        return world
    }

    /// Starts nginx with one server block, and waits until it answers.
    private func nginx(
        _ server: String,
        port: UInt16,
        in directory: TestDirectory
    ) async throws -> Program {
        let path = directory.path
        let configuration = """
            daemon off;
            master_process off;
            pid \(path)/nginx.pid;
            error_log stderr warn;
            events { worker_connections 256; }
            http {
                access_log off;
                client_body_temp_path \(path)/t1; proxy_temp_path \(path)/t2;
                fastcgi_temp_path \(path)/t3; uwsgi_temp_path \(path)/t4; scgi_temp_path \(path)/t5;
                server { listen 127.0.0.1:\(port)\(server) }
            }
            """
        let file = "\(path)/nginx.conf"
        try configuration.write(toFile: file, atomically: true, encoding: .utf8)
        let program = try Program(
            Installation.tool("nginx"),
            ["-p", path, "-e", "stderr", "-c", file],
            directory: path
        )
        let address = try #require(SocketAddress("127.0.0.1:\(port)"))
        try await eventually("nginx to listen") {
            guard program.isRunning else { throw ProgramFailure("nginx: \(program.errors)") }
            let wire = try Wire.connect(address)
            wire.endSending()
            _ = wire.readToEnd()
            return wire.failure?.errorNumber != ECONNREFUSED
        }
        return program
    }

    @Test(arguments: TLSProvider.allCases)
    func `nginx with the right certificate is spoken to, and one with another is not`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        for (leaf, status) in [(world.backend, 200), (world.web, 503)] {
            let files = try PeerFiles(leaf, world.root)
            let port = try FreePort.take()
            let server = try await nginx(
                """
                 ssl;
                ssl_certificate \(files.certificate); ssl_certificate_key \(files.key);
                ssl_client_certificate \(files.root); ssl_verify_client on;
                ssl_protocols TLSv1.3; keepalive_timeout 30s;
                location / { return 200 "$ssl_client_verify $ssl_protocol $request_uri"; }
                """,
                port: port,
                in: files.directory
            )
            defer { server.signal(.kill) }
            let address = try #require(SocketAddress("127.0.0.1:\(port)"))
            try await world.applyClient(endpoints: [address])
            let wire = try Wire.connect(world.outboundAddress)
            for number in 0..<3 {
                wire.send("GET /\(number) HTTP/1.1\r\nhost: a\r\n\r\n")
                let answer = try #require(wire.readAnswer())
                #expect(answer.status == status, "\(answer)")
                if status == 200 { #expect(answer.body == "SUCCESS TLSv1.3 /\(number)") }
            }
        }
        // The right one was connected to once.
        #expect(await world.client.sum().connected == 1)
    }

    @Test(arguments: TLSProvider.allCases)
    func `nginx as a client is served with its certificate`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let files = try PeerFiles(world.web, world.root)
        let port = try FreePort.take()
        let client = try await nginx(
            """
            ;
            location / {
                proxy_pass https://\(world.inboundAddress);
                proxy_http_version 1.1; proxy_set_header Connection "";
                proxy_ssl_certificate \(files.certificate); proxy_ssl_certificate_key \(files.key);
                proxy_ssl_trusted_certificate \(files.root); proxy_ssl_verify off;
                proxy_ssl_protocols TLSv1.3;
            }
            """,
            port: port,
            in: files.directory
        )
        defer { client.signal(.kill) }
        let address = try #require(SocketAddress("127.0.0.1:\(port)"))
        let wire = try Wire.connect(address)
        for number in 0..<3 {
            wire.send("GET /\(number) HTTP/1.1\r\nhost: a\r\n\r\n")
            let answer = try #require(wire.readAnswer())
            #expect(answer.status == 200, "\(answer)")
            #expect(answer.body.contains("get /\(number) http/1.1"))
            #expect(answer.body.contains("uri=spiffe://example.org/web"))
        }
    }

    /// Serves one client with mTLS: usage: CERTIFICATE KEY ROOT.
    private static let pythonServer = """
        import http.server, ssl, sys
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                name = self.connection.getpeercert()["subjectAltName"][0][1].encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body) + len(name)))
                self.end_headers()
                self.wfile.write(name + body)
            def log_message(self, *arguments):
                pass
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(sys.argv[1], sys.argv[2])
        context.load_verify_locations(sys.argv[3])
        context.verify_mode = ssl.CERT_REQUIRED
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        print("listening on", server.server_address[1], flush=True)
        server.serve_forever()
        """

    @Test(arguments: TLSProvider.allCases)
    func `Python as a server sees the certificate, and gets whole bodies`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let files = try PeerFiles(world.backend, world.root)
        let server = try Program(
            Installation.python(),
            ["-c", Self.pythonServer, files.certificate, files.key, files.root],
            directory: files.directory.path
        )
        defer { server.signal(.kill) }
        try await server.waitFor("listening on")
        let port = try #require(server.output.split { $0.isWhitespace }.last)
        let address = try #require(SocketAddress("127.0.0.1:\(port)"))
        try await world.applyClient(endpoints: [address])
        let wire = try Wire.connect(world.outboundAddress)
        for length in [1, 70_000, 300_000] {
            let body = String(repeating: "b", count: length)
            wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \(length)\r\n\r\n\(body)")
            let answer = try #require(wire.readAnswer())
            #expect(answer.status == 200)
            #expect(answer.body == World.webID + body)
        }
        #expect(await world.client.sum().connected == 1)
    }

    /// Asks twice on one connection, and once without a certificate: usage: HOST PORT CERTIFICATE
    /// KEY ROOT.
    private static let pythonClient = """
        import http.client, ssl, sys
        host, port, certificate, key, root = sys.argv[1:]
        def connection(with_certificate):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.load_verify_locations(root)
            if with_certificate:
                context.load_cert_chain(certificate, key)
            return http.client.HTTPSConnection(host, int(port), context=context, timeout=10)
        client = connection(True)
        for path in ("/a", "/b"):
            client.request("GET", path)
            answer = client.getresponse()
            print(answer.status, answer.read().decode().splitlines()[0])
        try:
            stranger = connection(False)
            stranger.request("GET", "/c")
            print(stranger.getresponse().status)
        except OSError as error:
            print("refused", type(error).__name__)
        """

    @Test(arguments: TLSProvider.allCases)
    func `Python as a client is served with its certificate alone`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider)
        let files = try PeerFiles(world.web, world.root)
        let parts = world.inboundAddress.description.split(separator: ":").map(String.init)
        let result = try await Installation.run(
            Installation.python(),
            ["-c", Self.pythonClient] + parts + [files.certificate, files.key, files.root],
            directory: files.directory.path
        )
        let lines = result.output.split(separator: "\n")
        #expect(lines.count == 3, "\(result.report)")
        #expect(lines.first == "200 get /a http/1.1")
        #expect(lines.last?.hasPrefix("refused") == true, "\(result.report)")
        #expect(await world.server.sum().requests == 2)
    }
}
