// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import HTTPSemantics
package import Reactor
internal import Routing
internal import Synchronization

/// The data plane of one process: workers, each a thread with a loop, and what they are told.
///
/// Nothing listens before the first snapshot, and nothing is accepted without one. All methods may
/// be called from any thread; they do not wait for the loops but say when these are done.
package final class ProxyEngine: Sendable {
    /// Most workers; one for each core is enough, and their numbers have 8 bits in a decision's ID.
    package static let workersMax = 64

    private struct State: ~Copyable {
        var listeners: [ListenAddress: [OpenListener]] = [:]
        var generation: UInt64 = 0
        var isDraining = false
        /// Those that a loop may still have; released here and not on a loop.
        var kept: [ProxySnapshot] = []
        var threads: [ThreadHandle] = []
    }

    /// Holds a thread until somebody joins it.
    private final class ThreadHandle: Sendable {
        private let thread: Mutex<WorkerThread?>
        init(_ thread: consuming WorkerThread) { self.thread = Mutex(thread) }
        func join() {
            guard let thread = thread.withLock({ $0.take() }) else { return }
            thread.join()
        }
    }

    /// The library of all its TLS contexts.
    package let provider: TLSProvider
    /// Random, so that the IDs of decisions of two processes differ.
    package let instance: UInt64
    private let mailboxes: [Mailbox<LoopMessage>]
    private let queues: [RecordQueue]
    /// A word for each time that a worker has many records; for one reader.
    package let recordsWaiting: AsyncStream<Void>
    private let state = Mutex(State())

    /// Starts the workers, which wait for a snapshot.
    ///
    /// - Parameters:
    ///   - workers: At least 1.
    ///   - provider: The library of all TLS contexts in its snapshots.
    ///   - instance: What the IDs of its decisions begin with; nil draws one at random.
    ///   - wall: The wall clock, in seconds since 1970: by it certificates have ended or not begun.
    /// - Throws: What the kernel says.
    package init(
        workers: Int,
        provider: TLSProvider,
        instance: UInt64? = nil,
        wall: @escaping @Sendable () -> Double = { wallSeconds() }
    ) throws(ProxyEngineError) {
        guard (1...Self.workersMax).contains(workers) else { throw .workers(workers) }
        var generator = SystemRandomNumberGenerator()
        self.provider = provider
        self.instance = instance ?? generator.next()
        var mailboxes: [Mailbox<LoopMessage>] = []
        var queues: [RecordQueue] = []
        let (waiting, call) = AsyncStream.makeStream(
            of: Void.self,
            bufferingPolicy: .bufferingNewest(1)
        )
        recordsWaiting = waiting
        do throws(SystemError) {
            for _ in 0..<workers {
                mailboxes.append(try Mailbox())
                queues.append(RecordQueue { call.yield() })
            }
            self.mailboxes = mailboxes
            self.queues = queues
            for worker in 0..<workers {
                let (mailbox, records) = (mailboxes[worker], queues[worker])
                let (seed, instance) = (generator.next(), self.instance)
                let thread = try WorkerThread(name: "signet-loop-\(worker)") {
                    // Whoever asks afterwards is answered at once.
                    defer {
                        for message in mailbox.close() { message.answer(inPlaceOf: records) }
                    }
                    guard
                        var loop = try? Loop(
                            worker: UInt64(worker),
                            instance: instance,
                            mailbox: mailbox,
                            records: records,
                            seed: seed,
                            wall: wall
                        )
                    else { return }
                    loop.run()
                }
                let handle = ThreadHandle(thread)
                state.withLock { $0.threads.append(handle) }
            }
        } catch {
            throw .system(error)
        }
    }

    deinit { for mailbox in mailboxes { mailbox.post(.stop) } }

    // MARK: - Telling

    /// Makes a snapshot the one that everything is done by.
    ///
    /// New listeners are opened here, before any loop hears of it: either all of them can be, or
    /// nothing changes. A proxy that ends opens none, but what goes on still goes on by the newest.
    ///
    /// - Parameters:
    ///   - snapshot: Of a greater generation than every one before.
    ///   - applied: Called once when every loop has taken it, on one of their threads; at once if
    ///     the proxy ends.
    /// - Throws: `ProxyEngineError`; the last snapshot stays in force.
    package func apply(
        _ snapshot: ProxySnapshot,
        applied: @escaping @Sendable () -> Void = {}
    ) throws(ProxyEngineError) {
        let result: Result<Void, ProxyEngineError> = state.withLock { state in
            do throws(ProxyEngineError) {
                try apply(snapshot, &state, applied)
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    private func apply(
        _ snapshot: ProxySnapshot,
        _ state: inout State,
        _ applied: @escaping @Sendable () -> Void
    ) throws(ProxyEngineError) {
        guard snapshot.generation > state.generation else {
            throw .generation(snapshot.generation, notAfter: state.generation)
        }
        for route in snapshot.inbound where route.context.provider != provider {
            throw .providerDiffers(listener: route.listener.name)
        }
        for route in snapshot.outbound where route.context.provider != provider {
            throw .providerDiffers(listener: route.listener.name)
        }
        let addresses =
            snapshot.inbound.map(\.listenAddress) + snapshot.outbound.map(\.listenAddress)
        guard Set(addresses).count == addresses.count else { throw .addressTwice }
        if state.isDraining {
            // Loops that have ended already take nothing, and have nothing that goes on.
            let nobody = Countdown(mailboxes.count) {}
            for mailbox in mailboxes { mailbox.post(.snapshot(snapshot, [], nobody)) }
            state.generation = snapshot.generation
            state.kept.append(snapshot)
            applied()
            return
        }
        var listeners: [ListenAddress: [OpenListener]] = [:]
        for address in addresses {
            do throws(SystemError) {
                if let known = state.listeners[address] {
                    listeners[address] = known
                } else {
                    listeners[address] = try open(address)
                }
            } catch {
                for (address, new) in listeners where state.listeners[address] == nil {
                    forget(new)
                }
                throw .cannotListen(address, error)
            }
        }
        try post(snapshot, listeners, Countdown(mailboxes.count, applied), &state)
        for (address, old) in state.listeners where listeners[address] == nil { forget(old) }
        state.listeners = listeners
    }

    private func post(
        _ snapshot: ProxySnapshot,
        _ listeners: [ListenAddress: [OpenListener]],
        _ countdown: Countdown,
        _ state: inout State
    ) throws(ProxyEngineError) {
        for (worker, mailbox) in mailboxes.enumerated() {
            let own = listeners.values.map { $0[worker] }
            guard mailbox.post(.snapshot(snapshot, own, countdown)) else { throw .stuck(worker) }
        }
        state.generation = snapshot.generation
        state.kept.append(snapshot)
    }

    /// Lets go of what came before a snapshot that every loop has taken, and of the keys in it.
    package func forget(before generation: UInt64) {
        // Released when nobody waits for the state.
        let old = state.withLock { state in
            let old = state.kept.filter { $0.generation < generation }
            state.kept.removeAll { $0.generation < generation }
            return old
        }
        withExtendedLifetime(old) {}
    }

    /// How many snapshots there are that a loop may still have, the one in force included.
    package var generationsKept: Int { state.withLock { $0.kept.count } }

    /// One listener for each worker: TCP shares a port, a Unix socket is one for all.
    private func open(_ address: ListenAddress) throws(SystemError) -> [OpenListener] {
        switch address {
        case .tcp(let tcp):
            var result: [OpenListener] = []
            for _ in mailboxes {
                let socket = try Socket.listen(
                    tcp.address,
                    port: tcp.port,
                    isShared: mailboxes.count > 1
                )
                result.append(OpenListener(address, socket))
            }
            return result
        case .unix(let path):
            try Socket.removeAbandoned(path: path)
            let socket = try Socket.listen(path: path, mode: 0o666)
            let one = OpenListener(address, socket, file: SocketFile(path: path))
            return mailboxes.map { _ in one }
        }
    }

    /// Removes the file of a Unix listener that is no more, and none that somebody else has put
    /// in its place.
    private func forget(_ listeners: [OpenListener]) {
        if let file = listeners.first?.file { Socket.remove(file) }
    }

    /// Takes nothing more, finishes what there is, and ends the loops.
    ///
    /// - Parameter drained: Called once when every loop has ended its connections, at the latest
    ///   after `ProxyLimits.drain`.
    package func drain(_ drained: @escaping @Sendable () -> Void = {}) {
        let open = state.withLock { state in
            state.isDraining = true
            defer { state.listeners = [:] }
            return Array(state.listeners.values)
        }
        for listeners in open { forget(listeners) }
        let countdown = Countdown(mailboxes.count, drained)
        for mailbox in mailboxes where !mailbox.post(.drain(countdown)) { countdown.arrive() }
    }

    /// Ends everything at once, and waits for the threads.
    package func stop() {
        drain()
        for mailbox in mailboxes { mailbox.post(.stop) }
        let threads = state.withLock { $0.threads }
        for thread in threads { thread.join() }
    }

    // MARK: - Asking

    /// Sums what all loops have counted.
    ///
    /// - Parameters:
    ///   - handsOver: Whether the aggregates are those since the last time that they were handed
    ///     over: who asks so keeps them, and the loops have room for others.
    ///   - answer: Called once with it, on one of their threads or on this one.
    package func counters(
        handsOver: Bool = false,
        _ answer: @escaping @Sendable (ProxyCounters) -> Void
    ) {
        let answers = Answer<ProxyCounters>(mailboxes.count) { all in
            var sum = ProxyCounters()
            for one in all { sum.add(one) }
            answer(sum)
        }
        for worker in mailboxes.indices {
            ask(worker, .counters(handsOver: handsOver, answers))
        }
    }

    /// Lists live connections.
    ///
    /// - Parameters:
    ///   - limit: At most so many of each worker.
    ///   - answer: Called once with them, on a thread of a loop or on this one.
    package func connections(
        limit: Int,
        _ answer: @escaping @Sendable ([ConnectionStatus]) -> Void
    ) {
        let answers = Answer<[ConnectionStatus]>(mailboxes.count) { answer($0.flatMap { $0 }) }
        for worker in mailboxes.indices { ask(worker, .connections(limit: limit, answers)) }
    }

    private func ask(_ worker: Int, _ question: LoopMessage) {
        if !mailboxes[worker].post(question) { question.answer(inPlaceOf: queues[worker]) }
    }

    /// Takes the records that have gathered, and how many were dropped; one reader at a time.
    package func takeRecords() -> RecordQueue.Taken {
        var taken = RecordQueue.Taken()
        for queue in queues { taken.add(queue.take()) }
        return taken
    }
}

/// Why the engine did not do what it was told.
package enum ProxyEngineError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Two listeners have one address.
    case addressTwice
    case cannotListen(ListenAddress, SystemError)
    case generation(UInt64, notAfter: UInt64)
    /// A TLS context is of another library.
    case providerDiffers(listener: String)
    /// A loop has not looked at its messages for long.
    case stuck(Int)
    case system(SystemError)
    case workers(Int)

    package var description: String {
        switch self {
        case .addressTwice: "two listeners have the same address"
        case .cannotListen(let address, let error): "cannot listen on \(address): \(error)"
        case .generation(let new, let old): "snapshot \(new) does not come after \(old)"
        case .providerDiffers(let name): "listener \(name) has a TLS context of another library"
        case .stuck(let worker): "worker \(worker) does not answer"
        case .system(let error): "the workers cannot be started: \(error)"
        case .workers(let count):
            "\(count) workers: there have to be 1 to \(ProxyEngine.workersMax)"
        }
    }
}
