// SPDX-License-Identifier: Apache-2.0

import Foundation
import GRPCCore
import GRPCPeer
import TestPrograms
import Testing

private let python = "/usr/bin/python3"

/// Peers that our own client cannot be: other TLS settings, other processes.
@Suite(
    .enabled(if: FileManager.default.isExecutableFile(atPath: python)),
    .timeLimit(.minutes(1))
)
struct ForeignPeerTests {
    struct Settings: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let script: String
        let output: String
    }

    /// `report()` prints the protocol on success, else `refused`; `connect(session)` returns
    /// a socket on which the server has spoken.
    private static let tls = """
        import socket, ssl, sys
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        def connect(session=None):
            raw = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
            tls = context.wrap_socket(raw, session=session)
            tls.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            if not tls.recv(9): raise ssl.SSLError("closed")
            return tls
        def report():
            try: print(connect().version())
            except OSError: print("refused")

        """

    @Test(arguments: [
        Settings(testDescription: "TLS 1.3 and h2", script: "report()", output: "TLSv1.3\n"),
        Settings(
            testDescription: "TLS 1.2",
            script: "context.maximum_version = ssl.TLSVersion.TLSv1_2; report()",
            output: "refused\n"
        ),
        Settings(
            testDescription: "HTTP/1.1",
            script: "context.set_alpn_protocols(['http/1.1']); report()",
            output: "refused\n"
        ),
        Settings(
            testDescription: "no ALPN",
            script: """
                context = ssl._create_unverified_context()
                report()
                """,
            output: "refused\n"
        ),
        Settings(
            testDescription: "resumption",
            script: """
                first = connect()
                print(first.session.has_ticket)
                second = connect(first.session)
                print(second.session_reused)
                """,
            // The library under us hands out tickets; none of them opens a session.
            output: "True\nFalse\n"
        ),
    ])
    func `only TLS 1.3 with HTTP/2 and a full handshake opens a connection`(
        _ settings: Settings
    ) async throws {
        let world = try TLSWorld()
        try await withDescribingServer(world.transport) { _ in
            let port = try await world.transport.boundPort
            let output = try await run([Self.tls + settings.script, "\(port)"])
            #expect(output == settings.output)
        }
    }

    /// Connects to the first path, waits until the server speaks, and relays one connection to the
    /// second path over it from a child, while the process that connected ends.
    private static let relay = """
        import os, signal, socket, sys, threading
        server = socket.socket(socket.AF_UNIX)
        server.connect(sys.argv[1])
        server.recv(1, socket.MSG_PEEK)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(sys.argv[2])
        listener.listen(1)
        if os.fork() > 0: os._exit(0)
        signal.alarm(60)
        client, _ = listener.accept()
        def copy(a, b):
            while data := a.recv(65536): b.sendall(data)
            os._exit(0)
        threading.Thread(target=copy, args=(server, client)).start()
        copy(client, server)
        """

    @Test func `a connection whose opener has exited is refused`() async throws {
        try await withSocketDirectory { directory in
            let transport = PeerServerTransport.unixSocket(
                path: directory + "/s",
                mode: 0o600,
                now: { Date() }
            )
            try await withDescribingServer(transport) { service in
                _ = try await run([Self.relay, directory + "/s", directory + "/r"])
                // The opener is gone, its child speaks on its connection.
                let relayed = try PeerClientTransport.unixSocket(path: directory + "/r")
                let code = await failureCode {
                    try await withGRPCClient(transport: relayed) { try await $0.ask() }
                }
                #expect(code == .permissionDenied)
                #expect(service.peers.all.isEmpty)
            }
        }
    }

    @Test func `a peer is seen to exit while its connection lives on`() async throws {
        try await withSocketDirectory { directory in
            let opened = Recorder<LocalPeer>()
            var limits = ConnectionLimits.local
            limits.drainTimeMax = .milliseconds(100)
            let transport = PeerServerTransport.unixSocket(
                path: directory + "/s",
                mode: 0o600,
                limits: limits,
                now: { Date() },
                onEvent: { event in
                    if case .opened(.local(let peer)) = event { opened.record(peer) }
                }
            )
            try await withDescribingServer(transport) { _ in
                let script = """
                    import os, signal, socket, sys
                    server = socket.socket(socket.AF_UNIX)
                    server.connect(sys.argv[1])
                    server.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes(3) + b"\\4" + bytes(5))
                    if os.fork() == 0:
                        signal.alarm(60)
                        while server.recv(1 << 20): pass
                        os._exit(0)
                    sys.stdin.read()
                    """
                let process = try start([script, directory + "/s"], in: directory)
                let peer = try await opened.first { $0 }
                #expect(peer.pid == process.pid)
                #expect(peer.isAlive())
                process.closeInput()
                #expect(try await process.result().isSuccess)
                #expect(!peer.isAlive())
                #expect(transport.connections.count == 1)
            }
        }
    }

    /// Starts a script that may leave children of its own behind.
    private func start(_ arguments: [String], in directory: String) throws -> Program {
        try Program(python, ["-c"] + arguments, directory: directory, readsInput: true)
    }

    /// Runs a script to its end and returns what it printed.
    private func run(_ arguments: [String]) async throws -> String {
        try await withSocketDirectory { directory in
            let program = try start(arguments, in: directory)
            program.closeInput()
            let result = try await program.result()
            #expect(result.isSuccess, "\(result.report)")
            return result.output
        }
    }
}
