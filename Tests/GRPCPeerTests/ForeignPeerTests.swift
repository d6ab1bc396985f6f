// SPDX-License-Identifier: Apache-2.0

import Foundation
import GRPCCore
import GRPCPeer
import Synchronization
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

    /// Leaves a child with the given sockets only: whoever started its parent takes any other
    /// descriptor for a sign that the parent still runs.
    private static let keep = """
        import os
        def keep(*sockets):
            for descriptor in range(256):
                if descriptor not in [s.fileno() for s in sockets]:
                    try: os.close(descriptor)
                    except OSError: pass

        """

    /// Connects to the first path, waits until the server speaks, and relays one connection to the
    /// second path over it from a child, while the process that connected ends.
    private static let relay =
        keep + """
            import os, socket, sys, threading
            server = socket.socket(socket.AF_UNIX)
            server.connect(sys.argv[1])
            server.recv(1, socket.MSG_PEEK)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(sys.argv[2])
            listener.listen(1)
            if os.fork() > 0: os._exit(0)
            keep(server, listener)
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
                let script =
                    Self.keep + """
                        import os, socket, sys
                        server = socket.socket(socket.AF_UNIX)
                        server.connect(sys.argv[1])
                        server.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes(3) + b"\\4" + bytes(5))
                        if os.fork() == 0:
                            keep(server)
                            while server.recv(1 << 20): pass
                            os._exit(0)
                        sys.stdin.read()
                        """
                let process = try Subprocess([script, directory + "/s"])
                let peer = try await opened.first { $0 }
                #expect(peer.pid == process.pid)
                #expect(peer.isAlive())
                try await process.finish()
                #expect(!peer.isAlive())
                #expect(transport.connections.count == 1)
            }
        }
    }

    /// Runs a script to its end and returns what it printed.
    private func run(_ arguments: [String]) async throws -> String {
        try await Subprocess(arguments).finish()
    }
}

/// A Python process.
private final class Subprocess: Sendable {
    private let process: Process
    private let input = Pipe()
    private let output = Pipe()
    private let ended: AsyncStream<Int32>

    init(_ arguments: [String]) throws {
        let process = Process()
        let (ended, continuation) = AsyncStream<Int32>.makeStream()
        process.executableURL = URL(filePath: python)
        process.arguments = ["-c"] + arguments
        process.standardInput = input
        process.standardOutput = output
        process.terminationHandler = {
            continuation.yield($0.terminationStatus)
            continuation.finish()
        }
        self.process = process
        self.ended = ended
        try process.run()
    }

    var pid: Int32 { process.processIdentifier }

    /// Ends its input, waits for its end and returns what it printed.
    @discardableResult
    func finish() async throws -> String {
        try input.fileHandleForWriting.close()
        var status: Int32?
        for await code in ended { status = code }
        #expect(status == 0)
        let data = try output.fileHandleForReading.readToEnd() ?? Data()
        return String(decoding: data, as: UTF8.self)
    }
}
