// SPDX-License-Identifier: Apache-2.0

import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCPeer
import Glibc
import Testing

@Suite(.timeLimit(.minutes(1)))
struct TCPKeepaliveTests {
    @Test func `the kernel asks both ends of a silent connection for a sign of life`() async throws
    {
        let world = try TLSWorld()
        try await withDescribingServer(world.transport) { service in
            let transport = try await knownClient(world)
            try await withGRPCClient(transport: transport) { client in
                _ = try await client.ask()
                guard case .remote(let address, _) = try #require(service.peers.all.first),
                    let port = address.split(separator: ":").last.flatMap({ UInt16($0) })
                else {
                    Issue.record("not a remote peer")
                    return
                }
                let ends = (0..<Int32(1024)).filter {
                    unsafe self.port($0, getsockname) == port
                        || self.port($0, getpeername) == port
                }
                try #require(ends.count == 2)
                for end in ends {
                    #expect(option(end, SOL_SOCKET, SO_KEEPALIVE) == 1)
                    #expect(option(end, Int32(IPPROTO_TCP), TCP_KEEPIDLE) == 15)
                    #expect(option(end, Int32(IPPROTO_TCP), TCP_KEEPINTVL) == 5)
                    #expect(option(end, Int32(IPPROTO_TCP), TCP_KEEPCNT) == 3)
                    #expect(option(end, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT) == 30_000)
                }
            }
        }
    }

    private func option(_ socket: Int32, _ level: Int32, _ name: Int32) -> Int32? {
        var value: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        return unsafe getsockopt(socket, level, name, &value, &size) == 0 ? value : nil
    }

    /// The port of one end of a socket; nil for what is no IPv4 socket.
    private func port(
        _ socket: Int32,
        _ read: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) -> UInt16? {
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe read(socket, $0, &size)
            }
        }
        guard result == 0, address.sin_family == UInt16(AF_INET) else { return nil }
        return UInt16(bigEndian: address.sin_port)
    }
}
