// SPDX-License-Identifier: Apache-2.0

import Glibc
import HTTPSemantics
import Reactor
import Routing

/// A network between two programs that behaves badly.
final class ChaosRelay: Sendable {
    enum Behaviour: Sendable {
        /// Passes on so many bytes at a time.
        case slices(Int)
        /// Passes on each piece that comes so many milliseconds later, so many bytes at a time.
        case latency(Int32, slices: Int)
        /// Resets both sides after so many bytes.
        case reset(after: Int)
        /// Ends both sides, as if properly, after so many bytes.
        case end(after: Int)
        /// Ends the one side alone, as if properly, after so many bytes.
        case endHalf(after: Int)
        /// Passes nothing on any more after so many bytes.
        case stall(after: Int)
    }

    /// Whose bytes are counted, and cut.
    enum Direction: CaseIterable, Sendable {
        case answers
        case requests
    }

    let address: SocketAddress

    init(
        to server: SocketAddress,
        _ behaviour: Behaviour,
        cutting direction: Direction = .answers
    ) throws {
        let socket = try Socket.listen(IPAddress(ipv4: 0x7F00_0001), port: 0)
        guard let port = socket.localEndpoint()?.port,
            let address = SocketAddress("127.0.0.1:\(port)")
        else { throw NoAddress() }
        self.address = address
        let listener = Wire(socket)
        _ = try WorkerThread(name: "chaos") {
            while let client = listener.accept() {
                guard let server = try? Wire.connect(server) else { continue }
                // Or the kernel would put together again what was cut.
                for wire in [client, server] { wire.with { $0.sendAtOnce() } }
                _ = try? WorkerThread(name: "chaos up") {
                    Self.pass(from: client, to: server, behaviour, isCut: direction == .requests)
                }
                _ = try? WorkerThread(name: "chaos down") {
                    Self.pass(from: server, to: client, behaviour, isCut: direction == .answers)
                }
            }
        }
    }

    private static func pass(
        from: Wire,
        to: Wire,
        _ behaviour: Behaviour,
        isCut: Bool
    ) {
        var passed = 0
        while true {
            let bytes = from.read(1) + from.takeReceived()
            if bytes.isEmpty {
                to.endSending()
                return
            }
            switch behaviour {
            case .slices(let count): to.send(bytes, slices: count)
            case .latency(let milliseconds, let count):
                pause(milliseconds)
                to.send(bytes, slices: count)
            case .reset(let limit) where isCut && passed + bytes.count > limit:
                to.send(Array(bytes.prefix(limit - passed)))
                // The other direction waits for the client: it is woken, and when both have let go
                // of the sockets, they are reset.
                for wire in [from, to] {
                    wire.with { socket in
                        socket.resetOnClose()
                        _ = shutdown(socket.descriptor, Int32(SHUT_RD))
                    }
                }
                return
            case .end(let limit) where isCut && passed + bytes.count > limit:
                to.send(Array(bytes.prefix(limit - passed)))
                for wire in [from, to] { wire.endSending() }
                return
            case .endHalf(let limit) where isCut && passed + bytes.count > limit:
                to.send(Array(bytes.prefix(limit - passed)))
                to.endSending()
                return
            case .stall(let limit) where isCut && passed + bytes.count > limit: continue
            case .reset, .end, .endHalf, .stall: to.send(bytes)
            }
            passed += bytes.count
        }
    }
}
