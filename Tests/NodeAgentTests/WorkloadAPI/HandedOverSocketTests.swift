// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Foundation
import GRPCCore
import NodeAgent
import Synchronization
import Testing

/// Connections that are not used by the process that opened them.
///
/// A Python program opens the connection to the agent, and a child of it carries a client's bytes;
/// meanwhile the opener does what the case says.
@Suite(
    .timeLimit(.minutes(1)),
    .enabled(if: Relay.isPossible, "needs python3 to hand over sockets")
)
struct HandedOverSocketTests {
    @Test func `the relay itself changes nothing`() async throws {
        #expect(try await failure(.stay) == nil)
    }

    @Test func `a connection whose opener has exited is refused`() async throws {
        #expect(try await failure(.exit) == .permissionDenied)
    }

    @Test func `a connection whose opener runs another program now is refused`() async throws {
        #expect(try await failure(.exec) == .permissionDenied)
    }

    @Test func `a program started before the first byte does not speak on the connection`()
        async throws
    {
        #expect(try await failure(.execAtOnce) == .permissionDenied)
    }

    @Test(.enabled(if: Machine.isRoot, "connects as another user"))
    func `other users may not ask about processes`() async throws {
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web")])
            let relay = try Relay(to: agent.socket, .stay, as: Relay.nobody)
            #expect(await statusCode(agent, relay) == .permissionDenied)
        }
    }

    @Test(.enabled(if: Machine.isRoot, "makes a mount namespace"))
    func `the root of a container that has the socket may not ask about processes`() async throws {
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web")])
            let outside = try Relay(to: agent.socket, .stay)
            #expect(await statusCode(agent, outside) == nil)
            let inside = try Relay(to: agent.socket, .stay, as: ["/usr/bin/unshare", "-m"])
            #expect(await statusCode(agent, inside) == .permissionDenied)
        }
    }

    private func statusCode(_ agent: ServingAgent, _ relay: Relay) async -> RPCError.Code? {
        do {
            _ = try await agent.withClient(socket: relay.socket) { client in
                try await Signet_Agent_V1alpha1_AgentLocal.Client(wrapping: client)
                    .getStatus(.init())
            }
            return nil
        } catch {
            return (error as? RPCError)?.code ?? .unknown
        }
    }

    private func failure(_ opener: Relay.Opener) async throws -> RPCError.Code? {
        let result = Box<RPCError.Code?>(nil)
        try await ServingAgent.run { agent in
            try agent.serve([agent.own("web")])
            let relay = try Relay(to: agent.socket, opener)
            result.value = await agent.failure(socket: relay.socket)
        }
        return result.value
    }
}

/// A running relay, for one connection; one task at a time speaks to it.
final class Relay: @unchecked Sendable {
    /// What the process that opened the connection does once HTTP/2 is established on it.
    enum Opener: String {
        case exec
        /// Once the test has written a line to it.
        case execOnLine
        /// As soon as the agent has accepted the connection, before anything is sent on it.
        case execAtOnce
        case exit
        case stay
    }

    static let isPossible = FileManager.default.isExecutableFile(atPath: python)
    private static let python = "/usr/bin/python3"

    let socket: String
    private let program: RunningProgram

    /// Before the words of a command: it runs as somebody without rights.
    static let nobody = [
        "/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--",
    ]

    init(to upstream: String, _ opener: Opener, as launcher: [String] = []) throws {
        socket = "/tmp/signet-relay-\(UInt32.random(in: 0 ... .max)).sock"
        let arguments = ["-c", Self.script, upstream, socket, opener.rawValue]
        let words = launcher + [Self.python] + arguments
        program = try RunningProgram(words[0], Array(words.dropFirst()))
        guard program.read().hasPrefix("listening") else { throw Missing() }
    }

    deinit { try? FileManager.default.removeItem(atPath: socket) }

    /// Ends the process that opened the connection; the one that relays ends with the connection.
    func end() { program.end() }

    /// Makes the opener of `execOnLine` run another program, and waits until it does.
    func execute() throws {
        try program.tell("x")
        guard try program.ask("there") == "there\n" else { throw Missing() }
    }

    private static let script = """
        import os, select, socket, sys
        upstream, listen, opener_does = sys.argv[1:]
        server = socket.socket(socket.AF_UNIX)
        server.bind(listen)
        os.chmod(listen, 0o666)
        server.listen(1)
        os.write(1, b"listening\\n")
        down = server.accept()[0]
        up = socket.socket(socket.AF_UNIX)
        up.connect(upstream)
        opener = os.getpid()
        wait, go = os.pipe()
        if opener_does == "execAtOnce":
            # The agent speaks first.
            up.recv(1, socket.MSG_PEEK)
            os.write(go, b"x")
        if os.fork():
            os.read(wait, 1)
            if opener_does == "execOnLine":
                while os.read(0, 1) != b"\\n":
                    pass
            if opener_does.startswith("exec"):
                os.execv("/bin/cat", ["cat"])
            if opener_does == "exit":
                os._exit(0)
            while True:
                select.select([], [], [])

        def exactly(source, count):
            data = b""
            while len(data) < count:
                more = source.recv(count - len(data))
                if not more:
                    os._exit(0)
                data += more
            return data

        def frame(source):
            head = exactly(source, 9)
            return head, exactly(source, int.from_bytes(head[:3], "big"))

        def wait_for_exec():
            while not os.readlink(f"/proc/{opener}/exe").endswith("cat"):
                pass

        if opener_does == "execAtOnce":
            wait_for_exec()
        # The client's preface and settings, until the agent has acknowledged them.
        up.sendall(exactly(down, 24))
        head, body = frame(down)
        up.sendall(head + body)
        while True:
            head, body = frame(up)
            down.sendall(head + body)
            if head[3] == 4 and head[4] & 1:
                break
        os.write(go, b"x")
        if opener_does == "exit":
            while os.getppid() == opener:
                pass
        if opener_does == "exec":
            wait_for_exec()
        while True:
            for source in select.select([up, down], [], [])[0]:
                data = source.recv(65536)
                if not data:
                    os._exit(0)
                (down if source is up else up).sendall(data)
        """
}

/// A value that one task writes and another reads.
final class Box<Value: Sendable>: Sendable {
    private let content: Mutex<Value>

    init(_ value: Value) {
        content = Mutex(value)
    }

    var value: Value {
        get { content.withLock { $0 } }
        set { content.withLock { $0 = newValue } }
    }
}
