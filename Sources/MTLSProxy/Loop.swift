// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ContainersPreview
internal import FoundationEssentials
internal import HTTPCodec
internal import HTTPSemantics
internal import Reactor
internal import Routing
internal import SPIFFE

/// One worker: owns its connections, turns events into calls and the relays' steps into writes.
///
/// It is made and run on its own thread and never shared; only its mailbox, its records and the
/// snapshot are. Nothing here blocks.
struct Loop: ~Copyable {
    /// How late a connection's deadline may be noticed: the wheel shows each this often.
    static let noticeMilliseconds: UInt64 = 1000
    /// A longer turn is counted: others wait for it.
    static let turnMillisecondsMax: UInt64 = 10
    /// Steps of one connection in a row, so that one that never stops leaves room for the others.
    static let stepsMax = 16
    /// Connections judged again in one turn after a new snapshot.
    static let rejudgedPerTurnMax = 512
    private static let mailKey = Key(rawValue: 1)
    /// Keys of listeners begin here; their generation is 0, which no connection has.
    private static let firstListenerKey: UInt64 = 16

    static func listenerKey(_ place: Int) -> Key {
        Key(rawValue: firstListenerKey &+ UInt64(place))
    }

    var slab = Slab<Connection>()
    var scratch = Scratch()
    var poller: Poller
    private var wheel: Wheel
    private var due: [Key] = []
    private var ready: [Key] = []
    var listening: [Listening] = []
    var reserve = DescriptorReserve()
    /// When listeners whose clients could not even be turned away are looked at again; nil if there
    /// are none.
    var resumesAt: UInt64?
    private let mailbox: Mailbox<LoopMessage>
    private var seen = 0
    let records: RecordQueue
    var recorded: [ProxyRecord] = []
    var counters = ProxyCounters()
    private(set) var snapshot: ProxySnapshot?
    // Of the snapshot; kept beside it because each request asks for them.
    /// 0 before the first.
    private(set) var generation: UInt64 = 0
    private(set) var revision: UInt64 = 0
    private(set) var limits = ProxyLimits()
    var now: UInt64
    /// The wall clock, read once for each turn in which somebody asks.
    private var wall: Double?
    private let readWall: @Sendable () -> Double
    let worker: UInt64
    let instance: UInt64
    var decisionCount: UInt64 = 0
    /// How many more are allowed until one of them is recorded.
    var untilSample: UInt64
    var random: FastRandom
    let answers = GeneratedResponses()
    let responseRewrites = (
        fromProxy: ResponseRewrite(removesDecision: false),
        fromApplication: ResponseRewrite(removesDecision: true)
    )
    /// Where judging again has got to; nil if it is through.
    private var rejudging: Int?
    private var draining: Countdown?
    var strangers = Strangers()
    private var drainDeadline: UInt64 = .max
    private var isStopped = false

    init(
        worker: UInt64,
        instance: UInt64,
        mailbox: Mailbox<LoopMessage>,
        records: RecordQueue,
        seed: UInt64,
        wall: @escaping @Sendable () -> Double
    ) throws(SystemError) {
        let poller = try Poller()
        try poller.add(mailbox.wakeUp, Self.mailKey)
        self.poller = poller
        self.worker = worker
        self.instance = instance
        self.mailbox = mailbox
        self.records = records
        readWall = wall
        var random = FastRandom(seed: seed)
        // Workers do not take theirs together, and a quiet one is sampled too.
        untilSample = 1 + random.next() % ProxyLimits.decisionsPerSample
        self.random = random
        now = bootMilliseconds()
        wheel = Wheel(now: now)
    }

    /// Runs until it is told to stop.
    mutating func run() {
        while !isStopped {
            let isBusy = !ready.isEmpty || rejudging != nil || strangers.areWaiting
            let number = poller.wait(milliseconds: isBusy ? 0 : sleepMilliseconds)
            now = bootMilliseconds()
            resumeListening()
            wall = nil
            counters.turns &+= 1
            for message in mailbox.take(ifNewerThan: &seen) { obey(message) }
            for index in 0..<number {
                let event = poller.event(index)
                handle(event.key, event.readiness)
            }
            takeReady()
            takeStrangers()
            expireDue()
            rejudgeSome()
            handOverRecords()
            endDrainIfDone()
            if bootMilliseconds() &- now > Self.turnMillisecondsMax { counters.longTurns &+= 1 }
        }
        closeAll()
        var last = currentCounters(handsOver: false)
        last.live = 0
        records.end(last)
    }

    /// The wall clock at the beginning of the turn, about.
    var wallNow: Double {
        mutating get {
            if let wall { return wall }
            let read = readWall()
            wall = read
            return read
        }
    }

    var isDraining: Bool { draining != nil }

    /// How long a client may say nothing between two requests.
    var idle: UInt64 { isDraining ? min(limits.idle, ProxyLimits.drainIdle) : limits.idle }

    private var sleepMilliseconds: Int32? {
        let sleep = wheel.sleepMilliseconds(now: now)
        guard let resumesAt else { return sleep }
        let pause = Int32(clamping: resumesAt > now ? resumesAt - now : 0)
        return min(sleep ?? pause, pause)
    }

    // MARK: - Events

    private mutating func handle(_ key: Key, _ readiness: Poller.Readiness) {
        if key == Self.mailKey { return }
        if key.generation == 0 {
            accept(place: Int(key.rawValue &- Self.firstListenerKey))
            return
        }
        guard var held = slab.checkOut(key) else {
            counters.staleKeys &+= 1
            return
        }
        drive(key, &held.value, readiness)
        settle(key, held)
    }

    private mutating func takeReady() {
        guard !ready.isEmpty else { return }
        var keys: [Key] = []
        swap(&keys, &ready)
        for key in keys {
            // Who was woken may have ended since; that is no stale event.
            guard var held = slab.checkOut(key) else { continue }
            held.value.isQueued = false
            drive(key, &held.value, Poller.Readiness(rawValue: 0))
            settle(key, held)
        }
        if ready.isEmpty {
            keys.removeAll(keepingCapacity: true)
            swap(&keys, &ready)
        }
    }

    /// Goes on with the handshakes that have waited longest, as many as a turn has room for.
    private mutating func takeStrangers() {
        var number = 0
        while number < ProxyLimits.handshakesPerTurnMax, let key = strangers.next() {
            guard var held = slab.checkOut(key) else { continue }
            held.value.isQueued = false
            drive(key, &held.value, Poller.Readiness(rawValue: 0), isItsTurn: true)
            settle(key, held)
            number += 1
        }
    }

    /// Has a connection driven later in this turn or in the next.
    mutating func queue(_ key: Key, _ connection: inout Connection) {
        guard !connection.isQueued else { return }
        connection.isQueued = true
        ready.append(key)
    }

    /// Has the other side of a relay driven.
    mutating func wake(_ key: Key) {
        if !key.isNone { ready.append(key) }
    }

    /// Puts a connection back, or ends it.
    mutating func settle(_ key: Key, _ held: consuming UniqueBox<Connection>) {
        if held.value.isDead {
            close(key, held)
        } else {
            slab.checkIn(key, held)
        }
    }

    /// Ends a connection, and the one that it was joined to.
    private mutating func close(_ key: Key, _ held: consuming UniqueBox<Connection>) {
        var held = held
        let other = held.value.other
        held.value.other = .none
        if held.value.isDownstream { finishRecord(&held.value) }
        if held.value.isStranger { strangers.count -= 1 }
        leavePool(&held.value)
        held.value.sayGoodbye(&scratch.cipherOut)
        let (isDownstream, reason) = (held.value.isDownstream, held.value.reason)
        if isDownstream { counters.count(reason) } else { counters.countServer(reason) }
        let detail = isDownstream || other.isNone ? "" : detail(ofServer: held.value)
        let stood = held.value.stands
        var unsent = Buffer()
        if !isDownstream {
            if !stood { rest(held.value) }
            held.value.takeUnsent(&unsent)
        }
        slab.remove(key, held)
        guard !other.isNone, var joined = slab.checkOut(other) else { return }
        joined.value.other = .none
        if isDownstream {
            // Nobody waits for the answer any more; a stream's last bytes are sent.
            if joined.value.isHTTP || !joined.value.isFinishing { joined.value.isDead = true }
        } else {
            let failure = ServerFailure(reason: reason, detail: detail)
            serverIsGone(other, &joined.value, failure, stood: stood, unsent: unsent)
        }
        settle(other, joined)
    }

    private mutating func drive(
        _ key: Key,
        _ connection: inout Connection,
        _ readiness: Poller.Readiness,
        isItsTurn: Bool = false
    ) {
        if connection.isConnecting {
            guard !readiness.isNothing else { return }
            guard finishConnecting(key, &connection) else { return }
        }
        connection.note(readiness)
        if readiness.isWritable, !connection.out.isEmpty {
            if connection.flush() {
                progress(&connection)
                wake(connection.other)
            }
            if connection.isDead { return hearOut(&connection) }
        }
        if !connection.isOpen {
            // Nothing costs as much as a stranger's hand, so they wait in line for it.
            if connection.isStranger, !isItsTurn { return lineUp(key, &connection) }
            guard shakeHands(key, &connection) else { return }
        }
        if connection.isLingering {
            lingerOn(&connection)
        } else if !connection.isHTTP {
            pumpStream(key, &connection)
        } else if connection.isDownstream {
            pumpRequests(key, &connection)
        } else {
            pumpAnswer(key, &connection)
        }
    }

    // MARK: - Deadlines

    /// Files a connection that has just come.
    mutating func register(
        _ connection: consuming Connection,
        waiting: Waiting,
        for milliseconds: UInt64
    ) -> Key? {
        connection.waiting = waiting
        connection.deadline = now &+ milliseconds
        let key = slab.insert(connection)
        guard addToPoller(key) else {
            if var held = slab.checkOut(key) {
                held.value.isDead = true
                slab.remove(key, held)
            }
            return nil
        }
        wheel.file(key, at: now &+ min(milliseconds, Self.noticeMilliseconds))
        return key
    }

    private func addToPoller(_ key: Key) -> Bool {
        let isAdded: Bool? = slab.look(at: key) { connection in
            do throws(SystemError) {
                try connection.add(to: poller, key)
                return true
            } catch {
                return false
            }
        }
        return isAdded ?? false
    }

    /// Sets what a connection waits for.
    func arm(_ waiting: Waiting, _ connection: inout Connection, _ milliseconds: UInt64) {
        connection.waiting = waiting
        connection.deadline = now &+ milliseconds
    }

    /// Bytes have moved.
    func progress(_ connection: inout Connection) {
        switch connection.waiting {
        // Of a request's two sides the client's has the deadline.
        case .stall where connection.isDownstream: connection.deadline = stallDeadline(connection)
        case .stream: connection.deadline = now &+ limits.streamIdle
        case .answer, .connect, .handshake, .head, .linger, .pool, .request, .stall: break
        }
    }

    private mutating func expireDue() {
        wheel.collectDue(now: now, into: &due)
        guard !due.isEmpty else { return }
        for key in due {
            guard var held = slab.checkOut(key) else { continue }
            if held.value.deadline <= now { expire(key, &held.value) }
            retireWithCertificate(&held.value)
            if !held.value.isDead {
                let deadline = max(held.value.deadline, now &+ 1)
                wheel.file(key, at: min(deadline, now &+ Self.noticeMilliseconds))
            }
            settle(key, held)
        }
        due.removeAll(keepingCapacity: true)
    }

    // MARK: - Messages

    private mutating func obey(_ message: LoopMessage) {
        switch message {
        case .snapshot(let snapshot, let listeners, let countdown):
            adopt(snapshot, listeners)
            countdown.arrive()
        case .drain(let countdown): beginDrain(countdown)
        case .stop: isStopped = true
        case .counters(let handsOver, let answer):
            answer.give(currentCounters(handsOver: handsOver))
        case .connections(let limit, let answer): answer.give(connectionStatus(limit: limit))
        }
    }

    private mutating func adopt(_ snapshot: ProxySnapshot, _ listeners: [OpenListener]) {
        // A snapshot that was overtaken does nothing.
        guard snapshot.generation > generation else { return }
        let before = revision
        self.snapshot = snapshot
        (generation, revision) = (snapshot.generation, snapshot.revision)
        limits = snapshot.limits
        var routes: [ListenAddress: (InboundRoute?, OutboundRoute?)] = [:]
        for route in snapshot.inbound { routes[route.listenAddress] = (route, nil) }
        for route in snapshot.outbound { routes[route.listenAddress] = (nil, route) }
        var known: Set<ListenAddress> = []
        for place in listening.indices {
            let address = listening[place].address
            guard listening[place].isActive else { continue }
            if let (inbound, outbound) = routes[address],
                listening[place].goesOn(as: inbound, outbound)
            {
                known.insert(address)
                listening[place].goOn(as: inbound, outbound, after: before)
                fitTargets(place)
            } else {
                stopListening(place)
                listening[place].inbound = nil
                listening[place].outbound = nil
            }
        }
        rejudging = 0
        guard !isDraining else { return }
        var free = freePlaces()
        for open in listeners where !known.contains(open.address) {
            guard let (inbound, outbound) = routes[open.address] else { continue }
            begin(Listening(open, inbound, outbound), at: free.popLast())
        }
    }

    /// Places of listeners that are no more and that no connection names.
    private func freePlaces() -> [Int] {
        var free = Set(listening.indices.filter { !listening[$0].isActive })
        for index in 0..<slab.slotCount where !free.isEmpty {
            guard let key = slab.key(at: index) else { continue }
            if let place = slab.look(at: key, { $0.place }) { free.remove(place) }
        }
        return Array(free)
    }

    private mutating func begin(_ listener: Listening, at free: Int?) {
        let place = free ?? listening.count
        if let free { listening[free] = listener } else { listening.append(listener) }
        fitTargets(place)
        // The descriptor is open and not in this poller: only memory can be missing.
        guard let open = listener.open else { return }
        do throws(SystemError) {
            try poller.addListener(open.socket, Self.listenerKey(place))
        } catch {
            listening[place].open = nil
            counters.count(.overloaded)
        }
    }

    private mutating func stopListening(_ place: Int) {
        guard let open = listening[place].open else { return }
        poller.remove(open.socket)
        listening[place].open = nil
    }

    // MARK: - Judging again

    /// Goes on with judging live connections by the newest snapshot.
    private mutating func rejudgeSome() {
        guard let start = rejudging else { return }
        let end = min(start + Self.rejudgedPerTurnMax, slab.slotCount)
        for index in start..<end {
            guard let key = slab.key(at: index), var held = slab.checkOut(key) else { continue }
            rejudge(key, &held.value)
            settle(key, held)
        }
        rejudging = end < slab.slotCount ? end : nil
    }

    // MARK: - The end

    private mutating func beginDrain(_ countdown: Countdown) {
        guard draining == nil else {
            countdown.arrive()
            return
        }
        draining = countdown
        drainDeadline = now &+ limits.drain
        for place in listening.indices {
            acceptLast(place: place)
            stopListening(place)
        }
        rejudging = 0
    }

    private mutating func endDrainIfDone() {
        guard let draining, slab.live == 0 || now >= drainDeadline else { return }
        closeAll()
        draining.arrive()
        isStopped = true
    }

    private mutating func closeAll() {
        for place in listening.indices { stopListening(place) }
        for index in 0..<slab.slotCount {
            guard let key = slab.key(at: index), var held = slab.checkOut(key) else { continue }
            end(&held.value, .draining)
            settle(key, held)
        }
        handOverRecords()
    }

    private mutating func handOverRecords() {
        if !recorded.isEmpty { counters.droppedRecords &+= records.add(&recorded) }
    }
}

/// Random numbers for IDs that nobody has to guess (SplitMix64, seeded by the system).
struct FastRandom {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
