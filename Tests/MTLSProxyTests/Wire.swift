// SPDX-License-Identifier: Apache-2.0

import Glibc
import HTTPSemantics
import Reactor
import Routing
import Synchronization

/// A connection that a test talks over: it waits for what it reads and writes.
final class Wire: @unchecked Sendable {
    private var socket: Socket?
    private var received: [UInt8] = []

    init(_ socket: consuming Socket) { self.socket = consume socket }

    static func connect(_ address: SocketAddress) throws -> Wire {
        Wire(try Socket.connect(address.address, port: address.port))
    }

    static func connect(path: String) throws -> Wire { Wire(try Socket.connect(path: path)) }

    func close() { socket = nil }

    var receivedCount: Int { received.count }

    func with<Result>(_ body: (borrowing Socket) throws -> Result) rethrows -> Result? {
        switch socket {
        case .some(let socket): try body(socket)
        case .none: nil
        }
    }

    /// Waits until the kernel has something to say, without a descriptor of its own: some tests
    /// leave none.
    ///
    /// - Returns: Whether there is a socket.
    @discardableResult
    private func wait(_ events: Int32, milliseconds: Int32 = 20_000) -> Bool {
        with { socket in
            var entry = pollfd(fd: socket.descriptor, events: Int16(events), revents: 0)
            _ = unsafe poll(&entry, 1, milliseconds)
            return true
        } ?? false
    }

    func send(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty, let count = sendNow(rest) {
            rest = rest.dropFirst(count)
            if count == 0 { wait(POLLOUT) }
        }
    }

    func send(_ text: String) { send(Array(text.utf8)) }

    /// Sends so many bytes at a time, each of them at once.
    func send(_ bytes: [UInt8], slices count: Int) {
        var rest = bytes[...]
        while !rest.isEmpty {
            send(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
    }

    func endSending() { with { $0.shutdownWrite() } }

    /// One read; nil at the end, or after a failure, which `failure` then tells.
    private(set) var failure: SystemError?

    private func more() -> Bool {
        while true {
            switch receive() {
            case .bytes: return true
            case .wouldBlock: wait(POLLIN)
            default: return false
            }
        }
    }

    private func receive() -> Socket.Transfer? {
        let transfer = with { socket in
            var buffer = Buffer(capacity: 64 * 1024)
            let transfer = socket.receive(into: &buffer)
            received += buffer.copy()
            return transfer
        }
        if case .failed(let error) = transfer { failure = error }
        return transfer
    }

    /// Reads what is there and waits for nothing.
    ///
    /// - Returns: Whether more may come.
    func gather() -> Bool {
        while true {
            switch receive() {
            case .bytes: continue
            case .wouldBlock: return true
            default: return false
            }
        }
    }

    /// Sends what the kernel takes at once.
    ///
    /// - Returns: How many bytes it took; nil if the connection has failed.
    func sendNow(_ bytes: ArraySlice<UInt8>) -> Int? {
        switch with({ $0.send(bytes.span) }) {
        case .bytes(let count): return count
        case .wouldBlock: return 0
        case .failed(let error):
            // The kernel tells of a reset once, and of an end afterwards.
            if error.errorNumber == ECONNRESET { failure = error }
            return nil
        default: return nil
        }
    }

    /// Everything up to the end.
    func readToEnd() -> [UInt8] {
        while more() {}
        defer { received = [] }
        return received
    }

    /// Reads once.
    ///
    /// - Returns: Whether there are so many bytes by now, or no more.
    func isPast(_ count: Int) -> Bool { !more() || received.count > count }

    /// Exactly so many bytes; fewer at the end.
    func read(_ count: Int) -> [UInt8] {
        while received.count < count, more() {}
        defer { received.removeFirst(min(count, received.count)) }
        return Array(received.prefix(count))
    }

    /// One answer with a length.
    func readAnswer() -> Answer? {
        let mark = Array("\r\n\r\n".utf8)
        var end = 0
        while true {
            if let found = (end..<max(end, received.count - 3)).first(where: {
                received[$0..<($0 + 4)].elementsEqual(mark)
            }) {
                end = found + 4
                break
            }
            guard more() else { return nil }
        }
        let head = String(decoding: received.prefix(end), as: UTF8.self)
        received.removeFirst(end)
        let lines = head.split(separator: "\r\n").map(String.init)
        let length = lines.first { $0.lowercased().hasPrefix("content-length:") }
            .flatMap { Int($0.split(separator: ":")[1].drop { $0 == " " }) }
        let body = String(decoding: read(length ?? 0), as: UTF8.self)
        let words = lines.first?.split(separator: " ") ?? []
        let status = words.count > 1 ? Int(words[1]) ?? 0 : 0
        return Answer(status: status, head: head.lowercased(), body: body)
    }

    struct Answer {
        let status: Int
        let head: String
        let body: String
    }
}

/// An application that says what it was asked, or gives back what it gets.
final class Application: Sendable {
    enum Kind: Sendable {
        /// Answers each request with its head and body as content.
        case mirror
        /// Sends everything back, and ends when the other side does.
        case echo
        /// Reads and never answers.
        case silent
        /// Answers each request with its head as content, so many milliseconds later.
        case slow(Int32)
        /// Answers each request with these bytes, whatever it was.
        case fixed(String)
        /// Answers each request with these bytes at once, before it reads the rest of it.
        case early(String)
        /// Changes to a WebSocket and sends everything back.
        case webSocket
    }

    let address: SocketAddress
    private let listener: Wire
    private let connections = Mutex<Int>(0)
    var connectionCount: Int { connections.withLock { $0 } }

    init(_ kind: Kind) throws {
        let socket = try Socket.listen(IPAddress(ipv4: 0x7F00_0001), port: 0)
        guard let port = socket.localEndpoint()?.port,
            let address = SocketAddress("127.0.0.1:\(port)")
        else { throw NoAddress() }
        self.address = address
        listener = Wire(socket)
        try Self.serve(on: listener, kind) { [weak self] in
            self?.connections.withLock { $0 += 1 }
        }
    }

    /// Serves whoever connects to a listener, which may be a Unix socket.
    static func serve(
        on listener: Wire,
        _ kind: Kind,
        accepted: @escaping @Sendable () -> Void = {}
    ) throws {
        _ = try WorkerThread(name: "application") {
            while let connection = listener.accept() {
                accepted()
                _ = try? WorkerThread(name: "connection") { serve(connection, kind) }
            }
        }
    }

    private static func serve(_ wire: Wire, _ kind: Kind) {
        switch kind {
        case .mirror: while let answer = wire.mirrorOne() { wire.send(answer) }
        case .echo:
            wire.echo()
            wire.close()
        case .silent: _ = wire.readToEnd()
        case .slow(let milliseconds):
            while let answer = wire.mirrorOne(withBody: false) {
                pause(milliseconds)
                wire.send(answer)
            }
        case .fixed(let bytes): while wire.readAnswer() != nil { wire.send(bytes) }
        case .early(let bytes):
            _ = wire.read(1)
            wire.send(bytes)
            _ = wire.readToEnd()
        case .webSocket:
            _ = wire.readAnswer()
            wire.send(
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
                    + "connection: upgrade\r\nsec-websocket-accept: x\r\n\r\n"
            )
            wire.echo()
            wire.close()
        }
    }
}

struct NoAddress: Error {}

/// What a slow program does between two things; nobody's order depends on it.
func pause(_ milliseconds: Int32) { _ = poll(nil, 0, milliseconds) }

extension Wire {
    /// Takes somebody who waits; nil if nobody does.
    func acceptNow() -> Wire? {
        with { socket in
            do throws(SystemError) { return Wire(try socket.accept()) } catch { return nil }
        } ?? nil
    }

    func accept() -> Wire? {
        while true {
            if let accepted = acceptNow() { return accepted }
            guard wait(POLLIN, milliseconds: -1) else { return nil }
        }
    }

    func echo() {
        while true {
            let bytes = read(1)
            if bytes.isEmpty { return }
            send(bytes + takeReceived())
        }
    }

    func takeReceived() -> [UInt8] { read(receivedCount) }

    /// Reads one request and makes the answer to it.
    func mirrorOne(withBody: Bool = true) -> [UInt8]? {
        guard let request = readAnswer() else { return nil }
        let body = request.head + (withBody ? request.body : "")
        return Array("HTTP/1.1 200 OK\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)".utf8)
    }
}
