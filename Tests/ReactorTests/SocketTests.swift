// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import HTTPSemantics
import Reactor
import Testing

/// A socket that expectations can look into.
final class TestSocket {
    private var socket: Socket?

    init(_ socket: consuming Socket) { self.socket = consume socket }

    /// Does something with it.
    func with<Result>(_ body: (borrowing Socket) throws -> Result) rethrows -> Result? {
        switch socket {
        case .some(let socket): try body(socket)
        case .none: nil
        }
    }

    func close() { socket = nil }

    var local: Endpoint? { with { $0.localEndpoint() } ?? nil }
    var peer: Endpoint? { with { $0.peerEndpoint() } ?? nil }
    var error: SystemError? { with { $0.pendingError() } ?? nil }

    func send(_ bytes: [UInt8]) -> Socket.Transfer? { with { $0.send(bytes.span) } }

    /// Waits, and reads once.
    func receive() throws -> Socket.Transfer? {
        try wait(.readingMakesSense)
        return with { socket in
            var buffer = Buffer(capacity: 4096)
            return socket.receive(into: &buffer)
        }
    }

    func wait(_ readiness: Poller.Readiness) throws {
        try with { socket in
            var poller = try Poller()
            try poller.add(socket, Key(rawValue: 1))
            while true {
                let number = poller.wait(milliseconds: nil)
                for index in 0..<number
                where !poller.event(index).readiness.isDisjoint(with: readiness) { return }
            }
        }
    }

    func accept() throws -> TestSocket {
        try wait(.readable)
        guard let accepted = try with({ TestSocket(try $0.accept()) }) else { throw NoSession() }
        return accepted
    }
}

@Suite(.timeLimit(.minutes(1)), .serialized) struct SocketTests {
    private static let loopback = IPAddress(ipv4: 0x7F00_0001)

    /// A connected pair over a listener.
    private func pair(_ address: IPAddress) throws -> (TestSocket, TestSocket) {
        let listener = TestSocket(try Socket.listen(address, port: 0))
        let port = try #require(listener.local).port
        let client = TestSocket(try Socket.connect(address, port: port))
        return (client, try listener.accept())
    }

    @Test(arguments: ["127.0.0.1", "::1"])
    func `a connection has the same two ends on both sides`(_ text: String) throws {
        let address = try #require(IPAddress(text))
        let (client, server) = try pair(address)
        #expect(client.local == server.peer)
        #expect(client.peer == server.local)
        #expect(server.local?.address == address)
        #expect(client.error == nil)
    }

    @Test func `a listener for everything takes IPv4 too, and shows it as IPv4`() throws {
        let listener = TestSocket(try Socket.listen(IPAddress(high: 0, low: 0), port: 0))
        let port = try #require(listener.local).port
        let client = TestSocket(try Socket.connect(Self.loopback, port: port))
        let server = try listener.accept()
        #expect(server.peer == client.local)
        #expect(server.peer?.address.isIPv4 == true)
        #expect(try server.with { try $0.peerOwner() } == getuid())
    }

    @Test func `each direction ends by itself`() throws {
        let (client, server) = try pair(Self.loopback)
        #expect(client.send([1, 2, 3]) == .bytes(3))
        client.with { $0.shutdownWrite() }
        try server.wait(.peerEnded)
        #expect(try server.receive() == .bytes(3))
        #expect(try server.receive() == .end)
        #expect(server.send([4]) == .bytes(1))
        #expect(try client.receive() == .bytes(1))
    }

    @Test func `a reset is not an end`() throws {
        let (client, server) = try pair(Self.loopback)
        client.with { $0.resetOnClose() }
        client.close()
        #expect(try server.receive() == .failed(SystemError(errorNumber: ECONNRESET)))
    }

    @Test func `who refuses is told by the pending error`() throws {
        let closed = try closedPort()
        let client = TestSocket(try Socket.connect(Self.loopback, port: closed))
        try client.wait(.failed)
        #expect(client.error?.errorNumber == ECONNREFUSED)
    }

    private func closedPort() throws -> UInt16 {
        let listener = TestSocket(try Socket.listen(Self.loopback, port: 0))
        return try #require(listener.local).port
    }

    @Test func `two listeners share a port only if both say so`() throws {
        let first = TestSocket(try Socket.listen(Self.loopback, port: 0, isShared: true))
        let port = try #require(first.local).port
        let second = TestSocket(try Socket.listen(Self.loopback, port: port, isShared: true))
        #expect(second.local == first.local)
        #expect(throws: SystemError(errorNumber: EADDRINUSE)) {
            _ = TestSocket(try Socket.listen(Self.loopback, port: port))
        }
    }

    @Test func `the owner of a local socket is known`() throws {
        let (client, server) = try pair(Self.loopback)
        #expect(try server.with { try $0.peerOwner() } == getuid())
        #expect(try client.with { try $0.peerOwner() } == getuid())
        let listener = TestSocket(try Socket.listen(Self.loopback, port: 0))
        let endpoint = try #require(listener.local)
        #expect(try endpoint.listenerOwner() == getuid())
        let closed = Endpoint(Self.loopback, port: try closedPort())
        #expect(throws: SystemError.notFound) { try closed.listenerOwner() }
    }

    @Test func `who has ended his side only is known still`() throws {
        let (client, server) = try pair(Self.loopback)
        client.with { $0.shutdownWrite() }
        try server.wait(.peerEnded)
        #expect(try server.with { try $0.peerOwner() } == getuid())
    }

    @Test func `who has closed the socket that asked is not taken for root`() throws {
        let (client, server) = try pair(Self.loopback)
        client.close()
        try server.wait(.peerEnded)
        #expect(throws: SystemError.notFound) { try server.with { try $0.peerOwner() } }
    }

    @Test func `a Unix peer is known by process`() throws {
        let path = NSTemporaryDirectory() + "signet-\(UInt64.random(in: 0 ... .max)).sock"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let listener = TestSocket(try Socket.listen(path: path, mode: 0o600))
        let client = TestSocket(try Socket.connect(path: path))
        let server = try listener.accept()
        let known = try server.with { socket in
            let peer = try socket.peerProcess()
            return [Int(peer.pid), Int(peer.uid), peer.isRunning() ? 1 : 0]
        }
        #expect(known == [Int(getpid()), Int(getuid()), 1])
        #expect(server.peer == nil)
        // Who listens is known to who connects.
        #expect(try client.with { try $0.peerProcess().uid } == getuid())
    }

    @Test func `without descriptors a listener turns clients away and lives on`() throws {
        let listener = TestSocket(try Socket.listen(Self.loopback, port: 0))
        let port = try #require(listener.local).port
        let first = TestSocket(try Socket.connect(Self.loopback, port: port))
        let second = TestSocket(try Socket.connect(Self.loopback, port: port))
        try listener.wait(.readable)
        var reserve = DescriptorReserve()
        let limit = DescriptorLimit(leaving: 0)
        var isExhausted = false
        let turned: [DescriptorReserve.Outcome]? = listener.with { socket in
            do throws(SystemError) { _ = try socket.accept() } catch {
                isExhausted = error.isExhaustion
            }
            return [
                reserve.turnAway(from: socket), reserve.turnAway(from: socket),
                reserve.turnAway(from: socket),
            ]
        }
        limit.restore()
        #expect(isExhausted)
        #expect(turned == [.turnedAway, .turnedAway, .nobodyWaits])
        #expect(try first.receive() == .end)
        #expect(try second.receive() == .end)
        let third = TestSocket(try Socket.connect(Self.loopback, port: port))
        #expect(try listener.accept().peer == third.local)
    }

    @Test func `a listener whose reserve is gone says that somebody waits still`() throws {
        let listener = TestSocket(try Socket.listen(Self.loopback, port: 0))
        let port = try #require(listener.local).port
        let client = TestSocket(try Socket.connect(Self.loopback, port: port))
        try listener.wait(.readable)
        // Taken when there is none: as if another thread had been faster.
        let limit = DescriptorLimit(leaving: 0)
        var reserve = DescriptorReserve()
        let outcome = listener.with { reserve.turnAway(from: $0) }
        limit.restore()
        #expect(outcome == .failed)
        // With descriptors it is as good as any.
        #expect(listener.with { reserve.turnAway(from: $0) } == .turnedAway)
        #expect(try client.receive() == .end)
        #expect(listener.with { reserve.turnAway(from: $0) } == .nobodyWaits)
    }

    @Test func `only the socket that was made is removed`() throws {
        let path = NSTemporaryDirectory() + "signet-\(UInt64.random(in: 0 ... .max)).sock"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let first = TestSocket(try Socket.listen(path: path, mode: 0o600))
        let file = try #require(SocketFile(path: path))
        // Kept, so that the second is not given its inode.
        try FileManager.default.moveItem(atPath: path, toPath: path + ".kept")
        defer { try? FileManager.default.removeItem(atPath: path + ".kept") }
        let second = TestSocket(try Socket.listen(path: path, mode: 0o600))
        Socket.remove(file)
        #expect(SocketFile(path: path) != nil)
        Socket.remove(try #require(SocketFile(path: path)))
        #expect(SocketFile(path: path) == nil)
        withExtendedLifetime((first, second)) {}
    }
}

/// Lowers the soft limit of descriptors to what is open.
private struct DescriptorLimit {
    private var before = rlimit()

    init(leaving free: Int) {
        _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before)
        // The lowest free number is the first that would be given out.
        let next = unsafe open("/dev/null", O_RDONLY | O_CLOEXEC)
        close(next)
        var low = before
        low.rlim_cur = rlim_t(Int(next) + free)
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &low)
    }

    func restore() {
        var limit = before
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
