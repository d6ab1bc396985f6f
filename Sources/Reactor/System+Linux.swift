// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc
package import HTTPSemantics

/// One stream socket, closed when its owner lets go of it.
package struct Socket: ~Copyable, Sendable {
    package let descriptor: Int32

    /// Takes over an open descriptor.
    package init(owning descriptor: Int32) { self.descriptor = descriptor }

    deinit { clinux_close(descriptor) }

    private static func owned(_ result: Int32) throws(SystemError) -> Socket {
        guard result >= 0 else { throw SystemError(errorNumber: -result) }
        return Socket(owning: result)
    }

    // MARK: Making

    /// Most connections that wait to be accepted; the kernel's own bound is usually 4,096.
    package static let backlogMax: Int32 = 4096

    /// Listens on an address; `::` takes IPv4 as well.
    ///
    /// - Parameters:
    ///   - address: Whose address of this machine.
    ///   - port: 0 takes a free one.
    ///   - isShared: Whether other sockets may listen there too (SO_REUSEPORT), one for each loop.
    /// - Returns: The listener, which does not block.
    /// - Throws: What the kernel says.
    package static func listen(
        _ address: IPAddress,
        port: UInt16,
        isShared: Bool = false
    ) throws(SystemError) -> Socket {
        let listener = try owned(
            clinux_tcp_listen(address.high, address.low, port, isShared, backlogMax)
        )
        try listener.keepAlive()
        return listener
    }

    /// Listens on a Unix socket, whose file is made with `mode`.
    package static func listen(path: String, mode: UInt32) throws(SystemError) -> Socket {
        try owned(unsafe clinux_unix_listen(path, mode, backlogMax))
    }

    /// Removes the file of a Unix socket that nobody listens on any more; any other file stays.
    package static func removeAbandoned(path: String) throws(SystemError) {
        let file = unsafe clinux_status_of_path(path)
        guard file.error == 0 else { return }
        guard file.mode & S_IFMT == S_IFSOCK, unsafe clinux_unix_probe(path) == ECONNREFUSED else {
            throw SystemError(errorNumber: EADDRINUSE)
        }
        _ = unsafe clinux_unlink_if(path, file.device, file.inode)
    }

    /// Removes the file of a Unix socket, if it is still that one.
    package static func remove(_ file: SocketFile) {
        _ = unsafe clinux_unlink_if(file.path, file.device, file.inode)
    }

    /// Begins to connect; `pendingError` tells the outcome once the socket is writable.
    package static func connect(
        _ address: IPAddress,
        port: UInt16
    ) throws(SystemError) -> Socket {
        let socket = try owned(clinux_tcp_connect(address.high, address.low, port))
        try socket.keepAlive()
        return socket
    }

    /// Connects to a Unix socket, which succeeds or fails at once.
    package static func connect(path: String) throws(SystemError) -> Socket {
        try owned(unsafe clinux_unix_connect(path))
    }

    /// Takes the next connection; `.wouldBlock` when there is none.
    package borrowing func accept() throws(SystemError) -> Socket {
        try Self.owned(clinux_accept(descriptor))
    }

    // MARK: Bytes

    /// What came of reading or writing.
    package enum Transfer: Equatable, Sendable {
        case bytes(Int)
        /// The peer has ended its side; only of reading.
        case end
        case wouldBlock
        case failed(SystemError)
    }

    /// Reads what is there into the room of `buffer`, which must have some.
    package borrowing func receive(into buffer: inout Buffer) -> Transfer {
        let result: Int64 = unsafe buffer.fillTail { room in
            guard let start = room.baseAddress, room.count > 0 else { return (0, -Int64(EINVAL)) }
            let number = unsafe clinux_receive(descriptor, start, room.count)
            return (Int(max(0, number)), number)
        }
        return Self.transfer(result)
    }

    /// Writes as much as the kernel takes.
    package borrowing func send(_ bytes: Span<UInt8>) -> Transfer {
        guard !bytes.isEmpty else { return .bytes(0) }
        let result: Int64 = unsafe bytes.withAddress { start, count in
            guard let start = unsafe start else { return -Int64(EINVAL) }
            return unsafe clinux_send(descriptor, start, count)
        }
        return Self.transfer(result)
    }

    private static func transfer(_ result: Int64) -> Transfer {
        if result > 0 { return .bytes(Int(result)) }
        if result == 0 { return .end }
        let error = SystemError(errorNumber: Int32(truncatingIfNeeded: -result))
        return error == .wouldBlock ? .wouldBlock : .failed(error)
    }

    /// Ends our side; the peer may go on.
    package borrowing func shutdownWrite() { _ = clinux_shutdown_write(descriptor) }

    /// Makes closing reset the connection, so that a peer does not take it for a proper end.
    package borrowing func resetOnClose() { clinux_reset_on_close(descriptor) }

    /// Small messages leave at once.
    package borrowing func sendAtOnce() { clinux_send_at_once(descriptor) }

    /// Why a connection attempt or a transfer failed; nil if it did not.
    package borrowing func pendingError() -> SystemError? {
        let error = clinux_socket_error(descriptor)
        return error == 0 ? nil : SystemError(errorNumber: error)
    }

    // MARK: Who and where

    /// The own address; nil for a Unix socket.
    package borrowing func localEndpoint() -> Endpoint? {
        Endpoint(clinux_local_endpoint(descriptor))
    }

    /// The address at the other end; nil for a Unix socket and when it is gone.
    package borrowing func peerEndpoint() -> Endpoint? {
        Endpoint(clinux_peer_endpoint(descriptor))
    }

    /// The process that connected to a Unix socket (SO_PEERCRED, SO_PEERPIDFD).
    package borrowing func peerProcess() throws(SystemError) -> PeerProcess {
        let peer = clinux_peer_of(descriptor)
        guard peer.error == 0 else { throw SystemError(errorNumber: peer.error) }
        return PeerProcess(pid: peer.pid, uid: peer.uid, gid: peer.gid, pidfd: peer.pidfd)
    }

    /// The user who owns the socket at the other end of a TCP connection of this machine.
    ///
    /// - Throws: `.notFound` if it is not of this machine.
    package borrowing func peerOwner() throws(SystemError) -> UInt32 {
        let owner = clinux_tcp_peer_owner(descriptor)
        guard owner.error == 0 else { throw SystemError(errorNumber: owner.error) }
        return owner.uid
    }
}

extension Endpoint {
    /// The user who owns the socket of this machine that accepts connections to the address.
    ///
    /// - Throws: `.notFound` if nobody listens there.
    package func listenerOwner() throws(SystemError) -> UInt32 {
        let owner = clinux_tcp_listener_owner(address.high, address.low, port)
        guard owner.error == 0 else { throw SystemError(errorNumber: owner.error) }
        return owner.uid
    }
}

/// A process at the other end of a Unix socket, held by a descriptor of its own if the kernel has
/// them.
package struct PeerProcess: ~Copyable {
    package let pid: Int32
    package let uid: UInt32
    package let gid: UInt32
    private let pidfd: Int32

    fileprivate init(pid: Int32, uid: UInt32, gid: UInt32, pidfd: Int32) {
        (self.pid, self.uid, self.gid, self.pidfd) = (pid, uid, gid, pidfd)
    }

    deinit { clinux_close(pidfd) }

    /// Whether it runs still.
    ///
    /// Without a descriptor of it (kernels before 6.5) nobody can say that its number is still its
    /// own, so the answer is no.
    package borrowing func isRunning() -> Bool { pidfd >= 0 && clinux_pidfd_exited(pidfd) == 0 }
}

/// An IP address and a port.
package struct Endpoint: Hashable, Sendable {
    package let address: IPAddress
    package let port: UInt16

    package init(_ address: IPAddress, port: UInt16) {
        (self.address, self.port) = (address, port)
    }

    fileprivate init?(_ endpoint: clinux_endpoint) {
        // A Unix socket has neither.
        guard endpoint.error == 0, endpoint.high != 0 || endpoint.low != 0 || endpoint.port != 0
        else { return nil }
        self.init(IPAddress(high: endpoint.high, low: endpoint.low), port: endpoint.port)
    }
}

/// The file of a Unix socket: another one may lie at its path later.
package struct SocketFile: Hashable, Sendable {
    /// Where it was made.
    package let path: String
    fileprivate let device: UInt64
    fileprivate let inode: UInt64

    /// What lies at a path now; nil if that is no socket.
    package init?(path: String) {
        let file = unsafe clinux_status_of_path(path)
        guard file.error == 0, file.mode & S_IFMT == S_IFSOCK else { return nil }
        (self.path, device, inode) = (path, file.device, file.inode)
    }
}

/// What the kernel says when it does not do what was asked.
package struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    package let errorNumber: Int32

    package init(errorNumber: Int32) { self.errorNumber = errorNumber }

    package static let wouldBlock = Self(errorNumber: EAGAIN)
    package static let notFound = Self(errorNumber: ENOENT)

    /// Whether there is no descriptor or memory left, here or on the whole machine.
    package var isExhaustion: Bool {
        [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(errorNumber)
    }

    /// Whether connecting failed for want of something of ours and says nothing of the other side:
    /// what `isExhaustion` names, or a free port (connect(2)).
    package var isOwnWhenConnecting: Bool { isExhaustion || errorNumber == EADDRNOTAVAIL }

    /// Whether only the one connection failed that was about to be accepted (accept(2)).
    package var concernsOneConnection: Bool {
        [
            ECONNABORTED, ENETDOWN, EPROTO, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH,
            EOPNOTSUPP, ENETUNREACH, EPERM, EINTR,
        ].contains(errorNumber)
    }

    package var description: String {
        unsafe strerror(errorNumber).map { unsafe String(cString: $0) } ?? "error \(errorNumber)"
    }
}

/// A descriptor kept free for the day when there is none left.
///
/// A listener whose connections cannot be accepted would wake its loop for ever: with the reserve
/// given up one connection is accepted and closed at once, and its client knows.
package struct DescriptorReserve: ~Copyable {
    private var descriptor: Int32

    /// Takes one while there are some.
    package init() { descriptor = clinux_reserve_descriptor() }

    deinit { clinux_close(descriptor) }

    /// What came of turning somebody away.
    package enum Outcome: Equatable, Sendable {
        case turnedAway
        case nobodyWaits
        /// Somebody waits still: another thread has taken the descriptor, or it is not that which
        /// is missing.
        case failed
    }

    /// Accepts one connection with the reserve, and closes it.
    package mutating func turnAway(from listener: borrowing Socket) -> Outcome {
        clinux_close(descriptor)
        let connection = clinux_accept(listener.descriptor)
        clinux_close(connection)
        descriptor = clinux_reserve_descriptor()
        if connection >= 0 { return .turnedAway }
        return connection == -EAGAIN ? .nobodyWaits : .failed
    }
}

/// Tells which of many descriptors have something to do (epoll).
@safe package struct Poller: ~Copyable {
    /// Most events told at once, so that new connections and messages have their turn.
    package static let eventsMax = 256

    /// What a descriptor is ready for.
    package struct Readiness: OptionSet, Sendable {
        package let rawValue: UInt32
        @inlinable package init(rawValue: UInt32) { self.rawValue = rawValue }

        // Plain numbers for the loop: a set of several, written out, would be an array on the heap.

        /// Nothing at all.
        @inlinable package var isNothing: Bool { rawValue == 0 }
        /// EPOLLOUT.
        @inlinable package var isWritable: Bool { rawValue & 0x4 != 0 }
        /// EPOLLIN, EPOLLERR, EPOLLHUP or EPOLLRDHUP: a read will not block.
        @inlinable package var isReadable: Bool { rawValue & 0x2019 != 0 }
        /// EPOLLERR or EPOLLHUP: it has failed, or both directions have ended.
        @inlinable package var isHungUp: Bool { rawValue & 0x18 != 0 }
        /// EPOLLERR, EPOLLHUP or EPOLLRDHUP: nothing more will be told of.
        @inlinable package var isLast: Bool { rawValue & 0x2018 != 0 }

        package static let readable = Self(rawValue: UInt32(clinux_readable))
        package static let writable = Self(rawValue: UInt32(clinux_writable))
        package static let failed = Self(rawValue: UInt32(clinux_error | clinux_hung_up))
        package static let peerEnded = Self(rawValue: UInt32(clinux_peer_ended))
        /// A read will not block: there are bytes, an end or an error.
        package static let readingMakesSense: Self = [.readable, .failed, .peerEnded]
    }

    private let epoll: Int32
    private let events: UnsafeMutablePointer<clinux_event>
    private var number = 0

    /// An empty one.
    ///
    /// - Throws: What the kernel says.
    package init() throws(SystemError) {
        let descriptor = clinux_epoll_create()
        guard descriptor >= 0 else { throw SystemError(errorNumber: -descriptor) }
        epoll = descriptor
        unsafe events = .allocate(capacity: Self.eventsMax)
    }

    deinit {
        clinux_close(epoll)
        unsafe events.deallocate()
    }

    /// Tells of each change of a connection once: whoever hears of it must read to the end.
    package borrowing func add(_ socket: borrowing Socket, _ key: Key) throws(SystemError) {
        try add(socket.descriptor, key, edge: true)
    }

    /// Tells of a listener as long as somebody waits.
    package borrowing func addListener(
        _ socket: borrowing Socket,
        _ key: Key
    ) throws(SystemError) {
        try add(socket.descriptor, key, edge: false)
    }

    /// Tells of posts to a mailbox.
    package borrowing func add(_ wakeUp: borrowing WakeUp, _ key: Key) throws(SystemError) {
        try add(wakeUp.descriptor, key, edge: true)
    }

    private borrowing func add(
        _ descriptor: Int32,
        _ key: Key,
        edge: Bool
    ) throws(SystemError) {
        let error = clinux_epoll_add(epoll, descriptor, key.rawValue, edge)
        guard error == 0 else { throw SystemError(errorNumber: error) }
    }

    /// Tells nothing more of a descriptor that stays open.
    package borrowing func remove(_ socket: borrowing Socket) {
        _ = clinux_epoll_remove(epoll, socket.descriptor)
    }

    /// Waits until something happens.
    ///
    /// - Parameter milliseconds: At most so long; nil waits for ever.
    /// - Returns: How many events there are, to be taken with `event`.
    package mutating func wait(milliseconds: Int32?) -> Int {
        let result = unsafe clinux_epoll_wait(
            epoll,
            events,
            Int32(Self.eventsMax),
            milliseconds ?? -1
        )
        number = max(0, Int(result))
        return number
    }

    /// One of the events of the last wait.
    package borrowing func event(_ index: Int) -> (key: Key, readiness: Readiness) {
        precondition(index >= 0 && index < number, "no such event")
        let event = unsafe events[index]
        return (Key(rawValue: event.key), Readiness(rawValue: event.events))
    }
}

/// Wakes a loop that waits (eventfd).
package struct WakeUp: ~Copyable, Sendable {
    let descriptor: Int32

    /// - Throws: What the kernel says.
    package init() throws(SystemError) {
        let result = clinux_eventfd()
        guard result >= 0 else { throw SystemError(errorNumber: -result) }
        descriptor = result
    }

    deinit { clinux_close(descriptor) }

    /// Wakes it; from any thread.
    package borrowing func signal() { clinux_eventfd_signal(descriptor) }

    /// Lets the next signal wake it again.
    package borrowing func clear() { clinux_eventfd_clear(descriptor) }
}

/// The time since boot, in milliseconds; a loop reads it once for each turn.
package func bootMilliseconds() -> UInt64 {
    let time = clinux_boot_time()
    return UInt64(time.seconds) * 1000 + UInt64(time.nanoseconds) / 1_000_000
}

/// The wall clock in seconds since 1970, for the validity of certificates.
package func wallSeconds() -> Double {
    let time = clinux_wall_time()
    return Double(time.seconds) + Double(time.nanoseconds) / 1e9
}

/// A thread that runs one loop, and nothing of Swift's concurrency.
@safe package struct WorkerThread: ~Copyable {
    private let thread: pthread_t

    /// The body and its name, handed to the thread.
    private final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            (self.name, self.body) = (name, body)
        }
    }

    /// Starts it.
    ///
    /// - Parameters:
    ///   - name: At most 15 bytes are shown by the kernel.
    ///   - body: What it runs; the thread ends when it returns.
    /// - Throws: What the kernel says.
    package init(name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        let start = unsafe Unmanaged.passRetained(Start(name: name, body: body))
        var thread = pthread_t()
        let error = unsafe pthread_create(
            &thread,
            nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                unsafe clinux_name_thread(start.name)
                start.body()
                return nil
            },
            start.toOpaque()
        )
        guard error == 0 else {
            unsafe start.release()
            throw SystemError(errorNumber: error)
        }
        self.thread = thread
    }

    /// Nobody waits for it: what the kernel and the library keep of it goes with its end.
    deinit { _ = pthread_detach(thread) }

    /// Waits until it has ended.
    package consuming func join() {
        _ = pthread_join(thread, nil)
        discard self
    }
}
